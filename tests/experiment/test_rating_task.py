"""Recommender pipelines: loading of data, the fits, and what is exported."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rating_runs import PIPELINE, run, split, write
from typer.testing import CliRunner

from recsys_ae import build_model, load_model, recommend
from recsys_ae.cli import app
from recsys_ae.data.ratings import load_ratings
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.experiment import rating_data
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.files import read_json
from recsys_ae.models.storage import model_digest
from recsys_ae.reporting.report import summary_header, summary_lines
from recsys_ae.reporting.results import RunReport, SkippedFacts


def test_what_loading_skipped_is_in_the_output_and_nowhere_else(folder):
    rows = [f"{user};{item};{1 + (user + item) % 5},5" for user in range(12) for item in range(user % 3, 9)]
    Path("log.csv").write_text("\n".join(["user;item;rating", "x;y", *rows, "3;1;bad"]))
    columns = {"user": "user", "item": "item", "rating": "rating"}
    file = {"path": "log.csv", "decimal": ",", "bad_lines": "skip", "columns": columns}
    card = {"name": "own", "kind": "ratings", "files": [file], "k_core": 2}
    run(dataset=card, models=[{"name": "popularity"}], metrics=["ndcg@5"], export=None)
    skipped = pd.read_csv("out/skipped.csv")
    assert skipped[["number", "problem"]].to_numpy().tolist() == [
        [2, "expected 3 fields, got 2"],
        [len(rows) + 3, "rating 'bad' is not a number"],
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["log.csv", "mine.yaml", "out"]
    Path("log.csv").write_text("\n".join(["user;item;rating", *rows]))
    run("clean", dataset=card, models=[{"name": "popularity"}], metrics=["ndcg@5"], export=None)
    assert not Path("clean/skipped.csv").exists()
    clean, with_skipped = (read_json(RunReport, Path(name, "report.json"), "") for name in ("clean", "out"))
    assert clean.data == with_skipped.data


def test_the_report_states_how_many_events_were_merged_and_when_the_first_and_last_were(folder):
    """Where pairs are merged before the split, and where a part at a time is: seven users click on an old item again."""
    rows = [(user, item, 10 * user + item) for user in range(12) for item in range(9)]
    again = [(user, 3, 1000 + user) for user in range(7)]
    card = {"name": "own", "kind": "ratings", "duplicates": "last"}
    card["files"] = [{"path": "log.csv", "columns": {"user": "user", "item": "item", "time": "time"}}]
    options = {"dataset": card, "models": [{"name": "popularity"}], "metrics": ["ndcg@5"], "export": None}
    pd.DataFrame(rows + again, columns=["user", "item", "time"]).to_csv("log.csv", index=False)
    report = run(**options, split={"kind": "random", "test": 0.2})
    assert sum(report.data[0].sizes.values()) == len(rows)
    times = "times from 1970-01-01T00:00:00 to 1970-01-01T00:16:46 UTC"
    assert report.data[0].about == f"12 users, 9 items; random split; 7 repeated events merged; {times}"
    assert f"; 7 repeated events merged; {times}: " in summary_header(report)
    assert f"7 repeated events merged; {times}" in Path("out/report.html").read_text(encoding="utf-8")
    assert run("last", **options, split={"kind": "leave_last"}).data[0].about == f"12 users, 9 items; leave_last split; {times}"
    pd.DataFrame(rows, columns=["user", "item", "time"]).to_csv("log.csv", index=False)
    times = "times from 1970-01-01T00:00:00 to 1970-01-01T00:01:58 UTC"
    clean = run("clean", **options, split={"kind": "random", "test": 0.2}).data[0].about
    assert clean == f"12 users, 9 items; random split; {times}"
    del card["files"][0]["columns"]["time"]
    timeless = run("timeless", **options, split={"kind": "random", "test": 0.2}).data[0].about
    assert timeless == "12 users, 9 items; random split"


def pairs(frame: pd.DataFrame) -> set[tuple]:
    return set(zip(frame["user_id"], frame["item_id"], strict=True))


def test_skipped_lines_still_count_as_seen(folder):
    """Lists of a run, of a command and of a model in MLflow leave out what a purchase without a rating says was seen."""
    rows = [f"{user},{item},{1 + (user + item) % 5}" for user in range(12) for item in range(9) if (user + item) % 4]
    unrated = [f"{user},{item}," for user in range(12) for item in range(9) if (user + item) % 4 == 0 and user % 2 == 0]
    Path("log.csv").write_text("\n".join(["user,item,rating", *rows, *unrated, "3,1", "99,1,", "5,88,"]) + "\n")
    columns = {"user": "user", "item": "item", "rating": "rating"}
    card = {"name": "own", "kind": "ratings", "files": [{"path": "log.csv", "bad_lines": "skip", "columns": columns}]}
    report = run(dataset=card, models=[{"name": "popularity"}], metrics=["ndcg@5"], export={"k": 9})
    n = len(unrated)
    assert report.skipped == SkippedFacts(n + 3, len(rows) + n + 3, {"rating": n + 2, "line": 1}, n + 2)
    assert f"not in the data: {n + 3} of" in "\n".join(summary_lines(report, Path("out")))
    assert "Lines skipped" in Path("out/report.html").read_text()
    wanted = {(user, item) for user in range(12) for item in range(9) if (user + item) % 4 == 0 and user % 2}
    assert pairs(pd.read_parquet("out/recommendations")) == wanted
    assert CliRunner().invoke(app, ["verify", "out/recommendations", "--sample", "5", "--tracking-uri", "none"]).exit_code == 0
    command = ["export", "out/final", "--history", "log.csv", "--card", "mine.yaml", "--output", "lists", "--k", "9"]
    assert f"{n + 3} invalid lines of the history" in CliRunner().invoke(app, [*command, "--skip-unknown"]).output
    assert pairs(pd.read_parquet("lists")) == wanted
    verified = CliRunner().invoke(app, ["verify", "lists", "--sample", "5", "--tracking-uri", "none"])
    assert verified.exit_code == 0, verified.output
    assert f", without {n + 3} invalid lines" in verified.output


@pytest.mark.parametrize(
    "declared",
    [PIPELINE["split"], {"kind": "user_holdout", "test": 0.2, "valid": 0.1}, {"kind": "per_user", "test": 0.2, "valid": 0.0}],
)
def test_the_shipped_model_is_fitted_on_all_data(folder, declared):
    """The lists come from a fit on all interactions with the best number of epochs, and contain no item of any part."""
    report = run(split=declared)
    parts, tested = split(), report.models["autorec"].runs[0]
    whole = parts.everything
    assert len(whole) == sum(report.data[0].sizes.values()) == 700
    model = build_model("autorec", {**tested.params, "epochs": tested.best_epoch, "patience": 0}).fit(whole, seed=0)
    assert report.final.digest == model_digest(model) == model_digest(load_model("out/final"))
    assert (report.final.model, report.final.fit.epochs) == ("autorec", tested.best_epoch)
    lists = pd.read_parquet("out/recommendations/part-00000.parquet")
    pd.testing.assert_frame_equal(lists, recommend(model, whole, k=5).to_frame(), check_dtype=False)
    assert not pairs(lists) & pairs(whole.to_frame())
    assert report.exported.manifest["data_digest"] == whole.digest
    shipped = f"final model: autorec, refitted on all data for {tested.best_epoch} epochs, not tested: out/final"
    assert shipped in summary_lines(report, Path("out"))


def test_the_model_that_is_tested_has_not_seen_the_test_part(folder):
    """It is saved separately, and the report has its metrics."""
    report = run()
    for label, model in report.models.items():
        assert evaluate(load_model(f"out/models/{label}"), split(), PIPELINE["metrics"]).metrics == model.metrics
    params = {key: value for key, value in PIPELINE["models"][0].items() if key != "name"}
    expected = build_model("autorec", params).fit(split().train, valid=split().valid, seed=0)
    assert model_digest(load_model("out/models/autorec")) == model_digest(expected)


def clicks() -> dict:
    """A log of 12 users who click some of 20 items, several times."""
    rows = [(user, (user + place * place) % 20, place) for user in range(12) for place in range(30)]
    Path("log.csv").write_text("user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))
    table = {"path": "log.csv", "columns": {"user": "user", "item": "item", "time": "time"}}
    return {"name": "clicks", "kind": "ratings", "files": [table], "duplicates": "sum"}


def test_clicks_are_warned_of_where_a_model_learns_them_as_ratings(folder, caplog):
    """A log of clicks has no ratings, which matters to rating models only, and when they are to be trained."""

    def warned(*models: str, duplicates: str = "last") -> list[str]:
        caplog.clear()
        log = {**clicks(), "duplicates": duplicates}
        named = {"dataset": log, "models": [{"name": name} for name in models], "metrics": ["ndcg@5"]}
        task = RatingTask(read_pipeline(write(**named, export={"k": 5})))
        data = task.data(0)
        assert not caplog.messages
        task.check(data)
        return caplog.messages

    assert warned("ease", "popularity") == []
    assert warned("ease", "bias") == ["all ratings are equal, so bias has nothing to learn; use ranking models"]
    assert warned("mf", "bias") == ["all ratings are equal, so mf, bias have nothing to learn; use ranking models"]
    assert warned("ease", duplicates="sum") == []
    counted = ["the ratings are numbers of events, so these are what mf, bias predict; use ranking models"]
    assert warned("mf", "bias", duplicates="sum") == counted


def test_wanted_repeats_are_not_excluded(folder):
    declared = {"kind": "leave_last", "test": 1, "repeats": "wanted"}
    models = [{"name": "ease", "l2": 5.0}]
    report = run(dataset=clicks(), split=declared, metrics=["ndcg@5"], models=models, export={"k": 5})
    assert report.exported.manifest["filters"]["exclude_seen"] is False
    lists = pd.read_parquet("out/recommendations/part-00000.parquet")
    assert pairs(lists) & pairs(split().everything.to_frame())


def test_lists_of_positives_exclude_whatever_was_rated(folder):
    """`positive_at` decides what is learned from, but a disliked item is seen too; cold users follow the pipeline's policy."""
    log = load_ratings(read_pipeline(write(positive_at=4)).card, Path()).interactions.to_frame()
    report = run(positive_at=4, metrics=["ndcg@5"], models=[{"name": "ease", "l2": 5.0}], export={"k": 5}, cold="skip")
    lists = pd.read_parquet("out/recommendations/part-00000.parquet")
    assert (log["rating"] < 4).any()
    assert not pairs(lists) & pairs(log)
    assert report.exported.manifest["filters"]["cold"] == "skip"


