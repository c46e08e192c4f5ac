import numpy as np
import pytest
from scipy.stats import norm

from recsys_ae.data.planted.features import FeatureProcess, planted_features
from recsys_ae.data.planted.ratings import planted_ratings
from recsys_ae.data.planted.rounding import lowest_errors, rating_probabilities
from recsys_ae.errors import DataError
from recsys_ae.split import Split
from recsys_ae.splitting import random


def drawn(taste, noise, rng, shape):
    return np.clip(np.rint(taste + rng.normal(0, noise, shape)), 1, 5)


def test_rating_probabilities_are_the_shares_of_many_ratings(rng):
    tastes, noises = np.array([0.2, 1.4, 2.5, 3.0, 4.9, 6.0]), np.array([0.6, 0.3, 1.0, 0.6, 0.2, 2.0])
    many = drawn(tastes, noises, rng, (100_000, 6))
    shares = [(many == value).mean(axis=0) for value in (1, 2, 3, 4, 5)]
    np.testing.assert_allclose(rating_probabilities(tastes, noises), np.transpose(shares), atol=0.01)


def test_lowest_errors_are_those_of_the_mean_and_of_the_median(rng):
    probabilities = rng.dirichlet(np.ones(5), 7)
    values = np.arange(1, 6)
    grid = np.linspace(1, 5, 4001)  # of predictions
    squared = ((grid[:, None] - values) ** 2 @ probabilities.T).min(axis=0)
    absolute = (np.abs(grid[:, None] - values) @ probabilities.T).min(axis=0)
    found = lowest_errors(probabilities, ["mae", "ndcg@10", "rmse"])
    assert found == pytest.approx({"rmse": squared.mean() ** 0.5, "mae": absolute.mean()}, abs=1e-6)
    assert lowest_errors(probabilities, ["ndcg@10"]) == {}


def test_wrong_beliefs_cost_errors():
    believed, actual = np.array([[0.5, 0.5, 0, 0, 0], [0, 0, 0, 0.1, 0.9]]), np.array([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0.0]])
    found = lowest_errors(believed, ["rmse", "mae"], actual)
    assert found["rmse"] == pytest.approx(((0.5**2 + 0.9**2) / 2) ** 0.5)
    assert found["mae"] in (0.5, 1.0)  # 1 and 2 are both medians of the first


class TestRatings:
    def test_noise_floor_of_a_part_is_about_that_part(self):
        data, process = planted_ratings(400, 60, 4_000, noise=0.6, seed=3)
        assert data.matrix.shape == (400, 60)
        assert len(data) == 4_000
        split = random(data, test=0.5, seed=1)
        floor, other = (process.best(one, ["rmse"])["rmse"] for one in (split, Split(split.test, split.valid, split.train)))
        assert floor != other
        assert 0.5 < floor < 0.7

    def test_floors_are_the_errors_of_the_tastes(self):
        data, process = planted_ratings(400, 200, 16_000, noise=0.4, seed=3)
        user, item = data.user_rows(), data.item_rows()
        tastes = 3.5 + process.users[user, 0] + process.items[item, 0]
        tastes += (process.users[user, 1:] * process.items[item, 1:]).sum(axis=1)
        edges = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])
        mean = np.diff(norm.cdf((edges - tastes[:, None]) / 0.4)) @ np.arange(1, 6)
        errors = process.best(random(data, test=0.99), ["rmse"])
        assert errors["rmse"] == pytest.approx(np.sqrt(np.mean((mean - data.matrix.data) ** 2)), abs=0.01)

    def test_users_mostly_rate_what_they_like(self):
        data, _ = planted_ratings(400, 60, 4_000)
        assert data.matrix.data.mean() > 3.6

    def test_popularity_has_a_long_tail(self):
        data, _ = planted_ratings(400, 200, 12_000, factors=2)
        counts = np.sort(np.bincount(data.item_rows(), minlength=200))[::-1]
        assert counts[:20].sum() > 3 * counts[-20:].sum()

    def test_the_seed_decides(self):
        sizes = (50, 30, 300)
        assert planted_ratings(*sizes, seed=1)[0].digest == planted_ratings(*sizes, seed=1)[0].digest
        assert planted_ratings(*sizes, seed=1)[0].digest != planted_ratings(*sizes, seed=2)[0].digest

    def test_too_many_ratings(self):
        with pytest.raises(DataError, match="do not fit"):
            planted_ratings(10, 10, 21)


