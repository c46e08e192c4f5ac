"""Tracking in MLflow, through its client only: no global run, no global URI, and never an error for the caller.

MLflow takes a second or two to import, so nothing imports this module before an experiment starts.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # an experiment on private data does not phone home
# by default, MLflow waits several minutes in each call for a server that does not answer
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import mlflow.entities as entities
from filelock import FileLock
from mlflow.tracking import MlflowClient

from recsys_ae.errors import DataError, Terminated
from recsys_ae.tracking.tracker import DatasetFacts, TrackedRun, Tracker

BATCH = 1000  # metrics MLflow accepts in one call
SQLITE = "sqlite:///"  # followed by a path; absolute ones begin with a fourth slash
GIVE_UP = 3  # failures in a row after which nothing more is sent

logger = logging.getLogger(__name__)


class MlflowTracker(Tracker):
    """Records runs in one experiment of the store at `uri`.

    A failure to record is logged as a warning, once per kind of call, and the experiment continues; after three failures in a
    row nothing more is sent, so that a dead server does not slow down training.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = absolute_uri(uri)
        self._warned: set[str] = set()
        self._failures = 0
        with _first_in(self.uri):
            self._client: MlflowClient | None = self._attempt("connect", lambda: MlflowClient(tracking_uri=self.uri))
            self._experiment = self._attempt("open the experiment", lambda: self._find_experiment(experiment))

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        run = MlflowRun(self, self._attempt("start a run", lambda: self._start(name, parent, resume)))
        status = "FINISHED"
        try:
            yield run
        except (KeyboardInterrupt, Terminated):
            status = "KILLED"
            raise
        except BaseException:
            status = "FAILED"
            raise
        finally:
            run.call("end the run", lambda client, run_id: client.set_terminated(run_id, status))

    def hint(self) -> str | None:
        if self._experiment is None:
            return None
        return self.uri if self.uri.startswith("http") else f"mlflow ui --backend-store-uri {self.uri}"

    def kill(self, run_id: str) -> None:
        client = self._client
        if client is not None:
            self._attempt("end an old run", lambda: client.set_terminated(run_id, "KILLED"))

    def _find_experiment(self, name: str) -> str:
        if self._client is None:
            raise RuntimeError("there is no connection")
        if path := _sqlite_path(self.uri):
            path.open("ab").close()  # MLflow would retry for minutes
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=_artifacts_beside(self.uri)))

    def _start(self, name: str, parent: str | None, resume: str | None) -> str:
        if self._client is None or self._experiment is None:
            raise RuntimeError("there is no experiment")
        if resume:
            self._client.update_run(resume, status="RUNNING")
            return resume
        tags = {"mlflow.parentRunId": parent} if parent else {}
        tags["mlflow.source.name"] = "recsys-ae"
        return str(self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)

    def _attempt(self, what: str, action: Callable[[], Any]) -> Any:
        if self._failures >= GIVE_UP:
            return None
        try:
            result = action()
        except Exception as error:  # no failure of a tracker may end an experiment
            self._failures += 1
            if what not in self._warned:
                self._warned.add(what)
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                logger.warning("MLflow could not %s (%s); the experiment goes on without", what, reason)
            return None
        self._failures = 0
        return result


class MlflowRun(TrackedRun):
    """One MLflow run; `id` is None if it could not be started."""

    def __init__(self, tracker: MlflowTracker, run_id: str | None) -> None:
        self.id = run_id
        self._tracker = tracker

    def call(self, what: str, action: Callable[[MlflowClient, str], object]) -> None:
        client, run_id = self._tracker._client, self.id
        if client is not None and run_id is not None:
            self._tracker._attempt(what, lambda: action(client, run_id))

    def params(self, values: Mapping[str, Any]) -> None:
        params = [entities.Param(key, str(value)) for key, value in values.items()]
        self.call("record parameters", lambda client, run_id: client.log_batch(run_id, params=params))

    def metrics(self, values: Mapping[str, float | None]) -> None:
        now = int(time.time() * 1000)
        known = {name: float(value) for name, value in values.items() if value is not None}
        self._log([entities.Metric(metric_key(name), value, now, 0) for name, value in known.items()])

    def history(self, name: str, values: Mapping[int, float]) -> None:
        now = int(time.time() * 1000)
        self._log([entities.Metric(metric_key(name), float(value), now, step) for step, value in values.items()])

    def dataset(self, facts: DatasetFacts) -> None:
        dataset = entities.Dataset(
            name=facts.name,
            digest=facts.digest,
            source_type="recsys-ae",
            source=json.dumps({"uri": facts.source}),
            schema=json.dumps({"kind": facts.kind}),
            profile=json.dumps(dict(facts.profile)),
        )
        inputs = [entities.DatasetInput(dataset, [entities.InputTag("mlflow.data.context", facts.context)])]
        self.call("record the dataset", lambda client, run_id: client.log_inputs(run_id, datasets=inputs))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        if path.is_dir():
            self.call("store files", lambda client, run_id: client.log_artifacts(run_id, str(path), folder))
        else:
            self.call("store a file", lambda client, run_id: client.log_artifact(run_id, str(path), folder))

    def _log(self, metrics: list[entities.Metric]) -> None:
        def send(client: MlflowClient, run_id: str) -> None:
            for start in range(0, len(metrics), BATCH):
                client.log_batch(run_id, metrics=metrics[start : start + BATCH])

        self.call("record metrics", send)


def download_model(uri: str, tracking_uri: str) -> Path:
    """A local copy of the model that MLflow stores under `uri`; `DataError` if there is none."""
    from mlflow.artifacts import download_artifacts

    try:
        return Path(download_artifacts(artifact_uri=uri, tracking_uri=absolute_uri(tracking_uri)))
    except Exception as error:  # whatever MLflow's stores raise
        raise DataError(f"cannot get {uri} from {tracking_uri}: {str(error).strip().splitlines()[0]}") from None


def metric_key(name: str) -> str:
    """A metric's name in MLflow, which does not allow `@`."""
    return name.replace("@", "_at_")


def absolute_uri(uri: str) -> str:
    """`uri` with an absolute path if it is that of a SQLite file, so that it is valid in any folder."""
    path = _sqlite_path(uri)
    return uri if path is None else SQLITE + str(path.absolute())


def _first_in(uri: str) -> AbstractContextManager[object]:
    """A lock beside a local SQLite store: two simultaneous first runs would both create its tables, and one would fail."""
    path = _sqlite_path(uri)
    return FileLock(f"{path}.lock") if path is not None and path.parent.is_dir() else nullcontext()


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def _artifacts_beside(uri: str) -> str | None:
    """Where artifacts of a local SQLite store go: the folder `mlruns` beside it. A server decides on its own."""
    path = _sqlite_path(uri)
    return None if path is None else (path.parent / "mlruns").as_uri()
