"""Reading of logs of ratings or events in files of any kind, with errors that name the line or row."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recsys_ae.data.content import (
    EMPTY,
    TEXT,
    Content,
    Fault,
    Invalid,
    first_values,
    kinds_at,
    most_frequent,
    problem_of,
    raise_invalid,
    read_content,
)
from recsys_ae.data.conversion import Converted, Scale, as_ids, as_ratings, as_times, date_type, series_of
from recsys_ae.data.layouts import Place, Table, is_structured
from recsys_ae.data.reading import column_context, reading
from recsys_ae.data.skipped import SkippedLines, check_share
from recsys_ae.errors import DataError, counted

IdTypes = Mapping[Any, str]  # "user" and "item" -> "int" or "str"; missing ones are inferred
NAMES = {"user": "user_id", "item": "item_id", "rating": "rating", "time": "time", "session": "session"}

logger = logging.getLogger(__name__)


def read_table(
    path: Path, table: Table, ids: IdTypes | None = None, scale: Scale = None, *, skipped: SkippedLines | None = None
) -> pd.DataFrame:
    """The rows of a file in their order, as columns user_id, item_id and, where declared, rating, time and session.

    Args:
        table: layout of the file; the file itself is `path`, whose ending says what it is.
        ids: declared id types, {"user": "int" | "str", "item": ...}. An undeclared type is that of the file or, if that has
            only text, `int` if the whole column is canonical integers (see `ids.ids_in_text`), else `str`.
        scale: lowest and highest valid rating.
        skipped: the lines skipped under `bad_lines: skip` are added to it; their number is always logged.

    Returns:
        ids and sessions as int64 or str, ratings float32, times int64 microseconds since 1970 (UTC).

    Raises:
        DataError: no such file or column, no valid rows, or an invalid line (or row), with its number and content; with
            `bad_lines: skip`, more of them than `skip_at_most` allows.
    """
    with reading(path):
        content = read_content(path, table, _types(path, table))
        places: dict[str, Place] = {role: place for role, place in table.columns.model_dump().items() if place is not None}
        if not len(content.columns[places["user"]]):
            raise_invalid(content)
            raise DataError("there is no data: the file has no rows")
        found = _converted(content, places, path, table, ids or {}, scale)

        bad = np.logical_or.reduce([column.bad for column in found.values()])
        invalid = _invalid(content, np.flatnonzero(bad), found, places)
        if table.bad_lines == "error":
            raise_invalid(content, invalid, {EMPTY: "to skip such lines, declare bad_lines: skip"})
        else:
            faults = _faults(content, invalid, found, places, typed=is_structured(path.name))
            n_lines = len(bad) + content.broken
            if faults:
                example = most_frequent(content, invalid)[1]
                check_share(path, content.unit, len(faults), n_lines, table.skip_at_most, example)
                left_out, kept = counted(len(faults), f"invalid {content.unit}"), f"{n_lines - len(faults):,}"
                logger.warning("%s: skipped %s, kept %s; for example, %s", path, left_out, kept, example)
            if skipped is not None:
                skipped.add(path, faults, n_lines)
        values = {NAMES[role]: found[role].values for role in places}
        found.clear()
        frame = pd.DataFrame({name: series_of(column) for name, column in values.items()}, copy=False)
        return frame[~bad].reset_index(drop=True) if len(invalid.rows) else frame


def _types(path: Path, table: Table) -> dict[Place, pa.DataType]:
    """The types to try first for the declared columns of text."""
    columns = table.columns
    types: dict[Place, pa.DataType] = {columns.user: TEXT, columns.item: TEXT}
    if columns.session is not None:
        types[columns.session] = TEXT
    if columns.rating is not None:
        types[columns.rating] = pa.float32()
    if columns.time is not None:
        types[columns.time] = TEXT
        if table.date_format is None:
            first = first_values(path, table).get(columns.time, "")
            number = pa.int64() if table.time_unit == "ns" else pa.float64()  # a double has all microseconds of other units
            types[columns.time] = date_type(first) or number
    return types


def _converted(
    content: Content, places: Mapping[str, Place], path: Path, table: Table, ids: IdTypes, scale: Scale
) -> dict[str, Converted]:
    """The converted columns by role; skipped rows do not affect the types of ids, and their ids are arbitrary."""
    found: dict[str, Converted] = {}
    ignored = np.zeros(len(content.columns[places["user"]]), bool)
    typed = is_structured(path.name)
    for role in ("rating", "time", "user", "item", "session"):
        if role not in places:
            continue
        column = content.columns[places[role]]
        with column_context(places[role]):
            if role == "rating":
                found[role] = as_ratings(column, scale, table.decimal, typed=typed)
            elif role == "time":
                found[role] = as_times(column, table.time_unit, table.date_format, table.decimal)
            else:
                hint = "" if role == "session" else f" (declare ids: {{{role}: str}} if ids are text)"
                name = f"{path}, column {places[role]!r}"
                found[role] = as_ids(column, ids.get(role), typed=typed, name=name, hint=hint, ignored=ignored)
        if table.bad_lines == "skip":
            ignored |= found[role].bad
    return found


def _first_bad(found: Mapping[str, Converted], row: int) -> str:
    """The role of the first invalid column of a row, in the order of `Columns`."""
    return next(role for role in NAMES if role in found and found[role].bad[row])


def _invalid(content: Content, rows: NDArray[np.intp], found: Mapping[str, Converted], places: Mapping[str, Place]) -> Invalid:
    """The given rows, each with what is wrong with its first invalid column."""

    def describe(row: int, stored: Callable[[Place], Any]) -> str:
        role = _first_bad(found, row)
        return problem_of(places[role], stored(places[role]), found[role].why)

    kinds = np.full(len(rows), None, object)
    for role in reversed([role for role in NAMES if role in found]):
        bad = found[role].bad[rows]
        kinds[bad] = kinds_at(content, places[role], rows[bad])
    return Invalid(rows, kinds, describe)


def _faults(
    content: Content, invalid: Invalid, found: Mapping[str, Converted], places: Mapping[str, Place], *, typed: bool
) -> list[Fault]:
    """The faults of invalid rows and of broken lines, in file order, with the ids in these rows where both are valid."""
    ids, rows = {}, invalid.rows
    for role in ("user", "item"):
        kind = "int" if isinstance(found[role].values, np.ndarray) else "str"  # that of the other rows
        ids[role] = as_ids(content.columns[places[role]].take(pa.array(rows)), kind, typed=typed)
    both = ~(ids["user"].bad | ids["item"].bad)
    values = [series_of(ids[role].values).tolist() for role in ("user", "item")]
    pairs = {row: pair for row, pair, valid in zip(rows.tolist(), zip(*values, strict=True), both, strict=True) if valid}
    faults = []
    for row, fault in content.faults(rows.tolist(), invalid.describe):
        if row is not None:
            user, item = pairs.get(row, (None, None))
            fault = fault._replace(column=_first_bad(found, row), user=user, item=item)
        faults.append(fault)
    return faults
