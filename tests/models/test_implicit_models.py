"""Models fitted by `implicit`, against the library."""

import numpy as np
import pytest
from builders import random_interactions
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_ae import build_model
from recsys_ae.interactions import ones


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_als_scores_by_the_half_step(alpha):
    data = random_interactions()
    params = {"popularity": 0.0, "factors": 4, "alpha": alpha, "l2": 2.0, "epochs": 5}
    model = build_model("als", params).fit(data, seed=1)
    with threadpool_limits(1, "blas"):
        reference = AlternatingLeastSquares(4, regularization=2.0, alpha=alpha, iterations=5, random_state=1)
        reference.fit(csr_matrix(ones(data.matrix)), show_progress=False)
    items = model.fitted.arrays["items"]
    np.testing.assert_allclose(items, reference.item_factors, rtol=1e-5)
    users = reference.recalculate_user(np.arange(data.n_users), csr_matrix(ones(data.matrix)))
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), users @ items.T, rtol=1e-2, atol=1e-3)


def test_bpr_is_that_of_the_library():
    data = random_interactions()
    params = {"popularity": 0.0, "factors": 3, "l2": 0.02, "learning_rate": 0.03, "epochs": 4}
    model = build_model("bpr", params).fit(data, seed=5)
    reference = BayesianPersonalizedRanking(3, 0.03, 0.02, iterations=4, num_threads=1, random_state=5)
    reference.fit(csr_matrix(ones(data.matrix)), show_progress=False)
    expected = reference.user_factors @ reference.item_factors.T
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), expected, rtol=1e-4, atol=1e-6)
