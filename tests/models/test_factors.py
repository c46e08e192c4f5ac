import numpy as np
import pytest
from sklearn.linear_model import Ridge

from recsys_ae.models import factors
from recsys_ae.models.factors import pair_products, ridge


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5)])
def test_ridge_is_scikit_learns(shape, rng):
    inputs, targets = rng.normal(size=shape), rng.normal(size=shape[0])
    expected = Ridge(alpha=0.7, fit_intercept=False).fit(inputs, targets).coef_
    np.testing.assert_allclose(ridge(inputs, targets, 0.7), expected, rtol=1e-4)


def test_ridge_of_nothing_is_zero():
    assert ridge(np.empty((0, 4)), np.empty(0), 1.0).tolist() == [0.0] * 4


def test_pair_products_ask_for_each_user_once(rng, monkeypatch):
    monkeypatch.setattr(factors, "BATCH_USERS", 3)
    monkeypatch.setattr(factors, "BATCH_PAIRS", 4)
    users, items = rng.normal(size=(10, 5)).astype(np.float32), rng.normal(size=(7, 5)).astype(np.float32)
    user_rows, item_rows = rng.integers(0, 10, 50), rng.integers(0, 7, 50)
    asked: list[int] = []
    found = pair_products(lambda rows: asked.extend(rows) or users[rows], items, user_rows, item_rows)
    np.testing.assert_allclose(found, (users @ items.T)[user_rows, item_rows], rtol=1e-5)
    assert sorted(asked) == sorted(set(user_rows))


def test_pairs_come_in_batches_grouped_by_user(rng, monkeypatch):
    monkeypatch.setattr(factors, "BATCH_USERS", 3)
    monkeypatch.setattr(factors, "BATCH_PAIRS", 4)
    user_rows = rng.integers(0, 10, 50)
    batches = list(factors.pair_batches(user_rows, lambda rows: rows))
    assert max(len(users) for users, _, _ in batches) == 3
    assert max(len(pairs) for _, pairs, _ in batches) == 4
    assert sorted(np.concatenate([pairs for _, pairs, _ in batches])) == list(range(50))
    for users, pairs, place in batches:
        np.testing.assert_array_equal(users[place], user_rows[pairs])
    assert list(factors.pair_batches(user_rows[:0], lambda rows: rows)) == []
