"""Tables of ratings in CSV, TSV, `::`-separated or Parquet files, read fast, with errors that name the line.

Files are read by Arrow's multi-threaded reader with declared types. Only if that fails, or a rating or time turns out to be
invalid, is a text file read again in Python to find the first bad line.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys_ae.data.cards import Columns, Table
from recsys_ae.data.reading import reading
from recsys_ae.errors import DataError, did_you_mean
from recsys_ae.times import TimeUnit, beyond, microseconds, not_unix_time

T = TypeVar("T")
Scale = tuple[float, float] | None
IdTypes = Mapping[Any, str]  # "user" and "item" -> "int" or "str"; missing ones are inferred
NAMES = {"user": "user_id", "item": "item_id", "rating": "rating", "time": "time"}
ID_TYPES = {"int": pa.int64(), "str": pa.string()}
USUAL_NAMES = {
    "user": {"user", "userid", "visitorid", "customerid"},
    "item": {"item", "itemid", "movie", "movieid", "productid", "trackid"},
    "rating": {"rating", "ratings", "stars", "score", "count", "value", "weight"},
    "time": {"time", "timestamp", "date", "datetime"},
}
PLAIN_INTEGER = re.compile(r"\s*-?(0|[1-9][0-9]*)\s*")
WITH_ZONE = re.compile(r"(?=.*:).*\d(Z|[+-]\d\d:?(\d\d)?)")  # an ISO 8601 time that ends with Z or an offset such as +01:00
SAMPLE_LINES = 1000
UNIT_SEPARATOR = "\x1f"  # stands in for a separator of several characters, because Arrow takes only one


def read_table(path: Path, table: Table, ids: IdTypes | None = None, scale: Scale = None) -> pd.DataFrame:
    """The rows of a file in their order, as columns user_id, item_id and, where declared, rating and time.

    Args:
        table: layout of the file; only the ending of `table.path` is used, the file itself is `path`.
        ids: declared id types, {"user": "int" | "str", "item": ...}. An undeclared type is `int` if the first 1,000 values
            look like plain integers (no leading zeros), else `str`.
        scale: lowest and highest valid rating.

    Returns:
        ids as int64 or str, ratings float32, times int64 microseconds since 1970 (UTC).

    Raises:
        DataError: no such file or column, no rows, or an invalid line, with its number and content.
    """
    read = _read_parquet if table.path.endswith(".parquet") else _read_text
    with reading(path):
        return read(path, table, ids or {}, scale)


def guess_table(path: Path) -> Table:
    """The layout of a file without a card: Parquet, or text separated by `::`, tab, semicolon or comma.

    With a header (or in Parquet), columns are recognised by their usual names (user_id, userId, user, movieId, ...);
    without one, they are user, item, rating, time in this order, as in MovieLens files.

    Raises:
        DataError: no such file, an empty one, or a header in which the user or item column is not recognised.
    """
    with reading(path):
        if path.suffix == ".parquet":
            return Table(path=path.name, columns=_recognise(pq.read_schema(path).names))
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            first = lines.readline().rstrip("\r\n")
        if not first:
            raise DataError("there is no data: the file is empty")
        separator = next((mark for mark in ("::", "\t", ";", ",") if mark in first), ",")
        _, fields = next(_rows(path, separator))
        if all(_parsed(float, value) is None for value in fields):
            return Table(path=path.name, separator=separator, columns=_recognise(fields))
        if len(fields) < 2:
            raise DataError(f"{path}, line 1: expected at least a user and an item, got {first!r}")
        places = dict(zip(NAMES, range(1, len(fields) + 1), strict=False))
        return Table(path=path.name, separator=separator, header=False, columns=Columns.model_validate(places))


def _recognise(names: Sequence[str]) -> Columns:
    plain = {name: name.lower().replace("_", "").replace(" ", "") for name in names}
    found = {role: next((name for name in names if plain[name] in usual), None) for role, usual in USUAL_NAMES.items()}
    for role in ("user", "item"):
        if found[role] is None:
            raise DataError(f"no column looks like the {role} id; the columns are {', '.join(names)}")
    return Columns.model_validate(found)


def _roles(columns: Columns, names: Sequence[str]) -> dict[str, str]:
    """Column name in the file -> role, for the declared columns."""
    roles = {str(place): role for role, place in columns.model_dump().items() if place is not None}
    for name, role in roles.items():
        if name not in names:
            raise DataError(f"no column {name!r} for the {role}; {did_you_mean(name, names)}")
    return roles


def _to_frame(content: pa.Table, unit: TimeUnit, scale: Scale) -> pd.DataFrame:
    """What `read_table` returns, from columns that have its names and the types of the file."""
    if not len(content):
        raise DataError("there is no data: the file has no rows")
    frame = content.to_pandas(split_blocks=True, self_destruct=True, date_as_object=False)
    if "rating" in frame:
        ratings = frame["rating"].to_numpy()
        low, high = scale or (-math.inf, math.inf)
        if not (np.isfinite(ratings) & (ratings >= low) & (ratings <= high)).all():
            raise DataError("a rating is not finite or outside the scale")
    if "time" in frame:
        frame["time"] = microseconds(frame["time"], unit)
    return frame


def _read_parquet(path: Path, table: Table, ids: IdTypes, scale: Scale) -> pd.DataFrame:
    roles = _roles(table.columns, pq.read_schema(path).names)
    content = pq.read_table(path, columns=list(roles))
    arrays = {}
    for name, role in roles.items():
        if content[name].null_count:
            row = pc.index(pc.is_null(content[name]), True).as_py() + 1
            raise DataError(f"{path}, row {row}: column {name!r} has no value")
        arrays[NAMES[role]] = _parquet_column(content[name], name, role, ids)
    return _to_frame(pa.table(arrays), table.time_unit, scale)


def _parquet_column(column: pa.ChunkedArray, name: str, role: str, ids: IdTypes) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if role == "time":
        return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column
    inferred = "int" if pa.types.is_integer(column.type) else "str"
    wanted = pa.float32() if role == "rating" else ID_TYPES[ids.get(role, inferred)]
    try:
        return column.cast(wanted, safe=role != "rating")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"column {name!r} holds {column.type}, wanted {wanted}") from None


class _TextColumn(NamedTuple):
    """A column to read from text; `place` counts from 0."""

    name: str
    place: int
    role: str
    type: pa.DataType


def _read_text(path: Path, table: Table, ids: IdTypes, scale: Scale) -> pd.DataFrame:
    names, columns = _text_columns(path, table, ids)
    one_character = len(table.separator) == 1
    try:
        with path.open("rb") as raw:
            source: Any = raw if one_character else _OneSeparator(raw, table.separator)
            content = pa_csv.read_csv(
                pa.PythonFile(source, mode="r"),
                pa_csv.ReadOptions(column_names=names, skip_rows=int(table.header)),
                pa_csv.ParseOptions(delimiter=table.separator if one_character else UNIT_SEPARATOR),
                pa_csv.ConvertOptions(
                    column_types={column.name: column.type for column in columns},
                    include_columns=[column.name for column in columns],
                    null_values=[],
                ),
            )
        content = content.rename_columns([NAMES[column.role] for column in columns])
        for column in columns:
            if pa.types.is_string(column.type) and pc.any(pc.equal(content[NAMES[column.role]], "")).as_py():
                raise DataError(f"an empty {column.role} id")
        return _to_frame(content, table.time_unit, scale)
    except (pa.ArrowInvalid, DataError) as error:
        raise DataError(_first_bad_line(path, table, len(names), columns, scale) or str(error)) from None


def _text_columns(path: Path, table: Table, ids: IdTypes) -> tuple[list[str], list[_TextColumn]]:
    """The names of all columns (their places as text where there is no header), and the columns to read."""
    rows = [fields for _, fields in islice(_rows(path, table.separator), SAMPLE_LINES)]
    if not rows:
        raise DataError("there is no data: the file is empty")
    names = rows[0] if table.header else [str(place) for place in range(1, len(rows[0]) + 1)]
    complete = [row for row in rows[int(table.header) :] if len(row) == len(names)]
    columns = []
    for name, role in _roles(table.columns, names).items():
        place = names.index(name)
        sample = [row[place] for row in complete]
        columns.append(_TextColumn(name, place, role, _text_type(role, sample, ids.get(role), table.time_unit)))
    return names, columns


def _text_type(role: str, sample: list[str], declared: str | None, unit: TimeUnit) -> pa.DataType:
    if role == "rating":
        return pa.float32()
    if role != "time":
        return ID_TYPES[declared or ("int" if all(map(PLAIN_INTEGER.fullmatch, sample)) else "str")]
    if sample and _parsed(float, sample[0]) is None:
        return pa.timestamp("ns", "UTC" if WITH_ZONE.fullmatch(sample[0]) else None)
    return pa.int64() if unit == "ns" else pa.float64()  # a double holds every microsecond of the other units


def _rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, fields) of every line that is not empty."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        if len(separator) == 1:
            reader = csv.reader(lines, delimiter=separator)
            yield from ((reader.line_num, fields) for fields in reader if fields)
        else:
            stripped = ((number, line.rstrip("\r\n")) for number, line in enumerate(lines, 1))
            yield from ((number, line.split(separator)) for number, line in stripped if line)


class _OneSeparator(io.RawIOBase):
    """A binary stream in which a separator of several characters is replaced by a single one."""

    def __init__(self, raw: BinaryIO, separator: str) -> None:
        self._raw = raw
        self._separator = separator.encode()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._raw.read(size)
        while block and block[-1:] in self._separator and (more := self._raw.read(1)):
            block += more  # never end in the middle of a separator
        return block.replace(self._separator, UNIT_SEPARATOR.encode())


def _first_bad_line(path: Path, table: Table, width: int, columns: list[_TextColumn], scale: Scale) -> str | None:
    """What is wrong with the first line that does not fit."""
    for number, fields in islice(_rows(path, table.separator), int(table.header), None):
        where, line = f"{path}, line {number}", table.separator.join(fields)
        if len(fields) != width:
            return f"{where}: expected {width} fields, got {len(fields)}: {line!r}"
        for column in columns:
            value = fields[column.place]
            if problem := _problem(value, column, scale, table.time_unit):
                return f"{where}: {column.name} {value!r} is {problem}: {line!r}"
    return None


def _problem(value: str, column: _TextColumn, scale: Scale, unit: TimeUnit) -> str | None:
    """What is wrong with a field, as the complement of "is", or None."""
    integral = pa.types.is_integer(column.type)
    number = _parsed(int if integral else float, value)
    fits_int64 = number is not None and -(2**63) <= number < 2**63 and "_" not in value
    if column.role in ("user", "item"):
        if pa.types.is_string(column.type):
            return None if value else "empty"
        return None if fits_int64 else f"not an integer (declare ids: {{{column.role}: str}} if ids are text)"
    if pa.types.is_timestamp(column.type):
        wanted = f"an ISO 8601 date {'with' if column.type.tz else 'without'} a time zone, as in the first row"
        moment, zoned = _parsed(lambda text: pd.Timestamp(text).as_unit("ns"), value), WITH_ZONE.fullmatch(value) is not None
        return f"not {wanted}" if pd.isna(moment) or zoned != (column.type.tz is not None) else None
    if number is None:
        return f"not {'an integer' if integral else 'a number'}{', as in the first row' if column.role == 'time' else ''}"
    if column.role == "time":
        return not_unix_time(number, unit) if beyond(np.array([number]), unit).any() else None
    if not math.isfinite(number):
        return "not finite"
    low, high = scale or (-math.inf, math.inf)
    return None if low <= number <= high else f"outside the scale {low:g} to {high:g}"


def _parsed(parse: Callable[[str], T], value: str) -> T | None:
    """`parse(value)`, or None if it raises `ValueError`."""
    try:
        return parse(value)
    except ValueError:
        return None
