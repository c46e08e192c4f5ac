"""The log: what happened, event by event, in order. The matrix of `Interactions` is one view of it."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, DataError, counted, described, quoted
from recsys_ae.frames import Frame, plain, read_frame
from recsys_ae.ids import KINDS, IdMap, Rows, encode, id_index, kind_of, shown
from recsys_ae.sorting import is_increasing
from recsys_ae.times import TimeUnit, microseconds

Duplicates = Literal["error", "last", "mean", "max", "sum"]
Ratings = NDArray[np.float32]
LARGEST_RATING = 1e9  # absolute value: larger than any rating or count, and its squares can still be summed in float32

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        return f"Events({len(self)} events)"

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Events":
        """The events at `index` (positions or a mask)."""
        columns = (getattr(self, field.name) for field in fields(self))
        return Events(*(None if column is None else column[index] for column in columns))  # type: ignore[arg-type]

    def check(self, n_users: int, n_items: int) -> None:
        """Raise `DataError` unless all columns are arrays of one length, and the rows of users and items exist."""
        for field in fields(self):
            column, kind = getattr(self, field.name), np.float32 if field.name == "ratings" else np.int64
            if column is None and field.default is None:
                continue
            if not isinstance(column, np.ndarray) or column.dtype != kind or column.shape != (len(self.users),):
                raise DataError(f"{field.name} of events must be {kind.__name__} [{len(self.users)}], got {described(column)}")
        for name, rows, limit in (("user", self.users, n_users), ("item", self.items, n_items)):
            if len(rows) and not 0 <= rows.min() <= rows.max() < limit:
                raise DataError(f"{name} rows of events must be from 0 to {limit - 1}, got {rows.min()} to {rows.max()}")

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
    if is_increasing(keys):
        return np.empty(0, np.int64)
    if times is None:
        return np.arange(len(keys))
    in_order = not (times[1:] < times[:-1]).any()
    ordered = times if in_order else np.sort(times)  # several times faster than argsort or hashing
    again = ordered[1:] == ordered[:-1]
    if in_order:
        tied = np.flatnonzero(np.append(False, again) | np.append(again, False))
    else:
        tied = np.flatnonzero(pd.Index(np.unique(ordered[1:][again])).get_indexer(times) >= 0)
        tied = tied[np.argsort(times[tied], kind="stable")]
    keys, times = keys[tied], times[tied]
    falls = (keys[1:] <= keys[:-1]) & (times[1:] == times[:-1])
    return tied if falls.any() else tied[:0]


def read_events(
    tables: dict[str, Frame],
    columns: Mapping[str, str | None],
    unit: TimeUnit,
    users: IdMap | None,
    items: IdMap | None,
    scale: tuple[float, float] | None,
) -> tuple[list[Events], IdMap, IdMap]:
    """The events of each data frame, and the ids of the users and items of all; `order` counts across frames.

    Negative ratings without a scale are warned of.

    Args:
        tables: data frames by their names in messages. They are taken out, so that a column can be freed once it is read.
        columns: column names of user, item, rating, time and session; see `Interactions.from_frame` for the rest.
    """
    sizes, parts = [], {role: list[tuple[pd.Series, str]]() for role, name in columns.items() if name is not None}
    for what in list(tables):
        frame = read_frame(tables.pop(what), columns, what)
        sizes.append(len(frame))
        for role, series in parts.items() if len(frame) else ():
            series.append((frame[columns[role]], what))
        del frame
    if not any(sizes):
        raise DataError("there is no data: the table has no rows")

    def numbers(role: str, read: Callable[[pd.Series, str], NDArray[Any]]) -> NDArray[Any] | None:
        return _joined([read(*part) for part in parts.pop(role)]) if role in parts else None

    user_rows, users = encode(_ids(parts.pop("user")), users)
    item_rows, items = encode(_ids(parts.pop("item")), items)
    ratings = numbers("rating", _ratings)
    if ratings is not None and scale is None:
        _warn_of_negative(ratings)
    log = Events(
        user_rows,
        item_rows,
        np.ones(len(user_rows), np.float32) if ratings is None else ratings,
        numbers("time", lambda column, what: microseconds(column, unit, what)),
        sessions=encode(_ids(parts.pop("session")), None)[0] if "session" in parts else None,
    )
    tied = ties(log.keys(len(items)), log.times)
    if len(tied):
        order = np.full(len(log), -1)
        order[tied] = tied
        log = replace(log, order=order)
    if len(sizes) == 1:
        return [log], users, items
    ends = np.cumsum(sizes)
    return [log[np.arange(end - size, end)] for end, size in zip(ends, sizes, strict=True)], users, items


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _ids(parts: list[tuple[pd.Series, str]]) -> pd.Index:
    """The concatenated ids of columns that must have the same type."""
    ids = [id_index(column, f"column {column.name!r} of {what}") for column, what in parts]
    for (column, what), own in zip(parts, ids, strict=True):
        if own.dtype != ids[0].dtype:
            first = f"{parts[0][1]} has {KINDS[kind_of(ids[0])]} such as {shown(ids[0][0])}"
            second = f"{what} has {KINDS[kind_of(own)]} such as {shown(own[0])}"
            raise DataError(f"column {column.name!r}: {first}, but {second}; convert one of them")
    return ids[0].append(ids[1:]) if len(ids) > 1 else ids[0]


def _ratings(column: pd.Series, what: str) -> Ratings:
    numbers = plain(column)
    if not pd.api.types.is_numeric_dtype(numbers) or pd.api.types.is_complex_dtype(numbers):
        such = f"{column.dtype} such as {shown(column.iloc[0])}"
        raise DataError(f"ratings in column {column.name!r} of {what} must be numbers, got {such}")
    with np.errstate(over="ignore"):  # refused below
        ratings = numbers.to_numpy(np.float32, na_value=np.nan)
    invalid, wanted = impossible(ratings, None)
    if invalid.any():
        at = int(invalid.argmax())
        raise DataError(f"rating {column.iloc[at]} in row {at} of {what} must be {wanted}")
    return ratings


def _warn_of_negative(ratings: Ratings) -> None:
    """Warn of ratings below 0, which may be goods that were returned."""
    if negative := int((ratings < 0).sum()):
        logger.warning(
            "%s among %s: rankings take every event as positive, unless positive_at drops it; leave out events that are not, "
            "such as returned goods, or declare the scale if these are ratings",
            counted(negative, "negative rating"),
            f"{len(ratings):,}",
        )


def check_policy(duplicates: object) -> None:
    """Raise `ConfigError` unless this is a policy for repeated pairs."""
    if duplicates not in get_args(Duplicates):
        raise ConfigError(f"duplicates must be one of {', '.join(get_args(Duplicates))}, got {quoted(duplicates)}")


def checked_scale(scale: Any) -> tuple[float, float] | None:
    """A declared scale as two numbers, or None; `ConfigError` if it is neither."""
    if scale is None:
        return None
    try:
        lowest, highest = map(float, () if isinstance(scale, str) else scale)
    except (TypeError, ValueError):
        lowest = highest = math.nan
    if not -LARGEST_RATING <= lowest <= highest <= LARGEST_RATING:
        wanted = f"two finite numbers of at most {LARGEST_RATING:g} in size"
        raise ConfigError(f"scale must be the lowest and the highest possible rating, {wanted}, got {quoted(scale)}")
    return lowest, highest


def impossible(ratings: Ratings, scale: tuple[float, float] | None) -> tuple[NDArray[np.bool_], str]:
    """bool [n]: ratings that are not finite, too large or outside the scale; and what a rating must be."""
    low, high = scale or (-LARGEST_RATING, LARGEST_RATING)
    if len(ratings) and low <= ratings.min() and ratings.max() <= high:  # the common case, in which no copy is made
        return np.broadcast_to(np.False_, ratings.shape), ""
    bad = ~(np.abs(ratings) <= LARGEST_RATING)
    if scale is None or bad.any():
        return bad, f"a finite number of at most {LARGEST_RATING:g} in size"
    return (ratings < scale[0]) | (ratings > scale[1]), f"between {scale[0]:g} and {scale[1]:g}"


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
