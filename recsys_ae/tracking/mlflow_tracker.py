"""Tracking with MLflow, through its client only: no global run, no global URI, and no errors for the caller.

MLflow takes a second or two to import, so this module is imported only when an experiment starts.
"""

import json
import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # an experiment on private data does not phone home
# by default, each call waits several minutes for a server that does not answer
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import mlflow.entities as entities
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from recsys_ae.errors import ConfigError, DataError, Terminated, quoted
from recsys_ae.files import locked
from recsys_ae.tracking import FITTED_ON, MODEL_DIGEST, TEST_DIGEST, ModelRun, TrackedRun, Tracker

BATCH = 1000  # metrics MLflow accepts in one call
SQLITE_OPTIONS = {"timeout", "isolation_level", "check_same_thread", "cached_statements", "detect_types"}
DATABASES, SERVERS = ("sqlite", "postgresql", "mysql", "mssql"), ("http://", "https://", "databricks")
GIVE_UP = 3  # consecutive failures after which nothing more is sent
PAUSES = (0.1, 0.5)  # seconds before further attempts to record a dataset
WAIT = 60.0  # seconds for another process that opens the same store

logger = logging.getLogger(__name__)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # its tracebacks repeat what is reported here


class MlflowTracker(Tracker):
    """Records runs in one experiment of the store at `uri`.

    A failure to record is logged as a warning, once per kind of call, and the experiment continues. After three consecutive
    failures, or without an experiment, nothing more is sent: a dead server must not slow down training. The store is opened
    by the first run, so that earlier failures leave no trace in it.

    Raises:
        ConfigError: MLflow does not support such a URI.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, self.experiment = store_uri(uri), experiment
        self._client: MlflowClient | None = None
        self._warned: set[str] = set()
        self._failures = 0
        self._experiment: str | None = None

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        if self._experiment is None:
            self._experiment = self._guarded("open the experiment", self._open)
            self._failures = GIVE_UP if self._experiment is None else 0
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

    def looks(self, digest: str, *, besides: str | None = None) -> int | None:
        path = _sqlite_path(self.uri)
        if path is not None and not path.is_file():  # MLflow would create it
            return 0
        found: int | None = self.attempt("count earlier tests", lambda client: _looks(client, digest, besides))
        return found

    def attempt(self, what: str, action: Callable[[MlflowClient], Any]) -> Any:
        """The result of `action`; None, after a warning, if it fails."""
        return self._guarded(what, lambda: action(self._connected()))

    def _guarded(self, what: str, action: Callable[[], Any]) -> Any:
        if self._failures >= GIVE_UP:
            return None
        try:
            result = action()
        except Exception as error:  # no failure of a tracker may end an experiment
            self._failures += 1
            if what not in self._warned:
                self._warned.add(what)
                logger.warning("MLflow could not %s (%s); the run continues without it", what, _reason(error))
            return None
        self._failures = 0
        return result

    def _connected(self) -> MlflowClient:
        self._client = self._client or MlflowClient(tracking_uri=self.uri)
        return self._client

    def _open(self) -> str:
        """The id of the experiment. Artifacts of a SQLite store go to `mlruns` beside it."""
        path = _sqlite_path(self.uri)
        if path is None:
            return self._find_or_create(None)
        # two simultaneous first runs would both create the tables of a local store, and one would fail
        with locked(path.with_name(f"{path.name}.lock"), "another run is opening the same store", WAIT):
            _check_writable(path)
            return self._find_or_create((path.parent / "mlruns").as_uri())

    def _find_or_create(self, artifacts: str | None) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the tables, from the library that makes them
            client = self._connected()
        if found := client.get_experiment_by_name(self.experiment):
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(self.experiment, artifact_location=artifacts))
        except MlflowException:
            if found := client.get_experiment_by_name(self.experiment):  # another process was faster
                return str(found.experiment_id)
            raise

    def _start(self, client: MlflowClient, name: str, parent: str | None, resume: str | None) -> str:
        if resume:
            client.update_run(resume, status="RUNNING")
            return resume
        tags = {"mlflow.source.name": "recsys-ae", **({"mlflow.parentRunId": parent} if parent else {})}
        return str(client.create_run(str(self._experiment), run_name=name, tags=tags).info.run_id)


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

    def tags(self, values: Mapping[str, str]) -> None:
        tags = [entities.RunTag(key, value) for key, value in values.items()]
        self.call("record tags", MlflowClient.log_batch, tags=tags)

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
        self.call("record the dataset", _log_inputs, inputs)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        method = MlflowClient.log_artifacts if path.is_dir() else MlflowClient.log_artifact
        self.call("store files", method, str(path), folder)


def _log_inputs(client: MlflowClient, run_id: str, inputs: list[entities.DatasetInput]) -> None:
    """Record datasets. MLflow fails where two runs record one that is new to the experiment at once: then it is known now."""
    for wait in (*PAUSES, None):
        try:
            client.log_inputs(run_id, datasets=inputs)
            return
        except MlflowException:
            if wait is None:
                raise
            time.sleep(wait)


def _looks(client: MlflowClient, digest: str, besides: str | None) -> int:
    """See `Tracker.looks`. Deleted runs count: what was learned from them is not forgotten."""
    everywhere = [str(one.experiment_id) for one in _pages(client.search_experiments, view_type=entities.ViewType.ALL)]
    search = partial(_pages, client.search_runs, everywhere, run_view_type=entities.ViewType.ALL)
    parents = [run.info.run_id for run in search(filter_string=f"tags.`{TEST_DIGEST}` = '{digest}'")]
    below = (f"tags.`mlflow.parentRunId` = '{parent}' and status = 'FINISHED'" for parent in parents if parent != besides)
    return sum(FITTED_ON not in run.data.params for condition in below for run in search(filter_string=condition))


def _pages(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """All results of a search of MLflow's client, page by page."""
    token = None
    while True:
        page = search(*arguments, **options, max_results=BATCH, page_token=token)
        yield from page
        if not (token := page.token):
            return


