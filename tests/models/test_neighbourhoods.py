"""Neighbourhoods against the library `implicit` and dense definitions, and their share of popularity."""

import numpy as np
import pytest
from builders import from_dense, random_interactions
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_matrix

from recsys_ae import build_model
from recsys_ae.interactions import ones

PUBLISHED = {"shrinkage": 0.0, "popularity": 0.0}


@pytest.mark.filterwarnings("ignore::implicit.utils.ParameterWarning")
@pytest.mark.parametrize(
    ("similarity", "kind", "neighbours"),
    [("cosine", CosineRecommender, 25), ("tfidf", TFIDFRecommender, 9), ("bm25", BM25Recommender, 9)],  # cosines are tied
)
def test_neighbourhoods_are_those_of_the_library(similarity, kind, neighbours):
    data = random_interactions()
    model = build_model("itemknn", {**PUBLISHED, "similarity": similarity, "neighbours": neighbours}).fit(data)
    reference = kind(K=neighbours)
    reference.fit(csr_matrix(ones(data.matrix)), show_progress=False)
    expected = (csr_matrix(ones(data.matrix)) @ reference.similarity).toarray()
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), expected, rtol=1e-5)


def test_users_of_nearly_all_items_tell_nothing_by_tfidf():
    """And harm nothing: an item that only they have gets finite scores."""
    seen = np.ones((4, 5), bool)
    seen[0, 4] = seen[1:, 2:] = False  # user 0 has all items but one, items 2 and 3 are theirs alone
    data = from_dense(seen.astype(np.float32), seen)
    scores = build_model("itemknn", {**PUBLISHED, "similarity": "tfidf", "neighbours": 5}).fit(data).scores(data, np.arange(4))
    assert np.isfinite(scores).all()
    assert scores[1, 0] == pytest.approx(2)  # items 0 and 1 have the same users
    assert scores[1, 2] < 1e-3


@pytest.mark.parametrize(("beta", "neighbours"), [(0.0, 25), (0.7, 6)])
def test_random_walks_are_the_products_of_the_transitions(beta, neighbours):
    data = random_interactions()
    seen = (ones(data.matrix)).toarray()
    model = build_model("rp3beta", {**PUBLISHED, "alpha": 0.8, "beta": beta, "neighbours": neighbours}).fit(data)
    of_user, of_item = seen.sum(axis=1), seen.sum(axis=0)
    weights = (seen.T / of_item[:, None]) ** 0.8 @ (seen / of_user[:, None]) ** 0.8 / of_item**beta
    np.fill_diagonal(weights, 0)
    for row in weights:
        row[np.argsort(-row)[neighbours:]] = 0
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), seen @ weights, rtol=1e-4)


@pytest.mark.parametrize("name", ["itemknn", "rp3beta"])
def test_similarities_of_few_users_shrink_and_popularity_is_added(name):
    data = random_interactions(n_users=30)
    seen = ones(data.matrix).toarray()
    plain = build_model(name, {**PUBLISHED, "neighbours": 25}).fit(data).item_weights(np.arange(25))
    both, counts = seen.T @ seen, seen.sum(axis=0)
    largest = np.where(np.eye(25, dtype=bool), 0, plain).max(axis=1, keepdims=True)
    expected = plain * both / (both + 3.0) + 0.2 * largest * counts / counts.max()
    model = build_model(name, {"shrinkage": 3.0, "popularity": 0.2, "neighbours": 25}).fit(data)
    np.testing.assert_allclose(model.item_weights(np.arange(25)), expected, rtol=1e-4)
    np.testing.assert_allclose(model.scores(data, np.arange(30)), seen @ expected, rtol=1e-4)


def thin_and_clear():
    """Random items by popularity, three for each user; and users who like one of ten groups of items."""
    rng = np.random.default_rng(0)
    shares = np.arange(1, 61) ** -1.0
    thin = np.zeros((300, 60), bool)
    for row in thin:
        row[rng.choice(60, 3, replace=False, p=shares / shares.sum())] = True
    clear = (rng.random((300, 60)) < 0.8) & (rng.integers(0, 10, 300)[:, None] == np.arange(60) % 10)
    clear[~clear.any(axis=1), 0] = True
    return from_dense(thin.astype(np.float32), thin), from_dense(clear.astype(np.float32), clear)


@pytest.mark.parametrize("name", ["itemknn", "rp3beta"])
def test_popularity_counts_where_nothing_else_can_be_learned(name):
    thin, clear = thin_and_clear()
    model = build_model(name).fit(thin)
    scores = model.scores(thin, np.arange(300))
    scores[thin.user_rows(), thin.item_rows()] = -np.inf
    listed = np.argsort(-scores, axis=1)
    ranks = np.argsort(np.argsort(-model.fitted.arrays["popularity"], kind="stable"))
    assert ranks[listed[:, :10]].mean() < 7  # 5.7 by popularity alone, more for the less popular items
    group = np.argsort(-build_model(name).fit(clear).scores(clear, np.arange(300)), axis=1)[:, :6] % 10
    assert (group == group[:, [0]]).mean() > 0.95


@pytest.mark.parametrize("name", ["itemknn", "rp3beta"])
def test_users_of_one_item_get_the_popular_ones(name):
    observed = np.eye(5, dtype=bool)[np.repeat(np.arange(5), [4, 1, 5, 2, 3])]
    data = from_dense(np.ones(observed.shape), observed)
    scores = build_model(name).fit(data).scores(data, np.arange(15))
    scores[observed] = -np.inf
    expected = [2, 0, 4, 3, 1]
    for row, listed in enumerate(np.argsort(-scores, axis=1)):
        own = int(np.flatnonzero(observed[row])[0])
        assert listed[:4].tolist() == [item for item in expected if item != own]
