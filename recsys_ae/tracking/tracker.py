"""What the experiments ask of a tracker, and the tracker that does nothing."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class DatasetFacts:
    """What a run says about one part of its data: its name, content hash, origin and role, numbers about it, and its kind."""

    name: str
    digest: str
    source: str
    context: str
    profile: Mapping[str, Any]
    kind: str = "interactions"


class TrackedRun(Protocol):
    """One run: a pipeline, or a model within it."""

    id: str | None

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float | None]) -> None: ...
    def history(self, name: str, values: Mapping[int, float]) -> None:
        """Many steps of one metric at once."""

    def dataset(self, facts: DatasetFacts) -> None: ...
    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or everything in a folder."""


class Tracker(Protocol):
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> AbstractContextManager[TrackedRun]:
        """A run that ends with the block: finished, failed if the block raises, killed if it is interrupted.

        Args:
            parent: id of the run this one belongs to.
            resume: id of a run to continue instead of a new one.
        """

    def kill(self, run_id: str) -> None:
        """Mark a run as killed that its process did not live to end."""

    def hint(self) -> str | None:
        """What to type to look at the results."""


class NullRun:
    """A run that records nothing."""

    id: str | None = None

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float | None]) -> None: ...
    def history(self, name: str, values: Mapping[int, float]) -> None: ...
    def dataset(self, facts: DatasetFacts) -> None: ...
    def artifact(self, path: Path, folder: str | None = None) -> None: ...


class NullTracker:
    """Tracks nothing (`--tracking-uri none`)."""

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        yield NullRun()

    def kill(self, run_id: str) -> None: ...

    def hint(self) -> str | None:
        return None
