"""The command line as users see it: output, files and exit codes."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import Command
from filelock import FileLock

import recsys_ae
from recsys_ae.cli import _interrupt_again, _terminate
from recsys_ae.cli.options import print_table
from recsys_ae.errors import Terminated
from recsys_ae.exits import LogLine, Once
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.models import MODELS
from recsys_ae.models.baselines import Popularity

PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 120, "items": 60, "ratings": 1400, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [
        {"name": "autorec", "hidden": 10, "epochs": 8, "patience": 0},
        {"name": "mf", "factors": 4, "epochs": 5},
        {"name": "popularity"},
    ],
    "metrics": ["rmse", "ndcg@5", "recall@10"],
    "export": {"k": 10},
}
LOG = {"name": "shop", "kind": "ratings", "files": [{"path": "log.csv", "columns": {"user": "u", "item": "i"}}]}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    return tmp_path


def run(call, *more: object):
    return call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none", *more)


def metrics(report: Path) -> dict[str, object]:
    return {label: result["metrics"] for label, result in json.loads(report.read_text())["models"].items()}


def test_a_run_without_a_value_to_choose_by_fails_but_keeps_its_results(call, folder):
    """All users of both parts are cold, and cold users are skipped."""
    never = ("--set", "split.kind=cold_users", "--set", "split.test=0.2", "--set", "cold=skip", "--set", "metrics=[ndcg@5]")
    for again in ((), ("--resume",)):
        code, out, err = run(call, *never, "--set", "models=[{name: popularity}, {name: ease}]", *again)
        assert code == 1
        assert "best by ndcg@5 on validation data: none, no model has a value" in out
        assert err.splitlines()[-1] == (
            "recsys-ae: nothing was exported or registered, because no model has a value of ndcg@5 on validation data; all "
            "other results are in out"
        )
    assert set(json.loads((folder / "out/report.json").read_text())["models"]) == {"popularity", "ease"}


def test_run_leaves_everything_and_prints_the_table(call, folder):
    code, out, _ = run(call)
    assert code == 0
    for text in ("rmse", "ndcg@5", "autorec", "mf", "popularity", "noise floor", "best by ndcg@5 on validation data"):
        assert text in out
    report = json.loads((folder / "out/report.json").read_text())
    assert set(report["models"]) == {"autorec", "mf", "popularity"}
    assert report["models"]["popularity"]["metrics"]["rmse"] is None
    assert report["models"]["autorec"]["params"]["hidden"] == [10]
    assert report["models"]["autorec"]["fit_seconds"] > 0
    assert 0 < report["data"]["0"]["best"]["rmse"] < report["models"]["mf"]["metrics"]["rmse"]
    table = pd.read_csv(folder / "out/report.csv", index_col="model")
    assert table.loc["mf", "rmse"] == report["models"]["mf"]["metrics"]["rmse"]
    assert yaml.safe_load((folder / "out/pipeline.yaml").read_text())["models"][0]["epochs"] == 8
    assert sorted(path.name for path in (folder / "out").iterdir() if not path.name.startswith(".")) == [
        "figures",
        "final",
        "inputs.json",
        "models",
        "per-user",
        "pipeline.yaml",
        "recommendations",
        "report.csv",
        "report.html",
        "report.json",
    ]
    assert not (folder / "mlflow.db").exists()


def split_of(pipeline: str, seed: int = 0):
    from recsys_ae.experiment.pipeline_file import read_pipeline
    from recsys_ae.experiment.ratings import RatingTask

    return RatingTask(read_pipeline(pipeline)).data(seed)


def test_several_seeds_and_refitting(call, folder):
    from recsys_ae import build_model, load_model
    from recsys_ae.declaration import parameters
    from recsys_ae.models.storage import model_digest

    code, out, _ = run(call, "--set", "seed=[0, 4]", "--set", "refit=true", "--set", "models.autorec.patience=2")
    assert code == 0
    assert "means over the seeds 0, 4" in out
    assert "select s" in out
    report = json.loads(Path("out/report.json").read_text())
    digests = {seed: facts["digest"] for seed, facts in report["data"].items()}
    assert set(digests) == {"0", "4"}
    assert digests["0"] != digests["4"]
    model = report["models"]["autorec"]
    values = [model["runs"][seed]["metrics"]["rmse"] for seed in ("0", "4")]
    assert model["metrics"]["rmse"] == pytest.approx(sum(values) / 2)
    assert model["deviations"]["rmse"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    kept = load_model("out/models/autorec-seed-4")
    assert kept.epochs == model["runs"]["4"]["select"]["best_epoch"]
    split = split_of("out/pipeline.yaml", seed=4)
    refitted = build_model("autorec", {**parameters(kept)}).fit(split.train.union(split.valid), seed=4)
    assert model_digest(refitted) == model_digest(kept)
    table = pd.read_csv("out/report.csv", index_col="model")
    assert table.loc["autorec", "rmse sd"] == pytest.approx(model["deviations"]["rmse"])

    # one of the seeds alone gives the same
    assert call("run", "out/pipeline.yaml", "--output", "alone", "--tracking-uri", "none", "--set", "seed=4")[0] == 0
    alone = json.loads(Path("alone/report.json").read_text())
    assert alone["models"]["autorec"]["metrics"] == model["runs"]["4"]["metrics"]
    assert alone["data"]["4"]["digest"] == digests["4"]


def test_searched_parameters_are_those_that_are_best_on_the_validation_part(call, folder):
    grid = {"l2": [5.0, 0.02], "learning_rate": [0.02, 0.05]}
    searched = {"name": "mf", "factors": 4, "epochs": 5, "patience": 0, "search": grid}
    (folder / "search.yaml").write_text(yaml.safe_dump({**PIPELINE, "models": [searched], "search": {"by": "rmse"}}))
    command = ("run", "search.yaml", "--tracking-uri", "none", "--output")
    assert call(*command, "out")[0] == 0
    (model,) = json.loads(Path("out/report.json").read_text())["models"].values()
    trials = model["runs"]["0"]["trials"]
    assert [trial["params"] for trial in trials] == [
        {"l2": l2, "learning_rate": rate} for l2 in (5.0, 0.02) for rate in (0.02, 0.05)
    ]
    best = min(trials, key=lambda trial: trial["valid_metrics"]["rmse"])
    assert {key: model["params"][key] for key in best["params"]} == best["params"]
    assert model["valid_metrics"] == best["valid_metrics"]
    assert call(*command, "few", "--set", "search.trials=3")[0] == 0
    (model,) = json.loads(Path("few/report.json").read_text())["models"].values()
    drawn = [trial["params"] for trial in model["runs"]["0"]["trials"]]
    assert len(drawn) == 3
    assert all(params in [trial["params"] for trial in trials] for params in drawn)


def test_a_model_can_start_from_yesterdays(call, folder):
    assert run(call)[0] == 0
    barely = {"epochs": 1, "learning_rate": 1e-9, "patience": 0}
    autorec = {**PIPELINE["models"][0], **barely}
    models = [{**autorec, "warm_start": "out/models/autorec"}, {**autorec, "label": "new"}]
    (folder / "again.yaml").write_text(yaml.safe_dump({**PIPELINE, "models": models}))
    assert call("run", "again.yaml", "--output", "again", "--tracking-uri", "none")[0] == 0
    before, again = metrics(folder / "out/report.json"), metrics(folder / "again/report.json")
    assert again["autorec"]["rmse"] == pytest.approx(before["autorec"]["rmse"], abs=1e-6)
    assert again["new"]["rmse"] != pytest.approx(before["autorec"]["rmse"], abs=1e-4)


def test_cold_users_by_policy(call, folder):
    """The users without training ratings that a random split produces."""
    rare = {"dataset.ratings": 200, "metrics": ["ndcg@5"], "split.test": 0.5}
    settings = [text for key, value in rare.items() for text in ("--set", f"{key}={json.dumps(value)}")]
    assert run(call, *settings)[0] == 0
    counts = json.loads(Path("out/report.json").read_text())["models"]["popularity"]["runs"]["0"]["counts"]
    assert counts["cold"] > 0
    assert counts["hot"] + counts["warm"] + counts["cold"] == counts["users_evaluated"]
    command = ("run", "mine.yaml", "--tracking-uri", "none", *settings, "--output")
    assert call(*command, "skipped", "--set", "cold=skip")[0] == 0
    skipped = json.loads(Path("skipped/report.json").read_text())["models"]["popularity"]["runs"]["0"]["counts"]
    assert (skipped["cold"], skipped["users_evaluated"]) == (counts["cold"], counts["hot"] + counts["warm"])
    code, _, err = call(*command, "none", "--set", "cold=error")
    assert (code, "cannot score user" in err) == (1, True)
    assert call(*command, "wrong", "--set", "cold=ignore")[0] == 2


def test_ratings_as_clicks(call, folder):
    assert run(call, "--set", "positive_at=3.5", "--set", "metrics=[ndcg@5]")[0] == 0
    ratings = json.loads((folder / "out/report.json").read_text())["data"]["0"]["sizes"]
    assert 100 < sum(ratings.values()) < 1400
    code, _, err = call("run", "mine.yaml", "--set", "positive_at=6", "--output", "none", "--tracking-uri", "none")
    assert code == 1
    assert "no rating is at least positive_at: 6" in err
    assert not Path("none").exists()


def test_evaluating_exported_lists_of_the_model_that_was_tested_gives_the_metrics_of_the_run(call, folder):
    run(call)
    split, best = split_of("mine.yaml"), json.loads(Path("out/report.json").read_text())["best"]["model"]
    split.test.to_frame().to_csv("truth.csv", index=False)
    split.history("test").to_frame().to_csv("history.csv", index=False)
    assert call("export", f"out/models/{best}", "--history", "history.csv", "--k", 10, "--output", "lists")[0] == 0
    code, out, _ = call("evaluate", "lists", "--truth", "truth.csv", "--metrics", "ndcg@5", "recall@10", "--output", "e.json")
    assert code == 0
    assert "users evaluated" in out
    report = json.loads(Path("out/report.json").read_text())
    best = report["models"][report["best"]["model"]]["metrics"]
    found = json.loads(Path("e.json").read_text())["metrics"]
    assert found == pytest.approx({name: best[name] for name in ("ndcg@5", "recall@10")}, abs=1e-12)


def test_export_from_a_saved_model(call, folder):
    run(call)
    Path("log.csv").write_text("user_id,item_id,rating\nnew,1001,5\nnew,1002,4\nother,1001,1\n")
    code, out, _ = call("export", "out/models/autorec", "--history", "log.csv", "--k", 3, "--output", "lists")
    assert (code, "6 recommendations for 2 users" in out) == (0, True)
    lists = pd.read_parquet("lists/part-00000.parquet")
    assert lists["user_id"].tolist() == ["new"] * 3 + ["other"] * 3
    assert not {1001, 1002} & set(lists[lists["user_id"] == "new"]["item_id"])
    code, _, err = call("export", "out/models/autorec", "--history", "log.csv", "--output", "lists")
    assert (code, "already holds lists made from other inputs" in err) == (1, True)


def test_export_with_items_the_model_does_not_know(call, folder):
    run(call)
    Path("log.csv").write_text("user_id,item_id,rating\nnew,1001,4\nnew,77,4\nother,77,3\n")
    code, _, err = call("export", "out/models/mf", "--history", "log.csv", "--output", "lists")
    assert (code, "does not know item 77 (2 such rows); --skip-unknown" in err) == (1, True)
    code, out, _ = call("export", "out/models/mf", "--history", "log.csv", "--output", "lists", "--skip-unknown")
    assert code == 0
    assert "skipped 2 interactions with items that the model does not know; 1 user had no other interactions" in out
    assert ": they get the most popular items" in out
    popular = pd.read_parquet("lists/part-00000.parquet").groupby("user_id").size()
    assert popular.to_dict() == {"new": 59, "other": 60}


@pytest.mark.parametrize(("policy", "code", "served"), [("skip", 0, ["new"]), ("error", 1, None)])
def test_users_whose_items_are_all_unknown_are_cold(call, folder, policy, code, served):
    run(call)
    Path("log.csv").write_text("user_id,item_id,rating\nnew,1001,4\nother,77,3\n")
    command = ["export", "out/models/mf", "--history", "log.csv", "--output", "lists", "--skip-unknown", "--cold", policy]
    found, _, err = call(*command)
    assert found == code
    if served:
        assert pd.read_parquet("lists/part-00000.parquet")["user_id"].unique().tolist() == served
    else:
        assert "cannot score user 'other' (1 of 2 users)" in err


def test_a_finished_run_is_not_overwritten(call, folder):
    run(call)
    before = (folder / "out/report.json").read_bytes()
    code, _, err = run(call)
    assert (code, "already holds a finished run" in err) == (1, True)
    code, out, _ = run(call, "--resume")
    assert (code, "noise floor" in out) == (0, True)
    assert (folder / "out/report.json").read_bytes() == before


def test_resume_with_another_pipeline_is_refused(call, folder):
    run(call)
    code, _, err = run(call, "--resume", "--set", "seed=1")
    assert (code, "holds a run of another pipeline" in err) == (2, True)


def test_no_temporary_folder(call, folder, monkeypatch):
    from recsys_ae import folders

    def missing() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(folders.tempfile, "gettempdir", missing)
    code, _, err = run(call)
    assert code == 1
    assert err == "recsys-ae: there is no writable folder for temporary files; set TMPDIR to one\n"
    assert not (folder / "out").exists()


def test_two_runs_in_one_folder(call, folder):
    (folder / "out").mkdir()
    with FileLock(folder / "out/.lock"):
        code, _, err = run(call)
    assert code == 1
    assert f"a run is in progress in out; wait for it or choose another --output (process {os.getpid()} holds out/.lock)" in err
    assert list((folder / "out").iterdir()) == [folder / "out/.lock"]


def test_a_folder_with_something_else_is_left_alone(call, folder):
    (folder / "out").mkdir()
    (folder / "out/thesis.txt").write_text("mine")
    code, _, err = run(call)
    assert (code, "out is not empty (thesis.txt)" in err) == (1, True)
    assert [path.name for path in (folder / "out").iterdir() if path.name != ".lock"] == ["thesis.txt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "killed_in"),
    [
        ({}, "autorec"),
        ({"seed": [3, 1], "refit": True}, "autorec-seed-3+refit"),
        ({"seed": [3, 1]}, "autorec-seed-1"),
        ({"search": {"trials": 3}}, "autorec-trial-2"),
        ({"export": {"k": 10, "model": "autorec"}}, "autorec+final"),
    ],
)
def test_killed_run_resumes_to_the_same_result(call, folder, more, killed_in):
    """SIGKILL during training; the resumed run ends with exactly the figures of an uninterrupted one."""
    autorec = {"name": "autorec", "hidden": 60, "epochs": 60, "patience": 0}
    if "search" in more:
        autorec["search"] = {"l2": [1, 10, 100]}
    slow = {**PIPELINE, **more, "models": [autorec, *PIPELINE["models"][1:]]}
    (folder / "slow.yaml").write_text(yaml.safe_dump(slow))
    arguments = ["run", "slow.yaml", "--tracking-uri", "none", "--output"]
    with Command(*arguments, "whole") as whole:  # a long-lived process may round in another way
        assert whole.wait() == 0, whole.communicate()
    checkpoint = folder / f"killed/.work/{killed_in}.checkpoint"
    with Command(*arguments, "killed") as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "killed/report.json").exists()
    if not more:
        code, _, told = call(*arguments, "killed")
        assert (code, "continue it with --resume" in told) == (1, True)
    with Command(*arguments, "killed", "--resume") as resumed:
        _, told = resumed.communicate()
    assert resumed.returncode == 0, told
    assert f"{killed_in.removesuffix('+refit').removesuffix('-trial-2')}: continuing after epoch" in told
    assert metrics(folder / "killed/report.json") == metrics(folder / "whole/report.json")
    for file in ("final/arrays.safetensors", "recommendations/part-00000.parquet"):
        assert (folder / "killed" / file).read_bytes() == (folder / "whole" / file).read_bytes()


def test_a_failing_model_loses_no_finished_one(call, folder, monkeypatch):
    from recsys_ae.models.mf import MatrixFactorisation

    fit = MatrixFactorisation.fit
    monkeypatch.setattr(MatrixFactorisation, "fit", lambda *_, **__: 1 / 0)
    code, _, err = run(call)
    assert (code, "unexpected ZeroDivisionError" in err) == (1, True)
    monkeypatch.setattr(MatrixFactorisation, "fit", fit)
    trained = (folder / "out/models/autorec/arrays.safetensors").stat().st_mtime_ns
    code, _, _ = run(call, "--resume")
    assert code == 0
    assert (folder / "out/models/autorec/arrays.safetensors").stat().st_mtime_ns == trained


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_everything_is_tracked(call, folder):
    from mlflow.tracking import MlflowClient

    code, out, err = call("run", "mine.yaml", "--output", "out")
    assert code == 0
    assert "artifacts" not in err  # MLflow's own progress bars
    assert f"mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db" in out
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    best = json.loads(Path("out/report.json").read_text())["best"]["model"]
    assert set(runs) == {"mine", "autorec", "mf", "popularity", f"{best}+final", "recommendations"}
    parent, child, final = runs["mine"], runs["autorec"], runs[f"{best}+final"]
    assert final.data.params["fitted_on"] == "everything"
    assert final.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert not {"ndcg_at_5", "rmse"} & set(final.data.metrics)
    logged = {name: [client.get_logged_model(one.model_id).name for one in runs[name].outputs.model_outputs] for name in runs}
    assert logged == {name: [] if name in ("mine", "recommendations") else ["model"] for name in runs}
    assert not client.list_artifacts(final.info.run_id)
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    report = json.loads(Path("out/report.json").read_text())
    assert child.data.metrics["ndcg_at_5"] == report["models"]["autorec"]["metrics"]["ndcg@5"]
    assert len(client.get_metric_history(child.info.run_id, "by_epoch/train_loss")) == 8
    assert {one.tags[0].value for one in parent.inputs.dataset_inputs} == {"train", "valid", "test"}
    assert {one.path for one in client.list_artifacts(child.info.run_id)} == {"figures"}
    assert {one.path for one in client.list_artifacts(parent.info.run_id)} == {
        "figures",
        "inputs.json",
        "per-user",
        "pipeline.yaml",
        "report.csv",
        "report.html",
        "report.json",
    }
    Path("log.csv").write_text("user_id,item_id,rating\nnew,1001,4\n")
    code, _, _ = call("export", f"runs:/{child.info.run_id}/model", "--history", "log.csv", "--k", 2, "--output", "lists")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "absent.yaml"], 2, "there is no pipeline file absent.yaml"),
        (["run", "mine.yaml", "--set", "metrics=[ndgc@5]"], 2, "did you mean 'ndcg'"),
        (["run", "mine.yaml", "--resume"], 2, "--resume needs the --output"),
        (["run", "mine.yaml", "--set", "models.mf.factor=3"], 2, "unknown key 'factor'; did you mean 'factors'"),
        (["run"], 2, "no pipeline given; name one"),
        (["rum"], 2, "No such command"),
        (["models", "autrec"], 2, "did you mean 'autorec'"),
        (["datasets", "show", "ml-1"], 2, "unknown dataset"),
        (["evaluate", "absent", "--truth", "mine.yaml"], 1, "there is no file or folder absent with recommendations"),
        (["promote", "."], 2, ". is a folder; promote takes the id of an MLflow run"),
        (["export", "absent", "--history", "x.csv", "--output", "y"], 1, "there is no model absent"),
        (["schema", "foo"], 2, "Invalid value for 'kind': 'foo' is not one of 'pipeline', 'card'"),
        (["run", "mine.yml"], 2, "there is no pipeline file mine.yml; did you mean 'mine.yaml'?"),
    ],
)
def test_mistakes_get_one_sentence_and_the_right_code(call, folder, arguments, code, message):
    found, out, err = call(*arguments)
    assert found == code
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err
    assert sorted(path.name for path in folder.iterdir()) == ["mine.yaml"]


def test_bad_data_is_named_with_its_line(call, folder):
    (folder / "log.csv").write_text("u,i,r\n1,2,3\n1,3,x\n")
    own = {
        "name": "own",
        "kind": "ratings",
        "files": [{"path": "log.csv", "columns": {"user": "u", "item": "i", "rating": "r"}}],
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "dataset": own}))
    code, _, err = run(call)
    assert (code, "log.csv, line 3: r 'x' is not a number: '1,3,x'" in err) == (1, True)


@pytest.mark.parametrize("arguments", [["--debug", "run", "absent.yaml"], ["run", "absent.yaml", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(call, folder, arguments):
    code, _, err = call(*arguments)
    assert code == 2
    assert "Traceback" in err
    assert "there is no pipeline file" in err.splitlines()[-1]


def test_without_arguments_there_is_help(call):
    code, out, _ = call()
    assert code == 0
    assert len(out.splitlines()) > 10


def test_bad_data_leaves_nothing_behind(call, folder):
    own = {"name": "own", "kind": "ratings", "files": [{"path": "absent.csv", "columns": {"user": "u", "item": "i"}}]}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "dataset": own}))
    code, _, err = run(call)
    assert (code, "no file absent.csv" in err) == (1, True)
    assert [path.name for path in folder.iterdir()] == ["mine.yaml"]


def test_resolved_pipeline_of_own_data_runs_again(call, folder):
    rows = "".join(f"{user},{item},{(user * item) % 5 + 1}\n" for user in range(12) for item in range(user % 3, 9))
    (folder / "log.csv").write_text("u,i,stars\n" + rows)
    table = {"path": "log.csv", "columns": {"user": "u", "item": "i", "rating": "stars"}}
    own = {"name": "own", "kind": "ratings", "files": [table], "ids": {"user": "str"}}
    declared = {**PIPELINE, "dataset": own, "models": [{"name": "pca", "factors": 2}]}
    (folder / "mine.yaml").write_text(yaml.safe_dump(declared))
    assert run(call)[0] == 0
    code, _, _ = call("run", "out/pipeline.yaml", "--output", "again", "--tracking-uri", "none")
    assert code == 0
    assert metrics(folder / "again/report.json") == metrics(folder / "out/report.json")
    (folder / "new.csv").write_text("who,what,stars\n7,3,5\n")
    code, _, err = call("export", "out/models/pca", "--history", "new.csv", "--k", 2, "--output", "lists")
    assert (code, "no column is recognised as the user id" in err) == (1, True)
    code, _, _ = call(
        "export", "out/models/pca", "--history", "log.csv", "--card", "out/pipeline.yaml", "--k", 2, "--output", "lists"
    )
    assert code == 0
    assert pd.api.types.is_string_dtype(pd.read_parquet("lists/part-00000.parquet")["user_id"])
    (folder / "unrated.csv").write_text("user,item\n7,3\n")
    code, _, err = call("export", "out/models/pca", "--history", "unrated.csv", "--output", "more")
    assert (code, "trained on ratings, but no column is recognised as the rating; declare it with --card" in err) == (2, True)


def test_terminated_and_interrupted(call, folder, monkeypatch):
    from recsys_ae.errors import Terminated
    from recsys_ae.models.baselines import Popularity

    for error, code, message in ((Terminated, 143, "terminated"), (KeyboardInterrupt, 130, "interrupted")):

        def stop(*_, error=error, **__):
            raise error

        monkeypatch.setattr(Popularity, "fit", stop)
        found, _, err = call("run", "mine.yaml", "--output", f"out{code}", "--tracking-uri", "none")
        assert (found, err.strip().splitlines()[-1]) == (code, f"recsys-ae: {message}")


def test_listings(call):
    assert "ml-100k" in call("datasets")[1]
    assert "kind: planted-ratings" in call("datasets", "show", "planted-ratings")[1]
    assert "1438 + 359 images of 8 x 8" in call("datasets", "fetch", "digits")[1]
    assert "autorec" in call("models")[1]
    assert "learning_rate" in call("models", "autorec")[1]


@pytest.mark.parametrize(("level", "line"), [(20, "3 left"), (30, "warning: 3 left"), (40, "error: 3 left")])
def test_messages_begin_with_the_level_of_warnings_and_errors(level, line):
    assert LogLine().format(logging.LogRecord("recsys_ae", level, "", 0, "%d left", (3,), None)) == line


def test_only_a_warning_is_given_once_and_one_that_cannot_be_formatted_does_no_harm():
    def record(level: int, *arguments: object) -> logging.LogRecord:
        return logging.LogRecord("recsys_ae", level, "", 0, "%d left", arguments, None)

    given = [record(logging.INFO, 3), record(logging.WARNING, 3), record(logging.WARNING, 3), record(logging.WARNING, 4)]
    once = Once()
    assert [once.filter(one) for one in [*given, *given]] == [True, True, False, True, True, False, False, False]
    assert once.filter(record(logging.WARNING, "three", "too many"))


def test_version_imports_none_of_the_large_libraries(run_alone):
    assert run_alone("--version") == (0, f"recsys-ae {recsys_ae.__version__}\n", "", set())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exprt": {"k": 3}}, "unknown key 'exprt'; did you mean 'export'?"),
        ({"split": {"kind": "randm"}}, "unknown split 'randm'; did you mean 'random'?"),
        ({"metrics": ["ndgc@5"]}, "did you mean 'ndcg'"),
        ({"dataset": {**PIPELINE["dataset"], "user": 3}}, "unknown key 'user'; did you mean 'users'?"),
        (
            {"dataset": LOG, "models": [{"name": "popularity"}], "metrics": ["ndcg@5"]},
            "there is no column 'i'; known are: t, u",
        ),
        ({}, "taken is not empty (something); choose another --output"),
    ],
)
def test_a_mistake_that_needs_no_model_is_reported_without_importing_any(run_alone, folder, change, message):
    """That would take seconds."""
    (folder / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **change}))
    (folder / "log.csv").write_text("u,t\n1,2\n")
    (folder / "taken").mkdir()
    (folder / "taken/something").touch()
    code, _, err, imported = run_alone("run", "mine.yaml", "--output", "out" if change else "taken")
    assert code == (1 if "column" in message or not change else 2)
    assert message in err
    assert imported <= {"pandas"}


def test_listing_models_imports_none_of_them(run_alone):
    code, out, err, imported = run_alone("models")
    assert (code, err, imported) == (0, "", set())
    described = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in out.splitlines() if "│" in line}
    assert described["popularity"] == (Popularity.__doc__ or "").split("\n")[0]
    assert all(described.values())
    assert {*MODELS, *IMAGE_MODELS} <= set(described)


def test_a_mistake_that_shows_late_leaves_the_place_free(call, folder):
    """The corrected run can use the same output folder."""
    impossible = {"name": "mf", "factors": 2, "epochs": 1, "warm_start": "nowhere"}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "models": [impossible]}))
    assert run(call)[0] != 0
    assert not (folder / "out").exists()
    (folder / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    assert run(call)[0] == 0


def test_titles_and_tables_are_printed_as_they_are(call, folder, capsys):
    """Not as the markup or emoji that their text would be."""
    (folder / "card.yaml").write_text(yaml.safe_dump({**PIPELINE["dataset"], "title": "[red]x[/red] [/] :smile:"}))
    code, out, _ = call("datasets", "show", "card.yaml")
    assert (code, "[red]x[/red] [/] :smile:" in out) == (0, True)
    print_table("[red]a[/red]", rows=[["[/] :smile:"]])
    printed = capsys.readouterr().out
    assert "[red]a[/red]" in printed
    assert "[/] :smile:" in printed


def test_models_says_what_parameters_may_be(call):
    code, out, _ = call("models", "stacked")
    assert code == 0
    for text in ("reconstruction, classes, none", "integer >= 1", "lbfgs", "salt_and_pepper", "passes over the rows"):
        assert text in out
    assert "number >= 0 and < 1" in call("models", "elsa")[1]
    assert "batch_size" in out
    _, out, _ = call("models", "als")  # all of its parameters are explained in its own docstring
    assert "Attributes:\n    factors: K." in out
    assert "Recommender:" not in out
    assert "TrainConfig:" not in out


@pytest.mark.parametrize(("raised", "handler"), [(KeyboardInterrupt, signal.default_int_handler), (Terminated, _terminate)])
def test_a_signal_during_a_destructor_is_not_lost(monkeypatch, raised, handler):
    class Dying:
        def __del__(self):
            raise raised

    number = signal.SIGTERM if raised is Terminated else signal.SIGINT
    before = signal.signal(number, handler)
    monkeypatch.setattr(sys, "unraisablehook", _interrupt_again)
    try:
        with pytest.raises(raised):  # noqa: PT012
            Dying()
            time.sleep(20)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (f"models.mf.factors={10**12}", "models.1.factors: whole numbers may be at most 2147483647"),
        ("models.mf.l2=.inf", "models.1.l2: numbers must be finite"),
        ("models.mf.l2=1e39", "l2: numbers must be finite"),
        ("models.mf.factors=2000000000", "MatrixFactorisation needs 2.88e+03 GB of memory"),
        ("models.mf.l2=1e30", "MatrixFactorisation: the loss is nan in epoch 1; "),
        (f"seed={2**64}", "seed: whole numbers may be at most 2147483647"),
        ("metrics=[ndcg@0]", "metric 'ndcg@0' needs a list length"),
        ("metrics=" + "[" * 3000, "nested more than 32 levels deep"),
        ("x" * 100_000, "--set needs key=value"),
        ("metrics=" + "x" * 100_000, "metrics"),
        ("models.mf.label='[red]x[/]'", "may have only letters, digits"),
        ("dataset.name='\x1b[31m'", "not a text file"),
    ],
)
def test_what_cannot_be_carried_out_is_one_short_sentence(folder, call, setting, message):
    code, out, err = run(call, "--set", setting)
    assert (code, out) == (1 if "loss is nan" in message else 2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("recsys-ae: ")]
    assert message in line
    assert len(line) < 450
    assert "unexpected" not in line


def test_names_are_printed_as_they_are(folder, call):
    """Not as the markup that they would be to Rich."""
    name = "[red]x[/] :smile: [/nonsense]"
    changed = {**PIPELINE, "dataset": {**PIPELINE["dataset"], "name": name}, "models": [{"name": "popularity"}]}
    (folder / "[bold]mine.yaml").write_text(yaml.safe_dump(changed))
    code, out, err = call("run", "[bold]mine.yaml", "--output", "[dim]out", "--tracking-uri", "none")
    assert (code, "unexpected" in err) == (0, False)
    assert f"{name}: 120 users" in out
    assert "results: [dim]out" in out


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            "{kind: time_cut, at: 2030-01-01}",
            "at: there is no event at or after 2030-01-01; the events range from 2024-01-01T00:00:00 to",
        ),
        (
            "{kind: time_cut, at: 1990-01-01}",
            "at: there is no event before 1990-01-01; the events range from 2024-01-01T00:00:00 to",
        ),
        ("{kind: time_cut, at: 2024-01-01}", "at: there is no event before 2024-01-01; the events range from"),
        ("{kind: time_cut, at: 31.12.2024}", "mine.yaml: split time_cut: at: expected a time as ISO 8601 text, such as"),
        ("{kind: leave_last, test: 5}", "the leave_last split has an empty test part (test: 5, valid: 0); hold out more"),
    ],
)
def test_a_split_that_leaves_a_part_empty(call, tmp_path, monkeypatch, split, message):
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("user_id,item_id,t\n1,2,2024-01-01\n2,3,2024-01-02\n1,3,2024-01-03\n")
    columns = "{user: user_id, item: item_id, time: t}"
    Path("mine.yaml").write_text(
        f"dataset: {{name: shop, kind: ratings, files: [{{path: log.csv, columns: {columns}}}]}}\n"
        f"split: {split}\nmodels: [{{name: popularity}}]\nmetrics: [ndcg@10]\n"
    )
    code, _, err = call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")
    assert code != 0
    assert message in err
    assert "{" not in err
