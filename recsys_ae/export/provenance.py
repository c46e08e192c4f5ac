"""How an export was made: what an audit asks for, and what may differ between two exports of the same lists."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recsys_ae.data.layouts import TitleFile
from recsys_ae.digests import digest_of_file
from recsys_ae.errors import DataError
from recsys_ae.files import is_file
from recsys_ae.surroundings import command, commit, commit_of_package, masked


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
        """The path of a file with the same bytes: the same path, or else any below a folder.

        Raises:
            DataError: there is none.
        """
        for path in (Path(self.path), *sorted(archive.rglob("*"))):
            if path.is_file() and path.stat().st_size == self.size and digest_of_file(path) == self.digest:
                return path
        raise DataError(f"no file below {archive} has the bytes that {self.path} had ({self.size} bytes, hash {self.digest})")


@contextmanager
def unchanged(paths: Mapping[str, Path | None]) -> Iterator[dict[str, InputFile]]:
    """What the files are that the block reads, by name; without those that are None, or missing.

    Raises:
        DataError: one has changed meanwhile, so that nobody could say later what was read.
    """
    found = {name: InputFile.of(path) for name, path in paths.items() if path is not None and is_file(path)}
    yield found
    for name, file in found.items():
        if not (path := Path(file.path)).is_file() or InputFile.of(path) != file:
            raise DataError(
                f"{path} ({name}) has changed while it was read; repeat the command, with a copy if it keeps growing"
            )


def title_option(layout: TitleFile | None) -> dict[str, Any]:
    """Among the options of `Sources`, the layout of the file of titles that a card declares; none if columns are recognised."""
    return {} if layout is None else {"titles": layout.model_dump(exclude_defaults=True)}


@dataclass(frozen=True)
class Sources:
    """Where the model, the history and the other inputs of an export come from, as far as the caller knows.

    Attributes:
        model: folder or URI of the model, as it was given, without secrets.
        run: id of the MLflow run that fitted it.
        files: the input files, by the option that names them, such as `history`.
        options: options that decide how the files are used, such as `skip_unknown`; see also `title_option`.
        skipped_events: events of the history that were left out because the model does not know their items.
        skipped_users: users of the history without any other events.
        skipped_lines: lines of the history that were left out because they are invalid. Items in them still count as seen, as
            far as user and item are valid.
    """

    model: str | None = None
    run: str | None = None
    files: dict[str, InputFile] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    skipped_events: int = 0
    skipped_users: int = 0
    skipped_lines: int = 0

    def __post_init__(self) -> None:
        if self.model is not None:
            object.__setattr__(self, "model", masked(self.model))


@dataclass(frozen=True)
class Provenance:
    """When, where and by what an export was made. Times are in ISO 8601, in UTC.

    Attributes:
        commit: of the working folder; `uncommitted_changes` says whether that has any.
        package_commit: of the checkout that recsys-ae was run from, with "+changes" if it had any; None if it was installed.
        command: the command line, without secrets.
        shards: the provenance of each merged shard, by its name such as 1/3; empty if one process made all lists.
    """

    started: str
    finished: str
    command: str
    host: str
    python: str
    commit: str | None
    uncommitted_changes: bool | None
    package_commit: str | None
    sources: Sources
    shards: dict[str, "Provenance"] = field(default_factory=dict)

    @classmethod
    def start(cls, sources: Sources | None) -> "Provenance":
        """The provenance of an export that starts now in this process."""
        found, changed = commit() or (None, None)
        code, edited = commit_of_package() or (None, False)
        package_commit = f"{code}+changes" if edited else code
        place = platform.node(), platform.python_version(), found, changed, package_commit
        return cls(_now(), "", command(), *place, sources or Sources())

    def finish(self) -> "Provenance":
        """The same provenance, finished now."""
        return replace(self, finished=_now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
