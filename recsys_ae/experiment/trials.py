"""One trial of a search: a fit on the training part that ends early if it does worse than earlier trials did."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from traceback import format_exc
from typing import Any

import optuna
from optuna import TrialPruned, create_study
from optuna.pruners import MedianPruner
from optuna.trial import create_trial

from recsys_ae.core.trainer import Callback, Training
from recsys_ae.exits import explain
from recsys_ae.experiment.callbacks import Stopwatch, validation_name
from recsys_ae.experiment.pipeline_file import ModelSpec
from recsys_ae.experiment.task import Task
from recsys_ae.reporting.results import Curves, MetricValues, TrialState

TRIALS_BEFORE_PRUNING = 5  # complete ones
FIRST_PRUNED_EPOCH = 4  # earlier values say little


@dataclass(frozen=True)
class Request:
    """A trial to fit.

    Attributes:
        spec: the model with the parameters of the trial.
        metric: that by which trials are compared, on the validation part.
        earlier: validation values by epoch (lower is better) of the complete trials that this one may be compared with.
    """

    spec: ModelSpec
    seed: int
    metric: str
    earlier: list[dict[int, float]]


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: metrics on the validation part if it is complete, the problem if it failed.

    Attributes:
        curves: losses and validation values by epoch, by stage of training.
        traceback: of the exception behind the problem, for a log: the process of a trial has none of its own.
    """

    state: TrialState
    fit_seconds: float = 0.0
    valid_metrics: MetricValues = field(default_factory=dict)
    valid_name: str = ""
    curves: dict[str, Curves] = field(default_factory=dict)
    problem: str | None = None
    traceback: str | None = None

    @property
    def by_epoch(self) -> dict[int, float]:
        """The validation values of a training without stages, by epoch; lower is better."""
        return {number: valid for number, (_, valid) in enumerate(self.curves.get("", []), 1) if valid is not None}


class Prune(Callback):
    """Ends a training with `TrialPruned` if its best validation value is worse than the median of others at the same epoch.

    A model that is trained in stages is not pruned, because the stages have different validation values.

    Attributes:
        curves: the losses so far, by stage.
    """

    def __init__(self, earlier: Sequence[dict[int, float]]) -> None:
        pruner = MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=FIRST_PRUNED_EPOCH)
        with quiet_optuna():
            study = create_study(pruner=pruner)
        study.add_trials([create_trial(value=0.0, intermediate_values=values) for values in earlier])
        self._trial = study.ask()
        self.curves: dict[str, Curves] = {}

    def on_epoch(self, training: Training[Any]) -> None:
        epoch = training.history[-1]
        self.curves.setdefault(training.stage, []).append((epoch.loss, epoch.valid))
        if epoch.valid is not None and not training.stage:
            self._trial.report(epoch.valid, epoch.number)
            if self._trial.should_prune():
                raise TrialPruned


def fit_trial(task: Task[Any, Any, Any], request: Request, callbacks: Sequence[Callback] = ()) -> Outcome:
    """The outcome of a trial. An error is one too: parameters with which a model cannot be fitted must not end a search."""
    prune, stopwatch = Prune(request.earlier), Stopwatch()
    valid_name = ""
    try:
        model = task.build(request.spec)
        valid_name = validation_name(model)
        data = task.data(request.seed)
        with stopwatch, _quiet():
            model = task.fit(model, data, "train", request.spec, request.seed, [*callbacks, prune])
        metrics = task.evaluate(model, data, "valid").metrics
    except TrialPruned:
        return Outcome("pruned", stopwatch.facts.seconds, valid_name=valid_name, curves=prune.curves)
    except Exception as error:
        problem, where = explain(error)[0], format_exc()
        return Outcome("failed", valid_name=valid_name, curves=prune.curves, problem=problem, traceback=where)
    wrong = _problem(metrics, request.metric)
    state: TrialState = "failed" if wrong else "complete"
    return Outcome(state, stopwatch.facts.seconds, {} if wrong else metrics, valid_name, prune.curves, wrong)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let only warnings of Optuna through, whose verbosity is one of the whole process."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let only warnings of models through: what they report about a fit is of no interest a hundred times."""
    models = logging.getLogger("recsys_ae.models")
    level = models.level
    models.setLevel(logging.WARNING)
    try:
        yield
    finally:
        models.setLevel(level)


def _problem(metrics: MetricValues, metric: str) -> str | None:
    """Why the metrics on the validation part cannot be compared, if they cannot."""
    wrong = [name for name, value in metrics.items() if value is not None and not isfinite(value)]
    if wrong:
        return f"{wrong[0]} is not finite on the valid part"
    return None if metrics.get(metric) is not None else f"it has no {metric} on the valid part"
