"""The declared columns of a file of any kind as Arrow arrays, and where they are invalid."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys_ae.data.conversion import is_text
from recsys_ae.data.detection import Layout, layout_of, undecodable
from recsys_ae.data.layouts import FileLayout, Place, file_kind
from recsys_ae.data.reading import unpacked
from recsys_ae.data.text import BLOCK, Dialect, decoded, lines, read_columns, shown_line
from recsys_ae.errors import DataError, quoted, reason, shortened
from recsys_ae.files import strict_json
from recsys_ae.ids import EXACT

NUMBERS = (pa.int32(), pa.int64(), pa.float32(), pa.float64())  # types of columns that are read without a copy
TEXT = pa.dictionary(pa.int32(), pa.string())
EMPTY, BROKEN = "empty ", "malformed record"  # kinds of faults: prefix of an empty value's, and a line without columns
MOST_OTHERS, LONGEST_NAME = 2, 40  # in messages: kinds of faults besides the most frequent one, characters of a column's name
Describe = Callable[[int, Callable[[Place], Any]], str]  # (row, function that returns its value in a column) -> what is wrong


class Fault(NamedTuple):
    """An invalid line or row.

    Attributes:
        number: from 1.
        problem: what is wrong with it.
        column: role of the first invalid column, such as `rating`; None if the line could not be divided into columns.
        user, item: their ids, if both are valid.
    """

    file: str
    number: int
    problem: str
    content: str
    column: str | None = None
    user: int | str | None = None
    item: int | str | None = None


class Content(Protocol):
    """Declared columns of a file, as they are stored.

    Attributes:
        columns: Arrow arrays by declared name or number. Text is of type string or dictionary of strings.
        unit: what `Fault.number` counts: "line" or "row".
        broken: number of lines that are not among the rows because they have the wrong number of fields.
    """

    path: Path
    columns: dict[Place, pa.ChunkedArray]
    unit: str

    @property
    def broken(self) -> int: ...

    def faults(self, rows: Sequence[int], describe: Describe) -> Iterator[tuple[int | None, Fault]]:
        """The given rows (increasing, from 0) with their faults and, without a row, all broken lines, in file order."""
        ...


def read_content(path: Path, file: FileLayout, types: Mapping[Place, pa.DataType]) -> Content:
    """The columns of a file that `types` names.

    Args:
        types: types to try first for columns of text; unless all values fit, all columns are read as text.
    """
    layout = layout_of(path, file)
    kind = file_kind(path.name)
    if layout.dialect is not None:
        return _read_text(path, layout, layout.dialect, types, file.decimal)
    return _read_parquet(path, list(types)) if kind == "parquet" else _read_lines(path, list(types))


def first_values(path: Path, file: FileLayout) -> dict[Place, str]:
    """The values of the declared columns in the first complete line of a text file; empty if there is none."""
    layout = layout_of(path, file)
    if layout.dialect is None:
        return {}
    for line in _data_lines(path, layout, layout.dialect):
        if len(line.fields) == len(layout.names):
            return {place: line.fields[layout.place(place)] for place in file.places()}
    return {}


@dataclass
class _TextContent:
    path: Path
    layout: Layout
    dialect: Dialect
    columns: dict[Place, pa.ChunkedArray]
    broken: int
    unit: str = "line"

    def faults(self, rows: Sequence[int], describe: Describe) -> Iterator[tuple[int | None, Fault]]:
        width, row, wanted, file = len(self.layout.names), -1, iter(rows), str(self.path)
        bad = next(wanted, None)
        places = {place: self.layout.place(place) for place in self.columns}
        for line in _data_lines(self.path, self.layout, self.dialect):
            fields = line.fields
            if len(fields) != width:
                problem = f"expected {width} fields, got {len(fields)}"
                yield None, Fault(file, line.number, problem, shown_line(fields, self.dialect))
                continue
            row += 1
            if row == bad:
                text = [fields[place] for place in places.values()]
                if all(map(decoded, text)):
                    problem = describe(row, lambda place, fields=fields: fields[places[place]])  # type: ignore[misc]
                else:
                    problem = undecodable(fields, self.dialect)
                yield row, Fault(file, line.number, problem, shown_line(fields, self.dialect))
                bad = next(wanted, None)


def _data_lines(path: Path, layout: Layout, dialect: Dialect) -> Any:
    return islice(lines(path, dialect), int(layout.skip > 0), None)


def _read_text(path: Path, layout: Layout, dialect: Dialect, types: Mapping[Place, pa.DataType], decimal: str) -> _TextContent:
    by_place = {layout.place(name): kind for name, kind in types.items()}
    read = partial(read_columns, path, dialect, len(layout.names), layout.skip, decimal=decimal)
    found = read(types=by_place, lenient=False) or read(types=dict.fromkeys(by_place, TEXT), lenient=True)
    if found is None:
        raise DataError(_too_long(path, dialect))
    columns = {name: found.by_place[layout.place(name)] for name in types}
    return _TextContent(path, layout, dialect, columns, found.left_out)


def _too_long(path: Path, dialect: Dialect) -> str:
    """What is wrong with text that Arrow cannot split into fields: usually a line longer than a block."""
    longest = max(lines(path, dialect), key=lambda line: sum(map(len, line.fields)))
    length = sum(map(len, longest.fields))
    content = shown_line(longest.fields, dialect)
    if 4 * length < BLOCK:  # of which each character may take four
        return "its lines cannot be split into fields; check the separator and the quotes"
    return f"{path}, line {longest.number}: the line has {length} characters, over the limit of {BLOCK} bytes: {content}"


@dataclass
class _RowContent:
    """Columns whose values have a type: those of Parquet and of JSON lines."""

    path: Path
    columns: dict[Place, pa.ChunkedArray]
    unit: str = "row"
    numbers: Sequence[int] | None = None  # of the lines that the rows are from; None: rows are counted
    broken_lines: list[Fault] = field(default_factory=list)
    values: Mapping[Place, Sequence[Any]] = field(default_factory=dict)  # as stored, where the columns lack some

    @property
    def broken(self) -> int:
        return len(self.broken_lines)

    def faults(self, rows: Sequence[int], describe: Describe) -> Iterator[tuple[int | None, Fault]]:
        broken = iter(self.broken_lines)
        next_broken = next(broken, None)
        for row in rows:
            number = row + 1 if self.numbers is None else self.numbers[row]
            while next_broken is not None and next_broken.number < number:
                yield None, next_broken
                next_broken = next(broken, None)
            stored = {place: self._value(place, row) for place in self.columns}
            content = ", ".join(f"{place}: {quoted(value, limit=40)}" for place, value in stored.items())
            yield row, Fault(str(self.path), number, describe(row, stored.__getitem__), shortened(content, 160))
        if next_broken is not None:
            yield None, next_broken
            yield from ((None, fault) for fault in broken)

    def _value(self, place: Place, row: int) -> Any:
        if place in self.values:
            return self.values[place][row]
        scalar = self.columns[place][row]
        try:
            return scalar.as_py()
        except (ValueError, OverflowError):  # a date that Python has not
            return self.columns[place].slice(row, 1).to_numpy()[0]


def _read_parquet(path: Path, places: Sequence[Place]) -> _RowContent:
    with pq.ParquetFile(path) as file:  # not `pq.read_table`, which takes columns from names of folders too
        numbers = _read_numbers(file, [str(place) for place in places])
        rest = {name: file.read(columns=[name])[name] for name in map(str, places) if name not in numbers}
    return _RowContent(path, {place: (numbers | rest)[str(place)] for place in places})


def _read_numbers(file: pq.ParquetFile, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Those of the columns that hold numbers and no nulls, in one piece each, which can be converted without a copy.

    They are read group by group, so that Arrow never holds, and keeps, memory for the whole file.
    """
    schema, found = file.schema_arrow, dict[str, NDArray[Any]]()
    for name in names:
        if (at := schema.get_field_index(name)) >= 0 and schema.types[at] in NUMBERS:
            found[name] = np.empty(file.metadata.num_rows, schema.types[at].to_pandas_dtype())
    start = 0
    for number in range(file.num_row_groups if found else 0):
        group = file.read_row_group(number, columns=list(found))
        for name, values in list(found.items()):
            if group[name].null_count:
                del found[name]
            else:
                values[start : start + len(group)] = group[name].to_numpy()
        start += len(group)
    return {name: pa.chunked_array([pa.array(values)]) for name, values in found.items()}


