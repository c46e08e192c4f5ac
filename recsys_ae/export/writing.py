"""How lists are written to files: in which format, with a row per item or per user, with or without titles.

Files of every format and layout can be read back to the same table. R is the number of rows of a table.
"""

import json
import logging
from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.json as pjson

from recsys_ae.data.id_tables import read_titles
from recsys_ae.data.layouts import TitleFile
from recsys_ae.digests import digest_of
from recsys_ae.errors import ConfigError, DataError, reason
from recsys_ae.ids import IdMap, Rows, spelling_hint
from recsys_ae.parquet import read_parquet, write_parquet

logger = logging.getLogger(__name__)
Format = Literal["parquet", "csv", "csv-semicolon", "jsonl"]
Layout = Literal["rows", "lists"]
TITLE = "title"
LISTED = {"item_id": "item_ids", "score": "scores", TITLE: "titles"}  # columns of rows -> of lists
FORMULA = r"[=+\-@\t\r\n\x{FF0B}\x{FF0D}\x{FF1D}\x{FF20}]"  # starts what may be taken for a formula (OWASP, CSV injection)
BLOCK = 2**27  # bytes, more than any line
SLICE = 8_192  # lines of JSON made at a time


@dataclass(frozen=True, eq=False)
class Titles:
    """The titles of items: Arrow arrays of their ids [n], int64 or string, and of text [n]."""

    ids: pa.Array
    texts: pa.Array

    @classmethod
    def read(cls, path: Path, items: IdMap, layout: TitleFile | None = None) -> "Titles":
        """The titles in a file, which should be those of these items; see `data.id_tables.read_titles`."""
        frame = read_titles(path, items.kind, layout)
        if hint := spelling_hint(frame["item_id"][items.find(frame["item_id"]) < 0], items):
            logger.warning("%s has titles of items that the model does not know%s", path, hint)
        return cls(pa.array(frame["item_id"]), pa.array(frame["title"], pa.string()))

    def of(self, items: pa.ChunkedArray) -> pa.ChunkedArray:
        """The titles of item ids, string [R]; null where there is none."""
        at = pc.index_in(items, pc.cast(self.ids, items.type))
        return pc.take(self.texts, at)

    @cached_property
    def digest(self) -> str:
        """Content hash, 32 hex digits."""
        pairs = zip(self.ids.to_pylist(), self.texts.to_pylist(), strict=True)
        return digest_of([json.dumps(sorted(pairs))])


@dataclass(frozen=True)
class Writing:
    """How lists are written.

    Attributes:
        format: format of the files; JSON lines have an object per row. `csv-semicolon` is CSV for spreadsheets with decimal
            commas: semicolons between the fields, commas in numbers, a byte order mark, and no title that is a formula.
        layout: `rows` with the columns user_id, rank, item_id, score; or `lists`, a row per user with the arrays item_ids and
            scores, best first.
        titles: hash of the titles that are also written, in the column title or titles; empty if there are none.
    """

    format: Format = "parquet"
    layout: Layout = "rows"
    titles: str = ""

    def __post_init__(self) -> None:
        if self.ending == "csv" and self.layout == "lists":
            raise ConfigError("CSV has no arrays; write lists as jsonl or parquet, or rows as csv")

    @property
    def ending(self) -> str:
        """The ending of the names of the files, without a dot."""
        return self.format.partition("-")[0]

    def write(self, table: pa.Table, titles: Titles | None, path: Path) -> None:
        """Write lists (see `BlockScorer.table`) to a file."""
        if titles is not None:
            table = table.append_column(TITLE, titles.of(table["item_id"]))
        table = as_lists(table) if self.layout == "lists" else table
        if self.format == "parquet":
            write_parquet(table.schema, [table], path)
        elif self.format == "csv":
            pcsv.write_csv(table, path)
        elif self.format == "csv-semicolon":
            _write_for_spreadsheets(table, path)
        else:
            _write_lines(table, path)

    def read(self, path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
        """The lists in a file that `write` wrote, or some of their columns.

        Args:
            schema: schema of the lists as rows, with or without titles.

        Raises:
            DataError: the file cannot be read.
        """
        if self.format == "parquet" and self.layout == "rows":
            table = read_parquet(path, columns)  # with columns that should not be there, if any
            return table if TITLE not in table.column_names or TITLE in schema.names else table.drop_columns([TITLE])
        columns = schema.names if columns is None else columns
        try:
            table = self._stored(path, schema)
            return (as_rows(table, schema) if self.layout == "lists" else table).select(columns)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DataError(f"cannot read {path} as {self.format}: {reason(error)}") from None

    def _stored(self, path: Path, schema: pa.Schema) -> pa.Table:
        """The columns of a file, as they were written."""
        stored = list_schema(schema) if self.layout == "lists" else schema
        if self.format == "parquet":
            return read_parquet(path, stored.names)
        if self.ending == "csv":
            mark, separator = (",", ";") if self.format == "csv-semicolon" else (".", ",")
            types = {one.name: one.type for one in stored}
            nulls = {"strings_can_be_null": True, "quoted_strings_can_be_null": False, "null_values": [""]}
            convert = pcsv.ConvertOptions(column_types=types, include_columns=stored.names, decimal_point=mark, **nulls)
            parse = pcsv.ParseOptions(delimiter=separator, newlines_in_values=True)
            table = pcsv.read_csv(path, parse_options=parse, convert_options=convert)
            return _without_apostrophes(table) if separator == ";" else table
        if not path.stat().st_size:  # Arrow refuses empty files
            return stored.empty_table()
        options = pjson.ParseOptions(explicit_schema=stored, unexpected_field_behavior="ignore")
        return pjson.read_json(path, pjson.ReadOptions(block_size=BLOCK), options).select(stored.names)


def as_lists(table: pa.Table) -> pa.Table:
    """One row per user, with arrays of the other columns except the rank; adjacent rows of a user form a list."""
    ids = table["user_id"].combine_chunks()
    bounds = list_bounds(ids)
    offsets = pa.array(bounds, pa.int32())
    columns = {"user_id": ids.take(pa.array(bounds[:-1]))}
    for name, listed in LISTED.items():
        if name in table.column_names:
            columns[listed] = pa.ListArray.from_arrays(offsets, table[name].combine_chunks())
    return pa.table(columns)


def list_bounds(users: pa.Array) -> Rows:
    """The first row of each list, and the number of all, int64 [N + 1], given the user of each row."""
    first = np.r_[True, pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)][: len(users)]
    return np.r_[np.flatnonzero(first), len(users)]


