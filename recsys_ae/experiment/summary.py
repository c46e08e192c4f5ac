"""Summaries of models over seeds, the best model, and comparisons of two models."""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np

from recsys_ae.errors import TrainingError
from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.evaluation.uncertainty.repetitions import Repetitions, over_repetitions
from recsys_ae.evaluation.uncertainty.sample import Floats
from recsys_ae.experiment.pipeline_file import PipelineFile
from recsys_ae.experiment.task import Task
from recsys_ae.reporting.results import (
    CHOSEN_ON_TEST,
    Best,
    Comparison,
    DataFacts,
    MetricValues,
    ModelSummary,
    RunReport,
    RunResult,
    Trial,
)

logger = logging.getLogger(__name__)
ROUNDING = 1e-6  # relative difference that counts as none: the seed may affect rounding in closed-form models


def summarise(runs: Mapping[int, RunResult]) -> ModelSummary:
    """A model's entry in the report, from its results by seed."""
    results = list(runs.values())
    metrics = [run.metrics for run in results]
    spread = _over(metrics, stdev) if len(results) > 1 else {}
    means = _over(metrics, mean)
    same = [name for name, value in spread.items() if value is not None and value <= ROUNDING * abs(means[name] or 1)]
    valid = [run.valid_metrics for run in results if run.valid_metrics is not None]
    memory = [run.peak_memory_mb for run in results if run.peak_memory_mb is not None]
    return ModelSummary(
        model=results[0].model,
        params=results[0].params,
        metrics=means,
        deviations=spread or None,
        valid_metrics=_over(valid, mean) if valid else None,
        select_seconds=mean(run.select.seconds for run in results if run.select) if results[0].select else None,
        fit_seconds=mean(run.fit.seconds for run in results),
        peak_memory_mb=max(memory, default=None),
        runs=dict(runs),
        identical=same,
    )


def _over(values: Sequence[MetricValues], statistic: Callable[[list[float]], float]) -> MetricValues:
    """A statistic of each metric; None where a value is missing."""
    known = {name: [value for one in values if (value := one[name]) is not None] for name in values[0]}
    return {name: float(statistic(column)) if len(column) == len(values) else None for name, column in known.items()}


def repetitions(model: ModelSummary, test_to_train: float) -> dict[str, Repetitions]:
    """The mean of each metric over the seeds and its interval; without metrics that a seed has no value of."""
    runs = list(model.runs.values())
    return {
        name: over_repetitions(np.array([run.metrics[name] for run in runs], np.float64), test_to_train=test_to_train)
        for name, value in model.metrics.items()
        if value is not None
    }


def choose(models: Mapping[str, ModelSummary], metric: str, lower_is_better: bool) -> Best:
    """The best model by one metric, on validation values if all models have them, else on test values."""
    on_valid = all(model.valid_metrics for model in models.values())
    values = {label: (on_valid and model.valid_metrics) or model.metrics for label, model in models.items()}
    worths = {label: _worth(found[metric], lower_is_better) for label, found in values.items()}
    highest = max(worths.values())
    best = [label for label, worth in worths.items() if worth == highest > -inf]
    caution = None if on_valid or len(models) == 1 else CHOSEN_ON_TEST
    part: Literal["valid", "test"] = "valid" if on_valid else "test"
    return Best(best[0] if best else None, metric, part, caution, best if len(best) > 1 else [])


def warn_of_choice(task: Task[Any, Any, Any], data: DataFacts) -> None:
    """Warn, before anything is trained, if the best of several models will be chosen on the test part."""
    if not data.sizes["valid"] and len(task.pipeline.models) > 1 and (task.keys.export or task.ships_best):
        logger.warning(CHOSEN_ON_TEST)


def asked_for(best: Best, task: Task[Any, Any, Any]) -> Best | None:
    """The best model if the run is to name one, with a warning if there is none; for commands see `check_delivered`."""
    if not task.keys.export and not task.ships_best:
        return None
    if best.model is None:
        message = "no model has a value of %s on %s, so none is the best"
        logger.warning(message, best.metric, best.data, extra={"by_command": True})
    return best


def check_delivered(report: RunReport, keys: PipelineFile, folder: Path) -> None:
    """Raise `TrainingError` if a model was to be exported or registered, but none could be chosen."""
    wanted = keys.export is not None or getattr(keys, "registered", None) is not None
    if wanted and report.best is not None and report.exported is None and report.final is None:
        best = report.best
        raise TrainingError(
            f"nothing was exported or registered, because no model has a value of {best.metric} on {best.data}; all other "
            f"results are in {folder}"
        )


def _worth(value: float | None, lower_is_better: bool) -> float:
    """The value, negated where lower is better; -inf for None."""
    return -inf if value is None else -value if lower_is_better else value


def best_trial(name: str, trials: Sequence[Trial], metric: str, lower_is_better: bool) -> Trial:
    """The trial of model `name` with the best value on the validation part; `TrainingError` if none has one."""
    if all(trial.valid_metrics.get(metric) is None for trial in trials):
        raise TrainingError(f"{name}: no trial has {metric} on the valid part; search by another metric or hold out more")
    return max(trials, key=lambda trial: _worth(trial.valid_metrics.get(metric), lower_is_better))


def compare_pair(
    pair: tuple[str, str],
    models: Mapping[str, ModelSummary],
    findings: Sequence[MetricFindings],
    metrics: Sequence[str],
    by_user: str | None,
    test_to_train: float,
) -> Comparison:
    """Two models compared over the seeds by the first metric that both have, or with a single seed by `by_user` over the users.

    Args:
        test_to_train: see `over_seeds`.
    """
    runs = [list(models[label].runs.values()) for label in pair]
    if len(runs[0]) == 1 and by_user is not None:
        return over_users(pair, by_user, findings)
    common = (name for name in metrics if all(run.metrics[name] is not None for own in runs for run in own))
    metric = next(common, metrics[0])
    first, second = np.array([[run.metrics[metric] for run in own] for own in runs], np.float64)
    return over_seeds(pair, metric, first, second, test_to_train=test_to_train)


def over_users(models: tuple[str, str], metric: str, findings: Sequence[MetricFindings]) -> Comparison:
    """Two models compared over users, as found before."""
    found = next((one for one in findings if one.metric == metric and {*models} <= {*one.models}), None)
    if found is None:
        return Comparison(models, metric, "users")
    first, second = (found.models.index(label) for label in models)
    if first == second:
        return Comparison(models, metric, "users", 0.0, n=found.findings.n_users)
    pair = next(one for one in found.findings.pairs if {one.first, one.second} == {first, second})
    difference = pair.difference if pair.first == first else -pair.difference
    p_value, corrected = (None, None) if pair.effect is None else pair.t  # equal differences cannot be tested
    n = found.findings.n_users if found.findings.n_users > 1 else None
    return Comparison(models, metric, "users", difference, p_value, n, corrected)


def over_seeds(
    models: tuple[str, str], metric: str, first: Floats, second: Floats, *, test_to_train: float = 0.0
) -> Comparison:
    """Two models compared by their values [n] of one metric over seeds, NaN for none.

    Args:
        test_to_train: see `over_repetitions`; 0 if the split is the same for all seeds.
    """
    if np.isnan([first, second]).any() or not len(first):
        return Comparison(models, metric, "seeds")
    if len(first) == 1 or all(np.ptp(own) <= ROUNDING * np.abs(own).max() for own in (first, second)):
        return Comparison(models, metric, "seeds", difference=float(first[0] - second[0]))
    found = over_repetitions(first - second, test_to_train=test_to_train)
    return Comparison(models, metric, "seeds", found.mean, found.p_value, found.n)
