"""What happened between users and items: ids, ratings and times, as immutable values.

Everything downstream works on these. A row is a position in an `IdMap`; an id is what the user's own data calls a user
or an item. Observed means *stored*: an explicit rating of 0 is a rating like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError, DataError, UnknownIdError, did_you_mean

Rows = NDArray[np.int64]
Duplicates = Literal["error", "last", "mean", "max", "sum"]


class IdMap:
    """External ids and their rows, one to one. Ids are all integers (int64) or all strings.

    Args:
        ids: unique ids; the position of each is its row.

    Raises:
        DataError: ids of another type, of mixed types, or repeated.
    """

    def __init__(self, ids: ArrayLike | pd.Index | pd.Series) -> None:
        self._index = _id_index(ids)
        if not self._index.is_unique:
            repeated = self._index[self._index.duplicated()][0]
            raise DataError(f"ids must be unique, but {shown(repeated)} occurs more than once")

    @property
    def kind(self) -> Literal["int", "str"]:
        """The type of the ids."""
        return "int" if self._index.dtype == np.int64 else "str"

    @property
    def values(self) -> NDArray[Any]:
        """All ids in row order: int64, or object holding str."""
        return self._index.to_numpy()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, external: object) -> bool:
        return external in self._index

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, IdMap) and self.kind == other.kind and self._index.equals(other._index))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.kind} ids)"

    def rows(self, external: ArrayLike | pd.Series) -> Rows:
        """Rows of the given ids, int64 [n]; `UnknownIdError` names the first id that is not there."""
        rows = self.find(external)
        if len(rows) and rows.min() < 0:
            missing = np.flatnonzero(rows < 0)
            first = _id_index(external)[missing[0]]
            raise UnknownIdError(
                f"unknown id {shown(first)} ({len(missing)} of {len(rows)} are not among the {len(self)} known)"
            )
        return rows

    def find(self, external: ArrayLike | pd.Series) -> Rows:
        """Rows of the given ids, int64 [n], with -1 for an id that is not there.

        Raises:
            DataError: the ids are of another type than the map's, a mistake that would otherwise find nothing.
        """
        index = _id_index(external)
        if len(index) and index.dtype != self._index.dtype:
            raise DataError(f"ids here are of type {self.kind}, got {shown(index[0])}")
        return self._index.get_indexer(index).astype(np.int64, copy=False)

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) of the ids in their order."""
        digest = blake2b(self.kind.encode(), digest_size=16)
        if self.kind == "int":
            digest.update(self.values.astype("<i8").tobytes())
        else:
            for value in self.values:
                raw = value.encode()
                digest.update(len(raw).to_bytes(8, "little") + raw)
        return digest.hexdigest()


def shown(external: Any) -> str:
    """An id as a message shows it: 7, not np.int64(7); 'a' in quotes."""
    return repr(external.item() if isinstance(external, np.generic) else external)


def _id_index(ids: Any) -> pd.Index:
    """`ids` as a pandas index of dtype int64 or of strings."""
    if isinstance(ids, str) or np.ndim(ids) != 1:
        raise DataError(f"expected a list of ids, got {ids!r}")
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":  # the common case, without a copy
        if ids.dtype == np.uint64 and len(ids) and ids.max() > np.iinfo(np.int64).max:
            raise DataError(f"integer ids must fit 64 bits with a sign, got {ids.max()}; use strings")
        return pd.Index(ids.astype(np.int64, copy=False))
    index = pd.Index(np.asarray(ids, dtype=object) if isinstance(ids, (list, tuple)) else ids)
    if isinstance(index, pd.CategoricalIndex):
        index = index.astype(index.categories.dtype)
    inferred = pd.api.types.infer_dtype(index, skipna=False)
    if len(index) == 0:
        return pd.Index(index, dtype=np.int64 if index.dtype.kind in "iu" else "str")
    if index.hasnans:
        raise DataError("ids must not be missing")
    if inferred == "integer":
        return pd.Index(index, dtype=np.int64)
    if inferred == "string":
        return pd.Index(index, dtype="str")
    raise DataError(f"ids must be all integers or all strings, got {inferred} ids such as {shown(index[0])}")


