"""An MLflow store, used through its client only: no global run, no global URI."""

import json
import logging
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any

import mlflow.entities as entities
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from recsys_ae.errors import DataError
from recsys_ae.files import locked
from recsys_ae.tracking import CONTINUES
from recsys_ae.tracking.processes import HEARTBEAT, HOST, PLACE, PROCESS, is_gone, own_tags
from recsys_ae.tracking.reasons import reason
from recsys_ae.tracking.record import (
    ARTIFACT,
    CONTINUE,
    DATASET,
    END,
    METRICS,
    MODEL,
    PARAMS,
    REGISTER,
    START,
    TAGS,
    VIEW,
    Entry,
    Record,
    now,
)
from recsys_ae.tracking.registry import fill_model, give_alias, register, start_model
from recsys_ae.tracking.sender import RefusedError
from recsys_ae.tracking.uris import sqlite_path, store_uri
from recsys_ae.tracking.views import view_tag

PAGE = 1000  # results, and metrics, that MLflow handles in one call
PARAMS_AND_TAGS = 100  # of each, in one call
logger = logging.getLogger(__name__)
PAUSES = 0.1, 0.5  # seconds before further attempts to record a dataset
WAIT, CREATION = 5.0, 30.0  # seconds for another process that has locked a store, and for one that creates it
RECORD = "recsys_ae.record"  # tag of a run: its id in its record
PARENT = "mlflow.parentRunId"
MODELS_FIRST = {"mlflow.experimentKind": "custom_model_development"}  # the page opens on runs, not on traces of agents
REFUSED = {400, 413, 414, 415, 422}  # HTTP status of refusals, such as that of a proxy for which a file is too large
REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "PERMISSION_DENIED"}

