"""Files and folders that appear whole or not at all, locked folders, and values as JSON."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from recsys_ae.errors import DataError, OutputError

T = TypeVar("T")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; the result becomes `path` at the end, or is removed if the block raises.

    Raises:
        OutputError: the disk is full, or the parent folder is missing or not writable.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        yield draft
        os.replace(draft, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        _remove(draft)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `path`, replacing an older one, under the same conditions as `whole_file`."""
    with whole_file(path) as draft:
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            shutil.rmtree(path)


@contextmanager
def locked(path: Path, busy: str, wait: float = 0) -> Iterator[None]:
    """Hold the lock file at `path`, for which to wait at most `wait` seconds.

    Raises:
        OutputError: another process holds it (with the message `busy`), or it cannot be made.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        waited = f" after {wait:.0f} seconds" if wait else ""
        raise OutputError(f"{busy} ({_holder(path)} holds {path}{waited})") from None
    except (OSError, NotImplementedError) as error:  # the latter on file systems without locks
        raise OutputError(f"cannot lock {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_folder(path: Path, busy: str) -> Iterator[None]:
    """Create `path` if needed, hold its lock, and remove drafts left by a process that was killed.

    Raises:
        OutputError: another process holds the lock (with the message `busy`), or the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with locked(path / ".lock", busy):
            for draft in list(path.rglob(".*.draft")):
                _remove(draft)
            yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _holder(path: Path) -> str:
    """The process that holds a lock, as far as the system tells."""
    with suppress(OSError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            if found := re.search(rf": FLOCK +ADVISORY +WRITE (\d+) \S+:{inode} ", line):
                return f"process {found[1]}"
    return "another process"


def write_json(value: Any, path: Path) -> None:
    """Write a value, which may be or contain dataclasses, as a whole file."""
    with whole_file(path) as draft:
        draft.write_text(json.dumps(value, indent=2, allow_nan=False, default=asdict) + "\n", encoding="utf-8")


def read_json(kind: type[T], path: Path) -> T:
    """The value of type `kind` in a JSON file; `DataError` if the file cannot be read or holds something else."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is damaged: {place}: {first['msg']}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
