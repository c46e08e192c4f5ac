"""Atomic files and folders, locks, and digests, which are verified before anything is read.

A JSON file ends with a checksum of its content. The digest of any other file is in a JSON file, that of a checkpoint in its
own header.
"""

import errno
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from recsys_ae.digests import digest_of_file, digest_of_json
from recsys_ae.errors import ConfigError, DataError, OutputError, described, quoted, reason

CHECKSUM = "checksum"
JSON_LIMIT = 2**28  # bytes; far more than any file written here

T = TypeVar("T")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft to write to, which becomes `path` at the end, or is removed if the block raises.

    It is synced before it is renamed, so that not even a power failure leaves half a file.

    Raises:
        OutputError: the disk is full, or the parent folder is missing or not writable.
    """
    draft = path.with_name(f".{path.name}.{token_hex(4)}.draft")  # unique, even among processes of several machines
    try:
        yield draft
        _sync(draft)
        move(draft, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        _remove(draft)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `path` as in `whole_file`, replacing an older folder.

    The older one is renamed first, so that it is never lost; see `present`.
    """
    try:
        with whole_file(path) as draft:
            make_folder(draft)
            yield draft
            _recover(path)
            if path.exists():
                _sync(draft)
                os.replace(path, _older(path))
    finally:
        _recover(path)


def present(path: Path) -> Path:
    """`path`, or the older folder if the process was killed between the two renames of `whole_folder`."""
    exists = os.path.exists  # False also for a name that is too long
    return _older(path) if not exists(path) and exists(_older(path)) else path


def missing_folders(path: Path) -> list[Path]:
    """The missing folders on the way to `path`, innermost first."""
    return [folder for folder in (path, *path.parents) if not os.path.exists(folder)]


def make_folder(path: Path) -> None:
    """Create a folder and its parents, or none of them if that fails."""
    missing = missing_folders(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the `folders` that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def move(source: Path, target: Path) -> None:
    """Rename a file or folder, durably; `target` is a file that is replaced, or does not exist."""
    os.replace(source, target)
    _sync_entry(target.parent)


def beside(path: Path, suffix: str) -> Path:
    """The path next to `path` with a suffix at its name; that of "." is the name of the current folder."""
    return Path(f"{path if path.name else path.absolute()}{suffix}")


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False also for an impossible name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_not_read(output: Path | None, *inputs: Path | str | None) -> None:
    """Raise `ConfigError` if the file `output` is one of the inputs."""
    for path in inputs:
        with suppress(OSError, ValueError):  # one of them does not exist
            if output is not None and path is not None and output.samefile(path):
                raise ConfigError(f"--output {output} would replace {path}, which is an input; choose another file")


@contextmanager
def locked(path: Path, busy: str, wait: float = 0) -> Iterator[None]:
    """Hold the lock file at `path`, waiting at most `wait` seconds for it.

    Raises:
        OutputError: another process holds it (with the message `busy`), or it cannot be created.
    """
    lock = FileLock(path)
    try:
        if not os.path.exists(path):
            path.touch()  # fails at once if no file can be created, where the lock would be tried until the timeout
        lock.acquire(timeout=wait)
    except Timeout:
        waited = f" after {wait:.0f} seconds" if wait else ""
        raise OutputError(f"{busy} ({_holder(path)} holds {path}{waited})") from None
    except (OSError, NotImplementedError) as error:  # the latter on file systems without locks
        why = reason(error) if path.parent.exists() else f"there is no folder {path.parent}"
        raise OutputError(f"cannot lock {path}: {why}") from None
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
        make_folder(path)
        with locked(path / ".lock", busy):
            for draft in list(path.rglob(".*.draft")):
                _remove(draft)
            for older in list(path.rglob(".*.older")):
                _recover(older.with_name(older.name[1 : -len(".older")]))
            yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error


def _holder(path: Path) -> str:
    """The process that holds a lock, if the system says."""
    with suppress(OSError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            if found := re.search(rf": FLOCK +ADVISORY +WRITE (\d+) \S+:{inode} ", line):
                return f"process {found[1]}"
    return "another process"


def check_file(path: Path, digest: str, remedy: str) -> None:
    """Raise `DataError` with a `remedy` unless the file is there, with this digest."""
    try:
        found = digest_of_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {remedy}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; {remedy}") from None
    if found != digest:
        raise DataError(f"{path} is damaged: its content has changed; {remedy}")


def write_json(value: Any, path: Path, *, of: str = "") -> None:
    """Write a dictionary or a dataclass as JSON; only `read_json` with the same `of` accepts the file.

    Raises:
        OutputError: a number is not finite, or the file cannot be written.
    """
    try:
        content = json.loads(json.dumps(value, allow_nan=False, default=asdict))
    except ValueError as error:
        raise OutputError(f"cannot write {path}: {error}") from None
    with whole_file(path) as draft:
        text = json.dumps({**content, CHECKSUM: digest_of_json(of, content)}, indent=2)
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
        if isinstance(own := first.get("ctx", {}).get("error"), ValueError):  # of a validator of `kind`
            raise DataError(f"{path}: {own}; {remedy}") from None
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is damaged: {quoted(place)[1:-1]}: {first['msg']}; {remedy}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(f"{path} is damaged: {problem}; {remedy}") from None
    if found != digest_of_json(of, content):
        whose = " or belongs to another run or model" if of else ""
        raise DataError(f"{path} is damaged{whose}: its checksum does not match; {remedy}")
    return value


def _parsed(path: Path) -> dict[str, Any]:
    """The object in a JSON file; `ValueError` or `RecursionError` if there is none."""
    if path.stat().st_size > JSON_LIMIT or not path.is_file():
        raise ValueError("it is not a file, or too large")
    try:
        content = strict_json(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    if not isinstance(content, dict):
        raise ValueError("it does not hold a JSON object")
    return content


def strict_json(text: str) -> Any:
    """The value of a JSON text; `ValueError` or `RecursionError` if it is malformed.

    Unlike for Python's own reader, keys do not occur twice, and numbers are finite and of a sane length.
    """
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark (BOM)")
    return _DECODER.decode(text)


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{quoted(text)} is not a finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"the number {quoted(text)} is too long")
    return int(text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {quoted(key)} occurs twice")
    return found


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=_finite, object_pairs_hook=_distinct)


def _unknown(found: Any, known: Any) -> str:
    """The path of the first key in `found` that is not in `known`; empty if there is none."""
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
    """Wait until a file, or a folder with all its content, is on the disk."""
    for entry in path.rglob("*") if path.is_dir() else ():
        _sync_entry(entry)
    _sync_entry(path)


def _sync_entry(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can sync folders
            raise
    finally:
        os.close(opened)


def _older(path: Path) -> Path:
    return path.with_name(f".{path.name}.older")


def _recover(path: Path) -> None:
    """Put the older folder back if `path` is missing, else remove it."""
    older = _older(path)
    if not os.path.exists(path) and os.path.exists(older):
        os.replace(older, path)
    else:
        _remove(older)


def _remove(path: Path) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def path_of(path: Path | str) -> Path:
    """`path` as a `Path`; `ConfigError` if it is something else, such as a data frame, or no path at all."""
    if not isinstance(path, str | Path):
        raise ConfigError(f"expected the path of a file or folder, got {described(path)}")
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise ConfigError(f"{quoted(str(path))} is not a path: it has a character that is not allowed in names") from None
    if b"\0" in encoded:
        raise ConfigError(f"{quoted(str(path))} is not a path: it has a NUL character")
    return Path(path)
