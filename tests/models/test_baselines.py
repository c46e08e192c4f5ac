import numpy as np
import pytest
from builders import from_dense, random_interactions
from scipy.sparse import csr_array

from recsys_ae import build_model
from recsys_ae.models.baselines import Biases


def test_biases_solve_the_ridge_regression():
    """Both sets of biases satisfy the normal equations of their joint ridge regression."""
    data = random_interactions()
    biases = Biases.fit(data, user_reg=4, item_reg=2)
    users = biases.of_users(data.matrix)
    user, item = data.user_rows(), data.item_rows()
    left = data.matrix.data - biases.mean - users[user] - biases.item[item]
    np.testing.assert_allclose(np.bincount(user, left, 40), 4 * users, atol=1e-4)
    np.testing.assert_allclose(np.bincount(item, left, 25), 2 * biases.item, atol=1e-4)


def test_biases_with_features_solve_a_ridge_regression_around_what_features_predict(rng):
    """Normal equations of |left|^2 + 4 |users - G c|^2 + 2 |items - F a|^2 + 10 (|c|^2 + |a|^2) for c, a and both biases."""
    data = random_interactions()
    data = data.filter((data.user_rows() != 5) & (data.item_rows() != 7))
    g, f = (csr_array(rng.standard_normal(shape).astype(np.float32)) for shape in ((40, 3), (25, 2)))
    biases = Biases.fit(data, user_reg=4, item_reg=2, user_features=g, item_features=f)
    users, weights = biases.of_users(data.matrix, g), np.linalg.lstsq(f.toarray(), biases.item_prior, rcond=None)[0]
    user, item = data.user_rows(), data.item_rows()
    left = data.matrix.data - biases.mean - users[user] - biases.item[item]
    np.testing.assert_allclose(np.bincount(user, left, 40), 4 * (users - g @ biases.user_weights), atol=1e-3)
    np.testing.assert_allclose(np.bincount(item, left, 25), 2 * (biases.item - biases.item_prior), atol=1e-3)
    np.testing.assert_allclose(g.T @ (4 * (users - g @ biases.user_weights)), 10 * biases.user_weights, atol=1e-3)
    np.testing.assert_allclose(f.T @ (2 * (biases.item - biases.item_prior)), 10 * weights, atol=1e-3)
    assert users[5] == pytest.approx((g @ biases.user_weights)[5])
    assert biases.item[7] == pytest.approx((f @ weights)[7])


def test_popularity_is_a_feature_of_items_but_not_of_those_without_ratings():
    """As with 1 and the centred logarithm of the numbers of ratings as given features; planted: popular items are better."""
    rng = np.random.default_rng(0)
    chance = np.linspace(0.02, 0.5, 30)
    ratings = np.where(rng.random((200, 30)) < chance, 1 + 2 * chance + rng.normal(0, 0.1, (200, 30)), 0)
    ratings[:, 4] = 0
    data = from_dense(ratings)
    data = data.filter(data.matrix.data > 0)
    count = np.count_nonzero(ratings, 0)
    logarithm = np.where(count, np.log1p(count) - np.log1p(count[count > 0]).mean(), 0)
    given = Biases.fit(data, item_features=csr_array(np.c_[np.ones(30), logarithm]))
    biases = Biases.fit(data, popularity=True)
    np.testing.assert_allclose(biases.item, given.item, atol=1e-6)
    np.testing.assert_allclose(biases.item_centre, given.item_prior, atol=1e-6)
    assert biases.item_prior.std() < 1e-9  # popularity is no feature of an item without ratings
    assert biases.item[4] == pytest.approx(biases.item_prior[4])
    assert biases.item_centre[-1] - biases.item_centre[0] > 0.3


def test_planted_biases_are_found():
    ratings = 3 + np.linspace(-1, 1, 9)[:, None] + np.linspace(-0.5, 0.5, 5)
    data = from_dense(ratings)
    model = build_model("bias", {"user_reg": 0, "item_reg": 0}).fit(data)
    np.testing.assert_allclose(model.scores(data, np.arange(9)), ratings, atol=1e-5)


def test_pairs_and_blocks_agree():
    data = random_interactions()
    biases = Biases.fit(data)
    users, items = np.divmod(np.arange(40 * 25), 25)
    np.testing.assert_array_equal(biases.pairs(data, users, items).reshape(40, 25), biases.block(data, np.arange(40)))


@pytest.mark.data("ml-100k")
def test_the_published_baseline_of_movielens_100k():
    """0.9535 on u1 with 5 and 3, computed independently with alternating least squares."""
    from recsys_ae import evaluate
    from recsys_ae.data.cards import read_card
    from recsys_ae.data.ratings import load_given_split

    split = load_given_split(*read_card("ml-100k"), "u1")
    model = build_model("bias", {"user_reg": 5, "item_reg": 3}).fit(split.train)
    assert evaluate(model, split, ["rmse"]).metrics["rmse"] == pytest.approx(0.9535, abs=1e-4)
