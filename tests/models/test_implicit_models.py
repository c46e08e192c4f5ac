"""Models fitted by `implicit` against the library, and random walks against a dense definition."""

import numpy as np
import pytest
from builders import from_dense, random_interactions
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_ae import build_model
from recsys_ae.interactions import ones


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_als_scores_by_the_half_step(alpha):
    data = random_interactions()
    params = {"factors": 4, "alpha": alpha, "l2": 2.0, "epochs": 5}
    model = build_model("als", params).fit(data, seed=1)
    with threadpool_limits(1, "blas"):
        reference = AlternatingLeastSquares(4, regularization=2.0, alpha=alpha, iterations=5, random_state=1)
        reference.fit(csr_matrix(ones(data.matrix)), show_progress=False)
    items = model.fitted.arrays["items"]
    np.testing.assert_allclose(items, reference.item_factors, rtol=1e-5)
    users = reference.recalculate_user(np.arange(data.n_users), csr_matrix(ones(data.matrix)))
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), users @ items.T, rtol=1e-2, atol=1e-3)


@pytest.mark.filterwarnings("ignore::implicit.utils.ParameterWarning")
@pytest.mark.parametrize(
    ("similarity", "kind"), [("cosine", CosineRecommender), ("tfidf", TFIDFRecommender), ("bm25", BM25Recommender)]
)
def test_neighbourhoods_are_those_of_the_library(similarity, kind):
    data = random_interactions()
    model = build_model("itemknn", {"similarity": similarity, "neighbours": 9}).fit(data)
    reference = kind(K=9)
    reference.fit(csr_matrix(ones(data.matrix)), show_progress=False)
    expected = (csr_matrix(ones(data.matrix)) @ reference.similarity).toarray()
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), expected, rtol=1e-5)


def test_users_of_nearly_all_items_tell_nothing_by_tfidf():
    """And harm nothing: an item that only they have gets finite scores."""
    seen = np.ones((4, 5), bool)
    seen[0, 4] = seen[1:, 2:] = False  # user 0 has all items but one, items 2 and 3 are theirs alone
    data = from_dense(seen.astype(np.float32), seen)
    scores = build_model("itemknn", {"similarity": "tfidf", "neighbours": 5}).fit(data).scores(data, np.arange(4))
    assert np.isfinite(scores).all()
    assert scores[1, 0] == pytest.approx(2)  # items 0 and 1 have the same users
    assert scores[1, 2] < 1e-3


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_random_walks_are_the_products_of_the_transitions(beta):
    data = random_interactions()
    seen = (ones(data.matrix)).toarray()
    model = build_model("rp3beta", {"alpha": 0.8, "beta": beta, "neighbours": 6}).fit(data)
    of_user, of_item = seen.sum(axis=1), seen.sum(axis=0)
    weights = (seen.T / of_item[:, None]) ** 0.8 @ (seen / of_user[:, None]) ** 0.8 / of_item**beta
    np.fill_diagonal(weights, 0)
    for row in weights:
        row[np.argsort(-row)[6:]] = 0
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), seen @ weights, rtol=1e-4)


def test_bpr_is_that_of_the_library():
    data = random_interactions()
    params = {"factors": 3, "l2": 0.02, "learning_rate": 0.03, "epochs": 4}
    model = build_model("bpr", params).fit(data, seed=5)
    reference = BayesianPersonalizedRanking(3, 0.03, 0.02, iterations=4, num_threads=1, random_state=5)
    reference.fit(csr_matrix(ones(data.matrix)), show_progress=False)
    expected = reference.user_factors @ reference.item_factors.T
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), expected, rtol=1e-4, atol=1e-6)
