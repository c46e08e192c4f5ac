"""Summaries of models over seeds, the best model, and comparisons of two models."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import mean, stdev
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ttest_rel

from recsys_ae.errors import ConfigError
from recsys_ae.reporting.results import Best, Comparison, ModelSummary, RunResult, Values

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


def _over(values: Sequence[Values], statistic: Callable[[list[float]], float]) -> Values:
    """A statistic of each metric; None where a value is missing."""
    known = {name: [value for one in values if (value := one[name]) is not None] for name in values[0]}
    return {name: float(statistic(column)) if len(column) == len(values) else None for name, column in known.items()}


def choose(models: Mapping[str, ModelSummary], metric: str, lower_is_better: bool) -> Best:
    """The best model by one metric, on validation values if all models have them, else on test values."""
    on_valid = all(model.valid_metrics for model in models.values())
    values = {label: (on_valid and model.valid_metrics) or model.metrics for label, model in models.items()}
    worths = {label: worth(found[metric], lower_is_better) for label, found in values.items()}
    best = max(worths, key=lambda label: worths[label])
    return Best(best if worths[best] > -inf else None, metric, "valid" if on_valid else "test")


def worth(value: float | None, lower_is_better: bool) -> float:
    """The value, negated where lower is better; -inf for None."""
    return -inf if value is None else -value if lower_is_better else value


def paired(
    models: tuple[str, str], metric: str, over: Literal["seeds", "users"], a: NDArray[np.float64], b: NDArray[np.float64]
) -> Comparison:
    """Two models by their values [n] of one metric, NaN for none. There is no test if n is 1 or all differences are equal."""
    if np.isnan(a).any() or np.isnan(b).any() or not len(a):
        return Comparison(models, metric, over)
    if len(a) == 1 or (over == "seeds" and all(np.ptp(own) <= ROUNDING * np.abs(own).max() for own in (a, b))):
        return Comparison(models, metric, over, difference=float(a[0] - b[0]))
    return Comparison(models, metric, over, *paired_t_test(a, b))


class PairedTest(NamedTuple):
    """Student's two-sided paired t-test of two models with n values each."""

    difference: float  # mean of the first minus mean of the second
    p_value: float | None  # None where the test is undefined: all differences are equal up to rounding
    n: int


def paired_t_test(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Compare values [n] of two models on the same occasions, n >= 2.

    Raises:
        ConfigError: the two have different lengths, or fewer than 2 values.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ConfigError(f"a paired test needs the same number of values, at least 2, of both; got {a.shape} and {b.shape}")
    rounding = 8 * np.finfo(np.float64).eps * np.abs([a, b]).max()
    p_value = float(ttest_rel(a, b).pvalue) if np.ptp(a - b) > rounding else None
    return PairedTest(float((a - b).mean()), p_value, len(a))
