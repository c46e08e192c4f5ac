"""`recsys-ae tune` as users see it: output, records, errors, and searches that are killed."""

import json
import sqlite3
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from commands import Command
from mlflow.tracking import MlflowClient

from recsys_ae.experiment import search
from recsys_ae.experiment.pipeline_file import read_pipeline

SPACE = {"l2": {"low": 0.01, "high": 1, "log": True}, "init_std": [0.01, 0.1]}
PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 80, "items": 50, "ratings": 700, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [
        {"name": "mf", "factors": 3, "epochs": 8, "search": SPACE},
        {"name": "bias"},
        {"name": "popularity"},
    ],
    "metrics": ["rmse", "ndcg@5"],
    "search": {"by": "rmse"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    return tmp_path


def write(**changes: object) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **changes}, sort_keys=False))


def results(output: str) -> dict[str, object]:
    """What a run found, without times."""
    models = json.loads(Path(output, "report.json").read_text())["models"]
    found = {}
    for label, model in models.items():
        trials = model["runs"]["0"]["trials"]
        kept = [(trial["params"], trial["valid_metrics"], trial["state"], trial["epochs"]) for trial in trials]
        found[label] = model["params"], model["metrics"], kept
    return found


def test_tune_chooses_on_the_validation_part_and_leaves_an_ordinary_run(call, folder, caplog):
    tune = ("tune", "mine.yaml", "--trials", 6, "--tracking-uri", "none", "--output")
    code, out, err = call(*tune, "out")
    assert code == 0, err
    found = results("out")
    trials = found["mf"][2]
    assert trials[0][0]["l2"] == 0.04  # the default; that of init_std is not among the listed values
    complete = [trial for trial in trials if trial[2] == "complete"]
    best = min(complete, key=lambda trial: trial[1]["rmse"])
    assert {key: found["mf"][0][key] for key in best[0]} == best[0]
    assert found["popularity"][2] == []
    assert len(found["bias"][2]) == 6
    assert set(found["bias"][2][0][0]) == {"user_reg", "item_reg"}
    table = pd.read_csv("out/trials.csv")
    assert table.groupby("model").size().to_dict() == {"mf": 6, "bias": 6}
    (chosen,) = table[table["chosen"] & (table["model"] == "mf")].to_dict("records")
    assert (chosen["l2"], chosen["valid rmse"]) == (best[0]["l2"], best[1]["rmse"])
    assert f"mf: l2 {best[0]['l2']:g}, init_std {best[0]['init_std']:g} (the best of 6 trials on validation data" in out
    assert "mf: trial 6 of 6" in caplog.text
    # the pipeline of the output repeats it, as an ordinary run
    assert call("run", "out/pipeline.yaml", "--tracking-uri", "none", "--output", "again")[0] == 0
    assert results("again") == found
    # and its model is the one that is fitted with the chosen parameters
    fixed = [{**PIPELINE["models"][0], **best[0]}, *PIPELINE["models"][1:]]
    del fixed[0]["search"]
    write(models=fixed)
    assert call("run", "mine.yaml", "--tracking-uri", "none", "--output", "fixed")[0] == 0
    assert results("fixed")["mf"][:2] == found["mf"][:2]


