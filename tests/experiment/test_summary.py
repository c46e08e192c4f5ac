"""Aggregation over seeds, and the choice of the best model."""

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from recsys_ae.experiment.summary import choose, over_seeds, summarise
from recsys_ae.reporting.results import CHOSEN_ON_TEST, Best, FitFacts, RunResult

METRICS = ["rmse", "ndcg@10"]


def result(metrics: dict, valid: dict | None = None, seconds: float = 1.0, memory: float | None = None) -> RunResult:
    return RunResult("bias", {}, metrics, valid, {}, FitFacts(seconds, memory, None, None), None, "")


def models(**values):
    """label=(test rmse, test ndcg, validation rmse, validation ndcg), or the first two without a validation part."""
    named = {}
    for label, (rmse, ndcg, *valid) in values.items():
        valid_metrics = dict(zip(METRICS, valid, strict=True)) if valid else None
        named[label] = summarise({0: result({"rmse": rmse, "ndcg@10": ndcg}, valid_metrics)})
    return named


def test_validation_decides():
    assert choose(models(a=(1.0, 0.9, 1.0, 0.2), b=(2.0, 0.1, 2.0, 0.3)), "ndcg@10", False) == Best("b", "ndcg@10", "valid")


def test_the_lowest_error_is_best_and_a_missing_value_is_worst():
    values = models(a=(1.0, 0.9, 1.5, 0.2), b=(2.0, 0.1, 0.7, 0.3), c=(2.0, 0.1, None, 0.3))
    assert choose(values, "rmse", True).model == "b"


def test_a_tie_is_no_win():
    equal = models(a=(1.0, 0.9, 1.0, 0.0), b=(2.0, 0.1, 2.0, 0.0))
    assert choose(equal, "ndcg@10", False) == Best("a", "ndcg@10", "valid", tied=["a", "b"])
    two = models(a=(1.0, 0.9), b=(0.5, 0.1), c=(0.5, None), d=(None, 0.1))
    assert choose(two, "rmse", True) == Best("b", "rmse", "test", CHOSEN_ON_TEST, ["b", "c"])


def test_without_values_nothing_is_chosen():
    assert choose(models(a=(None, None)), "rmse", True).model is None


def test_without_validation_the_test_part_decides_and_it_is_said():
    assert choose(models(a=(1.0, 0.9), b=(2.0, 0.1)), "ndcg@10", False) == Best("a", "ndcg@10", "test", CHOSEN_ON_TEST)
    assert choose(models(a=(1.0, 0.9)), "ndcg@10", False) == Best("a", "ndcg@10", "test")  # no choice


def test_means_deviations_and_the_highest_memory():
    runs = [
        result({"rmse": value, "mae": 0.5, "ndcg@10": ndcg}, {"rmse": value + 1}, seconds, memory)
        for value, ndcg, seconds, memory in ((1.0, 0.1, 1.0, 5.0), (4.0, None, 3.0, 9.0))
    ]
    found = summarise(dict(enumerate(runs)))
    assert found.metrics == {"rmse": 2.5, "mae": 0.5, "ndcg@10": None}
    assert found.deviations == {"rmse": pytest.approx(4.5**0.5), "mae": 0.0, "ndcg@10": None}
    assert found.identical == ["mae"]
    assert (found.valid_metrics, found.fit_seconds, found.peak_memory_mb) == ({"rmse": 3.5}, 2.0, 9.0)
    assert (summarise({0: runs[0]}).deviations, summarise({0: runs[0]}).identical) == (None, [])


def test_rounding_is_no_variation():
    """In closed form, the seed may still decide the last digits: of PCA, whose iteration starts at random."""
    rounded, varied = (summarise({n: result({"rmse": 0.9 + n * step}) for n in range(3)}) for step in (1e-8, 1e-4))
    assert (rounded.identical, varied.identical) == (["rmse"], [])
    first, second = np.array([0.9, 0.9 + 1e-8]), np.array([0.8, 0.8])
    found = over_seeds(("a", "b"), "rmse", first, second)
    assert (found.difference, found.p_value, found.n) == (pytest.approx(0.1), None, None)
    assert over_seeds(("a", "b"), "rmse", np.array([0.9, 1.0]), second).n == 2


def test_folds_and_random_splits_have_a_corrected_test():
    """The variance of the mean of n correlated repetitions is n times test_to_train larger, in units of its own 1/n."""
    first, second = np.array([0.91, 0.95, 0.93, 0.96]), np.array([0.90, 0.91, 0.92, 0.91])
    plain = over_seeds(("a", "b"), "ndcg@10", first, second)
    corrected = over_seeds(("a", "b"), "ndcg@10", first, second, test_to_train=0.25)
    assert plain.p_value == pytest.approx(ttest_rel(first, second).pvalue)
    statistic = ttest_rel(first, second).statistic / (1 + 4 * 0.25) ** 0.5
    assert corrected.p_value == pytest.approx(2 * t.sf(statistic, 3))
    assert (corrected.difference, corrected.n) == (pytest.approx(0.0275), 4)
