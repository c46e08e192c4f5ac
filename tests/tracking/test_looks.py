"""How often a test part has been looked at, counted in a tracking store."""

import logging

import pytest
from mlflow.tracking import MlflowClient

from recsys_ae.tracking import MODEL_DIGEST, TEST_DIGEST, Tracker, make_tracker, mlflow_store
from recsys_ae.tracking.mlflow_tracker import MlflowTracker

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other
OURS, OTHER = "a" * 32, "b" * 32


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """Two experiments: three and two finished tests on our part, two on another one, and what is no finished test of it."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('looks')}/mlflow.db"
    for experiment, digest, models in (("one", OURS, 3), ("one", OTHER, 2), ("two", OURS, 2)):
        tracker = make_tracker(uri, experiment)
        with tracker.run("pipeline") as parent:
            parent.tags({TEST_DIGEST: digest, "note": "it's"})
            parent.dataset("mine", digest, "test", {})
            for number in range(models):
                with tracker.run(f"model-{number}", parent=parent.id) as model, tracker.run("trial", parent=model.id):
                    model.dataset("mine", digest, "test", {})
                    model.metrics({"ndcg@10": 0.1, "valid/ndcg@10": 0.2})
            with tracker.run("untested", parent=parent.id) as model:
                model.dataset("mine", digest, "test", {})
                model.metrics({"rmse": None, "valid/ndcg@10": 0.2})
            with tracker.run("another-seed", parent=parent.id) as model:
                model.dataset("mine", "d" * 32, "test", {})
                model.metrics({"ndcg@10": 0.1})
            with tracker.run("final", parent=parent.id) as final:
                final.dataset("mine", "e" * 32, "everything", {})
                final.metrics({"fit/seconds": 1.0})
            with pytest.raises(ValueError, match="diverged"), tracker.run("broken", parent=parent.id):
                raise ValueError("diverged")
    with make_tracker(uri, "three").run("untagged") as parent, make_tracker(uri, "three").run("model", parent=parent.id):
        pass
    return uri


@pytest.mark.parametrize(("digest", "looks"), [(OURS, 5), (OTHER, 2), ("c" * 32, 0)])
def test_finished_tests_of_all_experiments_count(store, digest, looks):
    assert MlflowTracker(store, "four").looks(digest) == looks


@pytest.mark.parametrize("page", [1, 2])
def test_all_pages_are_read(store, monkeypatch, page):
    monkeypatch.setattr(mlflow_store, "PAGE", page)
    assert MlflowTracker(store, "four").looks(OURS) == 5


def test_equal_models_count_once_and_own_models_not_at_all(tmp_path):
    uri, digest = f"sqlite:///{tmp_path}/mlflow.db", "f" * 32
    for models in (["ease", "mf"], ["ease", "mf"], ["ease", "popularity"]):
        tracker = make_tracker(uri, "mine")
        with tracker.run("pipeline") as parent:
            parent.tags({TEST_DIGEST: digest})
            parent.dataset("mine", digest, "test", {})
            for name in models:
                with tracker.run(name, parent=parent.id) as model:
                    model.tags({MODEL_DIGEST: name})
                    model.dataset("mine", digest, "test", {})
                    model.metrics({"ndcg@10": 0.1})
    assert [tracker.looks(digest, besides=own) for own in ([], ["ease"], ["ease", "mf", "new"])] == [3, 2, 1]


def test_deleted_runs_were_looks_too(store):
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("one").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`{TEST_DIGEST}` = '{OTHER}'")
    client.delete_run(run.info.run_id)
    assert MlflowTracker(store, "one").looks(OTHER) == 2


def test_without_tracking_nobody_knows(tmp_path):
    assert Tracker().looks(OURS) is None
    assert MlflowTracker(f"sqlite:///{tmp_path}/new.db", "x").looks(OURS) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_reported_and_harms_nothing(store, monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError("disk on fire")

    monkeypatch.setattr(MlflowClient, "search_runs", fail)
    with caplog.at_level(logging.WARNING, "recsys_ae"):
        assert MlflowTracker(store, "x").looks(OURS) is None
    assert "disk on fire" in caplog.text
