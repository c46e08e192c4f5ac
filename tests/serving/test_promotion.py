"""From pipelines to registered models, and which of them becomes champion."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from rich.console import Console

from recsys_ae import load_model, read_recommendations
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.promotion import promote
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.models.storage import model_digest
from recsys_ae.tracking import Tracker, local_copy, make_tracker
from recsys_ae.tracking.registry import PROMOTION

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other
PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 300, "items": 80, "ratings": 4500, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [{"name": "popularity"}],
    "metrics": ["ndcg@5"],
    "register": {"name": "films"},
}
WEAK = [{"name": "autorec", "label": "weak", "hidden": 6, "epochs": 9, "learning_rate": 0.05}]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def store(place) -> str:
    return f"sqlite:///{place}/mlflow.db"


def run(place: Path, store: str, name: str, **changes: object) -> str:
    """The id of the run of a pipeline, written to `place/name`."""
    path = place / f"of-{name}.yaml"
    path.write_text(yaml.safe_dump({**PIPELINE, **changes}))
    pipeline = read_pipeline(str(path))
    run_pipeline(pipeline, place / name, make_tracker(store, "all"), Console(quiet=True))
    client = MlflowClient(store)
    (found,) = client.search_runs([client.get_experiment_by_name("all").experiment_id], f"attributes.run_name = 'of-{name}'")
    return found.info.run_id


@pytest.fixture(scope="module")
def runs(place, store) -> dict[str, str]:
    """Runs of a good and a weak model, of the good one on another test part, and of one that registers nothing."""
    return {
        "good": run(place, store, "good", export={"k": 5}),
        "weak": run(place, store, "weak", models=WEAK),
        "other": run(place, store, "other", seed=1, register={"name": "films", "alias": "candidate", "history": False}),
        "plain": run(place, store, "plain", register=None),
    }


@pytest.fixture
def registry(runs, store) -> MlflowClient:
    """The registry without champions."""
    client = MlflowClient(store, store)
    for name in ("films", "shows"):
        try:
            client.delete_registered_model_alias(name, "champion")
        except mlflow.exceptions.MlflowException:
            continue
    return client


def champion(registry: MlflowClient) -> int:
    return int(registry.get_model_version_by_alias("films", "champion").version)


def test_the_final_model_of_each_run_is_registered(registry, store, place, monkeypatch):
    versions = registry.search_model_versions("name = 'films'")
    assert sorted(int(version.version) for version in versions) == [1, 2, 3]
    assert int(registry.get_model_version_by_alias("films", "candidate").version) == 3
    (first,) = (version for version in versions if int(version.version) == 1)
    final = json.loads((place / "good" / "report.json").read_text())["final"]["model"]
    source, winner, table, *rest = first.description.split("\n\n")
    assert source == f"{final}+final of run of-good"
    assert winner.endswith(f"**{final}**")
    assert table.startswith("| model | ")
    assert rest == []
    assert model_digest(load_model(local_copy("models:/films/1", store))) == model_digest(load_model(place / "good/final"))
    mlflow.set_tracking_uri(store)
    try:
        served = mlflow.pyfunc.load_model("models:/films/1")
        exported, _ = read_recommendations(place / "good" / "recommendations")
        found = served.predict(pd.DataFrame({"user_id": exported["user_id"].unique()}), {"k": 5})
        assert np.concatenate(found["item_id"].tolist()).tolist() == exported["item_id"].tolist()
        assert np.array_equal(np.concatenate(found["score"].tolist()).astype(np.float32), exported["score"])
        without = mlflow.pyfunc.load_model("models:/films/3").predict(pd.DataFrame({"user_id": [exported["user_id"][0]]}))
        assert len(without["item_id"][0]) == 10  # nothing is known about the user, so nothing is left out
    finally:
        mlflow.set_tracking_uri(None)


def test_models_of_children_are_logged_with_their_metrics(registry, runs, store, place):
    client = MlflowClient(store)
    (experiment,) = [one for one in client.search_experiments() if one.name == "all"]
    (child,) = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{runs['weak']}' and attributes.run_name = 'weak'"
    )
    (output,) = child.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert str(model.status) == "READY"
    assert model.params["epochs"] == "9"
    assert {metric.key: metric.value for metric in model.metrics}["ndcg_at_5"] == child.data.metrics["ndcg_at_5"]
    saved = local_copy(f"runs:/{child.info.run_id}/model", store)
    assert model_digest(load_model(saved)) == model_digest(load_model(place / "weak/models/weak"))


def test_the_first_model_becomes_champion(registry, runs, store):
    found = promote(runs["weak"], tracking_uri=store)
    assert found.promoted
    assert found.why == "films: version 2 (weak) is the new champion: there was none before"
    assert champion(registry) == 2
    assert promote(f"runs:/{runs['weak']}", tracking_uri=store).why == "films: version 2 is the champion already"


def test_a_better_model_replaces_the_champion_and_a_worse_one_does_not(registry, runs, store):
    promote(runs["weak"], tracking_uri=store)
    better = promote(runs["good"], tracking_uri=store)
    assert better.promoted
    assert better.why.startswith("films: version 1 (popularity) is the new champion: ndcg@5 0.")
    assert "for version 2 (weak) on the same " in better.why
    assert registry.get_model_version("films", "1").tags[PROMOTION] == better.why
    worse = promote(runs["weak"], tracking_uri=store)
    assert not worse.promoted
    assert worse.why.startswith("films: version 1 stays champion: version 2 (weak) has ndcg@5 0.")
    assert ", worse (paired t-test, p = " in worse.why
    assert champion(registry) == 1
    forced = promote(runs["weak"], force=True, tracking_uri=store)
    assert "is the new champion: by --force, ndcg@5" in forced.why
    assert champion(registry) == 2


def test_a_model_that_is_as_good_does_not_replace_the_champion(registry, runs, store, place):
    again = run(place, store, "again")
    promote(runs["good"], tracking_uri=store)
    found = promote(again, tracking_uri=store)
    assert not found.promoted
    assert ", the same (paired t-test, p = 1)" in found.why
    assert champion(registry) == 1


def test_another_test_part_cannot_be_compared(registry, runs, store):
    promote(runs["good"], tracking_uri=store)
    with pytest.raises(ConfigError, match=r"different ways \(the test part, .*--force moves the alias champion without"):
        promote(runs["other"], tracking_uri=store)
    assert champion(registry) == 1
    assert "by --force, without a comparison (" in promote(runs["other"], force=True, tracking_uri=store).why
    assert champion(registry) == 3


def test_a_champion_that_was_not_tested_by_the_metric_cannot_be_compared(registry, runs, store, place):
    recall = run(place, store, "recall", metrics=["recall@5"])
    promote(runs["good"], tracking_uri=store)
    with pytest.raises(ConfigError, match=r"version 1 \(popularity\) was not tested by recall@5, which chose version \d+; run"):
        promote(recall, tracking_uri=store)
    assert champion(registry) == 1


@pytest.mark.parametrize("run_id", [None, "0" * 32])
def test_a_champion_that_somebody_else_registered_gives_way_by_force_only(registry, runs, store, place, run_id):
    version = registry.create_model_version("films", str(place / "good" / "final"), run_id)
    registry.set_registered_model_alias("films", "champion", version.version)
    said = f"version {version.version} is not the model of a run in this store"
    with pytest.raises(DataError, match=f"^{said}; --force moves the alias champion without a comparison$"):
        promote(runs["good"], tracking_uri=store)
    assert champion(registry) == int(version.version)
    assert promote(runs["good"], force=True, tracking_uri=store).why.endswith(f"by --force, without a comparison ({said})")
    assert champion(registry) == 1
    registry.delete_model_version("films", version.version)


def test_a_model_is_registered_under_another_name_on_demand(registry, runs, store):
    assert promote(runs["good"], "shows", tracking_uri=store).why.startswith("shows: version 1 (popularity)")
    with pytest.raises(ConfigError, match=r"is registered under several names \(films, shows\); name one with --name"):
        promote(runs["good"], tracking_uri=store)
    registry.delete_registered_model("shows")


def test_what_cannot_be_promoted(registry, runs, store, tmp_path):
    with pytest.raises(DataError, match=r"run .* has no final model; runs of pipelines with the key register"):
        promote(runs["plain"], "films", tracking_uri=store)
    with pytest.raises(DataError, match="there is no run 'none' in this store"):
        promote("none", tracking_uri=store)
    with pytest.raises(ConfigError, match="the tracking URI is 'none'"):
        promote("x", tracking_uri="none")
    with pytest.raises(DataError, match="there is no MLflow store"):
        promote("x", tracking_uri=f"sqlite:///{tmp_path}/absent.db")
    assert list(tmp_path.iterdir()) == []


def test_exit_codes_tell_what_happened(registry, runs, store, call):
    code, out, _ = call("promote", runs["good"], "--tracking-uri", store)
    assert (code, out) == (0, "films: version 1 (popularity) is the new champion: there was none before\n")
    code, out, _ = call("promote", runs["weak"], "--tracking-uri", store)
    assert code == 3
    assert out.startswith("films: version 1 stays champion")
    code, _, err = call("promote", runs["weak"], "--tracking-uri", store, "--alias", "v1")
    assert code == 2
    assert "--alias: an alias consists of letters, digits, '_' and '-', and is neither latest nor a version; got 'v1'" in err


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"name": "a/b"}, "register.name: the name of a registered model must not contain '/', ':' or '@', got 'a/b'"),
        ({"name": "films", "alias": "latest"}, "register.alias: an alias consists of letters, .*got 'latest'"),
        ({"alias": "champion"}, "register.name"),
        ({"name": "films", "history": "no"}, "register.history: expected true or false, got 'no'"),
    ],
)
def test_invalid_registrations_fail_before_anything_starts(tmp_path, declared, message):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "register": declared}))
    with pytest.raises(ConfigError, match=message):
        read_pipeline(str(tmp_path / "mine.yaml"))


def test_a_pipeline_can_be_repeated_from_what_it_wrote(place, runs):
    written = read_pipeline(str(place / "other" / "pipeline.yaml"))
    assert written.keys.registered.model_dump() == {"name": "films", "alias": "candidate", "history": False}
    assert yaml.safe_load((place / "plain" / "pipeline.yaml").read_text())["register"] is None


def test_without_tracking_nothing_is_registered_and_that_is_said(tmp_path, caplog):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    run_pipeline(read_pipeline(str(tmp_path / "mine.yaml")), tmp_path / "out", Tracker(), Console(quiet=True))
    assert "popularity is not registered, because its run is not tracked" in caplog.text
