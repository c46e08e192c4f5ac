"""External ids and their rows: what everything else counts users and items by."""

from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from recsys_ae.errors import DataError, UnknownIdError

Rows = NDArray[np.int64]


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


def encode(column: pd.Series, known: IdMap | None) -> tuple[Rows, IdMap]:
    """Rows of a column of ids, and the map that they refer to: `known`, or the sorted distinct ids."""
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
