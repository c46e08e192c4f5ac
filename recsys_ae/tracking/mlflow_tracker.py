"""Tracking with MLflow, which never delays or ends what is tracked.

Runs write to a record (`tracking.record`), from which a background thread sends everything to the store (`tracking.sender`).
MLflow takes a second or two to import, so this module is imported only when an experiment starts.
"""

import logging
import shlex
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow.entities as entities
from mlflow.tracking import MlflowClient

from recsys_ae.errors import RecsysError, Terminated, TrackingError, shortened
from recsys_ae.escapes import as_markdown
from recsys_ae.files import whole_folder
from recsys_ae.surroundings import masked
from recsys_ae.tracking import DESCRIPTION, MODEL_DIGEST, TEST_DIGEST, TrackedRun, Tracker
from recsys_ae.tracking.environment import environment_tags
from recsys_ae.tracking.mlflow_store import PARENT, MlflowStore, connect, metric_name, pages
from recsys_ae.tracking.processes import HEARTBEAT, own_tags
from recsys_ae.tracking.reasons import reason
from recsys_ae.tracking.record import (
    ARTIFACT,
    CONTINUE,
    DATASET,
    END,
    HEADER,
    METRICS,
    MODEL,
    PARAMS,
    REGISTER,
    START,
    TAGS,
    VIEW,
    Record,
    now,
    without_login,
)
from recsys_ae.tracking.sender import Sender
from recsys_ae.tracking.uris import sqlite_path, store_uri
from recsys_ae.tracking.views import view_key

HEAD_START = 5.0  # seconds that a server has to answer before the run goes on
# the same for any store if tracking is required, and for a SQLite store, which either fails sooner or is busy with creating its
# tables, which would slow training down
LONG = 60.0
PATIENCE, HURRY = 30.0, 5.0  # seconds without progress after which an ending run stops waiting; the same after a signal
LONGEST = 1000  # characters that say why a run failed
ANSWER = 10.0  # seconds for the answer to a question
TRAINING = "workflowType=machine_learning"  # else the pages open on traces of agents, whatever the kind of the experiment

logger = logging.getLogger(__name__)


class MlflowTracker(Tracker):
    """Records runs in one experiment of the store at `uri`.

    The store is opened by the first run, so that earlier failures leave no trace in it. When the last open run ends, the
    tracker waits for the rest to arrive, for a limited time; `missing` then says what the store lacks.

    Args:
        required: raise `TrackingError` before the first run starts if the store cannot be used.

    Raises:
        ConfigError: MLflow does not support such a URI.
    """

    def __init__(self, uri: str, experiment: str, *, required: bool = False) -> None:
        self.uri, self.experiment, self.required = store_uri(uri), experiment, required
        self.missing: str | None = None
        self._output: Path | None = None
        self._store = MlflowStore(self.uri, experiment)
        self._sender: Sender | None = None
        self._open = 0
        self._hint: str | None = None

    def keep_record(self, output: Path) -> None:
        self._output = output

    @contextmanager
    def run(self, name: str, *, parent: str | None = None, resume: str | None = None) -> Iterator[TrackedRun]:
        sender = self._sender or self._start()
        self._open += 1
        known = resume if resume and sender.record.knows(resume) else None
        run = MlflowRun(sender, known or uuid4().hex)
        status = "FAILED"
        try:
            if known:
                run.note(CONTINUE, tags={**own_tags(), HEARTBEAT: str(now())})
            else:
                surroundings = {} if parent else environment_tags()
                run.note(START, name=name, parent=parent, tags={**surroundings, **own_tags()})
            yield run
            status = "FINISHED"
        except (KeyboardInterrupt, Terminated):
            status = "KILLED"
            raise
        except Exception as error:
            why = str(error) if isinstance(error, RecsysError) else f"{type(error).__name__}: {error}"
            run.tags({DESCRIPTION: as_markdown(f"failed: {shortened(why, LONGEST)}")})
            raise
        finally:
            run.note(END, status=status)
            sender.record.sync()
            self._open -= 1
            if not self._open:
                self._finish(HURRY if status == "KILLED" else PATIENCE)

    def _start(self) -> Sender:
        """A sender whose store has had a little time to open; `TrackingError` if tracking is required and it is not open."""
        output = self._output or Path(tempfile.mkdtemp(prefix="recsys-ae-tracking-"))
        record = Record(output)
        record.append(HEADER, store=masked(self.uri), experiment=self.experiment)
        sender = Sender(record, self._store)
        local = sqlite_path(self.uri) is not None
        if not sender.ready(LONG if local or self.required else HEAD_START) and self.required:
            sender.finish(0)
            record.close()
            why = sender.failure or "it does not answer"
            raise TrackingError(f"tracking is required, but {masked(self.uri)} cannot be used: {why}")
        self._sender = sender
        return sender

    def _finish(self, patience: float) -> None:
        """Wait until everything is sent. A record that is complete, and not in an output folder, is removed."""
        sender = self._sender
        if sender is None:
            return
        self._sender, output = None, sender.record.output
        try:
            self.missing = sender.finish(patience)
        finally:
            sender.record.close()
        if sender.opened:
            views = [view_key(entry.content["columns"]) for entry in sender.record.entries() if entry.kind == VIEW]
            shown = f"&viewStateShareKey={views[-1]}" if views and self.missing is None else ""
            page = f"/#/experiments/{self._store.experiment_id}/runs?{TRAINING}{shown}"
            served = f"mlflow ui --backend-store-uri {masked(self.uri)}, then open http://127.0.0.1:5000{page}"
            self._hint = f"{without_login(self.uri)}{page}" if self.uri.startswith("http") else served
        if self.missing is not None:
            secret = "" if masked(self.uri) == self.uri else " --tracking-uri URI"  # which is not repeated here
            command = f"recsys-ae runs upload {shlex.quote(str(output))}{secret}"
            self.missing = f"MLflow lacks {self.missing}; send the rest with: {command}"
            if not self.required:
                logger.warning(self.missing)
        elif self._output is None:
            shutil.rmtree(output, ignore_errors=True)

    def run_of(self, run_id: str) -> TrackedRun:
        return MlflowRun(self._sender, run_id) if self._sender else TrackedRun()

    def register(self, run_id: str, name: str, alias: str | None) -> None:
        if self._sender is not None:
            MlflowRun(self._sender, run_id).note(REGISTER, name=name, alias=alias)

    def hint(self) -> str | None:
        return self._hint

    def looks(self, digest: str, *, besides: Collection[str] = ()) -> int | None:
        path = sqlite_path(self.uri)
        if path is not None and not path.is_file():  # MLflow would create it
            return 0
        if self._sender is not None:
            return self._sender.ask(lambda: _looks(self._store.client, digest, besides), ANSWER)
        try:
            return _looks(connect(self.uri), digest, besides)
        except Exception as error:  # whatever MLflow's stores raise
            logger.warning("MLflow cannot count earlier tests (%s)", reason(error))
            return None


