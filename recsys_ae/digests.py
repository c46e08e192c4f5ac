"""Content hashes: 32 hex digits, the same on every platform."""

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

SIZE = 16  # bytes
BLOCK = 2**18  # numbers that are converted at a time


def digest_of(parts: Iterable[str | bytes | memoryview]) -> str:
    """The hash of concatenated texts and bytes."""
    found = blake2b(digest_size=SIZE)
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()


def bytes_of(array: NDArray[Any], dtype: str) -> Iterator[bytes]:
    """The numbers of an array [n] as bytes of a type such as "<i8", block by block."""
    for start in range(0, len(array), BLOCK):
        yield array[start : start + BLOCK].astype(dtype).tobytes()


def digest_of_json(*values: Any) -> str:
    """The hash of JSON values."""
    return digest_of([json.dumps(values)])


def digest_of_file(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=SIZE)).hexdigest()
