"""Where an export is from: what an audit asks for, and what may differ between two exports of the same lists."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recsys_ae.digests import digest_of_file
from recsys_ae.errors import DataError
from recsys_ae.surroundings import command, commit, masked


@dataclass(frozen=True)
class InputFile:
    """A file that was read."""

    path: str  # absolute
    size: int  # bytes
    digest: str  # hash of its bytes

    @classmethod
    def of(cls, path: Path) -> "InputFile":
        return cls(str(path.absolute()), path.stat().st_size, digest_of_file(path))

    def find(self, archive: Path) -> Path:
        """Where a file with the same bytes is now: at the same path, else below a folder, under any name.

        Raises:
            DataError: nowhere.
        """
        for path in (Path(self.path), *sorted(archive.rglob("*"))):
            if path.is_file() and path.stat().st_size == self.size and digest_of_file(path) == self.digest:
                return path
        raise DataError(f"no file below {archive} has the bytes that {self.path} had ({self.size} bytes, hash {self.digest})")


@dataclass(frozen=True)
class Sources:
    """Where the model, the history and all else that an export was asked for come from, as far as the caller knows.

    Attributes:
        model: the folder or the URI of the model as it was given.
        run: id of the MLflow run that fitted it.
        files: by the name of the option that named them, such as `history`.
        options: others that decide how the files were read, such as `skip_unknown`.
        skipped_events: events of the history left out because of items that the model does not know.
        skipped_users: users of the history who have no other events.
    """

    model: str | None = None
    run: str | None = None
    files: dict[str, InputFile] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    skipped_events: int = 0
    skipped_users: int = 0

    @classmethod
    def of(cls, model: str, files: Mapping[str, Path | None], **others: Any) -> "Sources":
        """The sources with the digests of the files as they are now; those that are None were not given."""
        return cls(masked(model), files={name: InputFile.of(path) for name, path in files.items() if path}, **others)


@dataclass(frozen=True)
class Provenance:
    """How one export came about. Times are in ISO 8601, in UTC.

    Attributes:
        commit: of the working folder, which may have uncommitted changes.
        command: without secrets.
        shards: how the lists came about that this export merges, by shard; empty if one process made them.
    """

    started: str
    finished: str
    command: str
    host: str
    python: str
    commit: str | None
    uncommitted_changes: bool | None
    sources: Sources
    shards: dict[str, "Provenance"] = field(default_factory=dict)

    @classmethod
    def start(cls, sources: Sources | None) -> "Provenance":
        """That of an export which starts now in this process."""
        found, changed = commit() or (None, None)
        place = platform.node(), platform.python_version(), found, changed
        return cls(_now(), "", command(), *place, sources or Sources())

    def finish(self) -> "Provenance":
        """The same of an export that ends now."""
        return replace(self, finished=_now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
