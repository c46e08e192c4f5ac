"""Recording of experiments: a small interface, implemented with MLflow, and by base classes that record nothing."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys_ae.errors import ConfigError, RecsysError, TrackingError

# before MLflow is imported: an experiment on private data does not phone home
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# by default, each call waits several minutes for a server that does not answer; here, what fails is tried again later
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

MODEL_DIGEST = "model_digest"  # tag of a run: the digest of the model that it fitted
DESCRIPTION = "mlflow.note.content"  # tag of a run: the Markdown that MLflow shows as its description
TEST_DIGEST = "recsys_ae.test_digest"  # tag of a run: the digest of the test part of the models below it
CONTINUES = "recsys_ae.continues"  # tag of a run: the id of the interrupted run that it takes over from
TRIAL_STATE = "recsys_ae.trial_state"  # tag of a run that is a trial of a search: complete, pruned or failed
FITTED_ON = "fitted_on"  # parameter of a run whose model is fitted on all data and not tested


Tags = Mapping[str, str]
URIS = ("runs:/", "models:/", "mlflow-artifacts:/")  # beginnings of the URIs of what MLflow stores


class TrackedRun:
    """One run: a pipeline, or a model within it.

    Its `id` names it in other calls of this interface, and stays the same when it is continued; None if nothing is tracked.
    """

    id: str | None = None

    def params(self, values: Mapping[str, Any]) -> None: ...
    def tags(self, values: Tags) -> None:
        """Record text by which runs are found again, such as `TEST_DIGEST`; the value of `CONTINUES` is the id of a run."""

    def metrics(self, values: Mapping[str, float | None]) -> None:
        """Record metrics: those on the test part by their names, others with a prefix that ends with `/`."""

    def history(self, name: str, values: Mapping[int, float]) -> None:
        """Record many steps of one metric at once."""

    def dataset(self, name: str, digest: str, part: str, profile: Mapping[str, Any], kind: str = "interactions") -> None:
        """Record one part of the data, such as "train", with its content digest, its sizes and the kind of data."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or the content of a folder."""

    def model(self, write: Callable[[Path], None]) -> None:
        """Store the model of this run as a logged model; `write` writes it, as an MLflow model, to a new folder.

        Metrics recorded later belong to the model too.
        """

    def view(self, name: str, columns: Sequence[str]) -> None:
        """Add a view of the experiment's runs with these columns, such as "metrics.rmse" or "tags.winner"."""


class Tracker:
    """Records runs. This one does not (`--tracking-uri none`).

    Attributes:
        missing: what the store lacks once the last open run has ended, in one sentence; None if it has everything.
    """

    missing: str | None = None

    def keep_record(self, output: Path) -> None:
        """Keep the record of the runs that follow in the folder `output`, to be sent later if the store fails."""

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        """A new run, below the run `parent` if given, or the run `resume` continued; both are ids.

        It ends with the block: finished, failed if the block raises, killed if it is interrupted.
        """
        yield TrackedRun()

    def run_of(self, run_id: str) -> TrackedRun:
        """A run that has ended, to add to it."""
        return TrackedRun()

    def looks(self, digest: str, *, besides: Collection[str] = ()) -> int | None:
        """How many models were tested on the test part with this digest; None if that is unknown.

        These are the models of finished runs directly below a run with the tag `TEST_DIGEST`, in all experiments of the store,
        that have a metric on the test part, and the same test part as the run above. Models with the same `MODEL_DIGEST` count
        once, because another test of the same model shows nothing new; those with a digest in `besides` do not count.
        """
        return None

    def register(self, run_id: str, name: str, alias: str | None) -> None:
        """Register the logged model of a run as the next version of `name`, and give it the alias if there is one."""

    def hint(self) -> str | None:
        """The command that shows the results."""
        return None


def make_tracker(uri: str | None, experiment: str, *, required: bool = False) -> Tracker:
    """A tracker for `uri`: "none" tracks nothing; None means $MLFLOW_TRACKING_URI, or else `mlflow.db` in this folder.

    Args:
        required: whether the first run raises `TrackingError` if the store cannot be used.

    Raises:
        ConfigError: MLflow does not support such a URI, or nothing is tracked where that is required.
    """
    uri = default_uri(uri)
    if uri == "none":
        if required:
            raise ConfigError("tracking is required, but the tracking URI is 'none'; give that of a store")
        return Tracker()
    from recsys_ae.tracking.mlflow_tracker import MlflowTracker  # heavy

    return MlflowTracker(uri, experiment, required=required)


def local_copy(folder_or_uri: str, tracking_uri: str | None) -> Path:
    """A local file or folder: the one given, or one downloaded from an MLflow URI (runs:/, models:/)."""
    if not folder_or_uri.startswith(URIS):
        return Path(folder_or_uri)
    from recsys_ae.tracking.download import download  # heavy

    return download(folder_or_uri, default_uri(tracking_uri))


@contextmanager
def open_store(uri: str | None) -> Iterator[Any]:
    """A client of the MLflow store at `uri`, or the default one; it must exist.

    Raises:
        ConfigError: MLflow does not support such a URI.
        DataError: there is no such store.
        TrackingError: it cannot be used, or the client raises any error in the block.
    """
    uri = default_uri(uri)
    if uri == "none":
        raise ConfigError("the tracking URI is 'none'; give that of a store as --tracking-uri")
    from recsys_ae.surroundings import masked
    from recsys_ae.tracking.mlflow_store import existing  # heavy
    from recsys_ae.tracking.reasons import reason

    try:
        yield existing(uri)
    except RecsysError:
        raise
    except Exception as error:  # whatever MLflow's stores raise
        raise TrackingError(f"{masked(uri)} cannot be used: {reason(error)}") from None


def default_uri(uri: str | None) -> str:
    """`uri`, or else $MLFLOW_TRACKING_URI, or else `mlflow.db` in this folder."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
