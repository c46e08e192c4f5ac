import gc

import numpy as np
import pytest
from builders import PLAIN_EASE, from_dense, planted, random_interactions

from recsys_ae import build_model, limits
from recsys_ae.errors import ConfigError
from recsys_ae.models import costs, ease

OBSERVED = [[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_each_column_is_a_ridge_regression_on_the_other_items(dropout):
    """The definition, solved column by column; the weights are not symmetric, so a transposition would be noticed."""
    data = random_interactions()
    seen = np.zeros(data.matrix.shape)
    seen[data.user_rows(), data.item_rows()] = 1
    model = build_model("ease", {**PLAIN_EASE, "l2": 3.0, "dropout": dropout}).fit(data)
    weights = model.fitted.arrays["weights"]
    strength = 3.0 + dropout / (1 - dropout) * seen.sum(axis=0)
    for item in range(data.n_items):
        others = np.arange(data.n_items) != item
        x = seen[:, others]
        expected = np.linalg.solve(x.T @ x + np.diag(strength[others]), x.T @ seen[:, item])
        np.testing.assert_allclose(weights[others, item], expected, rtol=1e-3, atol=1e-5)
        assert weights[item, item] == 0
    assert np.abs(weights - weights.T).max() > 0.01
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), seen @ weights, rtol=1e-4, atol=1e-5)


def test_the_rows_of_active_users_count_less():
    """Against rows repeated in proportion to their weights: 1, 2 or 4 times, up to a common factor."""
    data = from_dense(np.array(OBSERVED), np.array(OBSERVED, bool))
    seen = np.repeat(np.array(OBSERVED, float), [1, 2, 2, 4], axis=0)  # with e = -1, lengths 4, 2, 2, 1
    gram = seen.T @ seen * (sum(map(sum, OBSERVED)) / seen.sum())
    inverse = np.linalg.inv(gram + 2.0 * np.eye(4))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    weights = build_model("ease", {**PLAIN_EASE, "l2": 2.0, "user_exponent": -1.0}).fit(data).fitted.arrays["weights"]
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)


def seen(data) -> np.ndarray:
    """The binary matrix, float64 [N, M]."""
    found = np.zeros(data.matrix.shape)
    found[data.user_rows(), data.item_rows()] = 1
    return found


def bounded_columns(
    inputs: np.ndarray, weights: np.ndarray, targets: np.ndarray, ridge: np.ndarray, bound: float
) -> np.ndarray:
    """The B that minimises |targets - inputs B|^2 in rows with weights, plus sum_ij ridge_i B_ij^2, with B_jj <= bound."""
    gram = inputs.T @ (weights[:, None] * inputs) + np.diag(ridge)
    product = inputs.T @ (weights[:, None] * targets)
    found = np.linalg.solve(gram, product)
    for item in np.flatnonzero(found.diagonal() > bound):
        rest = np.arange(len(gram)) != item
        found[rest, item] = np.linalg.solve(gram[np.ix_(rest, rest)], product[rest, item] - bound * gram[rest, item])
        found[item, item] = bound
    return found


