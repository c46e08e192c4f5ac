"""What a run leaves and prints, and what is made of its models."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small_run import PIPELINE, metrics, run


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


def test_a_model_can_start_from_yesterdays(call, ran):
    barely = {"epochs": 1, "learning_rate": 1e-9, "patience": 0}
    autorec = {**PIPELINE["models"][0], **barely}
    models = [{**autorec, "warm_start": "out/models/autorec"}, {**autorec, "label": "new"}]
    (ran / "again.yaml").write_text(yaml.safe_dump({**PIPELINE, "models": models}))
    assert call("run", "again.yaml", "--output", "again", "--tracking-uri", "none")[0] == 0
    before, again = metrics(ran / "out/report.json"), metrics(ran / "again/report.json")
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


def test_evaluating_exported_lists_of_the_model_that_was_tested_gives_the_metrics_of_the_run(call, ran):
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


def test_export_from_a_saved_model(call, ran):
    Path("log.csv").write_text("user_id,item_id,rating\nnew,1001,5\nnew,1002,4\nother,1001,1\n")
    code, out, _ = call("export", "out/models/autorec", "--history", "log.csv", "--k", 3, "--output", "lists")
    assert (code, "6 recommendations for 2 users" in out) == (0, True)
    lists = pd.read_parquet("lists/part-00000.parquet")
    assert lists["user_id"].tolist() == ["new"] * 3 + ["other"] * 3
    assert not {1001, 1002} & set(lists[lists["user_id"] == "new"]["item_id"])
    code, _, err = call("export", "out/models/autorec", "--history", "log.csv", "--output", "lists")
    assert (code, "already holds lists made from other inputs" in err) == (1, True)


def test_export_with_items_the_model_does_not_know(call, ran):
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
def test_users_whose_items_are_all_unknown_are_cold(call, ran, policy, code, served):
    Path("log.csv").write_text("user_id,item_id,rating\nnew,1001,4\nother,77,3\n")
    command = ["export", "out/models/mf", "--history", "log.csv", "--output", "lists", "--skip-unknown", "--cold", policy]
    found, _, err = call(*command)
    assert found == code
    if served:
        assert pd.read_parquet("lists/part-00000.parquet")["user_id"].unique().tolist() == served
    else:
        assert "cannot score user 'other' (1 of 2 users)" in err


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
