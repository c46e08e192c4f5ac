"""Tables of ratings in CSV, TSV, `::`-separated or Parquet files, read fast, with errors that name the line.

The fast path is Arrow's multi-threaded reader with declared types. Only if it fails, or a rating or time is invalid, is the
file read again in Python to find the first offending line.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys_ae.data.cards import Columns, Table
from recsys_ae.errors import DataError, did_you_mean
from recsys_ae.times import TimeUnit, beyond, microseconds, not_unix_time

Scale = tuple[float, float] | None
IdTypes = Mapping[Any, str]  # "user" and "item" -> "int" or "str"; missing ones are inferred
NAMES = {"user": "user_id", "item": "item_id", "rating": "rating", "time": "time"}
SAMPLE_LINES = 1000
UNIT_SEPARATOR = "\x1f"  # what a separator of several characters becomes, for a reader that takes only one


def read_table(path: Path, table: Table, ids: IdTypes | None = None, scale: Scale = None) -> pd.DataFrame:
    """The rows of a file in their order, as columns user_id, item_id and, where declared, rating and time.

    Args:
        table: layout of the file; only the ending of `table.path` is used, the file itself is `path`.
        ids: declared id types, {"user": "int" | "str", "item": ...}. An undeclared type is `int` if the first
            1,000 values look like plain integers (no leading zeros), else `str`.
        scale: lowest and highest valid rating.

    Returns:
        ids as int64 or str, ratings float32, times int64 microseconds since 1970 (UTC).

    Raises:
        DataError: no such file or column, no rows, or an invalid line, with its number and content.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    ids = ids or {}
    is_parquet = table.path.endswith(".parquet")
    frame = _read_parquet(path, table, ids) if is_parquet else _read_text(path, table, ids, scale)
    if len(frame) == 0:
        raise DataError(f"{path}: there is no data: the file has no rows")
    if "rating" in frame:
        ratings = frame["rating"].to_numpy()
        low, high = scale or (-math.inf, math.inf)
        if not (np.isfinite(ratings) & (ratings >= low) & (ratings <= high)).all():
            _explain(path, table, ids, scale, "a rating is not finite or outside the scale")
    if "time" in frame:
        try:
            frame["time"] = microseconds(frame["time"], table.time_unit)
        except DataError as error:
            _explain(path, table, ids, scale, str(error))
    return frame