def model_run(uri: str, model: str, digest: str) -> ModelRun | None:
    """See `tracking.find_model_run`; None, after a warning, if the store fails."""
    store = store_uri(uri)
    if (path := _sqlite_path(store)) is not None and not path.is_file():  # MLflow would create it
        return None
    try:
        client = MlflowClient(tracking_uri=store)
        if model.startswith("runs:/"):
            found = client.get_run(model.removeprefix("runs:/").partition("/")[0])
        else:
            everywhere = [str(one.experiment_id) for one in _pages(client.search_experiments)]
            condition, latest = f"tags.`{MODEL_DIGEST}` = '{digest}'", ["attributes.start_time DESC"]
            runs = client.search_runs(everywhere, condition, max_results=1, order_by=latest)
            if not runs:
                return None
            found = runs[0]
        return ModelRun(str(found.info.run_id), str(client.get_experiment(found.info.experiment_id).name))
    except Exception as error:  # whatever MLflow's stores raise
        logger.warning("MLflow could not find the run of the model (%s)", _reason(error))
        return None


def download(uri: str, tracking_uri: str) -> Path:
    """A local copy of the artifact or model at `uri`; `DataError` if there is none."""
    store = store_uri(tracking_uri)
    if (path := _sqlite_path(store)) is not None and not path.is_file():  # MLflow would create it
        raise DataError(f"cannot get {uri}: there is no MLflow store {path}; pass the right one as --tracking-uri")
    try:
        client = MlflowClient(tracking_uri=store, registry_uri=store)
        place = _place_of(client, uri) if uri.startswith("models:/") else uri
        return Path(download_artifacts(artifact_uri=place, tracking_uri=store))
    except Exception as error:  # whatever MLflow's stores raise
        raise DataError(f"cannot get {uri} from {tracking_uri}: {_reason(error)}") from None


def _place_of(client: MlflowClient, uri: str) -> str:
    """The location of a registered model. MLflow's own function uses a global registry URI."""
    model, path = ModelsArtifactRepository.split_models_uri(uri)
    found = get_model_name_and_version(client, model)
    if len(found) == 1:
        place = str(client.get_logged_model(found[0]).artifact_location)
    else:
        place = client.get_model_version_download_uri(*found)
    place = _place_of(client, place) if place.startswith("models:/") else place
    return f"{place}/{path}" if path else place


def store_uri(uri: str) -> str:
    """`uri` of an MLflow store, with an absolute path if it is that of a SQLite file.

    Paths in URIs are percent-encoded: a question mark is %3F, a percent sign %25.
    """
    if uri.startswith(SERVERS):
        return uri
    expected = "use sqlite:///FILE, http(s)://..., a PostgreSQL, MySQL or SQL Server URI, or none"
    try:
        parsed = make_url(uri)
    except (ArgumentError, ValueError):
        raise ConfigError(f"{quoted(uri)} is not the URI of an MLflow store; {expected}") from None
    kind = parsed.get_backend_name()
    if kind not in DATABASES:
        raise ConfigError(f"{quoted(uri)} is not the URI of an MLflow store; {expected}")
    if kind != "sqlite":
        return uri
    if parsed.host or not parsed.database or parsed.database.startswith((":", "file:")) or "\0" in parsed.database:
        raise ConfigError(f"{quoted(uri)} does not name a file; use sqlite:///FILE, or sqlite:////FILE from the root")
    if other := parsed.query.keys() - SQLITE_OPTIONS:
        raise ConfigError(
            f"{quoted(uri)} has the unknown option {quoted(min(other))}; in the name of a file, write %3F for '?'"
        )
    return parsed.set(database=str(Path(parsed.database).absolute())).render_as_string(hide_password=False)


def _sqlite_path(uri: str) -> Path | None:
    return Path(make_url(uri).database or "") if uri.startswith("sqlite") else None


def _reason(error: Exception) -> str:
    """The first informative line of an error message."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("(raised as a result of")]
    return lines[0].strip() if lines else type(error).__name__


def _check_writable(path: Path) -> None:
    """Fail at once if SQLite cannot write to a store, where MLflow would retry for minutes."""
    with closing(sqlite3.connect(path, timeout=10)) as store:
        store.execute("BEGIN IMMEDIATE")
        store.rollback()