@pytest.mark.parametrize("bound", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("of_users", "of_inputs", "constant"), [(0.0, 0.0, 0.0), (-0.6, 0.0, 0.7), (-0.2, 0.4, 0.0), (0.3, 0.2, 0.7)]
)
def test_all_parameters_together_solve_the_constrained_regression(of_users, of_inputs, constant, bound):
    data = random_interactions(n_users=60)
    x = seen(data)
    n, counts = x.sum(axis=1), x.sum(axis=0)
    weights, scale = n**of_users, n**-of_inputs
    own = weights * scale**2
    own *= x.sum() / (own @ n)  # the total weight of the inputs is the number of interactions
    inputs = np.c_[x, np.full(len(x), constant)] if constant else x
    ridge = np.full(inputs.shape[1], 4.0)
    ridge[:25] += 0.3 / 0.7 * (own @ x)
    # In units in which inputs have the weights above, targets are larger by 1 / scale, up to a factor that T's total fixes.
    targets = x / scale[:, None]
    targets *= x.sum() / ((own / scale) @ n)
    expected = bounded_columns(inputs, own, targets, ridge, bound) * (counts / counts.mean()) ** -0.3
    params = {"l2": 4.0, "dropout": 0.3, "user_exponent": of_users, "item_exponent": -0.3, "input_exponent": of_inputs}
    model = build_model("ease", {**params, "intercept": constant, "diagonal": bound}).fit(data)
    np.testing.assert_allclose(model.fitted.arrays["weights"], expected[:25], rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(model.scores(data, np.arange(60)), inputs @ expected, rtol=1e-3, atol=1e-4)
    assert np.abs(expected[:25] - expected[:25].T).max() > 0.01


def test_a_free_diagonal_ranks_unseen_items_as_ease_between_users():
    data = random_interactions(n_users=30)
    x = seen(data)
    inverse = np.linalg.inv(x @ x.T + 5.0 * np.eye(30))
    between = -inverse / inverse.diagonal()
    np.fill_diagonal(between, 0)
    expected = between.T @ x  # each user from the others
    found = build_model("ease", {**PLAIN_EASE, "l2": 5.0, "diagonal": 1.0}).fit(data).scores(data, np.arange(30))
    for user in range(30):
        unseen = np.flatnonzero(x[user] == 0)
        ratio = expected[user, unseen] / found[user, unseen]
        np.testing.assert_allclose(ratio, inverse[user, user] ** -1 / 5.0, rtol=2e-3)


def test_without_co_occurrences_the_order_is_that_of_popularity():
    observed = np.eye(5, dtype=bool)[np.repeat(np.arange(5), [4, 1, 5, 2, 3])]
    data = from_dense(np.ones(observed.shape), observed)
    scores = build_model("ease").fit(data).scores(data, np.arange(15))
    assert (np.argsort(-scores, axis=1) == [2, 0, 4, 3, 1]).all()


def test_fits_on_the_same_data_invert_once(monkeypatch):
    inversions = []
    real = ease.inverse_gram
    monkeypatch.setattr(ease, "inverse_gram", lambda *args: inversions.append(1) or real(*args))
    data, other = random_interactions(), random_interactions(seed=1)

    def weights(on, **changes):
        return build_model("ease", {"l2": 2.0, **changes}).fit(on).fitted.arrays["weights"]

    first = weights(data, diagonal=0.2)
    again, scaled = weights(data), weights(data, item_exponent=0.3)
    assert len(inversions) == 1
    np.testing.assert_array_equal(weights(data, diagonal=0.2), first)
    assert np.abs(again - first).max() > 0.01 < np.abs(again - scaled).max()
    weights(data, dropout=0.1), weights(other, dropout=0.1)
    assert len(inversions) == 3
    monkeypatch.setattr(ease, "KEPT_BYTES", 0)
    np.testing.assert_array_equal(weights(data, diagonal=0.2), first)
    np.testing.assert_array_equal(weights(data, diagonal=0.2), first)
    assert len(inversions) == 5


def test_the_solution_is_forgotten_with_the_data():
    data = random_interactions()
    build_model("ease").fit(data)
    assert ease._kept._last is not None
    del data
    gc.collect()
    assert ease._kept._last is None


def test_too_many_items_are_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 100)
    with pytest.raises(ConfigError, match=r"ease on 7 items needs .* use sparse_ease, .* or elsa,"):
        build_model("ease", {}).fit(planted())


def test_memory_and_time_are_logged(monkeypatch, caplog):
    monkeypatch.setattr(costs, "NOTABLE_BYTES", 0)
    with caplog.at_level("INFO", logger="recsys_ae"):
        build_model("ease", {}).fit(planted())
    assert "ease on 7 items: 1 MB of memory, about 1 s" in caplog.text
