"""Runs of all kinds have the digests of their data as inputs, and are repeated with the same metrics."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient

from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other
RATINGS = {"name": "r", "kind": "planted-ratings", "users": 60, "items": 40, "ratings": 400, "factors": 2}
FEATURES = {"name": "f", "kind": "planted-features", "users": 60, "items": 40, "ratings": 400}
SESSIONS = {"name": "s", "kind": "planted-sessions", "users": 30, "items": 12, "sessions": 3}
CARD = {
    "name": "shop",
    "kind": "ratings",
    "files": [{"path": "shop.csv", "columns": {"user": "u", "item": "i", "rating": "r"}}],
}
RANDOM = {"kind": "random", "test": 0.25, "valid": 0.1}
LISTS = {"metrics": ["ndcg@3"], "export": {"k": 2}}
SHORT = {"factors": 2, "epochs": 2}
KINDS: dict[str, dict[str, Any]] = {
    "positive_at": {"dataset": RATINGS, "split": RANDOM, "positive_at": 4, "models": [{"name": "ease"}], **LISTS},
    "features": {
        "dataset": FEATURES,
        "split": {"kind": "cold_items", "test": 0.2},
        "models": [{"name": "feature_ease"}, {"name": "popularity"}],
        **LISTS,
    },
    "sessions": {"dataset": SESSIONS, "split": {"kind": "last_session", "valid": 1}, "models": [{"name": "markov"}], **LISTS},
    "seeds": {
        "dataset": RATINGS,
        "split": {"kind": "k_fold", "k": 3, "fold": "each"},
        "seed": [5, 6],
        "models": [{"name": "mf", **SHORT}],
        "metrics": ["rmse"],
        "export": {"k": 2},
    },
    "search": {
        "dataset": RATINGS,
        "split": RANDOM,
        "models": [{"name": "mf", **SHORT, "search": {"l2": [0.1, 1.0]}}, {"name": "bias"}],
        "metrics": ["rmse"],
        "refit": True,
    },
    "images": {
        "dataset": "digits",
        "split": {"train": 200, "valid": 50},
        "models": [{"name": "pca", "components": 3}],
        "metrics": ["mse"],
        "export": {"model": "pca"},
    },
}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)


def write(path: str, content: object) -> str:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(yaml.safe_dump(content))
    return path


def write_shop(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    pairs = [
        (f"u{user:02d}", f"i{item}", 1 + (user * item) % 5) for user in range(30) for item in range(8) if (user + item) % 3
    ]
    pd.DataFrame(pairs, columns=["u", "i", "r"]).to_csv(folder / "shop.csv", index=False)


def runs_of(store: str, experiment: str) -> dict[str, Any]:
    """The latest run of each name."""
    client = MlflowClient(tracking_uri=store)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], order_by=["attributes.start_time"])
    return {run.info.run_name: run for run in found}


def inputs(run: Any) -> dict[str, str]:
    """The digests of the dataset inputs of a run, by their context."""
    return {one.tags[0].value: one.dataset.digest for one in run.inputs.dataset_inputs}


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_repetition(call, fresh, kind):
    write(f"{kind}.yaml", KINDS[kind])
    code, _, err = call("run", f"{kind}.yaml", "--output", "out", "--tracking-uri", fresh)
    assert code == 0, err
    runs, report = runs_of(fresh, kind), json.loads(Path("out/report.json").read_text())
    first = next(iter(report["data"].values()))
    assert inputs(runs[kind]) == {part: first["digests"][part] for part, size in first["sizes"].items() if size}
    for folder in Path("out").glob("*/_manifest.json"):
        manifest = json.loads(folder.read_text())
        shipped = runs[folder.parent.name]
        assert inputs(shipped) == {"history": manifest["data_digest"]}
        above = MlflowClient(tracking_uri=fresh).get_run(shipped.data.tags["mlflow.parentRunId"])
        whole = "test" if kind == "images" else "everything"
        assert (inputs(above)[whole] == manifest["data_digest"]) == (kind != "features")
        if kind == "features":  # lists do not read those of items, which the model keeps
            data = RatingTask(read_pipeline("out/pipeline.yaml")).data(0).everything
            assert inputs(above)[whole] == data.digest
            assert manifest["data_digest"] == replace(data, item_features=None, user_features=None, merged=True).digest
    assert ("export" in KINDS[kind]) == bool(list(Path("out").glob("*/_manifest.json")))

    run_id = runs[kind].info.run_id
    code, out, err = call("run", "--from-run", run_id, "--output", "again", "--tracking-uri", fresh)
    assert code == 0, err
    assert f"metric values equal those of run {run_id}" in out
    assert "all " in out
    assert Path("again/pipeline.yaml").read_bytes() == Path("out/pipeline.yaml").read_bytes()
    assert Path("again/inputs.json").read_bytes() == Path("out/inputs.json").read_bytes()


def test_the_results_of_a_search_are_repeated(call):
    pytest.importorskip("optuna")
    write("p.yaml", {"dataset": RATINGS, "split": RANDOM, "models": [{"name": "ease"}], "metrics": ["ndcg@3"]})
    assert call("tune", "p.yaml", "--trials", "3", "--output", "out", "--tracking-uri", "none")[0] == 0
    code, out, err = call("run", "--from-run", "out", "--output", "again", "--tracking-uri", "none")
    assert code == 0, err
    assert "all 1 metric values equal those of run" in out
    assert Path("again/trials.csv").read_text().splitlines()[0] == Path("out/trials.csv").read_text().splitlines()[0]
    chosen = [json.loads(Path(folder, "report.json").read_text())["models"]["ease"]["runs"]["0"] for folder in ("out", "again")]
    assert chosen[0]["params"] == chosen[1]["params"]
    assert len(chosen[0]["trials"]) == len(chosen[1]["trials"]) == 3


@pytest.mark.parametrize("card", ["inline", "file"])
def test_data_that_has_moved_is_named(call, tmp_path, monkeypatch, card):
    """A colleague's run is repeated where the data lies elsewhere, if it is the same data."""
    write_shop(tmp_path / "hers")
    write("hers/card.yaml", CARD)
    dataset = CARD if card == "inline" else "card.yaml"
    write("hers/p.yaml", {"dataset": dataset, "split": RANDOM, "models": [{"name": "ease"}], **LISTS})
    assert call("run", "hers/p.yaml", "--output", "out", "--tracking-uri", "none")[0] == 0
    Path("hers/p.yaml").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = "run", "--from-run", "../out", "--tracking-uri", "none", "--output"
    code, out, err = call(*again, "first")  # the file is still there, though not in this folder
    assert (code, "all 1 metric values" in out) == (0, True), err

    shutil.move(tmp_path / "hers", tmp_path / "mine")
    code, _, err = call(*again, "second")
    assert code in (1, 2)
    assert str(tmp_path / "hers") in err
    assert "--set dataset=CARD" in err
    place = "dataset.folder=../mine" if card == "inline" else "dataset=../mine/card.yaml"
    code, out, err = call(*again, "second", "--set", place)
    assert (code, "all 1 metric values" in out) == (0, True), err

    data = Path("../mine/shop.csv")
    data.write_text(data.read_text().replace("u07,i0,1", "u07,i0,2"))
    code, _, err = call(*again, "third", "--set", place)
    assert (code, "the data has changed since the run" in err) == (1, True), err


