"""Reading of files in which every failure becomes a `DataError` that names the file."""

import csv
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys_ae.declaration import error_context
from recsys_ae.errors import DataError, quoted, reason, shortened, similar_path

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
COMPRESSED = (*CODECS, ".zip")
EXPANSION = 200  # a compressed file may expand to this many times its size,
SIGNATURES = {  # how binary files begin, and what to do with them
    b"\x1f\x8b": "a gzip file; name it .gz",
    b"BZh": "a bzip2 file; name it .bz2",
    b"\x28\xb5\x2f\xfd": "a Zstandard file; name it .zst",
    b"PK\x03\x04": "a zip archive or a spreadsheet; name an archive .zip, and export a spreadsheet as CSV",
    b"PAR1": "a Parquet file; name it .parquet",
    b"\xfd7zXZ": "an xz file; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"SQLite format 3": "a database; export a table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Office document; export it as CSV",
}
FREE_EXPANSION = 2**28  # or to this many bytes
BUFFER = 2**20
# What libraries that read files raise; their message follows ours, truncated.
FOREIGN: tuple[type[Exception], ...] = (OSError, EOFError, UnicodeError, OverflowError, RecursionError, NotImplementedError)
FOREIGN += (csv.Error, json.JSONDecodeError, pa.ArrowException, zipfile.BadZipFile, zlib.error, struct.error)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Report a missing or unreadable file as a `DataError`, and prefix the message of every `DataError` with `path`."""
    try:
        if problem := _not_a_file(path):
            raise DataError(problem)
        with error_context(str(path)):
            yield
    except FOREIGN as error:
        ending = path.suffix.lower()
        problem = "not a readable Parquet file" if ending == ".parquet" else "cannot be read"
        hint = f"; it may be damaged, or not what {ending} says" if ending in COMPRESSED else ""
        raise DataError(f"{shortened(str(path), 255)}: {problem}: {reason(error)}{hint}") from None


@contextmanager
def column_context(name: str | int) -> Iterator[None]:
    """Prefix the message of a `DataError` with the name of a column."""
    try:
        yield
    except DataError as error:
        raise DataError(f"column {name!r} {error}") from None


@contextmanager
def unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """The content of a file as a binary stream, decompressed by its ending (.gz, .bz2, .zst, .zip); errors as in `reading`.

    A compressed file that expands more than 200-fold and beyond 256 MiB is refused, as is a zip archive that is encrypted or
    has not exactly one member.
    """
    with reading(path):
        ending = path.suffix.lower()
        if ending == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(archive)) as member:
                yield io.BufferedReader(_Limited(member, path), BUFFER)
        elif ending in CODECS:
            with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, CODECS[ending]) as content:
                yield io.BufferedReader(_Limited(content, path), BUFFER)
        else:
            with path.open("rb") as plain:
                yield plain


def check_is_text(begin: bytes) -> None:
    """Raise `DataError` if content that begins like this is known not to be text."""
    if found := next((what for signature, what in SIGNATURES.items() if begin.startswith(signature)), None):
        raise DataError(f"this is {found}")


class _Limited(io.RawIOBase):
    """The content of a compressed file, up to a limit that depends on its size."""

    def __init__(self, content: Any, path: Path) -> None:
        self._content = content
        self._limit = max(FREE_EXPANSION, EXPANSION * path.stat().st_size)
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = int(self._content.readinto(buffer))
        self._done += size
        if self._done > self._limit:
            raise DataError(
                f"it expands to over {self._limit} bytes, {EXPANSION} times its size; if you trust it, unpack it first"
            )
        return size


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The only file in a zip archive, ignoring what macOS adds."""
    members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        raise DataError(f"a zip archive must hold exactly one file, but this one holds {len(members)}; unpack it first")
    if members[0].flag_bits & 1:
        raise DataError(f"{quoted(members[0].filename)} in the zip archive is encrypted; unpack it first")
    return members[0]


def _not_a_file(path: Path) -> str | None:
    if path.is_file():
        return None
    if not path.exists():
        return f"there is no file {shortened(str(path), 255)}{similar_path(path)}"
    return f"{path} is a folder, expected a file" if path.is_dir() else f"{path} is not a regular file; save its content as one"
