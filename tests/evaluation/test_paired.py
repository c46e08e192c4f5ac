from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from recsys_ae.evaluation.uncertainty.paired import holm, paired, signed_rank_test, smallest_difference, t_test
from recsys_ae.evaluation.uncertainty.sample import Sample


def skewed(seed: int, m: int, n_users: int) -> np.ndarray:
    """Values [m, U] like those of a ranking metric: many zeros, and few distinct values, so that differences are tied."""
    rng = np.random.default_rng(seed)
    return rng.choice([0, 0, 0, 0.13, 0.3, 0.39, 0.5, 0.63, 1], size=(m, n_users))


def pairs(m: int) -> list[tuple[int, int]]:
    return list(combinations(range(m), 2))


class TestAgainstSciPy:
    @pytest.mark.parametrize("n_users", [2, 7, 500])
    def test_t(self, n_users):
        values = skewed(1, 4, n_users) + np.random.default_rng(2).normal(size=(4, n_users)) * 0.01
        found = paired(Sample(values))
        p_values = t_test(Sample(values), found)
        wanted = [stats.ttest_rel(values[i], values[j]) for i, j in pairs(4)]
        np.testing.assert_allclose(p_values, [one.pvalue for one in wanted], rtol=1e-9)
        np.testing.assert_allclose(
            found.differences,
            [values[i].mean() - values[j].mean() for i, j in pairs(4)],
            atol=1e-11,
        )

    @pytest.mark.parametrize("n_users", [120, 500])
    def test_signed_rank_with_zeros_and_ties(self, n_users):
        values = np.round(skewed(3, 5, n_users) * 64)
        wanted = [stats.wilcoxon(values[i], values[j], correction=False).pvalue for i, j in pairs(5)]
        np.testing.assert_allclose(paired(Sample(values)).signed_rank, wanted, rtol=1e-9)

    @pytest.mark.parametrize("n_users", [1, 6, 13, 50, 51])
    def test_signed_rank_without_ties(self, n_users):
        values = np.random.default_rng(n_users).normal([[0], [0], [0.3]], size=(3, n_users))
        wanted = [stats.wilcoxon(values[i], values[j]).pvalue for i, j in pairs(3)]
        np.testing.assert_allclose(paired(Sample(values)).signed_rank, wanted, rtol=1e-9)

    def test_signed_rank_of_few_users_with_ties(self):
        """Exact, as SciPy finds by trying all patterns of signs."""
        values = np.round(skewed(8, 3, 12) * 64)
        wanted = [stats.wilcoxon(values[i], values[j], method=stats.PermutationMethod()).pvalue for i, j in pairs(3)]
        np.testing.assert_allclose(paired(Sample(values)).signed_rank, wanted, rtol=1e-9)

    def test_differences_equal_up_to_rounding_are_ties(self):
        """0.3 - 0.2 and 0.2 - 0.1 differ in the last bits, which must not order them."""
        values = np.array([[0.3, 0.2, 0.1, 0.9], [0.2, 0.1, 0.2, 0.5]])
        exact = np.array([[3, 2, 1, 9], [2, 1, 2, 5]])
        np.testing.assert_array_equal(paired(Sample(values)).signed_rank, paired(Sample(exact)).signed_rank)

    @pytest.mark.parametrize(("n_users", "alpha"), [(5, 0.05), (30, 0.05), (1000, 0.001)])
    def test_smallest_difference_has_the_power(self, n_users, alpha):
        least = smallest_difference(Sample(skewed(0, 1, n_users)), np.array([0.4]), alpha, 0.8)[0]
        critical = stats.t.ppf(1 - alpha / 2, n_users - 1)
        assert stats.nct.sf(critical, n_users - 1, least / 0.4 * n_users**0.5) == pytest.approx(0.8, abs=1e-6)


class TestWeightedAndRoot:
    @pytest.mark.parametrize("root", [False, True])
    def test_jackknife(self, root):
        """The t-test of a ratio or a root by leaving out one user after the other."""
        rng = np.random.default_rng(4)
        values, weights = rng.random((2, 40)), rng.integers(1, 9, 40).astype(float)
        sample = Sample(values, weights, root)
        found = paired(sample)

        def difference(users):
            means = [(weights * own)[users].sum() / weights[users].sum() for own in values]
            return np.sqrt(means[0]) - np.sqrt(means[1]) if root else means[0] - means[1]

        without = np.array([difference(np.arange(40) != user) for user in range(40)])
        variance = 39 / 40 * np.square(without - without.mean()).sum()
        degrees = weights.sum() ** 2 / (weights**2).sum() - 1
        assert found.differences[0] == pytest.approx(difference(slice(None)))
        assert found.deviations[0] == pytest.approx((variance * 40) ** 0.5)
        p_value = 2 * stats.t.sf(abs(difference(slice(None))) / variance**0.5, degrees)
        assert t_test(sample, found)[0] == pytest.approx(p_value)

    def test_equal_weights_change_nothing(self):
        one, other = Sample(skewed(5, 3, 60)), Sample(skewed(5, 3, 60), np.full(60, 7.0))
        for a, b in zip(paired(one), paired(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)
        assert (one.degrees, other.degrees) == (59, pytest.approx(59))

    def test_better_is_lower_for_errors(self):
        found = paired(Sample(np.array([[1.0, 1, 1, 3], [2, 2, 1, 1]]), root=True, lower_is_better=True))
        assert (found.better[0], found.worse[0]) == (0.5, 0.25)


class TestWithoutVariation:
    @pytest.mark.parametrize("weights", [None, [1.0, 2, 3]])
    @pytest.mark.parametrize("root", [False, True])
    def test_equal_models(self, weights, root):
        sample = Sample(np.array([[0.1, 0.7, 0.3]] * 2), weights, root)
        found = paired(sample)
        assert (found.differences[0], found.deviations[0], found.signed_rank[0], t_test(sample, found)[0]) == (0, 0, 1, 1)

    @pytest.mark.parametrize("weights", [None, [1.0, 2, 3]])
    def test_equal_differences_count_as_signs(self, weights):
        sample = Sample(np.array([[0.3, 0.7, 0.1], [0.5, 0.9, 0.3]]), weights)
        assert t_test(sample, paired(sample))[0] == 0.25

    def test_one_user(self):
        sample = Sample(np.array([[0.3], [0.5]]), [3.0], root=True)
        assert t_test(sample, paired(sample))[0] == 1


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
    differences = np.zeros((4, 60), np.int64)
    differences[1, 7] = -3000
    differences[2, :5] = [1000, 2000, 3000, 4000, 5000]
    np.testing.assert_allclose(signed_rank_test(differences), [1, 1, 2 / 32, 1])
