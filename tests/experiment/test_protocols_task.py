"""Pipelines with sampled candidates, folds, and given splits one after the other; baselines and findings in their reports."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys_ae import evaluate, load_model
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.evaluation.protocols.audit import audit
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.files import read_json, write_json
from recsys_ae.reporting.report import summary_lines
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import Tracker
from recsys_ae.tracking.mlflow_tracker import MlflowTracker

PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 80, "items": 50, "ratings": 780, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [{"name": "ease", "l2": 5.0}, {"name": "mf", "epochs": 3}, {"name": "popularity"}],
    "metrics": ["rmse", "ndcg@5"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def task(**changes: object) -> RatingTask:
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **changes}))
    return RatingTask(read_pipeline("mine.yaml"))


def run(output: str = "out", **changes: object) -> RunReport:
    return run_pipeline(task(**changes).pipeline, Path(output), Tracker(), Console(quiet=True))


class TestCandidates:
    def test_the_file_is_kept_and_gives_the_same_values(self):
        report = run(candidates={"n": 7, "seed": 3}, export={"k": 2, "by": "ndcg@5"})
        assert report.metrics == ["rmse", "sampled_ndcg@5"]
        assert report.best.metric == "sampled_ndcg@5"
        split = task(candidates={"n": 7}).data(0)
        kept = Candidates.read(Path("out/candidates.parquet"), split.train.users, split.train.items)
        found = evaluate(load_model("out/models/ease"), split, "ndcg@5", candidates=kept)
        assert found.metrics["sampled_ndcg@5"] == report.models["ease"].metrics["sampled_ndcg@5"]
        assert report.data[0].protocol.candidates == kept.digest
        assert "only sampled candidates are ranked" in report.data[0].protocol.summary

    def test_they_are_drawn_once_for_each_part(self, monkeypatch):
        draw, drawn = Candidates.sample, []
        monkeypatch.setattr(Candidates, "sample", lambda *args, **options: drawn.append(args[1]) or draw(*args, **options))
        run(candidates={"n": 7})
        assert sorted(drawn) == ["test", "valid"]

    def test_a_split_for_each_seed_has_candidates_of_its_own(self):
        run(candidates={"n": 3}, seed=[4, 5])
        assert {path.name for path in Path("out").glob("*.parquet")} == {f"candidates-seed-{seed}.parquet" for seed in (4, 5)}

    def test_a_failed_run_leaves_no_file_of_them_in_the_way(self):
        with pytest.raises(ConfigError, match="factors"):
            run(candidates={"n": 3}, models=[{"name": "pca", "factors": 500}])
        assert run(candidates={"n": 3}, models=[{"name": "pca", "factors": 2}]).models.keys() == {"pca"}

    def test_a_sampled_metric_needs_candidates(self):
        with pytest.raises(ConfigError, match=r"sampled_ndcg@5 needs sampled candidates; declare them, as in candidates: "):
            task(metrics=["sampled_ndcg@5"])


class TestRepetitions:
    def test_each_seed_takes_the_next_fold_of_one_draw(self):
        chosen = task(split={"kind": "k_fold", "k": 4, "fold": "each"}, seed=[9, 2, 5, 7])
        parts = [chosen.data(seed).test for seed in (9, 2, 5, 7)]
        keys = np.concatenate([part.keys() for part in parts])
        assert len(keys) == len(np.unique(keys)) == len(chosen.data(9).everything)
        one = task(split={"kind": "k_fold", "k": 4, "fold": 2, "seed": 0}, seed=11)
        assert one.data(11).test.digest == chosen.data(5).test.digest

    def test_each_seed_takes_the_next_window(self):
        dataset = {"name": "small", "kind": "planted-sessions", "users": 40, "items": 12, "topics": 3, "sessions": 6}
        declared = {"kind": "rolling_window", "windows": 3, "window": "each", "test": 0.3}
        chosen = task(dataset=dataset, split=declared, seed=[0, 1, 2], metrics=["ndcg@5"], models=PIPELINE["models"][2:])
        parts = [chosen.data(seed) for seed in (0, 1, 2)]
        for earlier, later in pairwise(parts):
            assert earlier.test.times.max() < later.test.times.min()
            assert later.train.n_events == earlier.train.n_events + earlier.test.n_events

    @pytest.mark.parametrize(("kind", "refit"), [("rolling_window", True), ("rolling_window", False), ("user_holdout", False)])
    def test_only_what_the_model_was_fitted_on_counts_as_training(self, kind, refit):
        """Neither later windows nor the histories of held-out users do."""
        dataset = {"name": "small", "kind": "planted-sessions", "users": 40, "items": 12, "topics": 3, "sessions": 6}
        windows = {"kind": kind, "windows": 3, "window": "each", "test": 0.3, "valid": 0.1}
        declared = windows if kind == "rolling_window" else {"kind": kind, "test": 0.3, "valid": 0.1}
        more = {"metrics": ["ndcg@5"], "models": PIPELINE["models"][2:], "refit": refit}
        chosen = task(dataset=dataset, split=declared, seed=[0, 1, 2], **more)
        split = chosen.data(0)
        others = split.fold_in if split.later is None else split.later
        assert len(others) > 0
        fitted = len(split.train) + (len(split.valid) if refit else 0)
        assert chosen.test_to_train(chosen.facts(split)) == len(split.test) / fitted

    def test_a_model_without_any_value_has_a_dash(self):
        report = run(models=[{"name": "bias"}, {"name": "popularity"}], metrics=["rmse"])
        assert report.models["popularity"].metrics == {"rmse": None}
        assert report.findings[0].models == ["bias"]
        assert report.best.model == "bias"

    def test_there_must_be_a_fold_for_each_seed(self):
        with pytest.raises(ConfigError, match="each seed takes one of 2 folds, but there are 3 seeds; remove some"):
            task(split={"kind": "k_fold", "k": 2, "fold": "each"}, seed=[0, 1, 2])

    def test_each_seed_takes_the_next_given_split(self):
        rows = [(user, item, (user * item) % 5 + 1) for user in range(20) for item in range(user % 3, 12)]
        splits = {}
        for fold in range(2):
            for name, part in (("train", rows[fold::2]), ("test", rows[1 - fold :: 2])):
                lines = "".join(f"{user},{item},{rating}\n" for user, item, rating in part)
                Path(f"{name}{fold}.csv").write_text("u,i,r\n" + lines)
            splits[f"fold-{fold}"] = {"train": f"train{fold}.csv", "test": f"test{fold}.csv"}
        table = {"path": "train0.csv", "columns": {"user": "u", "item": "i", "rating": "r"}}
        dataset = {"name": "own", "kind": "ratings", "files": [table], "splits": splits}
        report = run(dataset=dataset, split={"kind": "given", "name": ["fold-0", "fold-1"]}, seed=[0, 1])
        first, second = (report.data[seed].digests for seed in (0, 1))
        assert first["train"] == second["test"] != first["test"]
        # both halves are test parts once, so the folds say as little about other data as a single one
        assert report.repetitions["popularity"]["ndcg@5"].n == 2
        low, high = report.repetitions["popularity"]["ndcg@5"].interval
        deviation = report.repetitions["popularity"]["ndcg@5"].deviation
        assert high - low == pytest.approx(2 * 12.7062047 * deviation * (0.5 + 1) ** 0.5)


class TestAudit:
    def test_the_test_part_is_audited_and_looks_at_it_are_counted(self):
        class Counting(Tracker):
            def looks(self, digest, *, besides=()):
                return 4 if digest == task().facts(task().data(0)).protocol.test else None

        pipeline = task(models=PIPELINE["models"][2:], relevant_at=4).pipeline
        report = run_pipeline(pipeline, Path("out"), Counting(), Console(quiet=True))
        assert report.audit == audit(task().data(0), relevant_at=4, looks=4)
        assert report.audit.relevant_pairs < report.audit.pairs
        assert any("4 other models were tested on this part before" in line for line in summary_lines(report, Path("out")))
        assert run("other").audit.looks is None

    def test_recall_is_mentioned_only_if_lists_are_measured(self):
        split, models = {"kind": "random", "test": 0.05, "valid": 0.1}, [{"name": "bias"}]
        for metrics, mentioned in ((["rmse", "recall@5"], True), (["rmse", "mae"], False)):
            report = run(metrics[1].replace("@", ""), split=split, models=models, metrics=metrics)
            assert 2 * report.audit.single_users >= report.audit.users
            text = "\n".join(summary_lines(report, Path("out")))
            assert ("recall@K" in text, "lists of the 10" in text) == (mentioned, mentioned)
            page = Path(metrics[1].replace("@", ""), "report.html").read_text(encoding="utf-8")
            assert ("recall@K" in page) == mentioned

    def test_a_run_is_found_by_the_digest_of_its_test_part(self, folder):
        chosen = task(models=PIPELINE["models"][2:])
        tracker = MlflowTracker("sqlite:///runs.db", "mine")
        run_pipeline(chosen.pipeline, Path("out"), tracker, Console(quiet=True))
        assert tracker.looks(chosen.facts(chosen.data(0)).protocol.test) == 1

    def test_a_repeated_run_adds_no_looks(self):
        """Looks of ease run again alone are the other two models; those of a new model with popularity, all but popularity."""
        tracker, (ease, *_, popularity) = MlflowTracker("sqlite:///runs.db", "mine"), PIPELINE["models"]
        changes, looks = [{}, {}, {"models": [ease]}, {"models": [{**ease, "l2": 6.0}, popularity]}], []
        for number, changed in enumerate(changes):
            report = run_pipeline(task(**changed).pipeline, Path(f"out{number}"), tracker, Console(quiet=True))
            looks.append(report.audit.looks)
        assert looks == [0, 0, 2, 2]

    def test_only_models_with_a_metric_of_the_part_count(self):
        """Popularity has no rating error, and the second seed draws another part."""
        chosen = task(models=[{"name": "bias"}, {"name": "popularity"}], metrics=["rmse"], seed=[0, 1])
        tracker = MlflowTracker("sqlite:///runs.db", "mine")
        run_pipeline(chosen.pipeline, Path("out"), tracker, Console(quiet=True))
        assert tracker.looks(chosen.facts(chosen.data(0)).protocol.test) == 1


class TestFindings:
    def test_a_report_has_findings_on_each_metric(self):
        report = run(compare=[["popularity", "ease"]])
        assert [(found.metric, found.models) for found in report.findings] == [
            ("rmse", ["mf"]),
            ("ndcg@5", ["ease", "mf", "popularity"]),
        ]
        ranked = report.findings[1].findings
        assert ranked.metrics == pytest.approx([report.models[label].metrics["ndcg@5"] for label in PIPELINE_LABELS])
        table = pd.read_csv("out/report.csv").set_index("model")
        assert table.loc["ease", "ndcg@5 low"] < table.loc["ease", "ndcg@5"] < table.loc["ease", "ndcg@5 high"]
        assert table.loc["mf", "rmse letters"] == "a"
        pair = next(pair for pair in ranked.pairs if (pair.first, pair.second) == (0, 2))
        assert (report.comparisons[0].difference, report.comparisons[0].p_value) == (-pair.difference, pair.t.raw)

    def test_a_report_of_an_earlier_version_is_read(self):
        """It has neither the power of its findings, which was 80 %, nor the models that use features."""
        report = run()
        written = json.loads(Path("out/report.json").read_text())
        del written["checksum"], written["feature_models"], written["findings"][1]["findings"]["power"]
        write_json(written, Path("old.json"))
        assert read_json(RunReport, Path("old.json"), "") == replace(report, feature_models=None)

    def test_baselines_are_known_whether_or_not_they_are_among_the_models(self):
        with_popularity, without = run(), run("other", models=PIPELINE["models"][:2])
        assert without.baselines == with_popularity.baselines
        assert with_popularity.baselines["ndcg@5"].value == with_popularity.models["popularity"].metrics["ndcg@5"]
        assert without.baselines["rmse"].model == "bias"

    def test_a_baseline_is_not_worse_than_itself_over_several_seeds(self):
        """Some of these means differ in the last bit if they are rounded in another way."""
        split = {"kind": "k_fold", "k": 3, "fold": "each"}
        names = [f"{name}@{k}" for name in ("ndcg", "recall", "map", "mrr", "precision", "rbp") for k in (3, 5, 7, 10, 20)]
        report = run(split=split, seed=[0, 1, 2], models=[{"name": "popularity"}], metrics=names)
        assert {name: report.baselines[name].value for name in names} == report.models["popularity"].metrics

    def test_one_seed_is_compared_by_rating_error_too(self):
        models = [{"name": "mf", "epochs": 3}, {"name": "bias"}]
        report = run(metrics=["rmse"], models=models, compare=[["mf", "bias"]])
        (comparison,) = report.comparisons
        assert (comparison.metric, comparison.over) == ("rmse", "users")
        values = [report.models[label].metrics["rmse"] for label in ("mf", "bias")]
        assert comparison.difference == pytest.approx(values[0] - values[1])
        assert any(line.startswith("rmse: mf - bias") for line in summary_lines(report, Path("out")))


PIPELINE_LABELS = ["ease", "mf", "popularity"]
