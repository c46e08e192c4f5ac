import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats
from scipy.stats import nct

from recsys_ae.evaluation.paired import holm, paired, signed_rank_test, smallest_difference, t_test
from recsys_ae.evaluation.sample import Sample


def skewed(seed: int, m: int, n_users: int) -> np.ndarray:
    """Values [m, U] like those of a ranking metric: many zeros, and few distinct values, so that differences are tied."""
    rng = np.random.default_rng(seed)
    return rng.choice([0, 0, 0, 0.13, 0.3, 0.39, 0.5, 0.63, 1], size=(m, n_users))


class TestAgainstSciPy:
    @pytest.mark.parametrize("n_users", [2, 7, 500])
    def test_t(self, n_users):
        values = skewed(1, 4, n_users) + np.random.default_rng(2).normal(size=(4, n_users)) * 0.01
        found = paired(Sample(values))
        p_values = t_test(found.differences, found.deviations, n_users)
        wanted = [stats.ttest_rel(values[i], values[j]) for i, j in zip(*np.triu_indices(4, 1), strict=True)]
        np.testing.assert_allclose(p_values, [one.pvalue for one in wanted], rtol=1e-9)
        np.testing.assert_allclose(
            found.differences,
            [values[i].mean() - values[j].mean() for i, j in zip(*np.triu_indices(4, 1), strict=True)],
            atol=1e-11,
        )

    @pytest.mark.parametrize("n_users", [12, 500])
    def test_signed_rank_with_zeros_and_ties(self, n_users):
        values = np.round(skewed(3, 5, n_users) * 64)
        found = paired(Sample(values))
        wanted = [
            stats.wilcoxon(values[i], values[j], zero_method="wilcox", correction=False, method="asymptotic").pvalue
            for i, j in zip(*np.triu_indices(5, 1), strict=True)
        ]
        np.testing.assert_allclose(found.signed_rank, wanted, rtol=1e-9)

    def test_differences_equal_up_to_rounding_are_ties(self):
        """0.3 - 0.2 and 0.2 - 0.1 differ in the last bits, which must not order them."""
        values = np.array([[0.3, 0.2, 0.1, 0.9], [0.2, 0.1, 0.2, 0.5]])
        exact = np.array([[3, 2, 1, 9], [2, 1, 2, 5]])
        np.testing.assert_array_equal(paired(Sample(values)).signed_rank, paired(Sample(exact)).signed_rank)

    def test_smallest_difference_has_the_power(self):
        for n_users, alpha in [(5, 0.05), (30, 0.05), (1000, 0.001)]:
            least = float(smallest_difference(np.array([0.4]), n_users, alpha, 0.8)[0])
            critical = stats.t.ppf(1 - alpha / 2, n_users - 1)
            assert nct.sf(critical, n_users - 1, least / 0.4 * n_users**0.5) == pytest.approx(0.8, abs=1e-6)


class TestWeightedAndRoot:
    def test_ratio(self):
        """The t-test of a weighted mean uses the linearised standard error of a ratio."""
        rng = np.random.default_rng(4)
        values, weights = rng.random((2, 40)), rng.integers(1, 9, 40).astype(float)
        found = paired(Sample(values, weights))
        d = values[0] - values[1]
        mean = (weights * d).sum() / weights.sum()
        assert found.differences[0] == pytest.approx(mean)
        assert found.deviations[0] == pytest.approx((weights * (d - mean) / weights.mean()).std(ddof=1))

    def test_equal_weights_change_nothing(self):
        values = skewed(5, 3, 60)
        for a, b in zip(paired(Sample(values)), paired(Sample(values, np.full(60, 7.0))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)

    def test_root(self):
        """Pseudo-values of a root are its derivative with respect to the weight of each user."""
        rng = np.random.default_rng(6)
        values, weights = rng.random((1, 30)), rng.integers(1, 9, 30).astype(float)
        sample = Sample(values, weights, root=True, lower_is_better=True)
        rmse = lambda at: np.sqrt((at * weights * values[0]).sum() / (at * weights).sum())  # noqa: E731
        step = 1e-6 * np.eye(30)
        slopes = [(rmse(np.ones(30) + own) - rmse(np.ones(30) - own)) / 2e-6 for own in step]
        np.testing.assert_allclose(sample.pseudo_values[0] - rmse(np.ones(30)), np.array(slopes) * 30, atol=1e-7)
        assert sample.metrics[0] == pytest.approx(rmse(np.ones(30)))
        assert sample.pseudo_values[0].mean() == pytest.approx(sample.metrics[0])

    def test_better_is_lower_for_errors(self):
        found = paired(Sample(np.array([[1.0, 1, 1, 3], [2, 2, 1, 1]]), root=True, lower_is_better=True))
        assert (found.better[0], found.worse[0]) == (0.5, 0.25)


class TestWithoutVariation:
    def test_equal_models(self):
        found = paired(Sample(np.array([[0.1, 0.7, 0.3]] * 2), np.array([1.0, 2, 3])))
        assert (found.differences[0], found.deviations[0], found.signed_rank[0]) == (0, 0, 1)
        assert t_test(found.differences, found.deviations, 3)[0] == 1

    def test_equal_differences_count_as_signs(self):
        found = paired(Sample(np.array([[0.3, 0.7, 0.1], [0.5, 0.9, 0.3]]), np.array([1.0, 2, 3])))
        assert t_test(found.differences, found.deviations, 3)[0] == 0.25

    def test_one_user(self):
        found = paired(Sample(np.array([[0.3], [0.5]])))
        assert t_test(found.differences, found.deviations, 1)[0] == 1


class TestHolm:
    def test_hand_example(self):
        """Five tests: factors 5 to 1 by rank, never decreasing, never above 1."""
        p_values = np.array([0.01, 0.6, 0.005, 0.03, 0.04])
        np.testing.assert_allclose(holm(p_values), [0.04, 0.6, 0.025, 0.09, 0.09])

    @given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8), alpha=st.floats(0.001, 0.999))
    def test_rejects_what_the_step_down_procedure_rejects(self, p_values, alpha):
        rejected, remaining = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
        while remaining and p_values[remaining[0]] * len(remaining) <= alpha:
            rejected.add(remaining.pop(0))
        corrected = holm(np.array(p_values))
        assert {at for at, p in enumerate(corrected) if p <= alpha} == rejected
        assert (corrected <= 1).all()

    def test_nothing(self):
        assert holm(np.empty(0)).shape == (0,)


def test_signed_rank_without_differences():
    differences = np.array([[0, 0, 0, 0], [0, 0, -3, 0], [1, 2, 3, 4], [0, 0, 0, 0]])
    p_values = signed_rank_test(1000 * differences)
    np.testing.assert_allclose(p_values, [1, 2 * stats.norm.sf(1), stats.wilcoxon([1, 2, 3, 4], method="asymptotic").pvalue, 1])