def as_rows(lists: pa.Table, schema: pa.Schema) -> pa.Table:
    """The inverse of `as_lists`, with the columns in `schema`."""
    lists = lists.combine_chunks()
    items = lists["item_ids"].combine_chunks()
    lengths = pc.list_value_length(items).to_numpy(zero_copy_only=False)
    of_row = np.repeat(np.arange(len(lengths)), lengths)
    ranks = np.arange(len(of_row)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    columns = {"user_id": lists["user_id"].take(pa.array(of_row)), "rank": pa.array(ranks.astype(np.int32))}
    listed = {name: lists[LISTED[name]].combine_chunks() for name in schema.names if name in LISTED}
    return pa.table(columns | {name: pc.list_flatten(column) for name, column in listed.items()}, schema=schema)


def list_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of `as_lists` from that of rows."""
    lists = [(listed, pa.list_(schema.field(name).type)) for name, listed in LISTED.items() if name in schema.names]
    return pa.schema([schema.field("user_id"), *lists])


def _write_for_spreadsheets(table: pa.Table, path: Path) -> None:
    """Write CSV with semicolons, decimal commas and a byte order mark, without which umlauts would be garbled.

    Spreadsheets execute text that begins like a formula, so such titles get an apostrophe in front. So do titles that already
    have apostrophes there, so that `_without_apostrophes` can remove exactly one.
    """
    scores = pc.replace_substring(table["score"].cast(pa.string()), ".", ",")
    table = table.set_column(table.column_names.index("score"), "score", scores)
    if TITLE in table.column_names:
        titles = pc.replace_substring_regex(table[TITLE], f"^('*{FORMULA})", r"'\1")
        table = table.set_column(table.column_names.index(TITLE), TITLE, titles)
    with path.open("wb") as file:
        file.write(BOM_UTF8)
        pcsv.write_csv(table, file, pcsv.WriteOptions(delimiter=";"))


def _without_apostrophes(table: pa.Table) -> pa.Table:
    """A table from a file of `_write_for_spreadsheets`, with the titles as they were."""
    if TITLE not in table.column_names:
        return table
    titles = pc.replace_substring_regex(table[TITLE], f"^'('*{FORMULA})", r"\1")
    return table.set_column(table.column_names.index(TITLE), TITLE, titles)


def _write_lines(table: pa.Table, path: Path) -> None:
    """Write a JSON object per row, without Python objects for the values."""
    with path.open("wb") as file:
        for start in range(0, table.num_rows, SLICE):
            rows = table.slice(start, SLICE).combine_chunks()
            parts: list[pa.Array | str] = []
            for name in rows.column_names:
                column = rows[name].combine_chunks()
                parts += [f"{', ' if parts else '{'}{json.dumps(name)}: ", _json(column)]
            for line in pc.binary_join_element_wise(*parts, "}\n", "").to_pylist():
                file.write(line.encode())


def _json(column: pa.Array) -> pa.Array:
    """The values of a column as JSON, string [R]."""
    kind = column.type
    if pa.types.is_list(kind):
        texts = pa.ListArray.from_arrays(column.offsets, _json(column.values))
        return pc.binary_join_element_wise("[", pc.binary_join(texts, ", "), "]", "")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        codes = column.dictionary_encode()
        quoted = pa.array([json.dumps(text, ensure_ascii=False) for text in codes.dictionary.to_pylist()], pa.string())
        return pc.fill_null(quoted.take(codes.indices), "null")
    return column.cast(pa.string())
