"""Histories given in a request: lists of item ids, or of events, checked and turned into the events of a log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import DataError, did_you_mean, quoted
from recsys_ae.events import Events
from recsys_ae.ids import IdMap, Rows
from recsys_ae.times import microseconds

ITEM, KEYS = "item_id", ("item_id", "rating", "time", "session")


def is_missing(value: Any) -> bool:
    """Whether a cell of a table holds nothing: None, NaN or NA."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


@dataclass
class _Columns:
    """The events of all rows of a request, as lists."""

    row: list[int] = field(default_factory=list)
    item_id: list[Any] = field(default_factory=list)
    rating: list[Any] = field(default_factory=list)
    time: list[Any] = field(default_factory=list)
    session: list[Any] = field(default_factory=list)

    def add(self, row: int, history: Any) -> None:
        """Add the history in one row; `DataError` if it is not a history."""
        if isinstance(history, str | bytes | Mapping) or not isinstance(history, Sequence | np.ndarray):
            raise DataError(
                f"history in row {row} must be a list of item ids, or of events such as "
                f"{{'item_id': ..., 'rating': ..., 'time': ...}}, got {quoted(history)}"
            )
        entries = history.tolist() if isinstance(history, np.ndarray) else history
        events = [entry if isinstance(entry, Mapping) else _as_mapping(entry) for entry in entries]
        for entry, event in zip(entries, events, strict=True):
            if event is None:
                event = {ITEM: entry}
            elif unknown := next((key for key in event if key not in KEYS), None):
                raise DataError(
                    f"history in row {row} has an event with the key {quoted(unknown)}; {did_you_mean(unknown, KEYS)}"
                )
            elif ITEM not in event:
                raise DataError(f"history in row {row} has an event without an item_id: {quoted(dict(event))}")
            for key in KEYS:
                value = event.get(key)
                getattr(self, key).append(None if is_missing(value) else value)
        self.row += [row] * len(entries)


def _as_mapping(entry: Any) -> Mapping[str, Any] | None:
    """A row of Spark as a mapping; None for an id."""
    found: Mapping[str, Any] | None = entry.asDict() if hasattr(entry, "asDict") else None
    return found


def read_histories(histories: Mapping[int, Any], items: IdMap, unrated: float | None) -> Events:
    """The events of histories by row of the request, each row's oldest first; items that are not among `items` are left out.

    Args:
        unrated: the rating of events without one; None if every event must have one.

    Raises:
        DataError: something that is not a history; a missing or wrong id, rating, time or session.
    """
    columns = _Columns()
    for row, history in histories.items():
        columns.add(row, history)
    rows = np.array(columns.row, np.int64)
    if None in columns.item_id:
        raise DataError(f"history in row {rows[columns.item_id.index(None)]} has an event without an item_id")
    if unrated is None and None in columns.rating:
        raise DataError(
            f"history in row {rows[columns.rating.index(None)]} has no ratings, but the model predicts ratings; give "
            "events such as {'item_id': ..., 'rating': ...}"
        )
    found = items.find(columns.item_id) if columns.item_id else np.empty(0, np.int64)
    ratings, sessions = _ratings(columns.rating, rows, unrated), _sessions(columns.session)
    order = _by_time(columns.time, rows)
    order = order[found[order] >= 0]
    return Events(rows[order], found[order], ratings[order], sessions=None if sessions is None else sessions[order])


def _ratings(values: Sequence[Any], rows: Rows, unrated: float | None) -> NDArray[np.float32]:
    for row, value in zip(rows, values, strict=True):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | np.number)):
            raise DataError(f"history in row {row} has the rating {quoted(value)}; ratings are numbers")
    return np.array([unrated if value is None else value for value in values], np.float32)


def _sessions(values: Sequence[Any]) -> Rows | None:
    """Sessions as numbers; None if no event has one. Events without one share a session."""
    names = [None if value is None else str(value) for value in values]
    return pd.factorize(np.array(names, object), use_na_sentinel=False)[0].astype(np.int64) if any(names) else None


def _by_time(values: Sequence[Any], rows: Rows) -> Rows:
    """Positions that sort the events by row, then time; without times they are in order as given.

    Raises:
        DataError: a value that is not a time, or some events of a row have times and others do not.
    """
    timed = np.array([value is not None for value in values], bool)
    if not timed.any():
        return np.arange(len(rows))
    if len(mixed := np.intersect1d(rows[timed], rows[~timed])):
        raise DataError(f"history in row {mixed[0]} has events with and without a time; give all of them one, or none")
    times = np.zeros(len(rows), np.int64)
    times[timed] = microseconds(pd.Series([value for value in values if value is not None], name="time"), what="history")
    return np.lexsort((times, rows))
