import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.uncertainty.sample import Sample
from recsys_ae.evaluation.uncertainty.statistics import compare, intervals


def planted(*gaps: float, n_users: int = 400, seed: int = 0) -> np.ndarray:
    """Values [m, U] with many zeros; model i is better than the first by gaps[i] on average, up to noise that they share."""
    rng = np.random.default_rng(seed)
    users = rng.beta(0.5, 2, n_users) * (rng.random(n_users) < 0.6)
    noise = rng.normal(scale=0.02, size=(len(gaps), n_users))
    return users + np.array(gaps)[:, None] + noise


class TestCompare:
    def test_planted_groups(self):
        """Models 2 and 0 are best and alike, 3 and 1 follow: all from users who differ far more than the models do."""
        (found,) = compare([Sample(planted(0.1, 0, 0.1, 0.05))])
        assert found.letters == ["a", "c", "a", "b"]
        assert sorted(found.best) == [0, 2]
        assert [(pair.first, pair.second) for pair in found.pairs] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
        assert [pair.different for pair in found.pairs] == [True, False, True, True, True, True]

    def test_lower_is_better(self):
        (found,) = compare([Sample(planted(0.1, 0, 0.05) + 1, root=True, lower_is_better=True)])
        assert found.letters == ["c", "a", "b"]
        assert found.best == [1]
        assert found.pairs[0].worse > 0.9 > 0.1 > found.pairs[0].better

    def test_a_pair(self):
        values = planted(0.003, 0, 0.2)
        (found,) = compare([Sample(values)], alpha=0.05, level=0.9, power=0.7)
        pair, wanted = found.pairs[0], stats.ttest_rel(values[0], values[1])
        d = values[0] - values[1]
        assert pair.difference == pytest.approx(d.mean())
        assert pair.t.raw == pytest.approx(wanted.pvalue)
        assert pair.interval == pytest.approx(tuple(wanted.confidence_interval(0.9)), abs=0.1 * d.std() / 20)
        assert pair.effect == pytest.approx(d.mean() / d.std(ddof=1))
        assert (pair.better, pair.worse) == ((d > 0).mean(), (d < 0).mean())
        assert pair.t.raw <= pair.t.corrected <= 3 * pair.t.raw
        assert pair.randomisation.raw == pytest.approx(pair.t.raw, rel=0.3)
        critical = stats.t.ppf(1 - 0.05 / 3 / 2, 399)
        power = stats.nct.sf(critical, 399, pair.smallest / (d.std(ddof=1) / 20))
        assert (power, found.power) == (pytest.approx(0.7, abs=1e-6), 0.7)
        values = [one.smallest for one in found.pairs]
        assert found.smallest == (min(values), max(values))

    def test_samples_do_not_affect_each_other(self):
        values, errors = planted(0, 0.01), planted(0, 0.1, 0.2, seed=1) ** 2
        one, two = Sample(values), Sample(errors, np.arange(1.0, 401), root=True, lower_is_better=True)
        both, alone = compare([one, two], flips=500), [*compare([one], flips=500), *compare([two], flips=500)]
        assert [asdict(found) for found in both] == [asdict(found) for found in alone]

    def test_deterministic(self):
        one, same, other = (compare([Sample(planted(0, 0.002))], seed=seed)[0] for seed in (1, 1, 2))
        assert asdict(one) == asdict(same)
        assert one.intervals != other.intervals

    def test_threads_change_nothing(self):
        values = np.random.default_rng(0).random((4, 3000))
        found = []
        for threads in (1, 2):
            with threadpool_limits(threads):
                found.append(asdict(compare([Sample(values, values[0] + 1)], replicates=700)[0]))
        assert found[0] == found[1]

    def test_values_are_plain_numbers(self):
        (found,) = compare([Sample(planted(0, 0.1, 0.1))])
        assert json.loads(json.dumps(asdict(found)))["letters"] == found.letters


