import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array, random_array

from recsys_ae.core import linear


def covariance(size: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(size + 5, size))
    return (x.T @ x + np.eye(size)).astype(np.float32)


@settings(deadline=None)  # the first example compiles
@given(st.integers(1, 30), st.integers(0, 100))
def test_gram_is_the_dense_product(width, seed):
    rows = csr_array(random_array((17, width), density=0.3, rng=np.random.default_rng(seed)), dtype=np.float32)
    np.testing.assert_allclose(linear.gram(rows), rows.toarray().T @ rows.toarray(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7, 16, 33, 100])
def test_inverse_by_halves(size, monkeypatch):
    monkeypatch.setattr(linear, "BASE", 4)
    monkeypatch.setattr(linear, "CHUNK", 3)
    matrix = covariance(size)
    expected = np.linalg.inv(matrix.astype(np.float64))
    linear.invert(matrix)
    np.testing.assert_allclose(matrix, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("base", [4, 1024])
def test_matrices_that_are_not_positive_definite_are_refused(base, monkeypatch):
    monkeypatch.setattr(linear, "BASE", base)
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        linear.invert(-covariance(20))


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 100))
def test_regressions_count_before_they_solve(width, seed):
    x = csr_array(random_array((17, width), density=0.2, rng=np.random.default_rng(seed)), dtype=np.float32)
    x.data[:] = 1
    gram = x.toarray().T @ x.toarray()
    together = (gram > 0) & ~np.eye(width, dtype=bool)
    regressions = linear.NeighbourRegressions(x, 3)
    assert regressions.pairs == together.sum() / 2
    weights = regressions.solve(np.arange(1, width + 1, dtype=np.float32))
    np.testing.assert_array_equal(np.diff(weights.tocsc().indptr), np.minimum(together.sum(axis=0), 3))
    assert regressions.memory >= 8 * regressions.pairs + 24 * weights.nnz
