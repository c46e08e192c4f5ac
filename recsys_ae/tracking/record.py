"""The record of a run: everything that is to be tracked, in order, in a file of its output folder.

The file is only ever appended to, a line of JSON per entry, so that it needs no store and survives a killed process. What has
reached a store is noted beside it, per store; see `Sent`.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from recsys_ae.digests import digest_of
from recsys_ae.errors import DataError, RecsysError, quoted, reason
from recsys_ae.files import make_folder, read_json, write_json

FOLDER, NAME = ".tracking", "record.jsonl"
HEADER, START, CONTINUE, END = "record", "start", "continue", "end"
PARAMS, TAGS, METRICS, DATASET = "params", "tags", "metrics", "dataset"
ARTIFACT, MODEL, REGISTER, VIEW = "artifact", "model", "register", "view"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One thing to track.

    Attributes:
        kind: one of the names above.
        run: the id of a run in this record; empty for a header.
        time: when it was added, in milliseconds since 1970.
        content: plain values.
        start, end: its place in the file, in bytes.
    """

    kind: str
    run: str
    time: int
    content: dict[str, Any]
    start: int
    end: int


@dataclass
class Sent:
    """How much of a record a store has.

    Attributes:
        end: the store has everything before this byte of the record, except what it refused.
        runs: ids in the store by ids in the record.
        refused: why the store refused an entry, by the byte at which the entry starts.
    """

    end: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Record:
    """The record in the folder `output`, to append to. Only one process may do so at a time.

    Runs that an earlier process left open are ended as killed at the time of its last entry. If the file cannot be written,
    a warning says so once, and `broken` says why: tracking ends, the run does not.
    """

    def __init__(self, output: Path) -> None:
        self.output, self.path = output, output / FOLDER / NAME
        self.broken: str | None = None
        self._lock = Lock()
        self._file: int | None = None
        self._size = 0
        try:
            make_folder(self.path.parent)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            self._size = _whole_lines(self.path)
            os.truncate(self.path, self._size)  # half a line of a process that was killed
            self._end_open_runs()
        except (OSError, DataError) as error:
            self._break(error)

    def append(self, kind: str, run: str = "", *, at: int | None = None, **content: Any) -> None:
        """Add an entry, now or `at` a time in milliseconds since 1970."""
        entry = {"kind": kind, "run": run, "time": now() if at is None else at, **content}
        line = json.dumps(entry, default=str).encode() + b"\n"
        with self._lock:
            if self._file is None:
                return
            try:
                if os.write(self._file, line) < len(line):
                    os.truncate(self.path, self._size)
                    raise OSError("the disk is full")
                self._size += len(line)
            except OSError as error:
                self._break(error)

    def sync(self) -> None:
        """Wait until the record is on the disk."""
        if self._file is not None:
            with suppress(OSError):  # not all file systems can
                os.fsync(self._file)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """The entries from the byte `start` on; none if the record is broken."""
        return iter(()) if self.broken else read(self.output, start)

    def path_of(self, written: str) -> Path:
        """The path of the file or folder that `name_of` called `written`."""
        return self.output / written  # which is `written` itself if that is absolute

    def name_of(self, path: Path) -> str:
        """A path relative to the output, which may be moved; an absolute one for what lies elsewhere."""
        own, output = path.absolute(), self.output.absolute()
        return str(own.relative_to(output)) if own.is_relative_to(output) else str(own)

    def model_folder(self, run: str) -> Path:
        """Where the MLflow model of a run is kept, for the stores that lack it."""
        return self.path.parent / "models" / run

    def knows(self, run: str) -> bool:
        return any(entry.run == run for entry in self.entries())

    def _break(self, error: OSError | DataError) -> None:
        self.broken = str(error) if isinstance(error, DataError) else f"cannot write {self.path}: {reason(error)}"
        logger.warning("tracking stops: %s; the run continues", self.broken)
        if self._file is not None:
            os.close(self._file)
        self._file = None

    def _end_open_runs(self) -> None:
        open_runs: dict[str, None] = {}
        heard = 0
        for entry in self.entries():
            heard = max(heard, entry.time)
            if entry.kind in (START, CONTINUE):
                open_runs[entry.run] = None
            elif entry.kind == END:
                open_runs.pop(entry.run, None)
        for run in reversed(open_runs):  # those within others first
            self.append(END, run, at=heard, status="KILLED")


def read(output: Path, start: int = 0) -> Iterator[Entry]:
    """The entries of the record in `output` from the byte `start` on; none if there is no record.

    Raises:
        DataError: a line of it is damaged.
    """
    path = output / FOLDER / NAME
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return  # being written
            yield _parsed(path, line, start)
            start += len(line)


def sent_path(output: Path, uri: str) -> Path:
    """The file that says how much of a record the store at `uri` has, whatever the login."""
    return output / FOLDER / f"sent-{digest_of([without_login(uri).encode()])[:12]}.json"


def without_login(uri: str) -> str:
    """`uri` without a user's name and password.

    >>> without_login("http://me:pw@host/x"), without_login("sqlite:////a@b")
    ('http://host/x', 'sqlite:////a@b')
    """
    return re.sub(r"(?<=://)[^/]*@", "", uri, count=1)


def read_sent(output: Path, uri: str) -> Sent:
    """How much of a record the store at `uri` has; nothing if that is unknown: what is sent twice is stored once."""
    with suppress(RecsysError):
        return read_json(Sent, sent_path(output, uri), "")
    return Sent()


def write_sent(sent: Sent, output: Path, uri: str) -> None:
    with suppress(RecsysError):  # see `read_sent`
        write_json(sent, sent_path(output, uri))


def lacks(output: Path, uri: str) -> list[Entry]:
    """What the store at `uri` lacks of the record in `output`."""
    sent = read_sent(output, uri)
    return [*refused(output, sent), *(entry for entry in read(output, sent.end) if entry.kind != HEADER)]


def is_incomplete(output: Path) -> bool:
    """Whether no store has all of the record in `output`."""
    with suppress(DataError):  # a damaged record is incomplete for ever
        if all(entry.kind == HEADER for entry in read(output)):
            return False
    end = (output / FOLDER / NAME).stat().st_size
    found: list[Sent] = []
    for path in (output / FOLDER).glob("sent-*.json"):
        with suppress(RecsysError):
            found.append(read_json(Sent, path, ""))
    return not any(sent.end == end and not sent.refused for sent in found)


def refused(output: Path, sent: Sent) -> list[Entry]:
    """The entries that a store refused."""
    return [next(read(output, start)) for start in sorted(map(int, sent.refused))]


def now() -> int:
    """The time in milliseconds since 1970."""
    return int(time.time() * 1000)


def _parsed(path: Path, line: bytes, start: int) -> Entry:
    try:
        content = json.loads(line)
        return Entry(content.pop("kind"), content.pop("run"), content.pop("time"), content, start, start + len(line))
    except (ValueError, KeyError, AttributeError, TypeError):
        shown = quoted(line.decode("utf-8", "replace").rstrip("\n"))
        raise DataError(f"{path} is damaged at byte {start}: {shown} is not an entry; nothing after it can be sent") from None


def _whole_lines(path: Path) -> int:
    """The length of a file without an incomplete last line, in bytes."""
    content = path.read_bytes()
    return content.rfind(b"\n") + 1