def without(data, new_users, new_items):
    """A split whose test part has all ratings of new users and items."""
    held = np.isin(data.user_rows(), new_users) | np.isin(data.item_rows(), new_items)
    return Split(data.filter(~held), data.filter(held & False), data.filter(held))


class TestFeatures:
    def test_what_features_explain(self):
        """Biases and factors are linear in the encoded features, plus remainders of the stated size."""
        data, process = planted_features(1500, 800, 10_000, explained=0.6)
        for table, whole, share, rest, spread in (
            (data.user_features, process.users, process.explained_users, process.user_rest, 0.35),
            (data.item_features, process.items, process.explained_items, process.item_rest, 0.45),
        ):
            design = np.column_stack([table.matrix.toarray(), np.ones(len(share))])
            weights = np.linalg.lstsq(design, share, rcond=None)[0]
            np.testing.assert_allclose(design @ weights, share, atol=1e-5)
            np.testing.assert_allclose((whole - share).std(axis=0), rest, rtol=0.1)
            assert rest[0] == pytest.approx(spread * 0.4**0.5)
            np.testing.assert_allclose(share.var(axis=0) / (share.var(axis=0) + rest**2), 0.6)
            assert {one.kind for one in table.features} == {"numeric", "category", "multi_label"}

    @pytest.mark.parametrize(("new_user", "new_item"), [(False, False), (False, True), (True, False), (True, True)])
    def test_probabilities_are_the_shares_of_many_draws(self, rng, new_user, new_item):
        """Three pairs, with the remainders of new users and items drawn many times."""
        known = np.array([[0.3, 1.0, -1.2], [-0.2, 0.1, 0.4], [0.0, 2.0, 1.0]]), rng.normal(0, 0.7, (3, 3))
        rests = np.array([0.2, 0.5, 0.5]), np.array([0.4, 0.3, 0.3])
        process = FeatureProcess(*known, 0.5, *known, *rests)
        news = np.full(3, new_user), np.full(3, new_item)
        user, item = (
            side + new[0] * rng.normal(0, rest, (50_000, 3, 3)) for side, rest, new in zip(known, rests, news, strict=True)
        )
        taste = 3.5 + user[:, :, 0] + item[:, :, 0] + (user[:, :, 1:] * item[:, :, 1:]).sum(axis=2)
        many = drawn(taste, 0.5, rng, taste.shape)
        shares = np.transpose([(many == value).mean(axis=0) for value in (1, 2, 3, 4, 5)])
        atol = 0.04 if new_user and new_item else 0.01  # both new: from 400 draws
        np.testing.assert_allclose(process.probabilities(*known, *news), shares, atol=atol)

    def test_best_of_new_items_and_users(self):
        """The stated RMSE is what the expected rating reaches, and above the floor of a predictor that knows all tastes."""
        data, process = planted_features(900, 400, 60_000, seed=1)
        old = process.best(random(data, test=0.2), ["rmse"])["rmse"]
        split = without(data, [], np.arange(80))
        test = split.test
        users, items = process.users[test.user_rows()], process.explained_items[test.item_rows()]
        new = np.zeros(len(test), bool), np.ones(len(test), bool)
        predicted = process.probabilities(users, items, *new) @ np.arange(1, 6)
        best = process.best(split, ["rmse", "mae"])
        assert best["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - test.matrix.data) ** 2)), rel=0.01)
        assert best["rmse"] > old + 0.05
        assert process.best(without(data, np.arange(200), []), ["rmse"])["rmse"] > old + 0.05

    def test_who_is_rated_says_nothing_about_tastes(self):
        data, process = planted_features(900, 400, 60_000, seed=2)
        assert abs(np.corrcoef(np.bincount(data.item_rows(), minlength=400), process.items[:, 0])[0, 1]) < 0.15

    def test_the_seed_decides(self):
        sizes = (50, 30, 300)
        assert planted_features(*sizes, seed=1)[0].digest == planted_features(*sizes, seed=1)[0].digest
        assert planted_features(*sizes, seed=1)[0].digest != planted_features(*sizes, seed=2)[0].digest

    def test_too_many_ratings(self):
        with pytest.raises(DataError, match="do not fit"):
            planted_features(10, 10, 21)
