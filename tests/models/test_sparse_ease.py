import numba
import numpy as np
import pytest
from builders import PLAIN_EASE, from_dense, planted, random_interactions
from scipy.sparse import csr_array

from recsys_ae import build_model, limits
from recsys_ae.errors import ConfigError
from recsys_ae.models import costs
from recsys_ae.models.storage import model_digest


def dense(model) -> np.ndarray:
    """Weights [M, M] of a fitted model: rows are items of the history, columns the scored items."""
    arrays, m = model.fitted.arrays, len(model.fitted.ids["items"])
    return csr_array((arrays["weights"], arrays["columns"], arrays["indptr"]), shape=(m, m)).toarray()


def seen(data) -> np.ndarray:
    x = np.zeros(data.matrix.shape)
    x[data.user_rows(), data.item_rows()] = 1
    return x


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_with_all_items_as_neighbours_it_is_ease(dropout):
    """Items 3 and 7 have no interactions; all other pairs occur together."""
    data = random_interactions(n_users=300)
    data = data.filter(~np.isin(data.item_rows(), [3, 7]))
    params = {"l2": 3.0, "dropout": dropout}
    ease = build_model("ease", {**PLAIN_EASE, **params}).fit(data)
    sparse = build_model("sparse_ease", {"popularity": 0.0, **params, "neighbours": data.n_items - 1}).fit(data)
    np.testing.assert_allclose(dense(sparse), ease.fitted.arrays["weights"], atol=1e-5)
    everyone = np.arange(data.n_users)
    np.testing.assert_allclose(sparse.scores(data, everyone), ease.scores(data, everyone), atol=1e-4)
    assert not sparse.scores(data, everyone)[:, [3, 7]].any()


@pytest.mark.parametrize(("neighbours", "shared"), [(1, 1), (2, 1), (5, 1), (11, 1), (24, 1), (5, 2), (24, 3)])
def test_each_column_is_a_ridge_regression_on_its_nearest_items(neighbours, shared):
    """The definition, item by item, on data with many pairs that never co-occur and many ties of the cosine."""
    data = random_interactions(n_users=37, share=0.12)
    x = seen(data)
    gram = x.T @ x
    gram[gram < shared] = 0
    size = x.sum(axis=0)
    gram[np.diag_indices(len(size))] = size
    popularity = np.argsort(np.argsort(-size, kind="stable"))
    params = {"popularity": 0.0, "l2": 2.0, "dropout": 0.2, "neighbours": neighbours, "shared": shared}
    model = build_model("sparse_ease", params).fit(data)
    expected = np.zeros(gram.shape)
    for item in range(data.n_items):
        together = [other for other in np.flatnonzero(gram[item]) if other != item]
        near = sorted(together, key=lambda i: (-(gram[i, item] ** 2) / size[i], popularity[i]))[:neighbours]
        expected[near, item] = np.linalg.solve(gram[np.ix_(near, near)] + np.diag(2.0 + 0.25 * size[near]), gram[near, item])
    np.testing.assert_allclose(dense(model), expected, atol=1e-6)
    assert ((dense(model) != 0).sum(axis=0) <= neighbours).all()
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), x @ expected, atol=1e-5)


def test_a_history_with_one_item_scores_by_its_row():
    """All users of the rare item have the common one but not vice versa, so the two weights differ."""
    x = np.zeros((10, 3), bool)
    x[:, 0] = True
    x[:2, 1] = True
    x[5:, 2] = True
    data = from_dense(np.ones(x.shape), x)
    model = build_model("sparse_ease", {"popularity": 0.0, "l2": 1.0, "dropout": 0.0}).fit(data)
    rare_only = data.filter((data.user_rows() == 0) & (data.item_rows() == 1))
    common_only = data.filter((data.user_rows() == 0) & (data.item_rows() == 0))
    to_common, to_rare = model.scores(rare_only, np.array([0]))[0, 0], model.scores(common_only, np.array([0]))[0, 1]
    # column 0 is regressed on items 1 and 2 (which never meet), column 1 on item 0 alone
    np.testing.assert_allclose([to_common, to_rare], [2 / (2 + 1), 2 / (10 + 1)], rtol=1e-6)


def test_a_user_without_history_has_scores_of_0():
    data = planted()
    model = build_model("sparse_ease", {"popularity": 0.0, "l2": 1.0}).fit(data)
    assert not model.scores(data.filter(data.user_rows() != 4), np.array([4])).any()


def test_items_that_never_occur_together():
    data = from_dense(np.ones((4, 6)), np.eye(4, 6, dtype=bool))
    model = build_model("sparse_ease", {"popularity": 0.0}).fit(data)
    assert not model.scores(data, np.arange(4)).any()


def test_items_that_are_the_same_do_not_break_it():
    """With almost no regularisation, rounding could make the matrix singular or indefinite."""
    x = np.repeat(np.random.default_rng(0).random((500, 3)) < 0.4, 4, axis=1)
    data = from_dense(np.ones(x.shape), x)
    model = build_model("sparse_ease", {"popularity": 0.0, "l2": 1e-6, "dropout": 0.0}).fit(data)
    assert np.isfinite(dense(model)).all()


def test_the_number_of_threads_does_not_matter():
    data = random_interactions(n_users=60, n_items=50)
    digests = set()
    available = numba.get_num_threads()
    for threads in {1, available}:
        numba.set_num_threads(threads)
        try:
            digests.add(model_digest(build_model("sparse_ease", {"neighbours": 9}).fit(data)))
        finally:
            numba.set_num_threads(available)
    assert len(digests) == 1


def test_too_much_memory_is_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 100)
    message = r"sparse_ease on 7 items with 21 co-occurrences needs .* GB are free; use elsa or rp3beta"
    with pytest.raises(ConfigError, match=message):
        build_model("sparse_ease", {}).fit(planted())


def test_memory_and_time_are_logged(monkeypatch, caplog):
    monkeypatch.setattr(costs, "NOTABLE_BYTES", 0)
    with caplog.at_level("INFO", logger="recsys_ae"):
        build_model("sparse_ease", {}).fit(planted())
    assert "sparse_ease on 7 items with 21 co-occurrences: 1 MB of memory, about 1 s" in caplog.text
