"""Recommender pipelines: exports, comparisons, loading of data, figures and records."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from rich.console import Console
from scipy.stats import ttest_rel
from typer.testing import CliRunner

from recsys_ae import build_model, load_model, recommend, save_model
from recsys_ae.cli import app
from recsys_ae.data.ratings import load_ratings
from recsys_ae.errors import ConfigError, DataError, RecsysError, TrainingError
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.experiment import rating_data, ratings
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.files import read_json
from recsys_ae.models.autorec import AutoRec
from recsys_ae.models.storage import model_digest
from recsys_ae.reporting.markdown import description
from recsys_ae.reporting.report import summary_header, summary_lines
from recsys_ae.reporting.results import CHOSEN_ON_TEST, RunReport, SkippedFacts
from recsys_ae.split import Split
from recsys_ae.tracking import Tracker

PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 80, "items": 50, "ratings": 700, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [
        {"name": "autorec", "hidden": 6, "epochs": 9, "patience": 3, "learning_rate": 0.05},
        {"name": "ease", "l2": 5.0},
        {"name": "popularity"},
    ],
    "metrics": ["rmse", "ndcg@5"],
    "export": {"k": 5, "model": "autorec"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**changes: object) -> str:
    """The file of the pipeline with these keys changed."""
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **changes}))
    return "mine.yaml"


def run(output: str = "out", *, resume: bool = False, tracker: object = None, **changes: object) -> RunReport:
    """The report of the pipeline with these keys changed."""
    tracker = tracker or Tracker()
    return run_pipeline(read_pipeline(write(**changes)), Path(output), tracker, Console(quiet=True), resume=resume)


def split(seed: int = 0) -> Split:
    return RatingTask(read_pipeline("mine.yaml")).data(seed)


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


def test_the_number_of_merged_events_is_stated(folder):
    """Where pairs are merged before the split, and where a part at a time is: seven users click on an old item again."""
    rows = [(user, item, 10 * user + item) for user in range(12) for item in range(9)]
    again = [(user, 3, 1000 + user) for user in range(7)]
    card = {"name": "own", "kind": "ratings", "duplicates": "last"}
    card["files"] = [{"path": "log.csv", "columns": {"user": "user", "item": "item", "time": "time"}}]
    options = {"dataset": card, "models": [{"name": "popularity"}], "metrics": ["ndcg@5"], "export": None}
    pd.DataFrame(rows + again, columns=["user", "item", "time"]).to_csv("log.csv", index=False)
    report = run(**options, split={"kind": "random", "test": 0.2})
    assert sum(report.data[0].sizes.values()) == len(rows)
    assert report.data[0].about == "12 users, 9 items; random split; 7 repeated events merged"
    assert "; 7 repeated events merged: " in summary_header(report)
    assert "7 repeated events merged" in Path("out/report.html").read_text(encoding="utf-8")
    assert run("last", **options, split={"kind": "leave_last"}).data[0].about == "12 users, 9 items; leave_last split"
    pd.DataFrame(rows, columns=["user", "item", "time"]).to_csv("log.csv", index=False)
    assert run("clean", **options, split={"kind": "random", "test": 0.2}).data[0].about == "12 users, 9 items; random split"


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


def test_equal_ratings_are_warned_of_where_a_model_learns_them(folder, caplog):
    """A log of clicks has no ratings, which matters to rating models only, and when they are to be trained."""
    log = {**clicks(), "duplicates": "last"}

    def warned(*models: str) -> list[str]:
        caplog.clear()
        named = {"dataset": log, "models": [{"name": name} for name in models], "metrics": ["ndcg@5"]}
        task = RatingTask(read_pipeline(write(**named, export={"k": 5})))
        data = task.data(0)
        assert not caplog.messages
        task.check(data)
        return caplog.messages

    assert warned("ease", "popularity") == []
    assert warned("ease", "bias") == ["all ratings are equal, so bias has nothing to learn; use ranking models"]
    assert warned("mf", "bias") == ["all ratings are equal, so mf, bias have nothing to learn; use ranking models"]


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
    assert report.final.fit.epochs is None


def test_a_search_by_a_metric_without_values_says_so(folder, monkeypatch):
    monkeypatch.setattr(RatingTask, "check", lambda *_: None)  # which sees that nothing is relevant
    searched = {"name": "elsa", "factors": 2, "epochs": 1, "search": {"dropout": [0.1, 0.2]}}
    with pytest.raises(TrainingError, match="elsa: no trial has ndcg@5 on the valid part; search by another metric"):
        run(models=[searched], metrics=["ndcg@5"], relevant_at=9, export=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["rmse"]}, "the best model cannot be chosen by rmse, because ease, popularity do not predict ratings"),
        ({"metrics": ["ndcg@5", "mae"], "export": {"by": "mae"}}, "the best model cannot be chosen by mae, because ease, pop"),
        (
            {"metrics": ["ndcg@5", "rmse"], "search": {"by": "rmse"}},
            "ease's parameters cannot be chosen by rmse, because",
        ),
        ({"relevant_at": 9}, "nothing in the test part is relevant: relevant_at is 9, but the highest rating there is"),
        ({"relevant_at": 2, "positive_at": 3}, "relevant_at is 2, but the highest rating there is 1; lower relevant_at"),
    ],
)
def test_a_choice_that_no_model_can_win_is_refused_before_training(folder, changes, message):
    models = [{"name": "ease", "search": {"l2": [1.0, 2.0]}}, {"name": "popularity"}]
    with pytest.raises(RecsysError, match=message):
        run(**{"models": models, "metrics": ["ndcg@5"], "export": None, **changes})
    assert not Path("out").exists()


def test_a_choice_on_the_test_part_is_said_before_and_wherever_it_is_stated(folder, caplog):
    """Once before training, and once in each report."""
    two = [{"name": "bias"}, {"name": "popularity"}]
    report = run(models=two, metrics=["ndcg@5"], split={"kind": "random", "test": 0.2}, export=None)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [CHOSEN_ON_TEST]
    assert read_json(RunReport, Path("out/report.json"), "").best.caution == CHOSEN_ON_TEST
    lines = summary_lines(report, Path("out"))
    assert lines[lines.index(CHOSEN_ON_TEST) - 1] == f"best by ndcg@5 on test data: {report.best.model}"
    assert f"{report.best.model} was chosen by ndcg@5: {CHOSEN_ON_TEST}." in Path("out/report.html").read_text(encoding="utf-8")
    assert CHOSEN_ON_TEST in description(report, report.best).replace("\\", "")
    caplog.clear()
    for name, changes in (("one", {"models": two[:1]}), ("valid", {"split": PIPELINE["split"]})):
        report = run(name, **{"models": two, "metrics": ["ndcg@5"], "split": {"kind": "random"}, "export": None, **changes})
        assert report.best.caution is None
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_rating_model_among_others_can_be_chosen_by_its_error(folder):
    found = run(models=[{"name": "ease"}, {"name": "bias"}], metrics=["rmse"], export={"k": 5})
    assert found.final.model == found.best.model == "bias"
    named = run("named", models=[{"name": "ease"}], metrics=["rmse"], export={"k": 5, "model": "ease"})
    assert (named.final.model, named.best.model) == ("ease", None)


def test_only_a_relevant_validation_part_chooses_by_lists(folder):
    """The only rating of 5 is in the test part."""
    rows = [(user, item, 1 + (user + item) % 4) for user in range(8) for item in range(6)]
    log = pd.DataFrame([*rows, (8, 0, 1), (0, 6, 5)], columns=["user", "item", "rating"]).assign(time=range(50))
    log.to_csv("log.csv", index=False)
    columns = {"user": "user", "item": "item", "rating": "rating", "time": "time"}
    card = {"name": "mine", "kind": "ratings", "files": [{"path": "log.csv", "columns": columns}]}
    keys = {"dataset": card, "split": {"kind": "time_cut", "test": 0.1, "valid": 0.1}, "relevant_at": 5, "export": None}
    with pytest.raises(DataError, match=r"nothing in the validation part is relevant: .* the highest rating there is 4; lower"):
        run(models=[{"name": "bias"}], metrics=["rmse", "ndcg@3"], **keys)
    searched = {"models": [{"name": "bias", "search": {"item_reg": [1, 2]}}], "search": {"by": "ndcg@3"}}
    with pytest.raises(DataError, match="nothing in the validation part is relevant"):
        run(metrics=["rmse", "ndcg@3"], **{**keys, **searched, "export": {"by": "rmse"}})
    assert run(models=[{"name": "bias"}], metrics=["rmse"], **keys).best.model == "bias"


def test_what_is_relevant_does_not_matter_without_lists(folder):
    assert run(models=[{"name": "bias"}], metrics=["rmse"], relevant_at=9, export=None).best.model == "bias"


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


def test_one_seed_is_compared_user_by_user(folder):
    report = run(compare=[["autorec", "ease"]])
    (comparison,) = report.comparisons
    found = [evaluate(load_model(f"out/models/{label}"), split(), ["ndcg@5"]) for label in ("autorec", "ease")]
    first, second = (one.per_user["ndcg@5"] for one in found)
    p_value = ttest_rel(first, second).pvalue
    assert (comparison.metric, comparison.over, comparison.n) == ("ndcg@5", "users", len(first))
    assert (comparison.difference, comparison.p_value) == pytest.approx((first.mean() - second.mean(), p_value))
    (line,) = [line for line in summary_lines(report, Path("out")) if " - " in line]
    assert f"(paired t-test over {len(first)} users: p = {p_value:.2g}, {comparison.corrected:.2g} after Holm's" in line
    table = pd.read_parquet("out/per-user/ease.parquet").set_index("user_id")
    assert table["ndcg@5"].mean() == pytest.approx(report.models["ease"].metrics["ndcg@5"])


def test_several_seeds_are_compared_seed_by_seed(folder):
    report = run(seed=[0, 1, 2], compare=[["autorec", "autorec"], ["ease", "popularity"]])
    same, other = report.comparisons
    assert (same.metric, same.over, same.difference, same.p_value, same.n) == ("rmse", "seeds", 0.0, None, 3)
    assert (other.metric, other.p_value is not None) == ("ndcg@5", True)  # neither predicts ratings
    assert any("= +0.0000 (the same for all 3 seeds: there is" in line for line in summary_lines(report, Path("out")))


def test_novelty_decides_only_where_asked(folder):
    """A metric that does not measure accuracy chooses neither a model nor its parameters, even if listed first."""
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "metrics": ["novelty@5", "rmse", "average_popularity@5"]}))
    task = RatingTask(read_pipeline("mine.yaml"))
    assert task.deciding_metric == "rmse"
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "metrics": ["novelty@5", "rmse", "mrr@5", "ndcg@5"]}))
    assert RatingTask(read_pipeline("mine.yaml")).deciding_metric == "mrr@5"
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "metrics": ["novelty@5"]}))
    with pytest.raises(ConfigError, match="novelty@5 cannot choose the best model; add a metric of accuracy"):
        read_pipeline("mine.yaml")


def test_models_that_ignore_the_seed_have_no_p_value(folder):
    """A closed-form model on a fixed split, compared with a trained model."""
    declared = {**PIPELINE["split"], "seed": 5}
    report = run(seed=[0, 1], split=declared, compare=[["ease", "popularity"]], metrics=["ndcg@5"])
    assert report.models["ease"].identical == ["ndcg@5"]
    assert (report.models["ease"].deviations, report.models["autorec"].identical) == ({"ndcg@5": 0.0}, [])
    assert report.models["autorec"].deviations["ndcg@5"] > 0
    assert pd.read_csv("out/report.csv", index_col="model").loc["ease", "ndcg@5 sd"] == "identical"
    (comparison,) = report.comparisons
    assert (comparison.p_value, comparison.n) == (None, None)
    assert "identical for all seeds, so the variation is unknown: ease, popularity" in summary_lines(report, Path("out"))


def test_figures_show_the_losses_of_models_that_have_some(folder):
    run(refit=True)
    found = {str(path.relative_to("out/figures")) for path in Path("out/figures").rglob("*.png")}
    assert found == {"metrics.png", "autorec/losses.png"}
    for path in Path("out/figures").rglob("*.png"):
        with Image.open(path) as image:
            image.load()


class Recorder(Tracker):
    """Records the names of histories, by run."""

    def __init__(self) -> None:
        self.histories: dict[str, list[str]] = {}

    def run(self, name, **_):
        own = self.histories.setdefault(name, [])
        inner = super().run(name)
        enter = inner.__enter__

        class Context:
            def __enter__(self):
                run = enter()
                run.history = lambda key, values: own.append(key) if values else None
                return run

            def __exit__(self, *arguments):
                return inner.__exit__(*arguments)

        return Context()


def test_validation_values_carry_their_name(folder, monkeypatch):
    monkeypatch.setattr(AutoRec, "validation_name", "valid_rmse", raising=False)
    tracker = Recorder()
    run(refit=True, tracker=tracker)
    assert set(tracker.histories["autorec"]) == {"by_epoch/train_loss", "by_epoch/valid_rmse", "by_epoch/refit_train_loss"}
    assert set(tracker.histories["autorec+final"]) == {"by_epoch/train_loss"}
    assert tracker.histories["ease"] == []


def test_a_run_interrupted_during_the_second_fit_has_the_losses_of_both(folder, monkeypatch):
    """The first fit is not repeated, but its losses are sent to the run that continues."""
    whole, resumed, calls, fit = Recorder(), Recorder(), [], AutoRec.fit
    run("whole", refit=True, tracker=whole)

    def stop_second(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(AutoRec, "fit", stop_second)
        with pytest.raises(KeyboardInterrupt):
            run(refit=True)
    run(refit=True, resume=True, tracker=resumed)
    assert set(resumed.histories["autorec"]) == set(whole.histories["autorec"]) >= {"by_epoch/refit_train_loss"}


def test_a_model_to_start_from_that_was_exchanged_is_noticed(folder, monkeypatch):
    start = build_model("autorec", {"hidden": 6, "epochs": 1})
    save_model(start.fit(load_ratings(read_pipeline(write()).card, Path()).interactions), "start")
    models = [{"name": "popularity"}, {**PIPELINE["models"][0], "warm_start": "start"}]
    with monkeypatch.context() as patch:
        patch.setattr(AutoRec, "fit", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(models=models)
    save_model(start.fit(load_ratings(read_pipeline(write()).card, Path()).interactions, seed=1), "start")
    with pytest.raises(DataError, match="the warm start of autorec has changed since the run in out started"):
        run(models=models, resume=True)


def test_a_damaged_state_file_is_named(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(AutoRec, "fit", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(models=[PIPELINE["models"][2], PIPELINE["models"][0]])
    state = Path("out/.work/result-popularity.json")
    state.write_text(state.read_text().replace('"metrics"', '"metric"'))
    with pytest.raises(DataError, match=r"result-popularity\.json is damaged: metrics"):
        run(models=[PIPELINE["models"][2], PIPELINE["models"][0]], resume=True)


def test_a_metric_that_is_not_finite_is_an_error(folder, monkeypatch):
    found = ratings.evaluate

    def broken(*arguments, **options):
        report = found(*arguments, **options)
        return replace(report, metrics={**report.metrics, "ndcg@5": float("nan")})

    monkeypatch.setattr(ratings, "evaluate", broken)
    with pytest.raises(TrainingError, match=r"ease: ndcg@5 is not finite on the test part"):
        run(models=[PIPELINE["models"][1]], split={**PIPELINE["split"], "valid": 0.0}, export=None)


def test_the_report_can_be_read_again(folder):
    report = run(seed=[0, 1], compare=[["ease", "popularity"]], refit=True)
    assert read_json(RunReport, Path("out/report.json"), "") == report
    assert run(seed=[0, 1], compare=[["ease", "popularity"]], refit=True, resume=True) == report
