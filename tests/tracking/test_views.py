"""What MLflow's pages show first: views of an experiment, descriptions and tags of its runs."""

import json

import pytest
from mlflow.tracking import MlflowClient
from stores import found

from recsys_ae.errors import TrainingError
from recsys_ae.tracking import make_tracker
from recsys_ae.tracking.upload import upload

COLUMNS = ["tags.winner", "metrics.ndcg@10"]

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def views(store: str, experiment: str) -> dict[str, str]:
    """The views of an experiment, by key."""
    tags = MlflowClient(store).get_experiment_by_name(experiment).tags
    prefix = "mlflow.sharedViewState."
    return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def address(store: str, experiment: str, **views: list[str]) -> str:
    """The address printed after a run that offers these views."""
    tracker = make_tracker(store, experiment)
    with tracker.run("pipeline") as run:
        for name, columns in views.items():
            run.view(name, columns)
    return str(tracker.hint())


def test_the_address_opens_a_view_with_the_columns(store):
    shown = address(store, "one", ndcg=COLUMNS)
    ((key, value),) = views(store, "one").items()
    number = MlflowClient(store).get_experiment_by_name("one").experiment_id
    page = f"/#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey={key}"
    assert shown.endswith(page)
    view = json.loads(value)
    assert view["name"] == "ndcg"
    state = json.loads(view["state"])
    assert state["selectedColumns"][:2] == ["tags.`winner`", "metrics.`ndcg_at_10`"]
    assert state["columnOrder"][:2] == state["selectedColumns"][:2]
    assert state["compareRunSections"][0]["name"] == "Model metrics"


def test_a_view_is_made_once_and_belongs_to_the_team(store):
    first = address(store, "two", ndcg=COLUMNS)
    (key,) = views(store, "two")
    client = MlflowClient(store)
    client.set_experiment_tag(
        client.get_experiment_by_name("two").experiment_id, f"mlflow.sharedViewState.{key}", "changed by a person"
    )
    assert address(store, "two", ndcg=COLUMNS) == first
    assert views(store, "two") == {key: "changed by a person"}
    assert address(store, "two", rmse=["metrics.rmse"]) != first
    assert len(views(store, "two")) == 2


def test_without_a_view_the_address_is_that_of_the_runs(store):
    assert address(store, "three").endswith("/runs?workflowType=machine_learning")
    assert views(store, "three") == {}


def test_a_view_reaches_another_store(store, tmp_path):
    tracker = make_tracker(store, "four")
    tracker.keep_record(tmp_path / "out")
    with tracker.run("pipeline") as run:
        run.view("ndcg", COLUMNS)
    other = f"sqlite:///{tmp_path}/other.db"
    upload(tmp_path / "out", other)
    assert views(other, "four") == views(store, "four")


def test_a_failed_run_says_why_as_text(store):
    tracker = make_tracker(store, "failed")
    with pytest.raises(TrainingError), tracker.run("pipeline") as parent, tracker.run("mf", parent=parent.id) as run:
        raise TrainingError("*the loss* of <img src=x> is nan_")
    for one in (parent, run):
        tags = found(store, one.id).data.tags
        assert tags["mlflow.note.content"] == r"failed: \*the loss\* of &lt;img src=x> is nan\_"


def test_tags_of_a_living_process_go_with_it(store, tmp_path):
    tracker = make_tracker(store, "tags")
    tracker.keep_record(tmp_path)
    with tracker.run("pipeline") as run:
        run.tags({"winner": "ease"})
    tags = {key for key in found(store, run.id).data.tags if not key.startswith(("mlflow.", "uncommitted"))}
    assert tags == {"winner", "command", "host", "recsys_ae.record"}
