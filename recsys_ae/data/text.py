"""Separated text as one clean UTF-8 stream, read fast by Arrow, and line by line by Python's csv module.

Both read the same bytes in the same dialect, so they agree. The csv module reads the first line, locates errors, and checks
quotes strictly where they look unusual.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from recsys_ae.data.reading import check_is_text, unpacked
from recsys_ae.errors import DataError, quoted

BLOCK = 2**20  # bytes read at a time, and the longest line that Arrow can read
ESCAPED = dict(zip(range(0xDC80, 0xDD00), range(0x10FF80, 0x110000), strict=True))  # lone surrogates -> for private use
STAND_IN = "\x1f"  # for a separator of several characters or beyond ASCII, because Arrow takes only one byte
NO_TEXT = "not text: it has a NUL or unit separator; for UTF-16, declare encoding: utf-16-le or utf-16-be"
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # after UTF-32, whose marks begin with them


class Line(NamedTuple):
    """A record of a file: the number of its first line from 1, and its fields."""

    number: int
    fields: list[str]


@dataclass(frozen=True)
class Dialect:
    """How fields of text are separated; see `data.layouts.FileLayout`. `quote` is None if fields are never quoted."""

    separator: str
    quote: str | None
    encoding: str | None

    @property
    def mark(self) -> str:
        """The single character that separates fields in the cleaned stream."""
        return self.separator if len(self.separator) == 1 and self.separator.isascii() else STAND_IN


def default_quote(separator: str) -> str | None:
    """The quotation mark for a separator if none is declared."""
    return '"' if separator in (",", ";") else None


def lines(path: Path, dialect: Dialect) -> Iterator[Line]:
    """The records of a file that are not empty; bytes that cannot be decoded are lone surrogates.

    Raises:
        DataError: malformed quotes, with their line; a NUL or unit separator character.
    """
    with unpacked(path) as raw, _long_fields():
        stream = _Cleaned(raw, dialect, path)
        text = io.TextIOWrapper(io.BufferedReader(stream, BLOCK), "utf-8", errors="surrogateescape", newline="")
        style: dict[str, Any] = {"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE}
        reader = csv.reader(text, delimiter=dialect.mark, strict=True, **style)
        while True:
            number = reader.line_num + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise DataError(_malformed(path, number, str(error))) from None
            if fields is None:
                return
            if fields and "\0" in "".join(fields):
                raise DataError(f"{path}, line {number}: {NO_TEXT}")
            if fields and dialect.quote and dialect.mark != dialect.separator:
                fields = [field.replace(dialect.mark, dialect.separator) for field in fields]
            if fields:
                yield Line(number, fields)


class Columns(NamedTuple):
    """Columns of a file by place from 0, and the number of records skipped because they have too many or too few fields."""

    by_place: dict[int, pa.ChunkedArray]
    left_out: int


def read_columns(
    path: Path, dialect: Dialect, width: int, skip: int, types: Mapping[int, pa.DataType], decimal: str, *, lenient: bool
) -> Columns | None:
    """Columns of a file, or None if a value is not of its type or a line does not have its form.

    Args:
        width: number of fields.
        skip: number of rows before the data; empty lines count, and a quoted row that spans several lines counts once.
        types: type of each column that is wanted, by its place from 0.
        decimal: decimal mark.
        lenient: skip lines with the wrong number of fields, and keep text that cannot be decoded (see `undecoded`); the
            result is then None only if a line is longer than a block.

    Raises:
        DataError: as for `lines`.
    """
    left_out: list[int] = []

    def leave_out(row: pa_csv.InvalidRow) -> str:
        left_out.append(row.actual_columns)
        return "skip"

    options = (
        pa_csv.ReadOptions(column_names=[str(place) for place in range(width)], skip_rows_after_names=skip, block_size=BLOCK),
        pa_csv.ParseOptions(
            delimiter=dialect.mark,
            quote_char=dialect.quote or False,
            newlines_in_values=dialect.quote is not None,
            invalid_row_handler=leave_out if lenient else None,
        ),
        pa_csv.ConvertOptions(
            column_types={str(place): kind for place, kind in types.items()},
            include_columns=[str(place) for place in types],
            null_values=[],
            decimal_point=decimal,
        ),
    )
    with unpacked(path) as raw:
        stream = _Cleaned(raw, dialect, path, escape=lenient)
        try:
            content = pa_csv.read_csv(pa.PythonFile(stream, mode="r"), *options)
        except pa.ArrowInvalid:
            return None
        unusual = stream.odd_characters or stream.odd_quotes()
    if unusual:
        for _ in lines(path, dialect):  # raises if it is malformed, not only unusual
            pass
    found = {place: content[str(place)] for place in types}
    if dialect.quote and dialect.mark != dialect.separator:
        found = {place: _with_separators(column, dialect) for place, column in found.items()}
    return Columns(found, len(left_out))


def _with_separators(column: pa.ChunkedArray, dialect: Dialect) -> pa.ChunkedArray:
    """A column with the separators inside quoted text restored."""
    if not pa.types.is_dictionary(column.type):
        return column
    restored = [(one.indices, pc.replace_substring(one.dictionary, dialect.mark, dialect.separator)) for one in column.chunks]
    return pa.chunked_array([pa.DictionaryArray.from_arrays(*one) for one in restored], column.type)


def decoded(text: str) -> bool:
    """Whether all bytes of a text from `lines` could be decoded."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def undecoded(texts: pa.Array) -> Any:
    """Which texts from lenient `read_columns` have bytes that could not be decoded, bool [n]."""
    return pc.match_substring_regex(texts, r"[\x{10FF80}-\x{10FFFF}]").to_numpy(zero_copy_only=False).astype(bool)


