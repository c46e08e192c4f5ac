"""Pipelines on generated data, whose reports have the best figures that a model can reach."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.reporting.tables import results_tables
from recsys_ae.tracking import TrackedRun, Tracker

SESSIONS = {"name": "s", "kind": "planted-sessions", "users": 60, "items": 12, "sessions": 5, "topics": 3, "groups": 3}
FEATURES = {"name": "f", "kind": "planted-features", "users": 60, "items": 40, "ratings": 400}
LAST = {"kind": "last_session", "valid": 1}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a pipeline and reads it."""
    monkeypatch.chdir(tmp_path)

    def pipeline(dataset, split, metrics, **more):
        models = [{"name": "popularity"}, {"name": "bias"}]
        content = {"dataset": dataset, "split": split, "models": models, "metrics": metrics, **more}
        Path("mine.yaml").write_text(yaml.safe_dump(content))
        return read_pipeline("mine.yaml")

    return pipeline


def best(pipeline):
    task = RatingTask(pipeline)
    return task.facts(task.data(0)).best


class Recorder(Tracker):
    """Keeps the metrics of each run."""

    def __init__(self):
        self.values = {}

    @contextmanager
    def run(self, name, **_):
        run = TrackedRun()
        run.id, run.metrics = name, self.values.setdefault(name, {}).update
        yield run


def test_the_report_has_the_best_reachable_figures(write):
    metrics, tracker = ["rmse", "recall@1", "mrr@5", "novelty@5"], Recorder()
    report = run_pipeline(write(SESSIONS, LAST, metrics), Path("out"), tracker, Console(quiet=True))
    known = report.data[0].best
    assert set(known) == {"rmse", "recall@1", "mrr@5"}
    assert known["rmse"] < report.models["bias"].metrics["rmse"]
    assert known["recall@1"] > 2 * report.models["popularity"].metrics["recall@1"]
    assert {f"best_reachable/{name}": value for name, value in known.items()}.items() <= tracker.values["mine"].items()
    assert json.loads(Path("out/report.json").read_text())["data"]["0"]["best"] == known
    console = Console(record=True, width=120)
    console.print(*results_tables(report, 160))
    row = next(line for line in console.export_text().splitlines() if "best reachable" in line)
    assert f"{known['mrr@5']:.4f}" in row
    assert " - " in row  # novelty


def test_the_lowest_errors_are_a_noise_floor_and_a_mean_over_seeds(write):
    split = {"kind": "random", "test": 0.2}
    pipeline = write(FEATURES, split, ["rmse", "ndcg@5"], seed=[0, 1])
    report = run_pipeline(pipeline, Path("out"), Tracker(), Console(quiet=True))
    floors = [facts.best["rmse"] for facts in report.data.values()]
    assert floors[0] != floors[1]
    console = Console(record=True, width=120)
    console.print(*results_tables(report, 160))
    assert f"{sum(floors) / 2:.4f}" in next(line for line in console.export_text().splitlines() if "noise floor" in line)


def test_the_best_figures_are_unknown_for_other_tasks(write):
    assert set(best(write(SESSIONS, LAST, ["rmse", "recall@1"], relevant_at=4))) == {"rmse"}
    assert best(write(SESSIONS, LAST, ["recall@1"], positive_at=4)) == {}
    assert best(write(SESSIONS, {**LAST, "predict": "all"}, ["rmse", "recall@1"])) == {}


def test_generated_features_are_in_every_part(write):
    data = RatingTask(write(FEATURES, {"kind": "random"}, ["rmse"])).data(0)
    for part in data.parts().values():
        assert part.user_features.ids == part.users
        assert [one.name for one in part.item_features.features] == ["year", "genre", "tags"]
