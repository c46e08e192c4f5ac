"""Trials of a search: which are pruned, what becomes of failing ones, and processes that fit them."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from optuna import TrialPruned

from recsys_ae.core.threads import VARIABLES, share_of_threads
from recsys_ae.core.trainer import Epoch
from recsys_ae.exits import TERMINATED
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.trials import FIRST_PRUNED_EPOCH, TRIALS_BEFORE_PRUNING, Prune, Request, fit_trial
from recsys_ae.experiment.workers import Workers, _end

PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 80, "items": 50, "ratings": 700, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [{"name": "mf", "factors": 3, "epochs": 12, "patience": 0}],
    "metrics": ["rmse", "ndcg@5"],
}


@pytest.fixture
def pipeline(tmp_path):
    Path(tmp_path, "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    return read_pipeline(str(tmp_path / "mine.yaml"))


def pruned_after(values: list[float], earlier: list[dict[int, float]], stage: str = "") -> int | None:
    """The epoch after which a training with these validation values is ended; None if it is not."""
    prune = Prune(earlier)
    training = SimpleNamespace(stage=stage, history=[])
    for number, value in enumerate(values, 1):
        training.history.append(Epoch(number, 1.0, value, 0.0))
        try:
            prune.on_epoch(training)
        except TrialPruned:
            assert prune.curves[stage] == [(1.0, value) for value in values[:number]]
            return number
    return None


def expected(values: list[float], earlier: list[dict[int, float]]) -> int | None:
    """The slow way: the first epoch from the fourth at which the best value is worse than the median of the others' values."""
    if len(earlier) < TRIALS_BEFORE_PRUNING:
        return None
    for number in range(FIRST_PRUNED_EPOCH, len(values) + 1):
        others = [curve[number] for curve in earlier if number in curve]
        if others and min(values[:number]) > np.median(others):
            return number
    return None


@pytest.mark.parametrize("seed", range(8))
def test_a_trial_worse_than_the_median_is_pruned(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 12, 4 + seed % 4)
    earlier = [dict(enumerate(np.sort(rng.random(length))[::-1].tolist(), 1)) for length in lengths]
    values = [(1 - 0.03 * epoch) * float(rng.random() ** 0.5) for epoch in range(12)]
    assert pruned_after(values, earlier) == expected(values, earlier)


def test_only_bad_trials_of_enough_are_pruned():
    curves = [{epoch: 1 / epoch for epoch in range(1, 9)}] * 5
    assert pruned_after([2.0] * 8, curves) == 4
    assert pruned_after([2.0] * 8, curves[:4]) is None
    assert pruned_after([0.05] * 8, curves) is None
    assert pruned_after([2.0] * 8, curves, stage="layer-1") is None


def request(pipeline, **changes) -> Request:
    earlier = changes.pop("earlier", [])
    return Request(pipeline.models[0].with_params(changes), 0, "rmse", earlier)


def test_a_trial_is_a_fit_on_the_training_part(pipeline):
    task = RatingTask(pipeline)
    split = task.data(0)
    outcome = fit_trial(task, request(pipeline, l2=0.1))
    model = task.build(pipeline.models[0].with_params({"l2": 0.1}))
    model.fit(split.train, valid=split.valid, valid_history=split.history("valid"), seed=0)
    assert outcome.state == "complete"
    assert outcome.valid_metrics == task.evaluate(model, split, "valid").metrics
    assert list(outcome.by_epoch) == list(range(1, 13))
    assert min(outcome.by_epoch.values()) == pytest.approx(outcome.valid_metrics["rmse"], rel=1e-6)
    assert outcome.valid_name == "valid_rmse"
    pruned = fit_trial(task, request(pipeline, l2=0.1, earlier=[dict.fromkeys(range(1, 13), 0.0)] * 5))
    assert (pruned.state, pruned.valid_metrics) == ("pruned", {})
    assert pruned.curves[""] == outcome.curves[""][:4]


def test_what_is_wrong_with_a_trial_is_said(pipeline, monkeypatch):
    task = RatingTask(pipeline)
    diverged = fit_trial(task, request(pipeline, learning_rate=1e6))
    assert diverged.state == "failed"
    assert "try a lower learning_rate" in diverged.problem
    unrated = fit_trial(task, Request(pipeline.models[0], 0, "recall@5", []))
    assert (unrated.state, unrated.problem) == ("failed", "it has no recall@5 on the valid part")
    monkeypatch.setattr(RatingTask, "fit", lambda *_: 1 / 0)
    failed = fit_trial(task, request(pipeline))
    assert failed.problem.startswith("unexpected ZeroDivisionError")
    assert "in fit_trial" in failed.traceback


def test_processes_fit_trials_and_survive_the_death_of_one(pipeline):
    workers = Workers(pipeline, 2)
    try:
        workers.start(0, request(pipeline, l2=0.1))
        workers.start(1, request(pipeline, l2=0.5))
        for _, worker in workers._busy.values():
            os.kill(worker.process.pid, signal.SIGINT)  # as Ctrl-C does, here while they import
        os.kill(next(worker for number, worker in workers._busy.values() if number == 1).process.pid, signal.SIGKILL)
        outcomes = dict([workers.wait(), workers.wait()])
        assert outcomes[1].state == "failed"
        assert outcomes[1].problem == "its process was killed by signal 9; if memory is short, use fewer --jobs"
        (worker,) = workers._idle
    finally:
        workers.close()
    here = fit_trial(RatingTask(pipeline), request(pipeline, l2=0.1))
    assert (outcomes[0].state, outcomes[0].valid_metrics) == ("complete", here.valid_metrics)
    assert not worker.process.is_alive()


def test_a_second_signal_does_not_disturb_the_end_of_a_process():
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            _end(signal.SIGTERM, None)
        assert ended.value.code == TERMINATED
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_processes_share_the_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    for processes, share in ((2, "4"), (3, "2"), (20, "1")):
        with share_of_threads(processes):
            assert {os.environ[name] for name in VARIABLES} == {share}
        assert dict(os.environ) == before
