import numpy as np
import pytest
from scipy import stats

from recsys_ae.evaluation.uncertainty import resampling
from recsys_ae.evaluation.uncertainty.resampling import bootstrap, percentiles, sign_flip_test
from recsys_ae.evaluation.uncertainty.sample import Sample, whole


def planted(m: int, n_users: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, 0, 0.1, 0.3, 1], size=(m, n_users))


class TestWhole:
    @pytest.mark.parametrize("n_users", [1, 2, 4096, 4097, 100_000])
    def test_sums_are_exact(self, n_users):
        rng = np.random.default_rng(1)
        values = rng.normal(size=n_users) * 1e-5
        numbers, unit = whole(values)
        times = rng.multinomial(n_users, np.full(n_users, 1 / n_users))
        assert int(numbers @ times) == sum(int(own) * int(n) for own, n in zip(numbers, times, strict=True))
        np.testing.assert_allclose(numbers * unit, values, atol=np.abs(values).max() * max(2.0**-47, n_users * 2.0**-52))

    def test_zeros(self):
        assert whole(np.zeros(3)).numbers.tolist() == [0, 0, 0]


class TestBootstrap:
    def test_all_metrics_use_the_same_users(self):
        """Replicates are those of a slow loop with the same draws; a root is taken after the mean."""
        ranking, errors, weights = planted(3, 20), planted(2, 20, 1), np.arange(1.0, 21)
        plain, rooted = bootstrap([Sample(ranking), Sample(errors, weights, root=True)], 150, seed=5)
        rng = np.random.default_rng(5)
        order = np.argsort(rng.permutation(20))
        for at in range(150):
            users = order[rng.integers(20, size=20)]
            np.testing.assert_allclose(plain[:, at], ranking[:, users].mean(axis=1), atol=1e-11)
            means = (errors * weights)[:, users].sum(axis=1) / weights[users].sum()
            np.testing.assert_allclose(rooted[:, at], np.sqrt(means), atol=1e-11)

    def test_blocks_change_nothing(self, monkeypatch):
        samples = [Sample(np.random.default_rng(2).random((4, 50))), Sample(planted(4, 50), np.arange(1.0, 51))]
        whole_block = bootstrap(samples, 130, 0)
        monkeypatch.setattr(resampling, "BLOCK", 350)
        for one, other in zip(whole_block, bootstrap(samples, 130, 0), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_groups_of_users_vary_as_users_do(self, monkeypatch):
        """With five or four users in each of 500 groups, and weights."""
        monkeypatch.setattr(resampling, "GROUPS", 500)
        sample = Sample(planted(2, 2300), np.random.default_rng(0).integers(1, 9, 2300).astype(float))
        drawn = bootstrap([sample], 4000, 0)[0]
        error = sample.pseudo_values.std(axis=1, ddof=1) / 2300**0.5
        np.testing.assert_allclose(drawn.std(axis=1), error, rtol=0.1)
        np.testing.assert_allclose(drawn.mean(axis=1), sample.metrics, atol=0.1 * error.max())

    def test_deviation_is_that_of_scipy(self):
        values = planted(1, 300)
        drawn = bootstrap([Sample(values)], 4000, 0)[0]
        scipys = stats.bootstrap(values, np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
        assert drawn.std(ddof=1) == pytest.approx(scipys.standard_error, rel=0.05)
        low, high = percentiles(drawn, 299, 0.95)[0]
        assert (low, high) == pytest.approx(tuple(scipys.confidence_interval), abs=0.2 * scipys.standard_error)

    def test_intervals_reach_as_far_as_those_of_t(self):
        """On normal values, also of few users, where plain percentiles are too narrow."""
        values = np.random.default_rng(3).normal(size=(1, 8))
        low, high = percentiles(bootstrap([Sample(values)], 40_000, 0)[0], 7, 0.9)[0]
        wanted = stats.t.ppf(0.95, 7) * values.std(ddof=1) / 8**0.5
        assert high - low == pytest.approx(2 * wanted, rel=0.06)


class TestSignFlips:
    @pytest.mark.parametrize("n_users", [1, 2, 5, 9])
    def test_few_users_are_exact(self, n_users):
        values = np.round(planted(3, n_users) * 64)
        (p_values,) = sign_flip_test([Sample(values)], 1000, 0)
        for p, i, j in zip(p_values, *np.triu_indices(3, 1), strict=True):
            d = values[i] - values[j]
            patterns = 2 * ((np.arange(2**n_users)[:, None] >> np.arange(n_users)) & 1) - 1
            assert p == (np.abs(patterns @ d) >= abs(d.sum())).mean()

    @pytest.mark.parametrize(("n_users", "groups"), [(40, 2**13), (300, 2**6), (900, 2**13)])
    def test_many_users_agree_with_independent_signs(self, n_users, groups, monkeypatch):
        monkeypatch.setattr(resampling, "GROUPS", groups)
        rng = np.random.default_rng(4)
        values = planted(4, n_users)
        values[1] = values[0] + rng.normal(scale=0.2, size=n_users) + 0.3 / n_users**0.5
        (p_values,) = sign_flip_test([Sample(values)], 40_000, 0)
        signs = 2.0 * rng.integers(2, size=(20_000, n_users)) - 1
        for p, i, j in zip(p_values, *np.triu_indices(4, 1), strict=True):
            d = values[i] - values[j]
            share = (np.abs(signs @ d) >= abs(d.sum()) - 1e-9).mean()
            assert p == pytest.approx(share, abs=5 * (share * (1 - share) / 13_000) ** 0.5 + 1e-4)

    def test_scipy_on_small_data(self):
        values = planted(2, 12)
        exact = stats.permutation_test(
            (values[0], values[1]),
            lambda a, b, axis: (a - b).mean(axis),
            permutation_type="samples",
            n_resamples=4096,
            vectorized=True,
        )
        assert sign_flip_test([Sample(values)], 4096, 0)[0][0] == pytest.approx(exact.pvalue)

    def test_a_root_and_its_square_have_the_same_p(self):
        values, weights = planted(2, 10) + 0.1, np.arange(1.0, 11)
        rooted, plain = sign_flip_test([Sample(values, weights, root=True), Sample(values, weights)], 1024, 0)
        patterns = ((np.arange(1024)[:, None] >> np.arange(10)) & 1).astype(bool)
        first = np.sqrt((np.where(patterns, values[0], values[1]) * weights).sum(axis=1))
        second = np.sqrt((np.where(patterns, values[1], values[0]) * weights).sum(axis=1))
        gaps = np.abs(first - second)
        assert rooted[0] == plain[0] == (gaps >= gaps[-1] - 1e-12).mean()

    def test_p_is_never_zero(self):
        values = np.stack([np.ones(100), np.zeros(100)])
        assert 0 < sign_flip_test([Sample(values)], 1000, 0)[0][0] <= 1 / 1001
