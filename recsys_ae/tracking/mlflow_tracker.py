"""Tracking with MLflow, through its client only: no global run, no global URI, and no errors for the caller.

MLflow takes a second or two to import, so this module is imported only when an experiment starts.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # an experiment on private data does not phone home
# by default, each call waits several minutes for a server that does not answer
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import mlflow.entities as entities
from filelock import FileLock
from mlflow.tracking import MlflowClient

from recsys_ae.errors import DataError, Terminated
from recsys_ae.tracking import TrackedRun, Tracker

BATCH = 1000  # metrics MLflow accepts in one call
SQLITE = "sqlite:///"  # followed by a path; absolute ones begin with a fourth slash
GIVE_UP = 3  # consecutive failures after which nothing more is sent

logger = logging.getLogger(__name__)


class MlflowTracker(Tracker):
    """Records runs in one experiment of the store at `uri`.

    A failure to record is logged as a warning, once per kind of call, and the experiment continues. After three consecutive
    failures, or without an experiment, nothing more is sent: a dead server must not slow down training.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = absolute_uri(uri)
        self._client: MlflowClient | None = None
        self._warned: set[str] = set()
        self._failures = 0
        path = _sqlite_path(self.uri)
        # two simultaneous first runs would both create the tables of a local store, and one would fail
        with FileLock(f"{path}.lock") if path is not None and path.parent.is_dir() else nullcontext():
            self._experiment = self.attempt("open the experiment", lambda client: self._open(client, experiment, path))
        if self._experiment is None:
            self._failures = GIVE_UP

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        run = MlflowRun(self, self.attempt("start a run", lambda client: self._start(client, name, parent, resume)))
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        except (KeyboardInterrupt, Terminated):
            status = "KILLED"
            raise
        finally:
            run.call("end the run", MlflowClient.set_terminated, status)

    def hint(self) -> str | None:
        if self._experiment is None:
            return None
        return self.uri if self.uri.startswith("http") else f"mlflow ui --backend-store-uri {self.uri}"

    def kill(self, run_id: str) -> None:
        self.attempt("end an old run", lambda client: client.set_terminated(run_id, "KILLED"))

    def attempt(self, what: str, action: Callable[[MlflowClient], Any]) -> Any:
        """The result of `action`; None, after a warning, if it fails."""
        if self._failures >= GIVE_UP:
            return None
        try:
            self._client = self._client or MlflowClient(tracking_uri=self.uri)
            result = action(self._client)
        except Exception as error:  # no failure of a tracker may end an experiment
            self._failures += 1
            if what not in self._warned:
                self._warned.add(what)
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                logger.warning("MLflow could not %s (%s); the experiment goes on without", what, reason)
            return None
        self._failures = 0
        return result

    def _open(self, client: MlflowClient, name: str, path: Path | None) -> str:
        """The id of the experiment called `name`. Artifacts of the SQLite store at `path` go to `mlruns` beside it."""
        if path is not None:
            path.open("ab").close()  # MLflow would retry for minutes
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        artifacts = None if path is None else (path.parent / "mlruns").as_uri()
        return str(client.create_experiment(name, artifact_location=artifacts))

    def _start(self, client: MlflowClient, name: str, parent: str | None, resume: str | None) -> str:
        if resume:
            client.update_run(resume, status="RUNNING")
            return resume
        tags = {"mlflow.source.name": "recsys-ae", **({"mlflow.parentRunId": parent} if parent else {})}
        return str(client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)


class MlflowRun(TrackedRun):
    """One MLflow run; `id` is None if it could not be started."""

    def __init__(self, tracker: MlflowTracker, run_id: str | None) -> None:
        self.id = run_id
        self._tracker = tracker

    def call(self, what: str, method: Callable[..., object], *arguments: Any, **options: Any) -> None:
        """Call a method of the client with the id of this run, if there is one."""
        if self.id is not None:
            self._tracker.attempt(what, lambda client: method(client, self.id, *arguments, **options))

    def params(self, values: Mapping[str, Any]) -> None:
        params = [entities.Param(key, str(value)) for key, value in values.items()]
        self.call("record parameters", MlflowClient.log_batch, params=params)

    def metrics(self, values: Mapping[str, float | None]) -> None:
        self._log([(name, value, 0) for name, value in values.items() if value is not None])

    def history(self, name: str, values: Mapping[int, float]) -> None:
        self._log([(name, value, step) for step, value in values.items()])

    def _log(self, values: list[tuple[str, float, int]]) -> None:
        now = int(time.time() * 1000)
        # MLflow does not allow @ in names
        metrics = [entities.Metric(name.replace("@", "_at_"), float(value), now, step) for name, value, step in values]
        for start in range(0, len(metrics), BATCH):
            self.call("record metrics", MlflowClient.log_batch, metrics=metrics[start : start + BATCH])

    def dataset(self, name: str, digest: str, part: str, profile: Mapping[str, Any], kind: str = "interactions") -> None:
        source, schema = json.dumps({"uri": f"recsys-ae:{name}"}), json.dumps({"kind": kind})
        dataset = entities.Dataset(name, digest, "recsys-ae", source, schema, profile=json.dumps(dict(profile)))
        inputs = [entities.DatasetInput(dataset, [entities.InputTag("mlflow.data.context", part)])]
        self.call("record the dataset", MlflowClient.log_inputs, datasets=inputs)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        method = MlflowClient.log_artifacts if path.is_dir() else MlflowClient.log_artifact
        self.call("store files", method, str(path), folder)


def download_model(uri: str, tracking_uri: str) -> Path:
    """A local copy of the model that MLflow stores under `uri`; `DataError` if there is none."""
    from mlflow.artifacts import download_artifacts

    try:
        return Path(download_artifacts(artifact_uri=uri, tracking_uri=absolute_uri(tracking_uri)))
    except Exception as error:  # whatever MLflow's stores raise
        raise DataError(f"cannot get {uri} from {tracking_uri}: {str(error).strip().splitlines()[0]}") from None


def absolute_uri(uri: str) -> str:
    """`uri`, with an absolute path if it is that of a SQLite file."""
    path = _sqlite_path(uri)
    return uri if path is None else SQLITE + str(path.absolute())


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
