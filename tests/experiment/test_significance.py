import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from recsys_ae.errors import ConfigError
from recsys_ae.experiment.summary import paired_t_test

FIRST, SECOND = [2.1, 2.4, 1.9, 2.8, 2.2], [1.9, 2.0, 2.1, 2.1, 1.8]


def test_is_the_formula_of_the_textbook():
    """Mean difference over its standard error, two-sided, with n - 1 degrees of freedom."""
    differences = np.subtract(FIRST, SECOND)
    statistic = differences.mean() / (differences.std(ddof=1) / 5**0.5)
    found = paired_t_test(FIRST, SECOND)
    assert found.difference == pytest.approx(0.3)
    assert found.p_value == pytest.approx(2 * t.sf(abs(statistic), 4))
    assert 0.05 < found.p_value < 0.15
    assert found.n == 5


def test_agrees_with_scipy(rng):
    for n in (2, 3, 30):
        first, second = rng.normal(size=n), rng.normal(size=n)
        assert paired_t_test(first, second).p_value == pytest.approx(ttest_rel(first, second).pvalue)


def test_swapping_the_sides_flips_the_difference():
    there, back = paired_t_test(FIRST, SECOND), paired_t_test(SECOND, FIRST)
    assert (there.difference, there.p_value) == (-back.difference, back.p_value)


def test_pairs_matter():
    """The same values in another order give other differences."""
    assert paired_t_test(FIRST, SECOND[::-1]).p_value != paired_t_test(FIRST, SECOND).p_value
    assert paired_t_test(FIRST, SECOND[::-1]).difference == pytest.approx(0.3)


def test_equal_values_cannot_be_tested():
    found = paired_t_test(FIRST, FIRST)
    assert (found.difference, found.p_value) == (0.0, None)


@pytest.mark.parametrize("difference", [0.5, 0.1])  # 0.1 leaves a spread of rounding errors
def test_equal_differences_cannot_be_tested(difference):
    found = paired_t_test([1.0, 2.0, 4.0], np.array([1.0, 2.0, 4.0]) - difference)
    assert (found.difference, found.p_value) == (pytest.approx(difference), None)


@pytest.mark.parametrize(("first", "second"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([], []), ([[1.0, 2.0]], [[1.0, 2.0]])])
def test_unpaired_or_too_few_values_are_refused(first, second):
    with pytest.raises(ConfigError, match="a paired test needs the same number of values, at least 2, of both"):
        paired_t_test(first, second)