def test_item_vectors_are_exported(folder):
    models = [{"name": "elsa", "factors": 4, "epochs": 2}, {"name": "popularity"}]
    report = run(positive_at=4, metrics=["ndcg@5"], models=models, export={"model": "elsa", "what": "item_vectors"})
    table = pd.read_parquet("out/item-vectors/part-00000.parquet")
    model = load_model("out/final")
    assert table["item_id"].tolist() == model.fitted.ids["items"].values.tolist()
    np.testing.assert_array_equal(np.stack(table["vector"]), model.item_vectors())
    assert (report.exported.about, report.exported.manifest["width"]) == ("item vectors", 4)
    for exported, why in (("popularity", "has no"), ("best", "which could be the best one, has no")):
        with pytest.raises(ConfigError, match=f"popularity,? ?{why} item vectors"):
            run("other", positive_at=4, metrics=["ndcg@5"], models=models, export={"model": exported, "what": "item_vectors"})
        assert not Path("other").exists()


def test_the_searched_parameters_are_those_of_the_final_fit(folder):
    searched = {"name": "ease", "search": {"l2": [1.0, 1e6]}}
    report = run(models=[searched], metrics=["ndcg@5"], export={"k": 5})
    (tested,) = report.models["ease"].runs.values()
    best = max(tested.trials, key=lambda trial: trial.valid_metrics["ndcg@5"])
    assert report.final.params["l2"] == tested.params["l2"] == best.params["l2"]
    assert tested.searched_by == "ndcg@5"
    assert report.final.fit.epochs is None