def guess_table(path: Path) -> Table:
    """The layout of a file without a card: Parquet, or text separated by `::`, tab, semicolon or comma.

    With a header (or in Parquet), columns are recognised by their usual names (user_id, userId, user, movieId, ...);
    without one, they are user, item, rating, time in this order, as in MovieLens files.

    Raises:
        DataError: no such file, an empty one, or a header in which the user or item column is not recognised.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.suffix == ".parquet":
        return Table(path=path.name, columns=_recognise(_parquet_names(path), path))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        first = next(lines, "").rstrip("\r\n")
    if not first:
        raise DataError(f"{path}: there is no data: the file is empty")
    separator = next((mark for mark in ("::", "\t", ";", ",") if mark in first), ",")
    fields = next(_split_lines([first], separator))[1]
    if any(_is_number(value) for value in fields):
        places = dict(zip(("user", "item", "rating", "time"), range(1, len(fields) + 1), strict=False))
        if len(places) < 2:
            raise DataError(f"{path}, line 1: expected at least a user and an item, got {first!r}")
        return Table(path=path.name, separator=separator, header=False, columns=Columns(**places))
    return Table(path=path.name, separator=separator, columns=_recognise(fields, path))


def _recognise(names: list[str], path: Path) -> Columns:
    usual = {
        "user": {"user", "userid", "visitorid", "customerid"},
        "item": {"item", "itemid", "movie", "movieid", "productid", "trackid"},
        "rating": {"rating", "ratings", "stars", "score", "count", "value", "weight"},
        "time": {"time", "timestamp", "date", "datetime"},
    }
    plain = {name: name.lower().replace("_", "").replace(" ", "") for name in names}
    found = {role: next((name for name in names if plain[name] in known), None) for role, known in usual.items()}
    for role in ("user", "item"):
        if found[role] is None:
            raise DataError(f"{path}: no column looks like the {role} id; the columns are {', '.join(names)}")
    return Columns.model_validate(found)


# Parquet


def _read_parquet(path: Path, table: Table, ids: IdTypes) -> pd.DataFrame:
    columns = _chosen(table.columns, _parquet_names(path), path)
    try:
        content = pq.read_table(path, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from None
    arrays = {}
    for name, role in columns.items():
        column = content[name]
        if column.null_count:
            at = pc.index(pc.is_null(column), True).as_py()
            raise DataError(f"{path}, row {at + 1}: column {name!r} has no value")
        arrays[NAMES[role]] = _parquet_column(column, role, ids, f"{path}: column {name!r}")
    return pa.table(arrays).to_pandas(date_as_object=False)


def _parquet_names(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from None


def _parquet_column(column: pa.ChunkedArray, role: str, ids: IdTypes, where: str) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if role == "time":
        return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column
    if role == "rating":
        wanted = pa.float32()
    else:
        kind = ids.get(role) or ("int" if pa.types.is_integer(column.type) else "str")
        wanted = pa.int64() if kind == "int" else pa.string()
    try:
        return column.cast(wanted, safe=role != "rating")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{where} holds {column.type}, wanted {wanted}") from None


# Text


def _read_text(path: Path, table: Table, ids: IdTypes, scale: Scale) -> pd.DataFrame:
    names, sample = _sample(path, table)
    columns = _chosen(table.columns, names, path)
    types = {name: _type_of(role, table, ids, [row[names.index(name)] for row in sample]) for name, role in columns.items()}
    separator = table.separator if len(table.separator) == 1 else UNIT_SEPARATOR
    try:
        with path.open("rb") as raw:
            source: Any = raw if separator == table.separator else _OneSeparator(raw, table.separator)
            content = pa_csv.read_csv(
                pa.PythonFile(source, mode="r"),
                read_options=pa_csv.ReadOptions(column_names=names, skip_rows=1 if table.header else 0),
                parse_options=pa_csv.ParseOptions(delimiter=separator),
                convert_options=pa_csv.ConvertOptions(
                    column_types=types, include_columns=list(columns), null_values=[], strings_can_be_null=False
                ),
            )
    except pa.ArrowInvalid as error:
        _explain(path, table, ids, scale, str(error))
    content = content.rename_columns([NAMES[role] for role in columns.values()])
    for role in ("user", "item"):
        column = content[NAMES[role]]
        if pa.types.is_string(column.type) and pc.any(pc.equal(column, "")).as_py():
            _explain(path, table, ids, scale, f"an empty {role} id")
    return content.to_pandas(split_blocks=True, self_destruct=True)


def _sample(path: Path, table: Table) -> tuple[list[str], list[list[str]]]:
    """Column names (places as text where there is no header) and the first complete rows."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = [fields for _, fields in islice(_split_lines(lines, table.separator), SAMPLE_LINES)]
    if not rows:
        raise DataError(f"{path}: there is no data: the file is empty")
    names = rows[0] if table.header else [str(place) for place in range(1, len(rows[0]) + 1)]
    return names, [row for row in rows[int(table.header) :] if len(row) == len(names)]


def _chosen(columns: Columns, names: list[str], path: Path) -> dict[str, str]:
    """Column name in the file -> role, for the declared columns."""
    chosen = {str(place): role for role, place in columns.model_dump().items() if place is not None}
    for name, role in chosen.items():
        if name not in names:
            raise DataError(f"{path}: no column {name!r} for the {role}; {did_you_mean(name, names)}")
    return chosen