@pytest.mark.filterwarnings("default")  # of MLflow's own dependencies
def test_each_trial_is_a_run_below_that_of_its_model(call, folder, caplog):
    models = [{"name": "mf", "factors": 3, "epochs": 6, "search": {"learning_rate": [0.02, 1e6]}}]
    write(models=models)
    store = f"sqlite:///{folder}/store.db"
    code, _, err = call("tune", "mine.yaml", "--output", "out", "--tracking-uri", store)
    assert code == 0, err
    assert "mf: trial 2 of 2: failed (MatrixFactorisation: the loss is" in caplog.text
    client = MlflowClient(tracking_uri=store)
    (experiment,) = [one for one in client.search_experiments() if one.name == "mine"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    good, bad = runs["mf-trial-1"], runs["mf-trial-2"]
    assert {run.data.tags["mlflow.parentRunId"] for run in (good, bad)} == {runs["mf"].info.run_id}
    assert runs["mf"].data.tags["mlflow.parentRunId"] == runs["mine"].info.run_id
    assert [run.info.status for run in (good, bad, runs["mf"])] == ["FINISHED", "FAILED", "FINISHED"]
    assert [run.data.tags["recsys_ae.trial_state"] for run in (good, bad)] == ["complete", "failed"]
    trial = results("out")["mf"][2][0]
    assert good.data.metrics["valid/rmse"] == trial[1]["rmse"]
    assert (good.data.params["learning_rate"], runs["mf"].data.params["chosen.learning_rate"]) == ("0.02", "0.02")
    assert len(client.get_metric_history(good.info.run_id, "by_epoch/valid_rmse")) == 6


@pytest.mark.parametrize(
    ("changes", "command", "says"),
    [
        ({}, "run", "mf: search.l2 is a range, which needs recsys-ae tune (search.sampler: tpe); use that, or list values"),
        ({"models": [{"name": "popularity"}]}, "tune", "no model has parameters to search; give one a `search`"),
        ({"split": {"kind": "random", "test": 0.2, "valid": 0.0}}, "tune", "mf searches parameters on the validation part"),
        ({"models": [{"name": "mf", "search": {"l2": {"low": 2, "high": 1}}}]}, "tune", "search.l2: low must be less"),
        (
            {"models": [{"name": "mf", "search": {"l2": {"low": -1, "high": 1}}}]},
            "tune",
            "search.l2 of 'mf': l2: expected at least 0",
        ),
        (
            {"models": [{"name": "mf", "search": {"factors": {"low": 1.5, "high": 3}}}]},
            "tune",
            "factors: expected a whole number, got 1.5",
        ),
        (
            {"models": [{"name": "pca", "search": {"centring": {"low": 1, "high": 2}}}]},
            "tune",
            "centring: expected 'bias' or 'none', got 1",
        ),
        ({"models": [{"name": "mf", "search": {"l2": 3}}]}, "tune", "search must give each parameter a list of values or a"),
        ({"models": [{"name": "mf", "search": {"l3": {"low": 1, "high": 3}}}]}, "tune", "search.l3 of 'mf': unknown key 'l3'"),
        ({"models": [{"name": "bias"}], "search": {"jobs": 2}}, "run", "search.jobs needs search.sampler: tpe"),
        ({"models": [{"name": "bias"}], "search": {"timeout": 2.0}}, "run", "search.timeout needs search.sampler: tpe"),
    ],
)
def test_what_cannot_be_searched_is_said(call, folder, changes, command, says):
    write(**changes)
    code, _, err = call(command, "mine.yaml", "--output", "out", "--tracking-uri", "none")
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("out").exists()


def test_without_optuna_its_extra_is_named(call, folder, monkeypatch):
    monkeypatch.setattr(search, "find_spec", lambda _: None)
    code, _, err = call("tune", "mine.yaml", "--tracking-uri", "none")
    assert (code, "pip install 'recsys-ae[tune]'" in err) == (2, True)


def test_an_entry_says_what_is_searched(folder):
    """Its `search`, else the space of its class; an empty one is none."""
    models = [{"name": "ease", "l2": 5}, {"name": "als", "search": {}}, {"name": "bias", "search": {"user_reg": [1, 2]}}]
    write(models=models)
    ease, als, bias = read_pipeline("mine.yaml", ["search.sampler=tpe"]).models
    assert set(ease.search) == {"l2", "dropout", "user_exponent", "item_exponent", "input_exponent", "intercept", "diagonal"}
    assert ease.search["l2"].low == 5
    assert (als.search, bias.search) == ({}, {"user_reg": [1, 2]})
    assert [model.search for model in read_pipeline("mine.yaml").models] == [None, {}, {"user_reg": [1, 2]}]


def test_a_search_in_which_everything_fails_keeps_its_trials(call, folder):
    write(models=[{"name": "mf", "epochs": 6, "search": {"learning_rate": [1e6, 1e7]}}])
    code, _, err = call("tune", "mine.yaml", "--output", "out", "--tracking-uri", "none")
    assert code == 1
    assert "recsys-ae: mf: all 2 trials failed; the last error: MatrixFactorisation: the loss is" in err
    assert trials_in("out") == 2
    assert call("tune", "mine.yaml", "--output", "out", "--tracking-uri", "none")[0] == 1
    assert Path("out.failed/trials.db").exists()


def test_optuna_is_quiet_in_a_search_only(call, folder, caplog):
    before = optuna.logging.get_verbosity()
    optuna.logging.enable_propagation()
    try:
        optuna.logging.set_verbosity(optuna.logging.INFO)
        write(models=[{"name": "bias", "search": {"user_reg": [1, 2]}}])
        assert call("tune", "mine.yaml", "--output", "out", "--tracking-uri", "none")[0] == 0
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.disable_propagation()
        optuna.logging.set_verbosity(before)
    assert [record.name for record in caplog.records if record.name.startswith("optuna")] == []


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_debug_shows_where_trials_failed(call, folder, caplog, jobs):
    """Also those that are fitted in other processes, whose logs do not get here."""
    write(models=[{"name": "mf", "epochs": 6, "search": {"learning_rate": [1e6, 1e7]}}])
    tune = ("tune", "mine.yaml", "--output", "out", "--tracking-uri", "none", "--jobs", jobs)
    assert call(*tune)[0] == 1
    assert "Traceback" not in caplog.text
    assert call(*tune, "--debug")[0] == 1
    for number in (1, 2):
        assert f"mf: trial {number} failed here:\nTraceback" in caplog.text
    assert caplog.text.count("in fit_trial") == 2


def trials_in(output: str) -> int:
    path = Path(output, "trials.db")
    if not path.exists():
        return 0
    with sqlite3.connect(path) as store:
        tables = store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'trials'").fetchone()
        return store.execute("SELECT count(*) FROM trials WHERE state != 'RUNNING'").fetchone()[0] if tables[0] else 0


@pytest.mark.slow
def test_a_killed_search_resumes_to_the_same_result(call, folder, caplog):
    """SIGKILL of the parent during two parallel trials: no process survives it, and what was finished is not fitted again."""
    write(models=[{"name": "mf", "factors": 3, "epochs": 40, "patience": 0, "search": SPACE}])
    options = ("tune", "mine.yaml", "--trials", "9", "--jobs", "2", "--tracking-uri", "none", "--output")
    assert call(*options, "whole")[0] == 0
    with Command(*options, "killed") as process:
        while trials_in("killed") < 3 and process.poll() is None:
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    before = trials_in("killed")
    code, _, err = call(*options, "killed", "--resume")
    assert code == 0, err
    assert f"mf: {before} trials done before" in caplog.text
    assert results("killed") == results("whole")
    assert trials_in("killed") == 9
    assert len(children) >= 2
    assert not any(Path(f"/proc/{child}").exists() for child in children)