class MlflowRun(TrackedRun):
    """One run, known by its id in the record, which is the tag `recsys_ae.record` of the run in MLflow."""

    def __init__(self, sender: Sender, run_id: str) -> None:
        self.id: str = run_id
        self._sender = sender

    def note(self, kind: str, **content: Any) -> None:
        """Add an entry to the record, to be sent when the store takes it."""
        self._sender.record.append(kind, self.id, **content)
        self._sender.wake()

    def params(self, values: Mapping[str, Any]) -> None:
        self.note(PARAMS, values={key: str(value) for key, value in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        self.note(TAGS, values=dict(values))

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        known = [(name, float(value), step) for name, value in values.items() if value is not None]
        if known:
            self.note(METRICS, values=known)

    def history(self, name: str, values: Mapping[int, float]) -> None:
        if values:
            self.note(METRICS, values=[(name, float(value), step) for step, value in values.items()])

    def dataset(self, name: str, digest: str, part: str, profile: Mapping[str, Any], kind: str = "interactions") -> None:
        self.note(DATASET, name=name, digest=digest, part=part, profile=dict(profile), unit=kind)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        self.note(ARTIFACT, path=self._sender.record.name_of(path), folder=folder)

    def view(self, name: str, columns: Sequence[str]) -> None:
        self.note(VIEW, name=name, columns=[metric_name(column) for column in columns])

    def model(self, write: Callable[[Path], None]) -> None:
        record = self._sender.record
        folder = record.model_folder(self.id)
        try:
            with whole_folder(folder) as draft:
                write(draft)
        except Exception as error:  # whatever MLflow raises while it writes
            logger.warning("the model of this run cannot be logged: %s", reason(error))
        else:
            self.note(MODEL, path=record.name_of(folder))


def _looks(client: MlflowClient, digest: str, besides: Collection[str]) -> int:
    """See `Tracker.looks`. Deleted runs count: what was learned from them is not forgotten."""
    everywhere = [str(one.experiment_id) for one in pages(client.search_experiments, view_type=entities.ViewType.ALL)]
    search = partial(pages, client.search_runs, everywhere, run_view_type=entities.ViewType.ALL)
    parents = search(filter_string=f"tags.`{TEST_DIGEST}` = '{digest}'")
    below = f"tags.`{PARENT}` = '{{}}' and status = 'FINISHED'"
    found = ((run, parent) for parent in parents for run in search(filter_string=below.format(parent.info.run_id)))
    tested = (run for run, parent in found if _is_tested(run) and _test_parts(run) == _test_parts(parent))
    return len({run.data.tags.get(MODEL_DIGEST, run.info.run_id) for run in tested}.difference(besides))


def _is_tested(run: entities.Run) -> bool:
    """Whether a run has a metric of the test part; all others have a prefix, see `TrackedRun.metrics`."""
    return any("/" not in name for name in run.data.metrics)


def _test_parts(run: entities.Run) -> set[str]:
    """The digests of the test parts that a run has as inputs: seeds may draw other parts than the first."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {one.dataset.digest for one in inputs if "test" in (tag.value for tag in one.tags)}