class TestDegenerate:
    @pytest.mark.parametrize("root", [False, True])
    @pytest.mark.parametrize("weights", [None, [2.0, 5.0, 1.0]])
    @pytest.mark.parametrize(
        "values",
        [
            [[0.5, 0.1, 0.2]],
            [[0.0, 0, 0], [0, 0, 0]],
            [[0.5, 0.1, 0.2], [0.5, 0.1, 0.2]],
            [[0.5, 0.1, 0.2], [0.7, 0.3, 0.4]],
            [[0.5, 0.1, 0.2], [0.5, 0.1, 0.3], [0, 0, 0]],
        ],
    )
    @pytest.mark.parametrize("n_users", [1, 2, 3])
    def test_everything_is_finite(self, values, weights, root, n_users):
        own = np.array(values)[:, :n_users]
        (found,) = compare([Sample(own, weights and weights[:n_users], root)])
        text = json.dumps(asdict(found), allow_nan=False)
        assert len(json.loads(text)["metrics"]) == len(values)
        assert (found.intervals is None) == (n_users == 1)
        for pair in found.pairs:
            assert min(*pair.t, *pair.randomisation, *pair.wilcoxon) >= 0
            assert max(*pair.t, *pair.randomisation, *pair.wilcoxon) <= 1
            assert (pair.smallest is None) == (pair.effect is None)

    def test_single_model(self):
        (found,) = compare([Sample(planted(0))])
        assert (found.pairs, found.letters, found.best, found.smallest) == ([], ["a"], [0], None)

    def test_identical_models(self):
        (found,) = compare([Sample(np.repeat(planted(0), 3, axis=0))])
        assert found.letters == ["a", "a", "a"]
        assert found.best == [0, 1, 2]
        assert {(pair.t.raw, pair.randomisation.raw, pair.wilcoxon.raw) for pair in found.pairs} == {(1, 1, 1)}
        assert found.smallest is None


class TestIntervals:
    def test_shapes_and_means(self):
        values = planted(0, 0.1)
        own, rooted = intervals([Sample(values), Sample(values[:1] ** 2, np.arange(1.0, 401), root=True)])
        assert (own.shape, rooted.shape) == ((2, 2), (1, 2))
        for (low, high), mean, deviation in zip(own, values.mean(axis=1), values.std(axis=1, ddof=1), strict=True):
            assert (low, high) == pytest.approx(
                (mean - 1.96 * deviation / 20, mean + 1.96 * deviation / 20), abs=deviation / 100
            )

    def test_the_same_as_in_the_findings(self):
        sample = Sample(planted(0, 0.1))
        assert compare([sample], seed=3)[0].intervals == [tuple(own) for own in intervals([sample], seed=3)[0].tolist()]

    def test_a_higher_level_is_wider(self):
        sample = Sample(planted(0))
        (narrow,), (wide,) = intervals([sample], level=0.5)[0], intervals([sample], level=0.99)[0]
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    def test_single_user(self):
        assert intervals([Sample([[0.5]])]) is None


class TestErrors:
    @pytest.mark.parametrize(
        ("values", "options", "message"),
        [
            ([0.5], {}, r"shape \[models, users\], got \[1\]"),
            (np.empty((2, 0)), {}, r"got \[2, 0\]"),
            ([[0.5, 0.1], [0.3, np.nan]], {}, "nan of model 1 and user 1 is not a valid value"),
            ([[0.5, np.inf]], {}, "inf of model 0 and user 1"),
            ([[0.5, -0.1]], {"root": True}, "-0.1 of model 0 and user 1 is not a valid squared error"),
            ([[0.5, 0.1]], {"weights": [1.0]}, r"each of 2 users, got the shape \[1\]"),
            ([[0.5, 0.1]], {"weights": [1.0, 0.0]}, r"0.0 is not a valid weight \(user 1\)"),
            ([[0.5, 0.1]], {"weights": [np.nan, 1.0]}, r"nan is not a valid weight \(user 0\)"),
        ],
    )
    def test_sample(self, values, options, message):
        with pytest.raises(DataError, match=message):
            Sample(values, **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"alpha": 0}, "alpha must lie between 0 and 1, got 0"),
            ({"level": 95}, "level must lie between 0 and 1, got 95"),
            ({"power": 1.0}, "power must"),
            ({"replicates": 10}, "replicates must be at least 100, got 10"),
            ({"flips": 99}, "flips must be at least 100"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ConfigError, match=message):
            compare([Sample(planted(0, 0))], **options)

    def test_different_users(self):
        with pytest.raises(DataError, match="samples of 10 and of 400 users; align them"):
            compare([Sample(planted(0)), Sample(planted(0, n_users=10))])
        with pytest.raises(DataError, match="got none"):
            intervals([])