class _Cleaned(io.RawIOBase):
    """The content of a file as UTF-8 without a byte order mark, in which one ASCII character separates fields.

    Bytes that cannot be decoded are passed on unchanged or, with `escape`, as private-use characters, which the reader of a
    field can detect. The stream also records whether it had NUL characters, and whether all quotes enclose whole fields
    (RFC 4180).
    """

    def __init__(self, raw: io.BufferedReader, dialect: Dialect, path: Path, *, escape: bool = False) -> None:
        self._raw, self._dialect, self._path, self._escape = raw, dialect, path, escape
        first = self._raw.read(16)
        check_is_text(first)
        bom = next((bom for bom in MARKS if first.startswith(bom)), b"")
        self._encoding = dialect.encoding or MARKS.get(bom, "utf-8")
        is_utf8 = codecs.lookup(self._encoding).name in ("utf-8", "utf-8-sig")
        plain = is_utf8 and not escape
        self._decoder = None if plain else codecs.getincrementaldecoder(self._encoding)("surrogateescape")
        self._fresh = first[3:] if is_utf8 and bom == codecs.BOM_UTF8 else first
        self._ready, self._last, self._newlines, self._begun = b"", b"", 0, False
        self._quotes = _Quotes(dialect) if dialect.quote else None
        self.odd_characters = False

    def readable(self) -> bool:
        return True

    def odd_quotes(self) -> bool:
        """Whether a quotation mark does not enclose a whole field, or is not closed."""
        return self._quotes is not None and self._quotes.odd

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes, fewer only at the end: Arrow treats each read as a block, which must hold a whole line."""
        parts, length = [self._ready], len(self._ready)
        while (size < 0 or length < size) and (block := self._next()):
            parts.append(block)
            length += len(block)
        block = b"".join(parts) if len(parts) > 1 else parts[0]
        size = length if size < 0 else size
        self._ready = block[size:]
        return block[:size] if self._ready else block

    def readinto(self, buffer: Any) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def _next(self) -> bytes:
        """The next cleaned bytes; empty only at the end."""
        while True:
            raw, self._fresh = self._fresh + self._raw.read(BLOCK - len(self._fresh)), b""
            block = self._decode(raw) if self._decoder else raw
            if self._dialect.mark != self._dialect.separator:
                block = self._one_mark(block)
            if not raw and self._last not in b"\r\n":
                block += b"\n"  # Arrow does not see the end of a header without it
            self._last = block[-1:] or self._last
            if b"\0" in block:
                self.odd_characters = True
            if self._quotes:
                self._quotes.see(block, last=not raw)
            if block or not raw:
                return block

    def _decode(self, raw: bytes) -> bytes:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(raw, final=not raw)
            if not self._begun:
                text, self._begun = text.removeprefix("\ufeff"), bool(text)
            if self._escape and not decoded(text):
                text = text.translate(ESCAPED)
            block = text.encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            good = raw[: error.start].decode(self._encoding, "ignore") if isinstance(error, UnicodeDecodeError) else ""
            line = self._newlines + good.count("\n") + 1
            raise DataError(f"{self._path}, line {line}: not valid {self._encoding}; declare another encoding") from None
        self._newlines += block.count(b"\n")
        return block

    def _one_mark(self, block: bytes) -> bytes:
        """`block` with each separator replaced by the stand-in; it is extended if it ends in the middle of one."""
        separator, mark = self._dialect.separator.encode(), STAND_IN.encode()
        while block and block[-1:] in separator and (more := self._raw.read(1)):
            block += self._decode(more) if self._decoder else more
        if mark in block:
            self.odd_characters = True
            block = block.replace(mark, b"\0")
        return block.replace(separator, mark)


class _Quotes:
    """Strict check of quotes, block by block: every second one closes a field, the others open a field or are doubled."""

    def __init__(self, dialect: Dialect) -> None:
        self._quote = ord(dialect.quote or "")
        self._borders = np.frombuffer(f"{dialect.mark}\r\n{dialect.quote}".encode(), np.uint8)
        self._rest = b"\n"  # the end of the last block: one byte, or two if the last is a quote
        self._open = False
        self.odd = False

    def see(self, block: bytes, *, last: bool) -> None:
        if self.odd or not (last or self._quote in block or self._rest[-1] == self._quote):
            self._rest = block[-1:] or self._rest
            return
        text = np.frombuffer(self._rest + block + (b"\n" if last else b""), np.uint8)
        at = np.flatnonzero(text[1:-1] == self._quote) + 1
        opens = (np.arange(len(at)) % 2 == 0) ^ self._open
        beside = text[np.where(opens, at - 1, at + 1)]
        # A quote that opens a field after another one is doubled: the one before must have closed it right there.
        self.odd = not np.isin(beside, self._borders).all()
        self._open ^= len(at) % 2 == 1
        self.odd |= last and self._open
        self._rest = text[-2:].tobytes() if text[-1] == self._quote else text[-1:].tobytes()


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read fields of any length, as Arrow does."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _malformed(path: Path, number: int, problem: str) -> str:
    if "unexpected end" in problem:
        problem = "a quotation mark is never closed"
    elif "expected after" in problem:
        problem = "text follows a closing quotation mark"
    return f"{path}, line {number}: {problem}; double the quotation marks inside quoted text, or declare quote: none"


def shown_line(fields: list[str], dialect: Dialect) -> str:
    """A record as shown in messages."""
    text = dialect.separator.join(fields).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return quoted(text, limit=160)