def _read_lines(path: Path, places: Sequence[Place]) -> _RowContent:
    """The columns of JSON objects, one per line; in a column of mixed types, values unlike the first one become null."""
    stored: dict[Place, list[Any]] = {place: [] for place in places}
    numbers, broken = [], []
    with unpacked(path) as content:
        for number, raw in enumerate(content, 1):
            if not raw.strip():
                continue
            try:
                record = strict_json(raw.decode("utf-8-sig", "surrogatepass"))
                if not isinstance(record, dict):
                    raise ValueError("expected keys and values in braces")
            except (ValueError, RecursionError) as error:
                problem = error.msg if isinstance(error, json.JSONDecodeError) else reason(error, 160)
                broken.append(Fault(str(path), number, f"not a valid JSON object: {problem}", quoted(raw, limit=160)))
                continue
            numbers.append(number)
            for place, values in stored.items():
                values.append(record.get(str(place)))
    arrays = {place: pa.chunked_array([_array(values)]) for place, values in stored.items()}
    return _RowContent(path, arrays, "line", numbers, broken, stored)


def _array(values: list[Any]) -> pa.Array:
    """JSON values of the type of the first one, null for the others; whole floats among integers become integers."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, str):
        texts = [value if isinstance(value, str) else None for value in values]
        return pa.array([text if text is None or decoded(text) else None for text in texts], pa.string())
    if isinstance(first, list):
        return pa.array([value if isinstance(value, list) else None for value in values])
    kind = bool if isinstance(first, bool) else (int, float)
    same = [value if isinstance(value, kind) and isinstance(value, bool) == (kind is bool) else None for value in values]
    floats = [value for value in same if isinstance(value, float)]
    if kind is not bool and not all(value.is_integer() and abs(value) < EXACT["float64"] for value in floats):
        return pa.array([None if value is None else float(value) for value in same], pa.float64())
    if kind is not bool:
        whole = [None if value is None else int(value) for value in same]
        return pa.array([value if value is None or -(2**63) <= value < 2**63 else None for value in whole], pa.int64())
    return pa.array(same, pa.bool_())


class Invalid(NamedTuple):
    """The invalid lines (or rows) of a file.

    Attributes:
        rows: int [n], increasing; those that could be divided into columns.
        kinds: str [n], what is wrong with each in a few words, see `kinds_at`.
        describe: says in full what is wrong with a row.
    """

    rows: NDArray[np.intp]
    kinds: NDArray[np.object_]
    describe: Describe


def invalid_in(content: Content, place: Place, bad: Any, why: str | Callable[[Any], str]) -> Invalid:
    """The rows at which `bad` (bool [n]) is true of a column; `why` says what a value is, to follow "is"."""
    rows = np.flatnonzero(np.asarray(bad, bool))
    return Invalid(rows, kinds_at(content, place, rows), lambda _, stored: problem_of(place, stored(place), why))


def kinds_at(content: Content, place: Place, rows: NDArray[np.intp]) -> NDArray[np.object_]:
    """The kinds of faults of a column at some rows, str [n]: an empty value, or any other invalid one."""
    if not len(rows):
        return np.empty(0, object)
    stored = content.columns[place].take(pa.array(rows))
    empty = np.asarray(stored.is_null())
    if is_text(stored.type):
        empty = empty | (stored.to_pandas().astype(object) == "").to_numpy()
    name = place if isinstance(place, str) else f"column {place}"
    return np.where(empty, np.array(f"{EMPTY}{name}", object), np.array(f"invalid {name}", object))


def raise_invalid(content: Content, invalid: Invalid | None = None, advice: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raise a `DataError` about the most frequent fault, see `most_frequent`, if any line or row is broken or invalid.

    Args:
        advice: what to add to the message, by prefix of the kind of this fault.
    """
    if content.broken or (invalid is not None and len(invalid.rows)):
        kind, text = most_frequent(content, invalid)
        more = [hint for begin, hint in advice.items() if kind.startswith(begin)]
        raise DataError("; ".join([f"{content.path}, {text}", *more]))