def test_a_model_to_start_from_may_have_moved_but_not_changed(call):
    pipeline = {"dataset": RATINGS, "split": RANDOM, "metrics": ["rmse"]}
    for seed in (0, 1):
        write("start.yaml", {**pipeline, "models": [{"name": "mf", **SHORT}], "seed": seed})
        assert call("run", "start.yaml", "--output", f"start{seed}", "--tracking-uri", "none")[0] == 0
    write("warm.yaml", {**pipeline, "models": [{"name": "mf", **SHORT, "warm_start": "start0/models/mf"}]})
    assert call("run", "warm.yaml", "--output", "out", "--tracking-uri", "none")[0] == 0
    again = "run", "--from-run", "out", "--tracking-uri", "none", "--output"
    assert "all 1 metric values" in call(*again, "first")[1]
    Path("start0").rename("moved")
    code, _, err = call(*again, "second")
    assert code in (1, 2)
    assert "start0" in err
    assert "--set models.LABEL.warm_start=FOLDER" in err
    assert "all 1 metric values" in call(*again, "second", "--set", "models.mf.warm_start=moved/models/mf")[1]
    code, _, err = call(*again, "third", "--set", "models.mf.warm_start=start1/models/mf")
    assert (code, "the warm start of mf has changed since the run" in err) == (1, True), err
