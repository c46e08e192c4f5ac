"""From the results of single seeds to one entry per model, the best model, and comparisons of two."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import mean, stdev
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys_ae.evaluation.significance import paired_t_test
from recsys_ae.reporting.results import Best, Comparison, ModelSummary, RunResult, Values


def summarise(runs: Mapping[int, RunResult]) -> ModelSummary:
    """A model's entry in the report, from its results by seed."""
    results = list(runs.values())
    valid = [run.valid_metrics for run in results if run.valid_metrics is not None]
    memory = [run.peak_memory_mb for run in results if run.peak_memory_mb is not None]
    return ModelSummary(
        model=results[0].model,
        params=results[0].params,
        metrics=_over([run.metrics for run in results], mean),
        deviations=_deviations([run.metrics for run in results]) if len(results) > 1 else None,
        valid_metrics=_over(valid, mean) if valid else None,
        select_seconds=mean(run.select.seconds for run in results if run.select) if results[0].select else None,
        fit_seconds=mean(run.fit.seconds for run in results),
        peak_memory_mb=max(memory, default=None),
        runs=dict(runs),
    )


def _over(values: Sequence[Values], statistic: Callable[[list[float]], float]) -> Values:
    """A statistic of each metric; None where a value is missing."""
    columns = {name: [one[name] for one in values] for name in values[0]}
    known = {name: [value for value in column if value is not None] for name, column in columns.items()}
    return {name: float(statistic(known[name])) if len(known[name]) == len(values) else None for name in columns}


def _deviations(values: Sequence[Values]) -> dict[str, float | Literal["identical"] | None]:
    """Sample standard deviations; a deviation of 0 is that of a seed which decides nothing, and no sign of certainty."""
    return {name: "identical" if value == 0 else value for name, value in _over(values, stdev).items()}


def choose(models: Mapping[str, ModelSummary], metric: str, lower_is_better: bool) -> Best:
    """The best model by one metric, on validation values if all models have them, else on test values."""
    validated = {label: model.valid_metrics for label, model in models.items() if model.valid_metrics}
    on_valid = len(validated) == len(models)
    values = validated if on_valid else {label: model.metrics for label, model in models.items()}
    worths = {label: worth(found[metric], lower_is_better) for label, found in values.items()}
    best = max(worths, key=lambda label: worths[label])
    return Best(best if worths[best] > -inf else None, metric, "valid" if on_valid else "test")


def worth(value: float | None, lower_is_better: bool) -> float:
    """The value with its sign changed if needed, so that higher is better; -inf for none."""
    return -inf if value is None else -value if lower_is_better else value


def paired(
    models: tuple[str, str], metric: str, over: Literal["seeds", "users"], a: NDArray[np.float64], b: NDArray[np.float64]
) -> Comparison:
    """Two models by their values [n] of one metric, NaN for none. There is no test if n is 1 or all differences are equal."""
    if np.isnan(a).any() or np.isnan(b).any() or not len(a):
        return Comparison(models, metric, over)
    if len(a) == 1 or (over == "seeds" and np.ptp(a) == np.ptp(b) == 0):
        return Comparison(models, metric, over, difference=float(a[0] - b[0]))
    test = paired_t_test(a, b)
    return Comparison(models, metric, over, test.difference, test.p_value, test.n)