def most_frequent(content: Content, invalid: Invalid | None) -> tuple[str, str]:
    """The most frequent kind of fault, and a message: the first line (or row) that has it, and how many have it and others.

    A wrong declaration makes most lines invalid; a single line above them with another fault must not hide this.
    """
    counts, first_rows = {}, dict[str, int]()
    if invalid is not None and len(invalid.rows):
        codes, kinds = pd.factorize(invalid.kinds)
        counts = dict(zip(kinds, np.bincount(codes).tolist(), strict=True))
        first_rows = dict(zip(kinds, invalid.rows[np.unique(codes, return_index=True)[1]].tolist(), strict=True))
    wanted = counts | ({BROKEN: content.broken} if content.broken else {})
    kind_of, first = {row: kind for kind, row in first_rows.items()}, dict[str, Fault]()
    for row, fault in content.faults(sorted(kind_of), invalid.describe if invalid else lambda *_: "invalid"):
        first.setdefault(BROKEN if row is None else kind_of[row], fault)
        if len(first) == len(wanted):
            break
    ordered = sorted(first, key=lambda kind: (-wanted[kind], first[kind].number))
    shown = first[ordered[0]]
    text = f"{content.unit} {shown.number}: {shown.problem}"
    if sum(wanted.values()) == 1:
        return ordered[0], f"{text}: {shown.content}"
    n_lines = len(next(iter(content.columns.values()))) + content.broken
    in_lines = {kind: f"{shortened(kind, LONGEST_NAME)} in {wanted[kind]:,}" for kind in ordered}
    text += f" ({in_lines[ordered[0]]} of {n_lines:,} {content.unit}s): {shortened(shown.content, 60)}"
    others, rest = ordered[1 : 1 + MOST_OTHERS], ordered[1 + MOST_OTHERS :]
    more = [f"{in_lines[kind]} (first in {content.unit} {first[kind].number})" for kind in others]
    more += [f"other faults in {sum(wanted[kind] for kind in rest):,}"] if rest else []
    return ordered[0], "; ".join([text, ", ".join(more)] if more else [text])


def refuse(content: Content, place: Place, bad: Any, why: str | Callable[[Any], str]) -> None:
    """`raise_invalid` for the rows at which `bad` (bool [n]) is true of a column; `why` says what a value is, after "is"."""
    raise_invalid(content, invalid_in(content, place, bad, why))


def problem_of(place: Place, value: Any, why: str | Callable[[Any], str]) -> str:
    """The message about an invalid value of a column."""
    if value is None:
        return f"column {place!r} has no value"
    return f"{shortened(str(place), LONGEST_NAME)} {quoted(value)} is {why if isinstance(why, str) else why(value)}"
