"""Content hashes of 32 hex digits, and hashes of numbers; the same on every platform."""

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 16  # bytes
BLOCK = 2**18  # numbers that are converted at a time
STEP = np.uint64(0x9E3779B97F4A7C15)  # from one state of SplitMix64 to the next


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


def splitmix64(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64-bit hashes of numbers: the finaliser of SplitMix64 (Steele et al. 2014)."""
    mixed = numbers + STEP
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