def test_without_an_export_nothing_is_fitted_again(folder):
    report = run(export=None)
    assert (report.final, report.exported) == (None, None)
    assert not Path("out/final").exists()
    assert report.best.model in report.models


@pytest.mark.parametrize("declared", [PIPELINE["split"], {"kind": "given", "name": "mine", "valid": 0.1}])
def test_three_seeds_read_the_data_once(folder, monkeypatch, declared):
    reads = []
    for name in ("load_ratings", "load_given_split"):
        load = getattr(rating_data, name)
        monkeypatch.setattr(
            rating_data, name, lambda *arguments, load=load, **more: reads.append(1) or load(*arguments, **more)
        )
    dataset: dict = PIPELINE["dataset"]
    if declared["kind"] == "given":
        rows = [(user, item, (user * item) % 5 + 1) for user in range(20) for item in range(user % 3, 12)]
        for name, part in (("train", rows[::2] + rows[1::4]), ("test", rows[3::4])):
            Path(f"{name}.csv").write_text("u,i,r\n" + "".join(f"{u},{i},{r}\n" for u, i, r in part))
        table = {"path": "train.csv", "columns": {"user": "u", "item": "i", "rating": "r"}}
        splits = {"mine": {"train": "train.csv", "test": "test.csv"}}
        dataset = {"name": "own", "kind": "ratings", "files": [table], "splits": splits}
    report = run(seed=[0, 1, 2], dataset=dataset, split=declared, models=PIPELINE["models"][2:], export={"k": 2})
    assert len(reads) == 1
    assert len({facts.digest for facts in report.data.values()}) == 3
