"""Recording of experiments: a small interface, implemented with MLflow, and by base classes that record nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

MODEL_DIGEST = "recsys_ae.model_digest"  # tag of a run: the digest of the model that it fitted
TEST_DIGEST = "recsys_ae.test_digest"  # tag of a run: the digest of the test part of the models below it
FITTED_ON = "fitted_on"  # parameter of a run whose model is fitted on all data and not tested


Tags = Mapping[str, str]
URIS = ("runs:/", "models:/", "mlflow-artifacts:/")  # beginnings of the URIs of what MLflow stores


class TrackedRun:
    """One run: a pipeline, or a model within it."""

    id: str | None = None

    def params(self, values: Mapping[str, Any]) -> None: ...
    def tags(self, values: Tags) -> None:
        """Record text by which runs are found again, such as `TEST_DIGEST`."""

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

    def looks(self, digest: str, *, besides: str | None = None) -> int | None:
        """How many models were tested earlier on the test part with this digest; None if that is unknown.

        These are the finished runs directly below a run with the tag `TEST_DIGEST`, in all experiments of the store, without
        final fits on all data. `besides` is the id of a run below which none counts, because it continues now.
        """
        return None

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


class ModelRun(NamedTuple):
    """The run that fitted a model."""

    id: str
    experiment: str  # its name


def find_model_run(uri: str, model: str, digest: str) -> ModelRun | None:
    """The run that a model is from: that in its URI `runs:/ID/...`, else the latest with its digest; None if there is none."""
    from recsys_ae.tracking.mlflow_tracker import model_run  # heavy

    return model_run(uri, model, digest)


def local_copy(folder_or_uri: str, tracking_uri: str | None) -> Path:
    """A local file or folder: the one given, or one downloaded from an MLflow URI (runs:/, models:/)."""
    if not folder_or_uri.startswith(URIS):
        return Path(folder_or_uri)
    from recsys_ae.tracking.mlflow_tracker import download  # heavy

    return download(folder_or_uri, _or_default(tracking_uri))


def _or_default(uri: str | None) -> str:
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
