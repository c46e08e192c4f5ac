"""Which of several recommenders is the best, and whether it can be told from others."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from rating_runs import PIPELINE, run, split, write
from scipy.stats import ttest_rel

from recsys_ae import load_model
from recsys_ae.errors import ConfigError, DataError, RecsysError, TrainingError
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.exits import Once
from recsys_ae.experiment.list_export import ListExport
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.files import read_json
from recsys_ae.reporting.markdown import description
from recsys_ae.reporting.report import summary_lines
from recsys_ae.reporting.results import CHOSEN_ON_TEST, RunReport


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


def test_a_run_that_cannot_name_the_best_model_warns_once(folder, caplog):
    """All users of both parts are cold, and cold users are skipped. Commands say the same by themselves."""
    changes = {"models": [{"name": "popularity"}], "metrics": ["ndcg@5"], "cold": "skip"}
    changes["split"] = {"kind": "cold_users", "test": 0.2, "valid": 0.2}
    report = run(**changes, export={"k": 5})
    assert report.best.model is report.exported is None
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.getMessage() == "no model has a value of ndcg@5 on validation data, so none is the best"
    assert not Once().filter(record)


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


def test_something_must_be_relevant_in_the_test_parts_of_all_seeds(folder):
    """The only rating of 5 is in that of the first seed, and not in that of the second."""
    rows = [(user, item, 1 + (user + item) % 4) for user in range(8) for item in range(6)]
    pd.DataFrame([*rows, (0, 6, 5)], columns=["user", "item", "rating"]).to_csv("log.csv", index=False)
    columns = {"user": "user", "item": "item", "rating": "rating"}
    keys = {"dataset": {"name": "mine", "kind": "ratings", "files": [{"path": "log.csv", "columns": columns}]}}
    keys |= {"models": [{"name": "bias"}], "metrics": ["ndcg@3"], "split": {"kind": "random", "test": 0.3}, "relevant_at": 5}
    keys["export"] = None
    task = RatingTask(read_pipeline(write(**keys)))
    highest = {seed: task.data(seed).test.matrix.data.max() for seed in range(20)}
    first, second = (next(seed for seed, value in highest.items() if (value == 5) == has) for has in (True, False))
    with pytest.raises(
        DataError, match=f"nothing in the test part of seed {second} is relevant: relevant_at is 5, but the hig"
    ):
        run(**keys, seed=[first, second])
    assert not Path("out").exists()
    RatingTask(read_pipeline(write(**keys, seed=first))).check(task.data(first))


def test_what_is_relevant_does_not_matter_without_lists(folder):
    assert run(models=[{"name": "bias"}], metrics=["rmse"], relevant_at=9, export=None).best.model == "bias"


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


def test_files_of_rules_are_read_before_training_and_for_the_export_only(folder, monkeypatch):
    read, original = [], ListExport.options
    monkeypatch.setattr(ListExport, "options", lambda self, *given: read.append(self.k) or original(self, *given))
    run(seed=[0, 1], metrics=["ndcg@5"], export={"k": 3, "model": "popularity"})
    assert read == [3, 3]
