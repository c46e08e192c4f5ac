"""Solvers of the closed-form models: dense symmetric matrices, or a small ridge regression for each column."""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from recsys_ae.core.kernels.cooccurrence import Pairs, Pattern, count_pairs, fill_pairs, neighbour_regressions, sparse_gram

BASE = 1024  # rows inverted by LAPACK's Cholesky factorisation, which fails at much larger sizes
CHUNK = 4096  # rows of a product in memory at a time
STEPS, LOOKUPS = 5e9, 5e8  # rough rates of one core: multiplications of a factorisation, steps through short lists


def gram(rows: csr_array) -> NDArray[np.float32]:
    """X^T X [D, D] for sparse X [N, D], in O(sum over rows of entries^2) time."""
    by_column = rows.T.tocsr()
    out = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
    parts = (matrix_part for matrix in (by_column, rows) for matrix_part in (matrix.indptr, matrix.indices, matrix.data))
    sparse_gram(*parts, out)
    return out


def invert(matrix: NDArray[np.float32]) -> None:
    """Invert a symmetric positive definite matrix [D, D] in place.

    Recursive block inversion: the inverse of [[A, B], [B^T, C]] follows from those of A and of S = C - B^T A^-1 B, so nearly
    all the work is matrix products. Needs D^2 / 4 + D * 4096 floats beside the matrix. The last digits of the result depend
    on the number of threads, because those of the products (BLAS) do.

    Raises:
        ValueError: the matrix is not positive definite.
    """
    try:
        _invert(torch.from_numpy(matrix))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise ValueError("the matrix is not positive definite") from None


def _invert(m: Any) -> None:
    size = len(m)
    if size <= BASE:
        m.copy_(torch.cholesky_inverse(torch.linalg.cholesky(m)))
        return
    half = size // 2
    a, b, c = m[:half, :half], m[:half, half:], m[half:, half:]
    _invert(a)
    projected = a @ b  # A^-1 B
    _add_product(c, b.T, projected, -1)
    _invert(c)
    torch.mm(projected, c, out=b).neg_()  # -A^-1 B S^-1
    m[half:, :half] = b.T
    _add_product(a, b, projected.T, -1)


def _add_product(target: Any, left: Any, right: Any, factor: float) -> None:
    """target += factor * left @ right, in chunks of rows."""
    for start in range(0, len(target), CHUNK):
        target[start : start + CHUNK].addmm_(left[start : start + CHUNK], right, alpha=factor)


class NeighbourRegressions:
    """The ridge regression of each column of X [N, D] on its K nearest columns; values of X are taken as 1.

    Nearest are the columns with the largest positive cosine; ties go to the column with more entries, then to the first.

    X^T X is stored sparse, as the pairs of columns that share a row and the number of rows shared. Columns are renumbered by
    decreasing number of entries, and a pair is stored with its later column. No column then has many pairs, not even one that
    shares rows with all others, and the pairs among K columns are found by going through K short lists. The constructor only
    counts, so that a caller can check memory before `solve`.

    Attributes:
        pairs: number of pairs of columns that share a row.
        memory: bytes that `solve` needs.
        seconds: rough time that `solve` takes.
    """

    def __init__(self, x: csr_array, neighbours: int) -> None:
        size = np.bincount(x.indices, minlength=x.shape[1])
        self._order = np.argsort(-size, kind="stable").astype(np.int32)
        self._size = size[self._order].astype(np.float32)
        by_row = x[:, self._order]
        by_row.sort_indices()
        by_column = by_row.T.tocsr()
        self._pattern = Pattern(by_column.indptr, by_column.indices, by_row.indptr, by_row.indices)
        self._threads = numba.get_num_threads()
        others, before = np.empty((2, x.shape[1]), np.int64)
        count_pairs(self._pattern, self._threads, others, before)
        self._pair_starts, self._starts = _starts(before), _starts(np.minimum(others, neighbours))
        self.pairs = int(before.sum())

    @property
    def memory(self) -> int:
        kept = np.diff(self._starts)
        scratch = 40 * len(kept) + 4 * kept.max() ** 2
        return int(8 * self.pairs + 24 * kept.sum() + self._threads * scratch)

    @property
    def seconds(self) -> float:
        kept, of_row = np.diff(self._starts).astype(float), np.diff(self._pattern.indptr).astype(float)
        lookups = 2.5 * (of_row**2).sum() + self.pairs * kept.mean()
        return float((kept**3).sum() / 6 / STEPS + lookups / LOOKUPS) / self._threads

    def solve(self, ridge: NDArray[np.float32]) -> csr_array:
        """W [D, D]: in column j, at the rows S of its neighbours, (G_SS + diag(ridge_S))^-1 G_Sj, where G = X^T X."""
        chosen, weights = self._columns(ridge[self._order])
        shape = (len(ridge), len(ridge))
        w = csc_array((weights, self._order[chosen], self._starts), shape=shape).tocsr()
        w = csr_array((w.data, self._order[w.indices], w.indptr), shape=shape)  # back to the original numbers
        w.sort_indices()
        return w

    def _columns(self, ridge: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The neighbours of all columns, concatenated, and their weights."""
        pairs = Pairs(self._pair_starts, np.empty(self.pairs, np.int32), np.empty(self.pairs, np.float32))
        fill_pairs(self._pattern, self._threads, pairs)
        chosen, weights = np.empty(self._starts[-1], np.int32), np.empty(self._starts[-1], np.float32)
        neighbour_regressions(self._pattern, self._threads, pairs, self._size, ridge, self._starts, chosen, weights)
        return chosen, weights


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offsets [n + 1] of concatenated lists of these lengths [n]."""
    return np.r_[0, np.cumsum(lengths)]
