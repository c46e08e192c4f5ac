"""Files and folders that appear whole or not at all, locked folders, and digests: no file is trusted because it exists.

A JSON file ends with a checksum of its content. A file of another kind has its digest in a JSON file, or, a checkpoint, in
itself. Both are compared before anything is used.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import blake2b, file_digest
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from recsys_ae.errors import ConfigError, DataError, OutputError, described, quoted

CHECKSUM = "checksum"
JSON_LIMIT = 2**28  # bytes; nothing that is written here comes near

T = TypeVar("T")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; the result becomes `path` at the end, or is removed if the block raises.

    It is on the disk before it gets its name, so that not even a power failure leaves half a file.

    Raises:
        OutputError: the disk is full, or the parent folder is missing or not writable.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        yield draft
        _sync(draft)
        move(draft, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        _remove(draft)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `path`, replacing an older one, under the same conditions as `whole_file`.

    The older one is renamed first, so that it is never lost: see `present`.
    """
    try:
        with whole_file(path) as draft:
            draft.mkdir(parents=True)
            yield draft
            _recover(path)
            if path.exists():
                _sync(draft)
                os.replace(path, _older(path))
    finally:
        _recover(path)


def present(path: Path) -> Path:
    """`path`, or the older folder if the process was killed in the moment between the two renames of `whole_folder`."""
    exists = os.path.exists  # False also for a name that is too long
    return _older(path) if not exists(path) and exists(_older(path)) else path


def move(source: Path, target: Path) -> None:
    """Rename a file or folder, durably; `target` is a file that is replaced, or does not exist."""
    os.replace(source, target)
    _sync_entry(target.parent)


def is_same(path: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or folder, which exists."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False


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
            for older in list(path.rglob(".*.older")):
                _recover(older.with_name(older.name[1 : -len(".older")]))
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


def digest_of(*values: Any) -> str:
    """Content hash (32 hex digits) of JSON values."""
    return blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def digest_of_file(path: Path) -> str:
    """Content hash (32 hex digits) of a file."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


def check_file(path: Path, digest: str, remedy: str) -> None:
    """Raise `DataError` with a `remedy` unless the file is there, with this digest."""
    try:
        found = digest_of_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {remedy}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; {remedy}") from None
    if found != digest:
        raise DataError(f"{path} is damaged: its content is not what was written; {remedy}")


def write_json(value: Any, path: Path, *, of: str = "") -> None:
    """Write a dictionary or a dataclass as a whole file, which only a reader with the same `of` will accept.

    Raises:
        OutputError: a number is not finite, or the file cannot be written.
    """
    try:
        content = json.loads(json.dumps(value, allow_nan=False, default=asdict))
    except ValueError as error:
        raise OutputError(f"cannot write {path}: {error}") from None
    with whole_file(path) as draft:
        text = json.dumps({**content, CHECKSUM: digest_of(of, content)}, indent=2)
        draft.write_text(text + "\n", encoding="utf-8")


def read_json(kind: type[T], path: Path, remedy: str, *, of: str = "") -> T:
    """The value of type `kind` that `write_json` wrote with the same `of`.

    Raises:
        DataError: the file cannot be read, is damaged or holds something else; the message ends with the `remedy`.
    """
    try:
        content = _parsed(path)
        found = content.pop(CHECKSUM, None)
        value = TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
        if unknown := _unknown(content, json.loads(json.dumps(value, default=asdict))):
            raise ValueError(f"{unknown}: unknown key")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if isinstance(reason := first.get("ctx", {}).get("error"), ValueError):  # of a validator of `kind`
            raise DataError(f"{path}: {reason}; {remedy}") from None
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is damaged: {quoted(place)[1:-1]}: {first['msg']}; {remedy}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(f"{path} is damaged: {reason}; {remedy}") from None
    if found != digest_of(of, content):
        whose = " or belongs to something else" if of else ""
        raise DataError(f"{path} is damaged{whose}: its content does not have its checksum; {remedy}")
    return value


def _parsed(path: Path) -> dict[str, Any]:
    """The object in a JSON file; `ValueError` or `RecursionError` if there is none."""

    def number(text: str) -> float:
        if not isfinite(value := float(text)):
            raise ValueError(f"{quoted(text)} is not a finite number")
        return value

    def whole(text: str) -> int:
        if len(text) > 40:
            raise ValueError(f"the number {quoted(text)} is too long")
        return int(text)

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"key {quoted(next(key for key in keys if keys.count(key) > 1))} occurs twice")
        return found

    if path.stat().st_size > JSON_LIMIT or not path.is_file():
        raise ValueError("it is no file of a reasonable size")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    content = json.loads(text, parse_float=number, parse_int=whole, parse_constant=number, object_pairs_hook=distinct)
    if not isinstance(content, dict):
        raise ValueError("it does not hold an object")
    return content


def _unknown(found: Any, known: Any) -> str:
    """The place of the first key in `found` that was not kept in `known`; empty if there is none."""
    if isinstance(found, dict) and isinstance(known, dict):
        for key, value in found.items():
            if key not in known:
                return quoted(key)
            if place := _unknown(value, known[key]):
                return f"{quoted(key)[1:-1]}.{place}"
    elif isinstance(found, list) and isinstance(known, list):
        for number, pair in enumerate(zip(found, known, strict=True)):
            if place := _unknown(*pair):
                return f"{number}.{place}"
    return ""


def _sync(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    for entry in path.rglob("*") if path.is_dir() else ():
        _sync_entry(entry)
    _sync_entry(path)


def _sync_entry(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can do it for folders
            raise
    finally:
        os.close(opened)


def _older(path: Path) -> Path:
    return path.with_name(f".{path.name}.older")


def _recover(path: Path) -> None:
    """Put the older folder back if its successor did not arrive, and remove it otherwise."""
    older = _older(path)
    if not path.exists() and older.exists():
        os.replace(older, path)
    else:
        _remove(older)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def path_of(path: Path | str) -> Path:
    """`path` as a `Path`; `ConfigError` if it is something else, such as a data frame."""
    if not isinstance(path, str | Path):
        raise ConfigError(f"expected the path of a file or folder, got {described(path)}")
    if "\0" in str(path):
        raise ConfigError(f"no file or folder can be called {quoted(str(path))}")
    return Path(path)
