"""Models and versions that are sent twice, in part, or too late."""

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
from mlflow.models import Model
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS
from requests import HTTPError, Response

from recsys_ae.tracking import make_tracker, mlflow_store
from recsys_ae.tracking.mlflow_store import MlflowStore
from recsys_ae.tracking.record import Record, sent_path
from recsys_ae.tracking.registry import Registry, Version, fill_model, give_alias, model_of, register, start_model
from recsys_ae.tracking.sender import Sender

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other
LATE = 2**42  # milliseconds since 1970: later than any test


@pytest.fixture
def client(fresh) -> MlflowClient:
    return MlflowClient(fresh, fresh)


def write_model(folder: Path) -> None:
    (folder / "weights").write_text("1")
    Model().save(str(folder / "MLmodel"))


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model")
    return tmp_path / "model"


def registered(client: MlflowClient, model: Path) -> Version:
    """The model of a new run as a version of `films`."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    run = client.create_run(experiments[0]).info.run_id
    fill_model(client, run, start_model(client, run), model)
    return register(client, run, "films")


def holder(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias("films", "champion").version)


def test_a_model_is_logged_and_registered_once(client, model, monkeypatch):
    run = client.create_run(client.create_experiment("x")).info.run_id
    first = start_model(client, run)
    assert start_model(client, run) == first  # after a crash in between
    for _ in range(2):
        fill_model(client, run, first, model)
    assert model_of(client, run) == first
    assert len(client.get_run(run).outputs.model_outputs) == 1
    with monkeypatch.context() as patch:
        patch.setattr(client, "set_logged_model_tags", Mock(side_effect=RuntimeError))
        with pytest.raises(RuntimeError):
            register(client, run, "films")
    assert register(client, run, "films") == register(client, run, "films") == Version("films", "1", run, run)
    noted = client.get_logged_model(first).tags[MLFLOW_MODEL_VERSIONS]
    assert json.loads(noted) == [{"name": "films", "version": "1"}]


def test_an_alias_goes_to_the_version_that_was_to_have_it_last(client, model):
    """In whatever order the records of two runs arrive."""
    early, late = registered(client, model), registered(client, model)
    assert give_alias(client, early, "champion", LATE)
    assert give_alias(client, late, "champion", LATE + 1)
    assert not give_alias(client, early, "champion", LATE)
    assert holder(client) == late.number


def test_an_alias_that_was_moved_by_hand_is_not_moved_back(client, model):
    first, second = registered(client, model), registered(client, model)
    assert give_alias(client, second, "champion", LATE)
    Registry(client).move(first, "champion", "because it is better")
    assert holder(client) == first.number
    assert not give_alias(client, second, "champion", LATE)  # its record is sent again
    assert not give_alias(client, second, "champion", 1)
    assert holder(client) == first.number


def test_an_alias_of_a_version_that_was_made_later_without_our_help_stays(client, model):
    first, second = registered(client, model), registered(client, model)
    client.set_registered_model_alias("films", "champion", second.number)
    assert not give_alias(client, first, "champion", 1)
    assert give_alias(client, first, "champion", LATE)


def tracked(uri: str, output: Path) -> str:
    """The record id of a run with a model that is registered."""
    tracker = make_tracker(uri, "x")
    tracker.keep_record(output)
    with tracker.run("pipeline") as above:
        with tracker.run("model", parent=above.id) as run:
            run.model(write_model)
            run.metrics({"rmse": 1.0})
        tracker.register(run.id, "films", "champion")
    assert tracker.missing is None
    return run.id


def test_a_record_with_a_model_can_be_sent_again(fresh, client, tmp_path):
    tracked(fresh, tmp_path / "out")
    sent_path(tmp_path / "out", fresh).unlink()  # the process died before it could note what had arrived
    record = Record(tmp_path / "out")
    assert Sender(record, MlflowStore(fresh, "x")).finish(30) is None
    experiments = [one.experiment_id for one in client.search_experiments()]
    (logged,) = client.search_logged_models(experiments)
    assert [(metric.key, metric.value) for metric in logged.metrics] == [("rmse", 1.0)]
    assert [one.version for one in client.search_model_versions()] == [1]


def test_a_missing_model_does_not_stop_the_rest(fresh, client, tmp_path):
    """Nor does its registration, which needs the model."""
    record = Record(tmp_path)
    for kind, content in (
        ("start", {"name": "a", "tags": {}}),
        ("model", {"path": "nowhere"}),
        ("register", {"name": "films", "alias": None}),
        ("params", {"values": {"a": "1"}}),
        ("end", {"status": "FINISHED"}),
    ):
        record.append(kind, "r", **content)
    left = Sender(record, MlflowStore(fresh, "x")).finish(30)
    assert left == f"1 model, 1 registered version ({tmp_path}/nowhere is gone)"
    (run,) = client.search_runs([client.get_experiment_by_name("x").experiment_id])
    assert (run.data.params, run.info.status) == ({"a": "1"}, "FINISHED")


def test_a_model_that_cannot_be_written_leaves_no_half_of_it(fresh, tmp_path, caplog):
    tracker = make_tracker(fresh, "x")
    tracker.keep_record(tmp_path)

    def write(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("no disk")

    with tracker.run("model") as run:
        run.model(write)
    assert caplog.messages == ["the model of this run cannot be logged: no disk"]
    assert list((tmp_path / ".tracking/models").iterdir()) == []
    assert tracker.missing is None


@pytest.mark.parametrize(("status", "refused"), [(413, True), (503, False), (None, False)])
def test_a_file_that_is_too_large_for_a_proxy_is_refused(status, refused):
    response = None if status is None else Response()
    if response is not None:
        response.status_code = status
    found = mlflow_store._judged(HTTPError("too large", response=response))
    assert isinstance(found, mlflow_store.RefusedError) == refused


def test_a_deleted_run_does_not_stop_the_rest(fresh, client):
    store = MlflowStore(fresh, "x")
    store.open()
    run = client.create_run(store.experiment_id).info.run_id
    client.delete_run(run)
    other = client.create_run(store.experiment_id).info.run_id
    store.beat([run, other])
    assert int(client.get_run(other).data.tags["recsys_ae.heartbeat"]) > 0