def _type_of(role: str, table: Table, ids: IdTypes, sample: list[str]) -> pa.DataType:
    if role == "rating":
        return pa.float32()
    if role == "time":
        if all(map(_is_number, sample[:1])):
            return pa.int64() if table.time_unit == "ns" else pa.float64()  # of the others, doubles hold every microsecond
        return pa.timestamp("ns", "UTC" if any(map(_has_zone, sample[:1])) else None)
    kind = ids.get(role) or ("int" if all(_is_plain_integer(value) for value in sample) else "str")
    return pa.int64() if kind == "int" else pa.string()


def _is_plain_integer(value: str) -> bool:
    digits = value.strip().removeprefix("-")
    return digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _split_lines(lines: Any, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, fields) of every line that is not empty."""
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


def _explain(path: Path, table: Table, ids: IdTypes, scale: Scale, otherwise: str) -> NoReturn:
    """Raise a `DataError` that names the first line of the file that does not fit."""
    if not table.path.endswith(".parquet"):
        names, sample = _sample(path, table)
        columns = _chosen(table.columns, names, path)
        checks = []
        for name, role in columns.items():
            place = names.index(name)
            kind = _type_of(role, table, ids, [row[place] for row in sample])
            checks.append((place, name, _check_for(role, kind, scale, table.time_unit)))
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            for number, fields in islice(_split_lines(lines, table.separator), int(table.header), None):
                shown = table.separator.join(fields)
                if len(fields) != len(names):
                    raise DataError(f"{path}, line {number}: expected {len(names)} fields, got {len(fields)}: {shown!r}")
                for place, name, problem in checks:
                    if message := problem(fields[place]):
                        raise DataError(f"{path}, line {number}: {name} {fields[place]!r} is {message}: {shown!r}")
    raise DataError(f"{path}: {otherwise}")


def _check_for(role: str, kind: pa.DataType, scale: Scale, unit: TimeUnit) -> Callable[[str], str | None]:
    """A function from a field's text to what is wrong with it, or None; a complement to "is"."""
    if role == "rating":
        return lambda value: _rating_problem(value, scale)
    if role == "time" and not pa.types.is_timestamp(kind):
        return lambda value: _time_problem(value, unit)
    if pa.types.is_integer(kind):
        hint = f" (declare ids: {{{role}: str}} if ids are text)"
        return lambda value: None if _fits_int64(value) else f"not an integer{hint}"
    if pa.types.is_timestamp(kind):
        zoned = kind.tz is not None
        wanted = f"an ISO 8601 date {'with' if zoned else 'without'} a time zone, as in the first row"
        return lambda value: None if _is_date(value) and _has_zone(value) == zoned else f"not {wanted}"
    return lambda value: None if value else "empty"


def _fits_int64(value: str) -> bool:
    try:
        return -(2**63) <= int(value) < 2**63 and "_" not in value
    except ValueError:
        return False


def _has_zone(value: str) -> bool:
    """Whether an ISO 8601 time ends with Z or an offset such as +01:00."""
    return re.search(r"\d(Z|[+-]\d\d:?(\d\d)?)$", value) is not None and ":" in value


def _is_date(value: str) -> bool:
    try:
        return not pd.isna(pd.Timestamp(value).as_unit("ns"))
    except ValueError:
        return False


def _time_problem(value: str, unit: TimeUnit) -> str | None:
    if not _is_number(value):
        return "not a number, as in the first row"
    if unit == "ns" and not _fits_int64(value):
        return "not an integer"
    return not_unix_time(float(value), unit) if beyond(np.array([float(value)]), unit).any() else None


def _rating_problem(value: str, scale: Scale) -> str | None:
    if not _is_number(value):
        return "not a number"
    rating = float(value)
    if not math.isfinite(rating):
        return "not finite"
    if scale is not None and not scale[0] <= rating <= scale[1]:
        return f"outside the scale {scale[0]:g} to {scale[1]:g}"
    return None
