"""Interactions of users and items: ids, ratings and times, as immutable values.

A row is a position in an `IdMap`; an id is what the user's own data calls a user or an item. Observed means *stored*: an
explicit rating of 0 is a rating like any other.
"""

import math
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import csr_array

from recsys_ae.digests import bytes_of, digest_of
from recsys_ae.errors import ConfigError, DataError, described
from recsys_ae.events import (
    Duplicates,
    Events,
    check_policy,
    checked_scale,
    impossible,
    merged_ratings,
    read_events,
    running_sums,
    ties,
)
from recsys_ae.features import FeatureTable, check_features
from recsys_ae.frames import Frame
from recsys_ae.ids import IdMap, Rows, among, shown
from recsys_ae.sequences import Sequences, sessions_by_gap
from recsys_ae.sorting import begins, by_pair
from recsys_ae.times import TimeUnit


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Ratings (or counts, or clicks) of N users for M items: a matrix, and the log it was merged from.

    Attributes:
        matrix: csr_array [N, M] float32 in canonical form; every stored entry is an observation, zeros included.
        users, items: external ids of the rows and the columns.
        times: int64 [nnz] aligned with `matrix.data`, microseconds since 1970 (UTC) of the last event of each pair, or None.
        scale: lowest and highest possible rating, or None when the source declares none.
        events: the log by time, if a pair occurs more than once or events have sessions. None: each matrix entry is one event.
        order: int64 [nnz] aligned with `matrix.data`, see `Events`; None also if the log is in `events`.
        duplicates: how several events of a pair become one rating, see `from_frame`.
        user_features, item_features: feature tables with the ids `users` and `items`, or None.

    Raises:
        DataError: shapes that disagree, no users or no items, or a rating that is outside the scale, not finite, or beyond
            +-1e9.
        ConfigError: an impossible scale.
    """

    matrix: csr_array
    users: IdMap
    items: IdMap
    times: Rows | None = None
    scale: tuple[float, float] | None = None
    events: Events | None = None
    order: Rows | None = None
    duplicates: Duplicates = "error"
    user_features: FeatureTable | None = None
    item_features: FeatureTable | None = None
    merged: InitVar[bool] = False  # whether the matrix was just merged from the events, so that they agree

    def __post_init__(self, merged: bool) -> None:
        for name, ids in (("users", self.users), ("items", self.items)):
            if not isinstance(ids, IdMap):
                raise DataError(f"{name} must be an IdMap, got {described(ids)}; Interactions.from_frame takes data frames")
        matrix, expected = self.matrix, (len(self.users), len(self.items))
        if not isinstance(matrix, csr_array) or matrix.dtype != np.float32:
            of = f" of {matrix.dtype}" if isinstance(matrix, csr_array) else ""
            raise DataError(f"matrix must be a float32 csr_array, got {described(matrix)}{of}")
        if matrix.shape != expected:
            raise DataError(f"matrix has shape {matrix.shape}, but the id maps have {expected}")
        if 0 in expected:
            raise DataError("there is no data: no users or no items")
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise DataError(f"matrix is no valid csr_array: {error}") from None
        if not matrix.has_sorted_indices:
            raise DataError("the matrix has unsorted column indices; call its sort_indices() first")
        if not matrix.has_canonical_format:
            raise DataError("matrix holds the same user and item twice; use Interactions.from_frame and say how to merge them")
        for name, aligned in (("times", self.times), ("order", self.order)):
            if aligned is not None and (not isinstance(aligned, np.ndarray) or aligned.dtype != np.int64):
                such = f" of {aligned.dtype}" if isinstance(aligned, np.ndarray) else ""
                raise DataError(f"{name} must be an int64 array, got {described(aligned)}{such}")
            if aligned is not None and aligned.shape != matrix.data.shape:
                raise DataError(f"{name} must have one value per rating, got shape {aligned.shape} for {matrix.data.shape}")
        check_features("user", self.user_features, self.users)
        check_features("item", self.item_features, self.items)
        object.__setattr__(self, "scale", checked_scale(self.scale))
        check_policy(self.duplicates)
        if self.events is not None and not merged:
            _check_events(self, self.events)
        ratings = self.matrix.data
        bad, wanted = impossible(ratings, self.scale)
        if bad.any():
            at = int(bad.argmax())
            user, item = self.users.values[self.user_rows()[at]], self.items.values[self.matrix.indices[at]]
            raise DataError(
                f"rating {ratings[at]:g} of user {shown(user)} for item {shown(item)} must be {wanted} "
                f"({int(bad.sum())} such ratings)"
            )

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        *,
        user: str = "user_id",
        item: str = "item_id",
        rating: str | None = "rating",
        time: str | None = None,
        time_unit: TimeUnit = "s",
        session: str | None = None,
        duplicates: Duplicates = "error",
        users: IdMap | None = None,
        items: IdMap | None = None,
        scale: tuple[float, float] | None = None,
    ) -> "Interactions":
        """Interactions from a table with one row per event, ordered by time, then as in the table.

        Args:
            frame: a data frame of pandas, Polars, Arrow, DuckDB or another library that narwhals knows.
            user, item, rating, time, session: column names; None for no such column. Without ratings, every event counts 1.
                Times are dates, ISO 8601 text or numbers.
            time_unit: unit of times that are numbers: `s`, `ms`, `us` or `ns` since 1970.
            duplicates: how several events of one user and item are merged: `error` (they are not allowed); `last` (the
                rating of the last event); `mean`, `max` or `sum` of the ratings. The time is that of the last event.
            users, items: use these ids instead of the sorted distinct ids of the frame.

        Raises:
            ConfigError: a column that the frame does not have, an unknown policy or unit, or an impossible scale.
            DataError: not a data frame, no rows, undeclared duplicates, ids of a wrong type, invalid ratings or times.
            UnknownIdError: an id that the given `users` or `items` do not hold.
        """
        columns = {"user": user, "item": item, "rating": rating, "time": time, "session": session}
        for name, ids in (("users", users), ("items", items)):
            if not isinstance(ids, IdMap | None):
                raise DataError(f"{name} must be an IdMap, got {described(ids)}")
        (log,), users, items = read_events({"the table": frame}, columns, time_unit, users, items, scale)
        return cls.from_events(log, users, items, duplicates, scale)

    @classmethod
    def from_events(
        cls, log: Events, users: IdMap, items: IdMap, duplicates: Duplicates = "error", scale: tuple[float, float] | None = None
    ) -> "Interactions":
        """Interactions from events whose rows refer to `users` and `items`; see `from_frame`."""
        check_policy(duplicates)
        at, starts, columns = by_pair(log.users, len(users), log.items, len(items))
        new = begins(starts, columns)
        repeated = not new.all()
        if repeated and duplicates == "error":
            user, item = (rows[at[~new][0]] for rows in (log.users, log.items))
            raise DataError(
                f"user {shown(users.values[user])} and item {shown(items.values[item])} occur together more than once "
                f"({int((~new).sum())} repeated rows in all); declare duplicates: last, mean, max or sum"
            )
        keep_log = repeated or log.sessions is not None
        if keep_log:
            log = log[log.by_time(len(items))]
            at = by_pair(log.users, len(users), log.items, len(items))[0]
        ratings, last = log.ratings[at], at
        if repeated:
            first = np.flatnonzero(new)
            ratings, last = merged_ratings(ratings, first, duplicates), at[np.append(new[1:], True)]
            starts, columns = np.searchsorted(first, starts), columns[new]
        matrix = csr_array((ratings, columns, starts), shape=(len(users), len(items)))
        times = None if log.times is None else log.times[last]
        order = None if keep_log or log.order is None else log.order[last]
        return cls(matrix, users, items, times, scale, log if keep_log else None, order, duplicates, merged=True)

    def __repr__(self) -> str:
        merged = "" if self.events is None else f" from {self.n_events} events"
        return f"Interactions({self.n_users} users, {self.n_items} items, {len(self)} pairs{merged})"

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def n_events(self) -> int:
        """Number of events, which is more than `len` where pairs are repeated."""
        return len(self) if self.events is None else len(self.events)

    def __len__(self) -> int:
        """Number of observed pairs."""
        return int(self.matrix.nnz)

    @property
    def log(self) -> Events:
        """All events by time, equal times in the order of the source."""
        log = self.stored_events
        return log if self.events is not None else log[log.by_time(self.n_items)]

    @property
    def stored_events(self) -> Events:
        """All events as they are stored: by time where `events` are kept, otherwise in the order of `matrix.data`."""
        if self.events is not None:
            return self.events
        return Events(self.user_rows(), self.item_rows(), self.matrix.data, self.times, self.order)

    def user_rows(self) -> Rows:
        """The user row of every observation, int64 [nnz], in the order of `matrix.data`."""
        return np.repeat(np.arange(self.n_users), np.diff(self.matrix.indptr))

    def item_rows(self) -> Rows:
        """The item row of every observation, int64 [nnz], in the order of `matrix.data`."""
        return self.matrix.indices.astype(np.int64)

    def keys(self) -> Rows:
        """Each observed pair as one number, int64 [nnz], increasing: user row * M + item row."""
        return self.user_rows() * self.n_items + self.item_rows()

    def shared_with(self, other: "Interactions") -> NDArray[np.bool_]:
        """bool [nnz]: which pairs are also in `other`, which has the same ids."""
        return among(self.keys(), other.keys())

    def filter(self, keep: NDArray[np.bool_]) -> "Interactions":
        """The pairs at which `keep` [nnz] is true, with all their events; ids and shape stay."""
        if self.events is not None:
            return self.filter_events(keep[np.unique(self.events.keys(self.n_items), return_inverse=True)[1]])
        indptr = self.matrix.indptr
        kept = np.cumsum(keep, dtype=indptr.dtype)  # up to and including each pair
        indptr = np.where(indptr > 0, kept[indptr - 1], 0).astype(indptr.dtype) if len(kept) else indptr
        matrix = csr_array((self.matrix.data[keep], self.matrix.indices[keep], indptr), shape=self.matrix.shape)
        times, order = (None if aligned is None else aligned[keep] for aligned in (self.times, self.order))
        return replace(self, matrix=matrix, times=times, order=order)

    def filter_events(self, keep: NDArray[np.bool_]) -> "Interactions":
        """The events at which `keep` is true, in the order of `stored_events`; pairs are merged again."""
        return self.filter(keep) if self.events is None else self.with_events(self.events[keep])

    def with_events(self, log: Events) -> "Interactions":
        """The same users and items with other events, merged by the declared policy."""
        merged = self.from_events(log, self.users, self.items, self.duplicates, self.scale)
        own = {"matrix": merged.matrix, "times": merged.times, "events": merged.events, "order": merged.order}
        return replace(self, **own, merged=True)

    def with_sessions(self, gap_minutes: float) -> "Interactions":
        """The same events, in which a session ends when its user pauses for `gap_minutes` or longer."""
        return self.with_events(replace(self.log, sessions=sessions_by_gap(self.log, gap_minutes)))

    def binarise(self, threshold: float) -> "Interactions":
        """The observations of at least `threshold`, each as 1: ratings as likes or clicks.

        Every event is judged by its own rating, or under the policy `sum` by the sum of its pair so far, so that no event
        depends on later ones.
        """
        if not math.isfinite(threshold):
            raise ConfigError(f"the threshold must be a finite number, got {threshold}")
        log = self.stored_events
        worth = running_sums(log.ratings, log.keys(self.n_items)) if self.duplicates == "sum" else log.ratings
        log = log[worth >= threshold]
        log = replace(log, ratings=np.ones(len(log), np.float32))
        merging: Duplicates = "error" if self.duplicates == "error" else "max"
        return replace(self, scale=None, duplicates=merging, merged=True).with_events(log)

    def union(self, other: "Interactions") -> "Interactions":
        """The events of both, with this one's features and policy for pairs that occur in both.

        Raises:
            DataError: different ids, or a pair in both although the policy is `error`.
        """
        if other.users != self.users or other.items != self.items:
            raise DataError("the union of interactions needs the same users and items; build both with the same IdMaps")
        return self.with_events(self.stored_events.union(other.stored_events, self.n_items)) if len(other) else self

    def to_frame(self) -> pd.DataFrame:
        """Columns user_id, item_id, rating and, if known, time (UTC); a row per pair, by user row, then item row."""
        users, items = self.users.values[self.user_rows()], self.items.values[self.matrix.indices]
        frame = pd.DataFrame({"user_id": users, "item_id": items, "rating": self.matrix.data})
        return frame if self.times is None else frame.assign(time=self.times.astype("datetime64[us]"))

    @cached_property
    def sequences(self) -> Sequences:
        """The events of each user in order, session by session."""
        return Sequences.of_log(self.log, self.n_users)

    @cached_property
    def rating_range(self) -> tuple[float, float] | None:
        """The lowest and the highest rating, None without any."""
        ratings = self.matrix.data
        return (float(ratings.min()), float(ratings.max())) if len(ratings) else None

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) over ids, ratings, scale, times, the log and features; the same on every platform."""
        return digest_of(self._content())

    def _content(self) -> Iterator[str | bytes]:
        """The content of the digest."""
        yield self.users.digest + self.items.digest
        for array, dtype in ((self.matrix.indptr, "<i8"), (self.matrix.indices, "<i8"), (self.matrix.data, "<f4")):
            yield from bytes_of(array, dtype)
        yield repr(self.scale)
        if self.times is not None:
            yield from bytes_of(self.times, "<i8")
        if (log := self.events) is not None:
            yield self.duplicates
            yield from bytes_of(log.ratings, "<f4")
            for column in (log.keys(self.n_items), log.times, log.sessions):
                yield from [b"-"] if column is None else bytes_of(column, "<i8")
        elif self.order is not None:  # only where it decides
            at = np.flatnonzero(self.order >= 0)
            at = at[np.argsort(self.order[at])]
            yield at[ties(at, None if self.times is None else self.times[at])].astype("<i8").tobytes()
        for name, table in (("user features", self.user_features), ("item features", self.item_features)):
            if table is not None:
                yield name + table.digest


