"""The log: what happened, event by event, in order. The matrix of `Interactions` is one view of it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, DataError, did_you_mean
from recsys_ae.ids import IdMap, Rows, encode
from recsys_ae.times import TimeUnit, microseconds

Duplicates = Literal["error", "last", "mean", "max", "sum"]
Ratings = NDArray[np.float32]
LARGEST_RATING = 1e9  # in size: larger ones are no ratings or counts, and sums of their squares would overflow float32


@dataclass(frozen=True, eq=False)
class Events:
    """E events between users and items; a pair may occur any number of times.

    Attributes:
        users, items: int64 [E], row indices.
        ratings: float32 [E].
        times: int64 [E], microseconds since 1970, or None.
        order: int64 [E], breaks ties between equal times, and is the only order if there are no times: position in the
            source, or -1 for an event that shares its time with no other. None: ties are in the order of (user row, item row).
        sessions: int64 [E], session numbers, or None.
    """

    users: Rows
    items: Rows
    ratings: Ratings
    times: Rows | None = None
    order: Rows | None = None
    sessions: Rows | None = None

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Events":
        """The events at `index` (positions or a mask)."""
        columns = (getattr(self, field.name) for field in fields(self))
        return Events(*(None if column is None else column[index] for column in columns))  # type: ignore[arg-type]

    def keys(self, n_items: int) -> Rows:
        """The pair of each event as one number, int64 [E]: user row * M + item row."""
        return self.users * n_items + self.items

    def by_time(self, n_items: int) -> Rows:
        """Positions that sort the events by time, then by `order`, int64 [E]."""
        ties = self.keys(n_items) if self.order is None else self.order
        times = np.zeros(len(self), np.int64) if self.times is None else self.times
        if ((times[1:] > times[:-1]) | ((times[1:] == times[:-1]) & (ties[1:] >= ties[:-1]))).all():
            return np.arange(len(self))
        by_order = np.argsort(ties, kind="stable")
        return by_order[np.argsort(times[by_order], kind="stable")]

    def union(self, other: "Events", n_items: int) -> "Events":
        """The events of both; times and sessions only if both have them."""
        logs = [self, other]
        if (self.order is None) != (other.order is None):
            logs = [replace(log, order=log.keys(n_items)) if log.order is None else log for log in logs]
        columns = ([getattr(log, field.name) for log in logs] for field in fields(self))
        return Events(*(None if any(part is None for part in parts) else np.concatenate(parts) for parts in columns))  # type: ignore[arg-type]


def ties(keys: Rows, times: Rows | None) -> Rows:
    """Positions of the events that share their time with others, by time; empty if `keys` increase within every time.

    Without times, all events are ties.

    Args:
        keys, times: int64 [E], in the order of the source.
    """
    if times is None:
        tied = np.arange(len(keys))
        falls = keys[1:] <= keys[:-1]
    else:
        ordered = np.sort(times)  # several times faster than argsort or hashing
        shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        tied = np.flatnonzero(pd.Index(shared).get_indexer(times) >= 0)
        tied = tied[np.argsort(times[tied], kind="stable")]
        keys, times = keys[tied], times[tied]
        falls = (keys[1:] <= keys[:-1]) & (times[1:] == times[:-1])
    return tied if falls.any() else tied[:0]


def read_events(
    frame: pd.DataFrame, columns: Mapping[str, str | None], unit: TimeUnit, users: IdMap | None, items: IdMap | None
) -> tuple[Events, IdMap, IdMap]:
    """The events of a data frame in its order, and the ids of users and items.

    Args:
        columns: column names of user, item, rating, time and session; see `Interactions.from_frame` for the rest.
    """
    check_columns(frame, columns, "the table")
    if len(frame) == 0:
        raise DataError("there is no data: the table has no rows")
    user_rows, users = encode(frame[columns["user"]], users)
    item_rows, items = encode(frame[columns["item"]], items)
    rating, time, session = (columns.get(role) for role in ("rating", "time", "session"))
    log = Events(
        user_rows,
        item_rows,
        np.ones(len(frame), np.float32) if rating is None else _ratings(frame[rating], rating),
        None if time is None else microseconds(frame[time], unit),
        sessions=None if session is None else encode(frame[session], None)[0],
    )
    tied = ties(log.keys(len(items)), log.times)
    if len(tied):
        order = np.full(len(log), -1)
        order[tied] = tied
        log = replace(log, order=order)
    return log, users, items


def check_columns(frame: pd.DataFrame, columns: Mapping[str, str | None], what: str) -> None:
    """Raise `ConfigError` if `frame`, called `what` in the message, lacks one of the columns."""
    for name in filter(None, columns.values()):
        if name not in frame.columns:
            raise ConfigError(f"{what} has no column {name!r}; {did_you_mean(name, map(str, frame.columns))}")


def _ratings(column: pd.Series, name: str) -> Ratings:
    if not pd.api.types.is_numeric_dtype(column):
        raise DataError(f"ratings in column {name!r} must be numbers, got {column.dtype} such as {column.iloc[0]!r}")
    with np.errstate(over="ignore"):
        ratings = column.to_numpy(np.float32, na_value=np.nan)
    if (invalid := ~(np.abs(ratings) <= LARGEST_RATING)).any():
        at = int(invalid.argmax())
        raise DataError(
            f"rating in row {at} of the table is {column.iloc[at]}, "
            f"wanted a finite number of at most {LARGEST_RATING:g} in size"
        )
    return ratings


def merged_ratings(ratings: Ratings, first: Rows, how: Duplicates) -> Ratings:
    """One rating per pair, from the ratings [E] of all events grouped by pair; `first` [P] is where each pair begins."""
    counts = np.diff(first, append=len(ratings))
    if how in ("error", "last"):
        return ratings[first + counts - 1]
    if how == "max":
        return np.maximum.reduceat(ratings, first)
    sums = np.add.reduceat(ratings, first, dtype=np.float64)
    return (sums / counts if how == "mean" else sums).astype(np.float32)


def running_sums(ratings: Ratings, keys: Rows) -> NDArray[np.float64]:
    """Sum of the ratings of each event's pair up to and including that event, float64 [E]; events are in order."""
    return np.asarray(pd.Series(ratings.astype(np.float64)).groupby(keys, sort=False).cumsum(), np.float64)