@dataclass(frozen=True, eq=False)
class Interactions:
    """Ratings (or counts, or clicks) of N users for M items.

    Attributes:
        matrix: csr_array [N, M] float32 in canonical form; every stored entry is an observation, zeros included.
        users, items: external ids of the rows and the columns.
        times: int64 [nnz] aligned with `matrix.data`, in the unit of the source (usually Unix seconds), or None.
        scale: lowest and highest possible rating, or None when the source declares none.

    Raises:
        DataError: shapes that disagree, a rating that is not finite or lies outside the scale, no users or no items.
    """

    matrix: csr_array
    users: IdMap
    items: IdMap
    times: NDArray[np.int64] | None = None
    scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.matrix, csr_array) or self.matrix.dtype != np.float32:
            raise DataError(f"matrix must be a float32 csr_array, got {type(self.matrix).__name__} of {self.matrix.dtype}")
        expected = (len(self.users), len(self.items))
        if self.matrix.shape != expected:
            raise DataError(f"matrix is {self.matrix.shape}, the id maps say {expected}")
        if 0 in expected:
            raise DataError("there is no data: no users or no items")
        if self.scale is not None:
            object.__setattr__(self, "scale", (float(self.scale[0]), float(self.scale[1])))
        if not self.matrix.has_sorted_indices:
            raise DataError("the columns of each row of the matrix must be in order; call its sort_indices() first")
        if not self.matrix.has_canonical_format:
            raise DataError("matrix holds the same user and item twice; use Interactions.from_frame and say how to merge them")
        if self.times is not None and self.times.shape != self.matrix.data.shape:
            raise DataError(f"times are {self.times.shape}, ratings are {self.matrix.data.shape}")
        self._check_ratings()

    def _check_ratings(self) -> None:
        ratings = self.matrix.data
        bad = ~np.isfinite(ratings)
        wanted = "finite"
        if self.scale is not None and not bad.any():
            bad = (ratings < self.scale[0]) | (ratings > self.scale[1])
            wanted = f"between {self.scale[0]:g} and {self.scale[1]:g}"
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            user = int(np.searchsorted(self.matrix.indptr, at, side="right")) - 1
            item = self.matrix.indices[at]
            raise DataError(
                f"rating {ratings[at]:g} of user {shown(self.users.values[user])} for item {shown(self.items.values[item])} "
                f"must be {wanted} ({int(bad.sum())} such ratings)"
            )

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        user: str = "user_id",
        item: str = "item_id",
        rating: str | None = "rating",
        time: str | None = None,
        duplicates: Duplicates = "error",
        users: IdMap | None = None,
        items: IdMap | None = None,
        scale: tuple[float, float] | None = None,
    ) -> "Interactions":
        """Interactions from one table row per event.

        Args:
            frame: any data frame with the columns named by `user`, `item`, `rating` and `time`.
            rating: rating column, or None when every event counts 1.
            time: time column (integers, or dates, which become Unix seconds), or None.
            duplicates: what to do with several events of one user and item: `error`; `last` (the latest by time, or the
                last in the frame when there are no times); `mean`, `max` or `sum` of the ratings with the latest time.
            users, items: use these ids instead of the sorted distinct ids of the frame.

        Raises:
            ConfigError: a column that the frame does not have.
            DataError: no rows, undeclared duplicates, ids of a wrong type, invalid ratings.
            UnknownIdError: an id that the given `users` or `items` do not hold.
        """
        for name in filter(None, (user, item, rating, time)):
            if name not in frame.columns:
                raise ConfigError(f"the table has no column {name!r}; {did_you_mean(name, map(str, frame.columns))}")
        if len(frame) == 0:
            raise DataError("there is no data: the table has no rows")
        user_rows, users = _encode(frame[user], users)
        item_rows, items = _encode(frame[item], items)
        ratings = np.ones(len(frame), np.float32) if rating is None else _ratings(frame[rating], rating)
        times = None if time is None else _times(frame[time], time)
        if (invalid := ~np.isfinite(ratings)).any():
            at = int(np.flatnonzero(invalid)[0])
            raise DataError(f"rating in row {at} of the table is {ratings[at]}, wanted a finite number")
        return cls.from_rows(user_rows, item_rows, ratings, users, items, times=times, duplicates=duplicates, scale=scale)

    @classmethod
    def from_rows(
        cls,
        user_rows: Rows,
        item_rows: Rows,
        ratings: NDArray[np.float32],
        users: IdMap,
        items: IdMap,
        *,
        times: NDArray[np.int64] | None = None,
        duplicates: Duplicates = "error",
        scale: tuple[float, float] | None = None,
    ) -> "Interactions":
        """Interactions from aligned arrays [n] of user rows, item rows, ratings and times; see `from_frame`."""
        keys = user_rows * len(items) + item_rows
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        new = np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)]
        if duplicates == "error" and not new.all():
            user, item = divmod(int(ordered[np.flatnonzero(~new)[0]]), len(items))
            raise DataError(
                f"user {shown(users.values[user])} and item {shown(items.values[item])} occur together more than once "
                f"({int((~new).sum())} repeated rows in all); declare duplicates: last, mean, max or sum"
            )
        if times is not None and not new.all():
            order = np.lexsort((times, keys))  # within equal pairs, the latest last
        del keys, ordered
        kept, data = _merge(order, ratings, new, duplicates)
        small = max(len(new), len(items)) < np.iinfo(np.int32).max
        index_type = np.int32 if small else np.int64
        indptr = np.r_[0, np.cumsum(np.bincount(user_rows[kept], minlength=len(users)))].astype(index_type)
        matrix = csr_array((data, item_rows[kept].astype(index_type), indptr), shape=(len(users), len(items)))
        return cls(matrix, users, items, None if times is None else times[kept], scale)

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def __len__(self) -> int:
        """How many observations there are."""
        return int(self.matrix.nnz)

    @property
    def T(self) -> "Interactions":  # noqa: N802 - the name NumPy and SciPy use
        """Items as users and users as items."""
        n, m = self.matrix.shape
        position = csr_array((np.arange(len(self)), self.matrix.indices, self.matrix.indptr), shape=(n, m)).T.tocsr()
        matrix = csr_array((self.matrix.data[position.data], position.indices, position.indptr), shape=(m, n))
        times = None if self.times is None else self.times[position.data]
        return Interactions(matrix, self.items, self.users, times, self.scale)

    def user_rows(self) -> Rows:
        """The user row of every observation, int64 [nnz], in the order of `matrix.data`."""
        return np.repeat(np.arange(self.n_users), np.diff(self.matrix.indptr))

    def item_rows(self) -> Rows:
        """The item row of every observation, int64 [nnz], in the order of `matrix.data`."""
        return self.matrix.indices.astype(np.int64)

    def keys(self) -> Rows:
        """One increasing number per observed pair, int64 [nnz]: user row * M + item row."""
        return self.user_rows() * self.n_items + self.item_rows()

    def filter(self, keep: NDArray[np.bool_]) -> "Interactions":
        """The observations at which `keep` [nnz] is true, with the same ids and shape."""
        indptr = np.r_[0, np.cumsum(keep)][self.matrix.indptr].astype(self.matrix.indptr.dtype)
        matrix = csr_array((self.matrix.data[keep], self.matrix.indices[keep], indptr), shape=self.matrix.shape)
        return replace(self, matrix=matrix, times=None if self.times is None else self.times[keep])

    def binarise(self, threshold: float) -> "Interactions":
        """The observations of at least `threshold`, each as 1: ratings turned into what was liked, or clicks."""
        kept = self.filter(self.matrix.data >= threshold)
        return replace(kept, matrix=ones(kept.matrix), scale=None)

    def union(self, other: "Interactions") -> "Interactions":
        """The observations of both, which must share their ids and no pair."""
        if other.users != self.users or other.items != self.items:
            raise DataError("interactions with different users or items cannot be put together")
        if not len(other):
            return self
        timed = self.times is not None and other.times is not None
        return Interactions.from_rows(
            np.r_[self.user_rows(), other.user_rows()],
            np.r_[self.item_rows(), other.item_rows()],
            np.r_[self.matrix.data, other.matrix.data],
            self.users,
            self.items,
            times=np.r_[self.times, other.times] if timed else None,
            scale=self.scale,
        )

    def to_frame(self) -> pd.DataFrame:
        """Columns user_id, item_id, rating and, when there are times, time; sorted by user row, then item row."""
        columns = {
            "user_id": self.users.values[self.user_rows()],
            "item_id": self.items.values[self.matrix.indices],
            "rating": self.matrix.data,
        }
        if self.times is not None:
            columns["time"] = self.times
        return pd.DataFrame(columns)

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) over ids, pattern, ratings, scale and times; the same on every platform."""
        digest = blake2b((self.users.digest + self.items.digest).encode(), digest_size=16)
        digest.update(self.matrix.indptr.astype("<i8").tobytes())
        digest.update(self.matrix.indices.astype("<i8").tobytes())
        digest.update(self.matrix.data.astype("<f4").tobytes())
        digest.update(repr(self.scale).encode())
        if self.times is not None:
            digest.update(self.times.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """Training, validation and test interactions of one protocol: same shape, same ids, no pair in two parts.

    Attributes:
        protocol: name of the protocol, as a pipeline writes it.
        params: its parameters.
        fold_in: histories of users who are wholly absent from `train` (user hold-out), else None.
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    protocol: str = "given"
    params: Mapping[str, Any] = field(default_factory=dict)
    fold_in: Interactions | None = None

    def __post_init__(self) -> None:
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        if self.fold_in is not None:
            parts["fold_in"] = self.fold_in
        for name, part in parts.items():
            if part.users != self.train.users or part.items != self.train.items:
                raise DataError(f"the split's {name} part has other users or items than its train part")
        if len(self.train) == 0:
            raise DataError(f"the {self.protocol} split leaves nothing to train on")
        keys = np.sort(np.concatenate([part.keys() for part in parts.values()]))
        if (repeated := keys[1:] == keys[:-1]).any():
            raise DataError(f"{int(repeated.sum())} pairs of user and item are in more than one part of the split")

    @classmethod
    def from_frames(cls, train: pd.DataFrame, test: pd.DataFrame, valid: pd.DataFrame | None = None, **columns: Any) -> "Split":
        """A split somebody else has made; `columns` as for `Interactions.from_frame`.

        The ids are those of all the parts together, so that an item that occurs only in `test` has a row too.
        """
        parts = {"train": train, "valid": train.iloc[:0] if valid is None else valid, "test": test}
        if not len(train):
            raise DataError("the split leaves nothing to train on")
        user, item = columns.get("user", "user_id"), columns.get("item", "item_id")
        for name, part in parts.items():
            for column in (user, item):
                if column not in part.columns:
                    raise ConfigError(
                        f"the {name} table has no column {column!r}; {did_you_mean(column, map(str, part.columns))}"
                    )
        users, items = (
            _encode(pd.concat([part[column] for part in parts.values() if len(part)]), None)[1] for column in (user, item)
        )
        built = {name: part for name, part in parts.items() if len(part)}
        interactions = {
            name: Interactions.from_frame(part, users=users, items=items, **columns) for name, part in built.items()
        }
        nothing = interactions["train"].filter(np.zeros(len(interactions["train"]), bool))
        return cls(interactions["train"], interactions.get("valid", nothing), interactions.get("test", nothing))

    def history(self, part: Literal["valid", "test"]) -> Interactions:
        """Everything known before `part`: what a model is shown, and what is excluded as seen, when `part` is scored."""
        return self._known_before_valid if part == "valid" else self._known_before_test

    @cached_property
    def _known_before_valid(self) -> Interactions:
        return self.train if self.fold_in is None else self.train.union(self.fold_in)

    @cached_property
    def _known_before_test(self) -> Interactions:
        return self._known_before_valid.union(self.valid)

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) of all the parts."""
        parts = [self.train, self.valid, self.test] + ([] if self.fold_in is None else [self.fold_in])
        return blake2b("".join(part.digest for part in parts).encode(), digest_size=16).hexdigest()


def ones(matrix: csr_array) -> csr_array:
    """The same pattern with 1 for every observation: what happened, whatever its value."""
    return csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _encode(column: pd.Series, known: IdMap | None) -> tuple[Rows, IdMap]:
    """Rows of a column of ids, and the map they are rows of."""
    if column.isna().any():
        at = int(np.flatnonzero(column.isna())[0])
        raise DataError(f"column {column.name!r} has no id in row {at} of the table")
    if known is not None:
        return known.rows(column), known
    try:
        rows, distinct = pd.factorize(column, sort=True)
    except TypeError:
        raise DataError(
            f"column {column.name!r} mixes ids of several types; they must be all integers or all strings"
        ) from None
    return rows.astype(np.int64, copy=False), IdMap(distinct)


def _ratings(column: pd.Series, name: str) -> NDArray[np.float32]:
    if not pd.api.types.is_numeric_dtype(column):
        raise DataError(f"ratings in column {name!r} must be numbers, got {column.dtype} such as {column.iloc[0]!r}")
    return column.to_numpy(np.float32, na_value=np.nan)


def _times(column: pd.Series, name: str) -> NDArray[np.int64]:
    if pd.api.types.is_datetime64_any_dtype(column) and not column.isna().any():
        return column.dt.as_unit("s").astype(np.int64).to_numpy()
    if not pd.api.types.is_integer_dtype(column):
        raise DataError(f"times in column {name!r} must be integers or dates, got {column.dtype} such as {column.iloc[0]!r}")
    return column.to_numpy(np.int64)


def _merge(
    order: Rows, ratings: NDArray[np.float32], new: NDArray[np.bool_], how: Duplicates
) -> tuple[Rows, NDArray[np.float32]]:
    """For each pair the last of its events, and one rating; events come in `order`, and at `new` begins another pair."""
    ordered = ratings[order]
    if new.all():
        return order, ordered
    first = np.flatnonzero(new)
    last = np.r_[first[1:], len(new)] - 1
    kept = order[last]
    if how in ("error", "last"):
        return kept, ordered[last]
    if how == "max":
        return kept, np.maximum.reduceat(ordered, first)
    sums = np.add.reduceat(ordered, first, dtype=np.float64)
    return kept, (sums / (last - first + 1) if how == "mean" else sums).astype(np.float32)
