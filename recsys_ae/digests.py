"""Content hashes: 32 hex digits, the same on every platform."""

import json
from collections.abc import Iterable
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

SIZE = 16  # bytes


def digest_of(parts: Iterable[str | bytes | memoryview]) -> str:
    """The hash of concatenated texts and bytes."""
    found = blake2b(digest_size=SIZE)
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()


def digest_of_json(*values: Any) -> str:
    """The hash of JSON values."""
    return digest_of([json.dumps(values)])


def digest_of_file(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=SIZE)).hexdigest()
