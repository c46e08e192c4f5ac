"""Models fitted by `implicit`, against the library."""

from dataclasses import replace

import numpy as np
import pytest
from builders import random_interactions
from hypothesis import given, strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from recsys_ae import ALS, IdMap, build_model
from recsys_ae.core.kernels.least_squares import weighted_factors
from recsys_ae.interactions import ones
from recsys_ae.models.implicit_models import row_digests


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


@pytest.mark.parametrize("height", [1, 5, 17, 40])
def test_half_step_solves_the_normal_equations(height, rng):
    data, items = random_interactions(), rng.normal(size=(random_interactions().n_items, height)).astype(np.float32)
    alpha, l2, out = 3.0, 0.5, np.empty((data.n_users, height), np.float32)
    entries = data.matrix.indptr.astype(np.int64), data.matrix.indices.astype(np.int64)
    weighted_factors(*entries, items, items.T @ items, np.float32(alpha), np.float32(l2), out)
    for row, seen in enumerate(ones(data.matrix).toarray() > 0):
        weights = np.where(seen, alpha, 1.0)
        left = (items.T * weights) @ items + l2 * np.eye(height)
        np.testing.assert_allclose(out[row], np.linalg.solve(left, items.T @ (weights * seen)), rtol=2e-4, atol=1e-5)


def test_als_keeps_the_vectors_of_its_training_histories(monkeypatch):
    """They are not computed again, and those of others are, whatever their ids."""
    data = random_interactions()
    model = build_model("als", {"popularity": 0.0, "factors": 4, "epochs": 3}).fit(data, seed=1)
    rows = np.arange(data.n_users)
    known = model.user_vectors(data, rows)
    solved: list[int] = []
    half_step = ALS._half_step
    monkeypatch.setattr(ALS, "_half_step", lambda self, items, x: solved.append(x.shape[0]) or half_step(self, items, x))
    np.testing.assert_array_equal(model.user_vectors(data, rows), known)
    assert solved == []
    strangers = replace(data, users=IdMap([f"stranger {user}" for user in rows]))
    np.testing.assert_array_equal(model.user_vectors(strangers, rows), known)
    changed = data.filter(np.arange(len(data)) > 0)  # the first entry is that of the first user with a history
    first = data.user_rows()[0]
    assert (model.user_vectors(changed, rows) != known).any(axis=1).nonzero()[0].tolist() == [first]
    assert solved == [data.n_users, 1]


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=20))
def test_digests_of_rows_are_equal_for_equal_rows_only(rows):
    indptr = np.cumsum([0, *map(len, rows)])
    matrix = csr_array(
        (np.zeros(indptr[-1]), np.array([column for row in rows for column in sorted(row)], np.int64), indptr), (len(rows), 31)
    )
    digests = row_digests(matrix)
    for digest, row in zip(digests, rows, strict=True):
        assert [other == row for other in rows] == (digests == digest).tolist()


def test_bpr_is_that_of_the_library():
    data = random_interactions()
    params = {"popularity": 0.0, "factors": 3, "l2": 0.02, "learning_rate": 0.03, "epochs": 4}
    model = build_model("bpr", params).fit(data, seed=5)
    reference = BayesianPersonalizedRanking(3, 0.03, 0.02, iterations=4, num_threads=1, random_state=5)
    reference.fit(csr_matrix(ones(data.matrix)), show_progress=False)
    expected = reference.user_factors @ reference.item_factors.T
    np.testing.assert_allclose(model.scores(data, np.arange(data.n_users)), expected, rtol=1e-4, atol=1e-6)


def test_digests_of_rows_are_sums_of_splitmix64():
    """Of its published first numbers from state 0; fitted models store them."""
    first, second = 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4
    matrix = csr_array([[1, 0], [0, 1], [1, 1], [0, 0]])
    assert row_digests(matrix).tolist() == [first, second, (first + second) % 2**64, 0]
