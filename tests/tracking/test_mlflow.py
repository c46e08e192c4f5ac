import logging
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from recsys_ae.errors import DataError
from recsys_ae.tracking import Tracker, local_model, make_tracker
from recsys_ae.tracking.mlflow_tracker import MlflowTracker, store_uri

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
    client = MlflowClient(tracking_uri=store)
    found = client.get_run(run.id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.parentRunId"] == parent.id
    assert found.data.params == {"hidden": "[500]", "axis": "item"}
    assert found.data.metrics["ndcg_at_10"] == 0.25
    assert "rmse" not in found.data.metrics
    assert len(client.get_metric_history(run.id, "train_loss")) == 1501
    assert found.inputs.dataset_inputs[0].dataset.digest == "0" * 32
    assert found.inputs.dataset_inputs[0].tags[0].value == "train"
    assert (local_model(f"runs:/{run.id}/model", store) / "model.json").read_text() == "{}"
    beside = Path(store.removeprefix("sqlite:///")).parent
    assert list(beside.glob(f"mlruns/{run.id}/artifacts/model/model.json"))


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (SystemExit, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_crash_is_recorded(store, error, status):
    tracker = make_tracker(store, "crash")
    with pytest.raises(error), tracker.run("pipeline") as run:
        raise error
    assert MlflowClient(tracking_uri=store).get_run(run.id).info.status == status


def test_a_run_can_be_continued_and_one_that_was_lost_killed(store):
    tracker, client = MlflowTracker(store, "resume"), MlflowClient(tracking_uri=store)
    with tracker.run("pipeline") as first:
        pass
    with tracker.run("pipeline", resume=first.id) as second:
        assert client.get_run(first.id).info.status == "RUNNING"
    assert second.id == first.id
    assert client.get_run(first.id).info.status == "FINISHED"
    tracker.kill(first.id)
    assert client.get_run(first.id).info.status == "KILLED"


def test_tracking_that_fails_never_fails_the_experiment(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING, "recsys_ae"):
        tracker = make_tracker(f"sqlite:///{tmp_path}/file/mlflow.db", "broken")
        with tracker.run("pipeline") as run:
            run.params({"a": 1})
            run.metrics({"b": 2.0})
            run.artifact(tmp_path / "absent")
    assert run.id is None
    assert tracker.hint() is None
    assert any("the experiment goes on without" in message for message in caplog.messages)


def test_a_store_that_breaks_halfway_is_reported_once(store, caplog, monkeypatch):
    tracker = make_tracker(store, "half")

    def fail(*_, **__):
        raise OSError("disk on fire")

    with caplog.at_level(logging.WARNING, "recsys_ae"), tracker.run("pipeline") as run:
        monkeypatch.setattr(MlflowClient, "log_batch", fail)
        for epoch in range(5):
            run.metrics({"loss": epoch})
    assert sum("disk on fire" in message for message in caplog.messages) == 1


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
        local_model("runs:/none/model", store)


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
