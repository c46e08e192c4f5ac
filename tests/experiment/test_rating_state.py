"""What runs of recommenders record, and how they continue: figures, histories, state, reports."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rating_runs import PIPELINE, run, write

from recsys_ae import build_model, save_model
from recsys_ae.data.ratings import load_ratings
from recsys_ae.errors import DataError, TrainingError
from recsys_ae.experiment import ratings
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.files import read_json
from recsys_ae.models.autorec import AutoRec
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import Tracker


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