def _check_events(data: Interactions, log: Events) -> None:
    """Raise `DataError` unless the matrix and the times of `data` are what its events give."""
    if not isinstance(log, Events):
        raise DataError(f"events must be Events, got {described(log)}; Interactions.from_frame makes both them and the matrix")
    log.check(data.n_users, data.n_items)
    given = Interactions.from_events(log, data.users, data.items, data.duplicates)
    pairs = [(getattr(data.matrix, part), getattr(given.matrix, part)) for part in ("indptr", "indices", "data")]
    agree = all(np.array_equal(*pair) for pair in [*pairs, (data.times, given.times)]) and data.order is None
    if not agree or (np.diff(log.by_time(data.n_items)) < 0).any():
        raise DataError(
            "the events are not by time, or disagree with the matrix, the times or the order; use Interactions.from_frame"
        )


def ones(matrix: csr_array, dtype: DTypeLike = np.float32) -> csr_array:
    """The same pattern with 1 for every stored entry, zeros included."""
    return csr_array((np.ones(matrix.nnz, dtype), matrix.indices, matrix.indptr), shape=matrix.shape)


def check_interactions(data: object, what: str) -> None:
    """Raise `DataError` unless `data`, called `what`, is an `Interactions`."""
    if not isinstance(data, Interactions):
        raise DataError(
            f"{what} must be Interactions, got {described(data)}; make them with "
            "Interactions.from_frame(frame, user=..., item=..., rating=...) or read_interactions(path)"
        )
