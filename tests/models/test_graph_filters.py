import numpy as np
import pytest
from builders import from_dense, random_interactions
from numpy.polynomial import Polynomial

from recsys_ae import build_model
from recsys_ae.models import graph_filters


def dense(data) -> np.ndarray:
    x = np.zeros(data.matrix.shape)
    x[data.user_rows(), data.item_rows()] = 1
    return x


def spectrum(data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors [M, M] of the item graph, and the degrees of items."""
    x = dense(data)
    degrees = np.maximum(x.sum(axis=0), 1)
    r = x / np.sqrt(x.sum(axis=1, keepdims=True)) / np.sqrt(degrees)
    values, vectors = np.linalg.eigh(r.T @ r)
    return values, vectors, degrees


def without_items(data, items: list[int]):
    return data.filter(~np.isin(data.item_rows(), items))


@pytest.mark.parametrize("n_users", [60, 20], ids=["more users", "more items"])
@pytest.mark.parametrize("factors", [3, 12, 1000])
def test_gf_cf_filters_the_spectrum(n_users, factors):
    data = without_items(random_interactions(n_users=n_users), [4, 9])
    values, vectors, degrees = spectrum(data)
    first = vectors[:, (np.arange(25) >= 25 - factors) & (values > 1e-9)]
    linear, root = vectors * values @ vectors.T, np.sqrt(degrees)
    expected = dense(data) @ (linear + 0.7 * (first @ first.T) / root[:, None] * root)
    model = build_model("gf_cf", {"factors": factors, "ideal_weight": 0.7, "popularity": 0.0}).fit(data)
    found = model.scores(data, np.arange(n_users))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert not found[:, [4, 9]].any()


@pytest.mark.parametrize("order", [1, 3, 8])
def test_chebycf_filters_the_spectrum(order):
    """The interpolating polynomial, found by solving for its coefficients at the Chebyshev points."""
    data = without_items(random_interactions(n_users=60), [4, 9])
    values, vectors, degrees = spectrum(data)
    points = np.cos((np.arange(order + 1) + 0.5) / (order + 1) * np.pi)
    plateau = np.where(points < 0, 0.5 + 0.5 * np.abs(points) ** 2.5, 0.5 - 0.5 * np.abs(points) ** 2.5)
    filtered = Polynomial(np.linalg.solve(np.vander(points, increasing=True), plateau))(1 - 2 * values)
    first = vectors[:, -5:]
    scale = degrees**0.3
    expected = dense(data) / scale @ (vectors * filtered @ vectors.T + 0.4 * first @ first.T) * scale
    expected[:, [4, 9]] = 0
    params = {"factors": 5, "ideal_weight": 0.4, "order": order, "flatness": 2.5}
    model = build_model("chebycf", {**params, "degree_exponent": 0.3, "popularity": 0.0}).fit(data)
    np.testing.assert_allclose(model.scores(data, np.arange(60)), expected, rtol=1e-3, atol=1e-4)


def test_a_few_histories_at_a_time_give_the_same_scores(monkeypatch):
    data = random_interactions(n_users=60)
    model = build_model("chebycf", {"factors": 4}).fit(data)
    whole = model.scores(data, np.arange(48))
    monkeypatch.setattr(graph_filters, "BLOCK_SCORES", 1)
    np.testing.assert_array_equal(model.scores(data, np.arange(48)), whole)


def test_popularity_is_added_by_the_diagonal():
    data = random_interactions(n_users=60)
    x = dense(data)
    diagonal = (x / x.sum(axis=1, keepdims=True)).sum(axis=0) / x.sum(axis=0)
    without, found = (
        build_model("gf_cf", {"factors": 4, "popularity": share}).fit(data).scores(data, np.arange(60)) for share in (0.0, 0.7)
    )
    popular = x.sum(axis=0) / x.sum(axis=0).max()
    np.testing.assert_allclose(found - without, 0.7 * (x @ diagonal)[:, None] * popular, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["gf_cf", "chebycf"])
def test_users_of_one_item_get_the_popular_ones(name):
    observed = np.eye(5, dtype=bool)[np.repeat(np.arange(5), [4, 1, 5, 2, 3])]
    data = from_dense(np.ones(observed.shape), observed)
    scores = build_model(name).fit(data).scores(data, np.arange(15))
    scores[observed] = -np.inf
    assert scores.argmax(axis=1).tolist() == [2] * 5 + [0] * 5 + [2] * 5
