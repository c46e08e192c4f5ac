"""Recording of experiments: a small interface, implemented with MLflow, and by base classes that record nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class TrackedRun:
    """One run: a pipeline, or a model within it."""

    id: str | None = None

    def params(self, values: Mapping[str, Any]) -> None: ...
    def metrics(self, values: Mapping[str, float | None]) -> None: ...
    def history(self, name: str, values: Mapping[int, float]) -> None:
        """Record many steps of one metric at once."""

    def dataset(self, name: str, digest: str, part: str, profile: Mapping[str, Any], kind: str = "interactions") -> None:
        """Record one part of the data, such as "train", with its content hash, its sizes and what it consists of."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or the content of a folder."""


class Tracker:
    """Records runs. This one does not (`--tracking-uri none`)."""

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        """A new run, below the run `parent` if given, or the run `resume` continued; both are ids.

        It ends with the block: finished, failed if the block raises, killed if it is interrupted.
        """
        yield TrackedRun()

    def kill(self, run_id: str) -> None:
        """Mark a run as killed, if its process could not."""

    def hint(self) -> str | None:
        """The command that shows the results."""
        return None


def make_tracker(uri: str | None, experiment: str) -> Tracker:
    """A tracker for `uri`: "none" tracks nothing; None means $MLFLOW_TRACKING_URI, or else `mlflow.db` in this folder.

    Raises:
        ConfigError: MLflow does not support such a URI.
    """
    uri = _or_default(uri)
    if uri == "none":
        return Tracker()
    from recsys_ae.tracking.mlflow_tracker import MlflowTracker  # heavy

    return MlflowTracker(uri, experiment)


def local_model(folder_or_uri: str, tracking_uri: str | None) -> Path:
    """The local folder of a model: the one given, or the one downloaded from an MLflow URI (runs:/, models:/)."""
    if not folder_or_uri.startswith(("runs:/", "models:/", "mlflow-artifacts:/")):
        return Path(folder_or_uri)
    from recsys_ae.tracking.mlflow_tracker import download_model  # heavy

    return download_model(folder_or_uri, _or_default(tracking_uri))


def _or_default(uri: str | None) -> str:
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
