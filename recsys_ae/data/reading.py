"""Reading files so that whatever goes wrong is a `DataError` that names the file."""

import csv
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys_ae.declaration import error_context
from recsys_ae.errors import DataError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Report a missing or unreadable file, and begin the message of every `DataError` with `path`."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    with error_context(str(path)):
        try:
            yield
        except (OSError, EOFError, UnicodeError, csv.Error, pa.ArrowException) as error:
            problem = "not a readable Parquet file" if path.suffix == ".parquet" else "cannot be read"
            raise DataError(f"{problem}: {error}") from None


@contextmanager
def unpacked(path: Path) -> Iterator[Any]:
    """The content of a file as a binary stream, decompressed if its name ends in `.gz`; errors as in `reading`."""
    with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
        yield content