for name in ("mlflow", "alembic", "sqlalchemy", "urllib3"):  # what fails is reported here, in one sentence
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class MlflowStore:
    """One experiment of the store at `uri`; see `sender.Store`."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        self.experiment_id: str | None = None
        self._client: MlflowClient | None = None

    @property
    def client(self) -> MlflowClient:
        self._client = self._client or connect(self.uri)
        return self._client

    def open(self) -> None:
        """Find or create the experiment. Artifacts of a SQLite store go to `mlruns` beside it."""
        path = sqlite_path(self.uri)
        if path is None:
            self.experiment_id = self._find_or_create(None)
            return
        # two simultaneous first runs would both create the tables of a local store, and one would fail
        with locked(path.with_name(f"{path.name}.lock"), "another run is opening the same store", CREATION):
            self.experiment_id = self._find_or_create((path.parent / "mlruns").as_uri())

    def _find_or_create(self, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            tags = dict(MODELS_FIRST)
            try:
                return str(self.client.create_experiment(self.experiment, artifact_location=artifacts, tags=tags))
            except MlflowException:
                if (found := self.client.get_experiment_by_name(self.experiment)) is None:  # else another run was faster
                    raise
        if found.lifecycle_stage != entities.LifecycleStage.ACTIVE:
            raise DataError(f"the experiment {self.experiment} has been deleted; restore it, or declare another one")
        for key in MODELS_FIRST.keys() - found.tags.keys():
            self.client.set_experiment_tag(found.experiment_id, key, MODELS_FIRST[key])
        return str(found.experiment_id)

    def send(self, batch: Sequence[Entry], record: Record, runs: dict[str, str]) -> None:
        first = batch[0]
        try:
            if first.kind == START:
                runs[first.run] = self._started(first, runs)
                return
            if not first.run:  # a header
                return
            run = self._stored(first.run, runs)
            if first.kind == CONTINUE:
                self.client.update_run(run, status="RUNNING")
                self._log_batch(run, [("tags", entities.RunTag(*pair)) for pair in first.content["tags"].items()])
            elif first.kind == END:
                self.client.set_terminated(run, first.content["status"], first.time)
                for tag in {HEARTBEAT, PLACE, PROCESS} & self.client.get_run(run).data.tags.keys():
                    self.client.delete_tag(run, tag)  # of no more use, and clutter on the run's page
            elif first.kind == DATASET:
                self._log_inputs(run, _dataset_input(**first.content))
            elif first.kind == ARTIFACT:
                self._store_files(run, record, **first.content)
            elif first.kind == MODEL:
                self._log_model(run, record, runs, first)
            elif first.kind == VIEW:
                self._offer_view(first.time, **first.content)
            elif first.kind == REGISTER:
                self._register(run, first.time, **first.content)
            else:
                self._log_batch(run, [thing for entry in batch for thing in self._values(entry, runs)])
        except Exception as error:
            raise _judged(error) from None

    def _started(self, entry: Entry, runs: dict[str, str]) -> str:
        """The run that an entry starts, created unless an earlier attempt did."""
        if found := self._with_record_id(entry.run):
            return found
        tags = {**entry.content["tags"], RECORD: entry.run, HEARTBEAT: str(entry.time)}
        if parent := entry.content.get("parent"):
            tags[PARENT] = self._stored(parent, runs)
        created = self.client.create_run(
            str(self.experiment_id), start_time=entry.time, run_name=entry.content["name"], tags=tags
        )
        return str(created.info.run_id)

    def _stored(self, run: str, runs: dict[str, str]) -> str:
        """The id in the store of a run of this record, or of the record of another process."""
        if (known := runs.get(run)) is None:
            if (known := self._with_record_id(run)) is None:
                known = str(self.client.get_run(run).info.run_id)
            runs[run] = known
        return known

    def _with_record_id(self, run: str) -> str | None:
        found = self.client.search_runs([str(self.experiment_id)], f"tags.`{RECORD}` = '{run}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _values(self, entry: Entry, runs: dict[str, str]) -> Iterator[tuple[str, Any]]:
        """What `log_batch` takes, with the name of its argument."""
        if entry.kind == METRICS:
            for name, value, step in entry.content["values"]:
                model = runs.get(_model_name(entry.run))
                yield "metrics", entities.Metric(metric_name(name), value, entry.time, step, model)
        elif entry.kind == PARAMS:
            for key, value in entry.content["values"].items():
                yield "params", entities.Param(key, value)
        elif entry.kind == TAGS:
            for key, value in entry.content["values"].items():
                yield "tags", entities.RunTag(key, self._stored(value, runs) if key == CONTINUES else value)

    def _log_batch(self, run: str, things: Sequence[tuple[str, Any]]) -> None:
        for kind, size in (("params", PARAMS_AND_TAGS), ("tags", PARAMS_AND_TAGS), ("metrics", PAGE)):
            own = [thing for found, thing in things if found == kind]
            for start in range(0, len(own), size):
                part: dict[str, Any] = {kind: own[start : start + size]}
                self.client.log_batch(run, **part)

    def _log_inputs(self, run: str, dataset: entities.DatasetInput) -> None:
        """Record a dataset. MLflow fails if two runs record the same new one at once; a moment later it exists."""
        for pause in (*PAUSES, None):
            try:
                self.client.log_inputs(run, datasets=[dataset])
                return
            except MlflowException:
                if pause is None:
                    raise
                time.sleep(pause)

    def _store_files(self, run: str, record: Record, path: str, folder: str | None) -> None:
        place = record.path_of(path)
        if not place.exists():
            raise RefusedError(f"{place} is gone")
        (self.client.log_artifacts if place.is_dir() else self.client.log_artifact)(run, str(place), folder)

    def _log_model(self, run: str, record: Record, runs: dict[str, str], entry: Entry) -> None:
        folder = record.path_of(entry.content["path"])
        if not folder.exists():
            raise RefusedError(f"{folder} is gone")
        name = _model_name(entry.run)
        if name not in runs:
            runs[name] = start_model(self.client, run)
        fill_model(self.client, run, runs[name], folder)

    def _register(self, run: str, at: int, name: str, alias: str | None) -> None:
        version = register(self.client, run, name)
        also = f" and models:/{name}@{alias}" if alias and give_alias(self.client, version, alias, at) else ""
        logger.info("registered as models:/%s/%s%s (run %s)", name, version.number, also, version.pipeline)

    def _offer_view(self, at: int, name: str, columns: list[str]) -> None:
        """Add a view to the experiment, unless it is there already, perhaps changed by a person."""
        tags = self.client.get_experiment(str(self.experiment_id)).tags
        for key, value in view_tag(name, columns, at).items():
            if key not in tags:
                self.client.set_experiment_tag(str(self.experiment_id), key, value)

    def beat(self, runs: Sequence[str]) -> None:
        for run in runs:
            try:
                self.client.set_tag(run, HEARTBEAT, str(now()))
            except Exception as error:
                if not isinstance(_judged(error), RefusedError):  # such as that of a deleted run: no reason not to send
                    raise

    def tidy(self, own: Iterable[str]) -> None:
        with suppress(Exception):  # no reason not to send
            close_lost(self.client, besides=own, host=own_tags()[HOST])


def connect(uri: str) -> MlflowClient:
    """A client for the store at `uri`, which is created if it is a SQLite file that does not exist."""
    warnings.filterwarnings("ignore", module="mlflow|sqlalchemy|alembic")  # they warn about each other
    if (path := sqlite_path(uri)) is not None:
        _check_sqlite(str(path))
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def existing(uri: str) -> MlflowClient:
    """A client for the store at `uri`; `DataError` if it is a SQLite file that does not exist, which MLflow would create."""
    store = store_uri(uri)
    if (path := sqlite_path(store)) is not None and not path.is_file():
        raise DataError(f"there is no MLflow store {path}; pass the right one as --tracking-uri")
    return connect(store)


def _check_sqlite(path: str) -> None:
    """Fail at once, where MLflow would try for minutes, or upgrade the file and lock older versions out."""
    with closing(sqlite3.connect(path, timeout=WAIT)) as store:
        store.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = store.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
        store.rollback()
    if tables and "experiments" not in tables:
        raise DataError(f"{path} is a database of another program, without tables of MLflow; name another file")
    expected = _schema() if found else None
    if found and expected and found[0] != expected:
        raise DataError(
            f"{path} was written by another version of MLflow (schema {found[0]}, this one has {expected}); "
            "install the version that wrote it, or back the file up and run `mlflow db upgrade` on it"
        )


def _schema() -> str | None:
    """The version of the tables of the installed MLflow; None if that is unknown."""
    try:
        from mlflow.store.db.utils import _get_latest_schema_revision

        return str(_get_latest_schema_revision())
    except Exception:  # the function is not public
        return None


def close_lost(client: MlflowClient, *, besides: Iterable[str] = (), host: str | None = None) -> list[Any]:
    """Close the runs whose process is gone (see `is_gone`) as killed, at their last sign of life; returns them.

    Args:
        besides: ids of runs that are left alone.
        host: only runs of the host with this name.
    """
    everywhere = [str(one.experiment_id) for one in pages(client.search_experiments)]
    condition = f"attributes.status = 'RUNNING' and tags.`{RECORD}` != ''"
    condition += f" and tags.`{HOST}` = '{host}'" if host else ""
    running = {run.info.run_id: run for run in pages(client.search_runs, everywhere, filter_string=condition)}
    closed = []
    for run in running.values():
        root = run
        while (parent := root.data.tags.get(PARENT)) is not None:
            root = running.get(parent) or client.get_run(parent)
        beats = [int(one.data.tags.get(HEARTBEAT, 0)) for one in (run, root)]
        if run.info.run_id not in {*besides} and is_gone(run.data.tags, max(beats), now()):
            client.set_terminated(run.info.run_id, "KILLED", max(run.info.start_time, *beats))
            closed.append(run)
    return closed


def pages(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """All results of a search of MLflow's client, page by page."""
    token, ask = None, partial(search, *arguments, **options)
    while True:
        page = ask(max_results=PAGE, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _judged(error: Exception) -> Exception:
    """The error, as a `RefusedError` if the store will never take the entry, else as one of a store that cannot be used now."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, DataError) or _status(error) in REFUSED:
        return RefusedError(reason(error))
    local = isinstance(error, OSError) and error.errno is not None and error.filename is not None  # of a file, not a network
    if local or (isinstance(error, MlflowException) and error.error_code in REFUSALS):
        return RefusedError(reason(error))
    return RuntimeError(reason(error))


def _status(error: Exception) -> int | None:
    """The HTTP status behind an error, if there is one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def metric_name(name: str) -> str:
    """A name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def _model_name(run: str) -> str:
    """The name under which the id of a run's logged model is kept among the ids of runs."""
    return f"{run}/model"


def _dataset_input(name: str, digest: str, part: str, profile: dict[str, Any], unit: str) -> entities.DatasetInput:
    source, schema = json.dumps({"uri": f"recsys-ae:{name}"}), json.dumps({"kind": unit})
    dataset = entities.Dataset(name, digest, "recsys-ae", source, schema, profile=json.dumps(profile))
    return entities.DatasetInput(dataset, [entities.InputTag("mlflow.data.context", part)])
