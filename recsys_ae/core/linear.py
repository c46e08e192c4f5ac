"""What models in closed form solve: dense symmetric matrices of one row per item, or a small system for each item."""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from recsys_ae.core import kernels

BASE = 1024  # rows that are inverted by a Cholesky factorisation of LAPACK's; far below the sizes at which those fail
CHUNK = 4096  # rows of a product held beside the matrix
STEPS, LOOKUPS = 5e9, 5e8  # in a second of one core, roughly: of a factorisation, and of going through short lists


def gram(rows: csr_array) -> NDArray[np.float32]:
    """X^T X [D, D] for sparse X [N, D], in the time of the pairs that occur, sum of (entries of a row)^2."""
    by_column = rows.T.tocsr()
    out = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
    parts = (matrix_part for matrix in (by_column, rows) for matrix_part in (matrix.indptr, matrix.indices, matrix.data))
    kernels.sparse_gram(*parts, out)
    return out


def invert(matrix: NDArray[np.float32]) -> None:
    """The inverse of a symmetric positive definite matrix [D, D], in place.

    By halves: with S = C - B^T A^-1 B, the inverse of [[A, B], [B^T, C]] follows from those of A and S, so that nearly all
    work is products of matrices. Beside the matrix it needs D^2 / 4 + D * 4096 floats.

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
    """target += factor * left @ right, a few rows at a time."""
    for start in range(0, len(target), CHUNK):
        target[start : start + CHUNK].addmm_(left[start : start + CHUNK], right, alpha=factor)


class NeighbourRegressions:
    """The ridge regression of each column of X [N, D] on the K columns nearest to it; of X only the pattern matters.

    Nearest are those with the largest cosine, if it is above 0; ties go to the column with more entries, then to the first.

    X^T X is held sparse, as the pairs of columns that share a row and how often they do. Columns are numbered by their
    entries, most first, and a pair is kept with its later column: then no column has many pairs, not even one that shares
    rows with all others, and all pairs among K columns are found by going through K short lists. Only counting is done
    before `solve`, so that a caller can see whether there is room.

    Attributes:
        pairs: how many pairs of columns share a row.
        memory: bytes that `solve` needs.
        seconds: that it takes, roughly.
    """

    def __init__(self, x: csr_array, neighbours: int) -> None:
        size = np.bincount(x.indices, minlength=x.shape[1])
        self._order = np.argsort(-size, kind="stable").astype(np.int32)
        self._size = size[self._order].astype(np.float32)
        by_row = x[:, self._order]
        by_row.sort_indices()
        by_column = by_row.T.tocsr()
        self._pattern = (by_column.indptr, by_column.indices, by_row.indptr, by_row.indices)
        self._threads = numba.get_num_threads()
        others, before = np.empty((2, x.shape[1]), np.int64)
        kernels.count_pairs(self._pattern, self._threads, others, before)
        self._pair_starts, self._starts = _starts(before), _starts(np.minimum(others, neighbours))
        self.pairs = int(before.sum())

    @property
    def memory(self) -> int:
        kept = np.diff(self._starts)
        scratch = 40 * len(kept) + 4 * kept.max() ** 2
        return int(8 * self.pairs + 24 * kept.sum() + self._threads * scratch)

    @property
    def seconds(self) -> float:
        kept, of_row = np.diff(self._starts).astype(float), np.diff(self._pattern[2]).astype(float)
        lookups = 2.5 * (of_row**2).sum() + self.pairs * kept.mean()
        return float((kept**3).sum() / 6 / STEPS + lookups / LOOKUPS) / self._threads

    def solve(self, ridge: NDArray[np.float32]) -> csr_array:
        """W [D, D]: in column j, at the rows S of its neighbours, (G_SS + diag(ridge_S))^-1 G_Sj, where G = X^T X."""
        chosen, weights = self._columns(ridge[self._order])
        shape = (len(ridge), len(ridge))
        w = csc_array((weights, self._order[chosen], self._starts), shape=shape).tocsr()
        w = csr_array((w.data, self._order[w.indices], w.indptr), shape=shape)  # now the columns have their own numbers too
        w.sort_indices()
        return w

    def _columns(self, ridge: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The neighbours of all columns, one column after the other, and their weights."""
        pairs = self._pair_starts, np.empty(self.pairs, np.int32), np.empty(self.pairs, np.float32)
        kernels.fill_pairs(self._pattern, self._threads, pairs)
        chosen, weights = np.empty(self._starts[-1], np.int32), np.empty(self._starts[-1], np.float32)
        kernels.neighbour_regressions(self._pattern, self._threads, pairs, self._size, ridge, self._starts, chosen, weights)
        return chosen, weights


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of several lists that follow each other begins, and at last where they end."""
    return np.r_[0, np.cumsum(lengths)]
