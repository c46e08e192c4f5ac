import logging
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from filelock import FileLock
from mlflow.tracking import MlflowClient
from stores import found, steps

from recsys_ae.errors import ConfigError, DataError, TrackingError
from recsys_ae.tracking import Tracker, local_copy, make_tracker, mlflow_store
from recsys_ae.tracking.mlflow_tracker import MlflowTracker
from recsys_ae.tracking.record import read
from recsys_ae.tracking.upload import upload
from recsys_ae.tracking.uris import store_uri

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def test_everything_of_a_run_is_there(store, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    tracker = make_tracker(store, "all")
    with tracker.run("pipeline") as parent, tracker.run("autorec", parent=parent.id) as run:
        run.params({"hidden": [500], "axis": "item"})
        run.history("train_loss", {epoch: 1 / epoch for epoch in range(1, 1502)})
        run.metrics({"ndcg@10": 0.25, "rmse": None})
        run.dataset("planted", "0" * 32, "train", {"users": 3})
        run.artifact(tmp_path / "model", "model")
    assert tracker.missing is None
    one, above = found(store, run.id), found(store, parent.id)
    assert one.info.status == above.info.status == "FINISHED"
    assert one.data.tags["mlflow.parentRunId"] == above.info.run_id
    assert one.data.params == {"hidden": "[500]", "axis": "item"}
    assert one.data.metrics["ndcg_at_10"] == 0.25
    assert "rmse" not in one.data.metrics
    assert steps(store, one, "train_loss") == [(epoch, 1 / epoch) for epoch in range(1, 1502)]
    assert one.inputs.dataset_inputs[0].dataset.digest == "0" * 32
    assert one.inputs.dataset_inputs[0].tags[0].value == "train"
    assert (local_copy(f"runs:/{one.info.run_id}/model", store) / "model.json").read_text() == "{}"
    beside = Path(store.removeprefix("sqlite:///")).parent
    assert list(beside.glob(f"mlruns/{one.info.run_id}/artifacts/model/model.json"))


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (SystemExit, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_crash_is_recorded(store, error, status):
    tracker = make_tracker(store, "crash")
    with pytest.raises(error), tracker.run("pipeline") as run:
        raise error
    assert found(store, run.id).info.status == status


def test_a_run_is_continued(store, tmp_path):
    ids = []
    for value in ("first", "second"):
        tracker = MlflowTracker(store, "resume")
        tracker.keep_record(tmp_path)
        with tracker.run("pipeline", resume=ids[0] if ids else None) as run:
            run.params({value: 1})
        ids.append(run.id)
    assert ids[0] == ids[1]
    assert found(store, ids[0]).data.params == {"first": "1", "second": "1"}
    with make_tracker(store, "resume").run("pipeline", resume=ids[0]) as run:
        pass
    assert run.id != ids[0]  # that of another record is unknown here


def test_tracking_that_fails_never_fails_the_experiment(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING, "recsys_ae"):
        tracker = make_tracker(f"sqlite:///{tmp_path}/file/mlflow.db", "broken")
        tracker.keep_record(tmp_path / "out")
        with tracker.run("pipeline") as run:
            run.params({"a": 1})
            run.metrics({"b": 2.0})
            run.artifact(tmp_path / "absent")
    assert tracker.hint() is None
    assert "MLflow lacks 1 run, 1 metric value, 1 artifact, 1 other entry (" in caplog.messages[-1]
    assert caplog.messages[-1].endswith(f"; send the rest with: recsys-ae runs upload {tmp_path}/out")


def test_what_a_store_refuses_is_reported_and_the_rest_sent(store, tmp_path):
    tracker = make_tracker(store, "refused")
    tracker.keep_record(tmp_path)
    with tracker.run("pipeline") as run:
        run.params({"a": 1})
        run.params({"a": 2})
        run.artifact(tmp_path / "absent")
        run.metrics({"b": 2.0})
    assert tracker.missing.startswith("MLflow lacks 1 artifact, 1 other entry (")
    assert found(store, run.id).data.metrics == {"b": 2.0}
    assert found(store, run.id).data.params == {"a": "1"}
    (tmp_path / "absent").touch()
    with pytest.raises(TrackingError, match="still lacks 1 other entry"):
        upload(tmp_path, store)
    assert [one.path for one in MlflowClient(store).list_artifacts(found(store, run.id).info.run_id)] == ["absent"]


def test_a_store_that_breaks_halfway_is_reported_once_and_completed_later(store, caplog, monkeypatch, tmp_path):
    tracker = make_tracker(store, "half")
    tracker.keep_record(tmp_path)

    def fail(*_, **__):
        raise OSError("disk on fire")

    with caplog.at_level(logging.WARNING, "recsys_ae"), monkeypatch.context() as patch, tracker.run("pipeline") as run:
        patch.setattr(MlflowClient, "log_batch", fail)
        for epoch in range(5):
            run.metrics({"loss": epoch})
    assert sum("cannot be used (disk on fire)" in message for message in caplog.messages) == 1
    assert sum("lacks 5 metric values (disk on fire)" in message for message in caplog.messages) == 1
    assert upload(tmp_path, store) == 6
    assert upload(tmp_path, store) == 0
    one = found(store, run.id)
    assert (one.info.status, len(steps(store, one, "loss"))) == ("FINISHED", 5)
    (end,) = (entry.time for entry in read(tmp_path) if entry.kind == "end")
    assert one.info.end_time == end


def test_none_tracks_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = make_tracker("none", "x")
    assert type(tracker) is Tracker
    with tracker.run("pipeline") as run:
        run.metrics({"loss": 1})
    assert list(tmp_path.iterdir()) == []


def test_explicit_uri_wins_over_the_environment(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    assert type(make_tracker(None, "x")) is Tracker
    assert isinstance(make_tracker(store, "x"), MlflowTracker)


def test_relative_store_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_uri("http://localhost:5000") == "http://localhost:5000"


def test_missing_model_uri(store):
    with pytest.raises(DataError, match="cannot get runs:/none/model"):
        local_copy("runs:/none/model", store)


@pytest.mark.slow
def test_two_first_runs_share_a_new_store(tmp_path):
    script = (
        "import sys; from recsys_ae.tracking import make_tracker\n"
        "with make_tracker(sys.argv[1], 'both').run('pipeline') as run: assert run.id"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/mlflow.db"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a b", "was?#1", "100%25 grün", "a&b=c;d"])
def test_any_name_of_a_folder(tmp_path, here, name):
    """Given percent-encoded in a URI, or as the current folder of a relative one."""
    folder = tmp_path / name
    folder.mkdir()
    uri = store_uri(f"sqlite:///{quote(str(folder))}/runs.db")
    with make_tracker(uri, "x").run("pipeline") as run:
        run.artifact(Path(__file__))
    run_id = found(uri, run.id).info.run_id
    assert (folder / "runs.db").stat().st_size > 0
    assert list(folder.glob(f"mlruns/{run_id}/artifacts/test_mlflow.py"))
    os.chdir(folder)
    assert store_uri("sqlite:///runs.db") == uri
    assert sorted(path.name for path in folder.iterdir()) == ["mlruns", "runs.db", "runs.db.lock"]
    assert list(here.iterdir()) == []


NO_STORES = ["ftp://host/x", "mlruns", "./store", "file:///tmp/x", "s3://bucket", "nonsense://x", "://"]
NO_FILES = [
    "sqlite://",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite:/x.db",
    "sqlite:///file:x.db?uri=true",
    "sqlite://h/x.db",
    "sqlite:///a%00b",
]


@pytest.mark.parametrize("uri", [*NO_STORES, *NO_FILES, " "])
def test_invalid_store_uris_fail_before_anything_starts(here, uri):
    for use in (lambda: make_tracker(uri, "x"), lambda: local_copy("runs:/none/model", uri)):
        with pytest.raises(ConfigError, match=r"is not the URI of an MLflow store; use|does not name a file; use"):
            use()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "uri", ["http://h:5000", "https://h/x", "databricks", "postgresql://u:p%40@h/db", "mysql+pymysql://h/db"]
)
def test_stores_on_servers_are_left_as_they_are(uri):
    assert store_uri(uri) == uri


def test_a_store_is_opened_by_the_first_run(tmp_path):
    make_tracker(f"sqlite:///{tmp_path}/mlflow.db", "x")
    assert list(tmp_path.iterdir()) == []


def registered(store: str, tmp_path: Path) -> str:
    """A registered model with the alias `today`; returns its name."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text("{}")
    with make_tracker(store, "registry").run("one") as run:
        run.artifact(tmp_path / "model", "model")
    client, info = MlflowClient(tracking_uri=store, registry_uri=store), found(store, run.id).info
    client.create_registered_model("shop")
    version = client.create_model_version("shop", f"{info.artifact_uri}/model", info.run_id)
    client.set_registered_model_alias("shop", "today", version.version)
    return "shop"


def test_a_registered_model_is_found_in_the_store_that_is_named(tmp_path, here, monkeypatch):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    name = registered(store, tmp_path)
    for uri in (f"models:/{name}@today", f"models:/{name}/1"):
        assert (local_copy(uri, store) / "model.json").read_text() == "{}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert (local_copy(f"models:/{name}@today", None) / "model.json").read_text() == "{}"
    hint = "; recsys-ae promote gives aliases"
    for uri, end in ((f"models:/{name}@yesterday", hint), (f"models:/{name}/7", ""), ("models:/other@today", hint)):
        with pytest.raises(DataError, match=f"cannot get {uri} from [^;]*{end}$"):
            local_copy(uri, store)
    assert list(here.iterdir()) == []


def test_reading_creates_no_store(here):
    for uri in ("runs:/none/model", "models:/shop@today"):
        missing = f"there is no MLflow store {here}/mlflow.db; pass the right one as --tracking-uri"
        with pytest.raises(DataError, match=rf"cannot get {uri} from .*: {missing}"):
            local_copy(uri, None)
    assert list(here.iterdir()) == []


def goes_on(tracker: Tracker, caplog) -> str:
    """What the store of a run lacks at its end, which is also what its warning says."""
    with caplog.at_level(logging.WARNING, "recsys_ae"), tracker.run("pipeline") as run:
        run.metrics({"a": 1})
    assert caplog.messages[-1] == tracker.missing
    assert "MLflow lacks 1 run, 1 metric value (" in tracker.missing
    return tracker.missing


def test_a_lock_that_another_process_holds_is_not_waited_for_without_end(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(mlflow_store, "CREATION", 0.1)
    with FileLock(tmp_path / "mlflow.db.lock"):
        message = goes_on(make_tracker(f"sqlite:///{tmp_path}/mlflow.db", "x"), caplog)
    assert f"another run is opening the same store (process {os.getpid()} holds {tmp_path}/mlflow.db.lock" in message


def test_a_lock_file_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "mlflow.db.lock").mkdir()
    assert "cannot lock" in goes_on(make_tracker(f"sqlite:///{tmp_path}/mlflow.db", "x"), caplog)


def test_a_file_that_is_no_database(tmp_path, caplog):
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    assert "file is not a database" in goes_on(make_tracker(f"sqlite:///{tmp_path}/mlflow.db", "x"), caplog)
    assert (tmp_path / "mlflow.db").read_text() == "no database" * 100


def test_a_server_that_does_not_answer(caplog):
    assert "Connection refused" in goes_on(make_tracker("http://127.0.0.1:1", "x"), caplog)
