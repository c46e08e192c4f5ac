"""The interface of trackers; these base classes record nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DatasetFacts:
    """One part of a run's data: name, content hash, origin, role (such as "train"), sizes, and what it consists of."""

    name: str
    digest: str
    source: str
    context: str
    profile: Mapping[str, Any]
    kind: str = "interactions"


class TrackedRun:
    """One run: a pipeline, or a model within it."""

    id: str | None = None

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float | None]) -> None: ...
    def history(self, name: str, values: Mapping[int, float]) -> None:
        """Record many steps of one metric at once."""

    def dataset(self, facts: DatasetFacts) -> None: ...
    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or the content of a folder."""


class Tracker:
    """Records runs. This one does not (`--tracking-uri none`)."""

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        """A new run below the run `parent`, or the run `resume`, each an id.

        It ends with the block: finished, failed if the block raises, killed if it is interrupted.
        """
        yield TrackedRun()

    def kill(self, run_id: str) -> None:
        """Mark a run as killed whose process could not do so."""

    def hint(self) -> str | None:
        """The command that shows the results."""
        return None
