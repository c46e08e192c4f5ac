"""Weights of members: against constrained least squares by search, and planted members of known worth."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import OptimizeResult
from scipy.sparse import csr_array
from scipy.special import log_softmax

from recsys_ae.models.experts import Experts, least_squares, standardised, weighted

N_USERS, N_ITEMS = 300, 40


def error_of(weights: np.ndarray, parts: np.ndarray, ratings: np.ndarray) -> float:
    return float(((parts @ weights - ratings) ** 2).sum())


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_no_other_weights_have_a_smaller_error(seed, members):
    rng = np.random.default_rng(seed)
    ratings = rng.normal(3, 1, 200)
    parts = ratings[:, None] + rng.normal(size=(200, members)) * rng.uniform(0.1, 3, members) + rng.normal(size=members)
    weights = least_squares(parts.T @ parts, parts.T @ ratings)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    best = error_of(weights, parts, ratings)
    for other in rng.dirichlet(np.ones(members), 300):
        assert best <= error_of(other, parts, ratings) * (1 + 1e-9)
    for other in np.eye(members):
        assert best <= error_of(other, parts, ratings) * (1 + 1e-9)


def test_independent_errors_are_weighted_by_their_precision():
    """Of two unbiased measurements with variances 1 and 4, the best mean weights them 4 to 1."""
    rng = np.random.default_rng(0)
    ratings = rng.normal(0, 5, 100_000)
    parts = ratings[:, None] + rng.normal(size=(100_000, 2)) * [1, 2]
    np.testing.assert_allclose(least_squares(parts.T @ parts, parts.T @ ratings), [0.8, 0.2], atol=0.01)


def test_equal_members_share_the_weight_however_large_the_ratings_are():
    part = np.random.default_rng(0).normal(1e6, 1e5, (50, 1))
    same = np.c_[part, part, part]
    np.testing.assert_allclose(least_squares(same.T @ same, same.T @ part[:, 0]), 1 / 3, atol=1e-3)


@pytest.mark.parametrize("found", [[0.0, 1.0], [0.0, 0.0], [np.nan, np.nan]])
def test_weights_are_equal_if_the_search_finds_nothing_better(found, monkeypatch):
    monkeypatch.setattr("recsys_ae.models.experts.minimize", lambda *_, **__: OptimizeResult(x=np.array(found), success=False))
    parts, ratings = np.random.default_rng(0).normal(size=(50, 2)) * [0.1, 10] + 3, np.full(50, 3.0)
    np.testing.assert_array_equal(least_squares(parts.T @ parts, parts.T @ ratings), 0.5)


def test_good_weights_are_taken_even_if_the_search_does_not_call_them_a_success(monkeypatch):
    monkeypatch.setattr(
        "recsys_ae.models.experts.minimize", lambda *_, **__: OptimizeResult(x=np.array([1.0, 0.0]), success=False)
    )
    parts, ratings = np.random.default_rng(0).normal(size=(50, 2)) * [0.1, 10] + 3, np.full(50, 3.0)
    np.testing.assert_array_equal(least_squares(parts.T @ parts, parts.T @ ratings), [1, 0])


def seen_items() -> csr_array:
    return csr_array(np.random.default_rng(1).random((N_USERS, N_ITEMS)) < 0.2)


def test_scores_are_standardised_over_unseen_items():
    seen, scores = seen_items(), np.random.default_rng(0).normal(7, 3, (N_USERS, N_ITEMS)).astype(np.float32)
    z = standardised(scores.copy(), seen)
    unseen = ~seen.toarray()
    for user in range(N_USERS):
        own = scores[user, unseen[user]].astype(np.float64)
        np.testing.assert_allclose(z[user], (scores[user] - own.mean()) / own.std(), rtol=1e-4, atol=1e-5)


def test_scores_without_a_spread_are_zero_and_impossible_items_are_lowest():
    scores = np.array([[5, 5, 5, 5], [1, -np.inf, 2, 3], [-np.inf] * 4, [4, 1, 1, 1]], np.float32)
    seen = csr_array(np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], bool))
    z = standardised(scores, seen)
    assert (z[[0, 2]] == 0).all()
    assert z[1, 1] == z[1, 0] == z[1].min()
    assert z[3, 0] > z[3, 1] == z[3, 2]  # by the spread of all items, because all unseen ones are equal


def planted_members() -> tuple[list[np.ndarray], csr_array, csr_array]:
    """Two members that know half of each user's taste each, one that knows nothing; seen and held-out items."""
    rng = np.random.default_rng(3)
    halves = rng.normal(size=(2, N_USERS, N_ITEMS))
    seen = seen_items()
    chance = np.exp(2 * halves.sum(axis=0)) * ~seen.toarray()
    held = np.argsort(-chance * rng.exponential(size=chance.shape) ** -1, axis=1)[:, :3]
    held_out = csr_array((np.ones(held.size), (np.repeat(np.arange(N_USERS), 3), held.ravel())), shape=chance.shape)
    members = [half.astype(np.float32) for half in (*halves, rng.normal(size=halves[0].shape))]
    return [standardised(member, seen) for member in members], seen, held_out


@pytest.mark.parametrize("combine", ["product", "mixture"])
def test_members_that_know_something_get_the_weight(combine):
    z, seen, held_out = planted_members()
    experts = Experts.fit(combine, z, seen, held_out)
    assert experts.weights.sum() == pytest.approx(1)
    assert experts.weights[:2].min() > 0.25
    assert experts.weights[2] < 0.15


def test_the_order_of_the_members_is_that_of_the_weights():
    z, seen, held_out = planted_members()
    experts = Experts.fit("product", [z[2], z[0]], seen, held_out)
    assert experts.weights[1] > 0.8


def test_a_product_adds_scores_and_a_mixture_adds_probabilities():
    z = [one[:5] for one in planted_members()[0]]
    weights = np.array([0.5, 0.2, 0.3])
    product = Experts("product", weights, np.ones(3)).scores(z)
    np.testing.assert_allclose(product, sum(w * one for w, one in zip(weights, z, strict=True)), rtol=1e-5, atol=1e-6)
    sharpness = np.array([2.0, 0.5, 1.0])
    mixed = Experts("mixture", weights, sharpness).scores(z)
    chances = sum(w * np.exp(log_softmax(t * one, axis=1)) for w, t, one in zip(weights, sharpness, z, strict=True))
    np.testing.assert_allclose(np.exp(mixed), chances, rtol=1e-4)


def test_a_mixture_tells_unlikely_items_apart():
    z = [np.array([[9.0, 1.0, 0.5, 0.0]], np.float32)]
    scores = Experts("mixture", np.ones(1), np.array([30.0])).scores(z)
    assert (np.diff(scores[0]) < 0).all()


def test_a_weighted_sum_has_the_type_of_scores():
    assert weighted(np.array([0.25, 0.75]), [np.ones(3, np.float32), np.zeros(3, np.float32)]).dtype == np.float32
