import numpy as np
import pytest
from builders import from_dense, planted, random_interactions

from recsys_ae import build_model, limits
from recsys_ae.errors import ConfigError

OBSERVED = [[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_each_column_is_a_ridge_regression_on_the_other_items(dropout):
    """The definition, solved column by column; the weights are not symmetric, so a transposition would be noticed."""
    data = random_interactions()
    seen = np.zeros(data.matrix.shape)
    seen[data.user_rows(), data.item_rows()] = 1
    model = build_model("ease", {"l2": 3.0, "dropout": dropout}).fit(data)
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
    weights = build_model("ease", {"l2": 2.0, "user_exponent": -1.0}).fit(data).fitted.arrays["weights"]
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)


def test_too_many_items_are_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 100)
    with pytest.raises(ConfigError, match=r"ease on 7 items needs .* use sparse_ease, .* or elsa,"):
        build_model("ease", {}).fit(planted())


def test_memory_and_time_are_logged(caplog):
    with caplog.at_level("INFO", logger="recsys_ae"):
        build_model("ease", {}).fit(planted())
    assert "ease on 7 items: 0.0 GB of memory, about 0 s" in caplog.text
