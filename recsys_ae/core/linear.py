"""Closed-form solvers: inversion of dense symmetric matrices, and ridge regressions."""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.sparse import csc_array, csr_array

from recsys_ae.core.kernels.cooccurrence import Pairs, Pattern, count_pairs, fill_pairs, neighbour_regressions, sparse_gram

BASE = 1024  # rows inverted by LAPACK's Cholesky factorisation, which fails at much larger sizes
CHUNK = 4096  # rows of a product in memory at a time
STEPS, LOOKUPS = 5e9, 5e8  # rough rates of one core: multiplications of a factorisation, steps through short lists


def gram(rows: csr_array) -> NDArray[np.float32]:
    """X^T X [D, D] for sparse X [N, D], in O(sum over rows of entries^2) time."""
    columns = rows.T.tocsr()
    out = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
    sparse_gram(columns.indptr, columns.indices, columns.data, rows.indptr, rows.indices, rows.data, out)
    return out


def invert(matrix: NDArray[np.float32]) -> None:
    """Invert a symmetric positive definite matrix [D, D] in place.

    Recursive block inversion: the inverse of [[A, B], [B^T, C]] follows from those of A and of S = C - B^T A^-1 B, so nearly
    all the work is matrix products (BLAS), on whose number of threads the last digits depend. Needs D^2 / 4 + D * 4096 floats
    of extra memory. Raises `numpy.linalg.LinAlgError` if the matrix is not positive definite.
    """
    try:
        _invert(torch.from_numpy(matrix))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise np.linalg.LinAlgError("the matrix is not positive definite") from None


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


def regression_map(inputs: csr_array, others: csr_array, l2: float) -> NDArray[np.float32]:
    """T [n, m], the linear map from values y [n] at `inputs` to the predictions y T of a ridge regression at `others`.

    The regression minimises |y - Z b|^2 + l2 |b|^2 for inputs Z [n, K] and l2 > 0; others O are [m, K]. So T is
    Z (Z^T Z + l2)^-1 O^T = (Z Z^T + l2)^-1 Z O^T, computed with the smaller inverse.
    """
    z, o = inputs.astype(np.float64), others.astype(np.float64)
    few = z.shape[1] <= z.shape[0]
    system, right = (z.T @ z).toarray() if few else (z @ z.T).toarray(), o.T.toarray() if few else (z @ o.T).toarray()
    system[np.diag_indices(len(system))] += l2
    solution = solve(system, right, assume_a="pos", overwrite_a=True, overwrite_b=True).astype(np.float32)
    return inputs @ solution if few else solution


class NeighbourRegressions:
    """The ridge regression of each column of X [N, D], taken as binary, on its K nearest columns.

    Nearest are the columns with the largest positive cosine; ties go to the column with more entries, then to the first.

    X^T X is stored as the pairs of columns that share a row, with the number of shared rows. Columns are renumbered by
    decreasing number of entries, and each pair is stored with its later column, so that every column has few pairs and
    those among K columns are found in K short lists. The constructor only counts, so callers can check memory before `solve`.

    With `shared`, columns that share fewer rows count as sharing none.

    Attributes:
        pairs: number of pairs of columns that share rows.
        memory: bytes that `solve` needs.
        seconds: rough time that `solve` takes.
    """

    def __init__(self, x: csr_array, neighbours: int, shared: int = 1) -> None:
        size = np.bincount(x.indices, minlength=x.shape[1])
        self._order = np.argsort(-size, kind="stable").astype(np.int32)
        self._size = size[self._order].astype(np.float32)
        by_row = x[:, self._order]
        by_row.sort_indices()
        by_column = by_row.T.tocsr()
        self._pattern = Pattern(by_column.indptr, by_column.indices, by_row.indptr, by_row.indices, shared)
        self._threads = numba.get_num_threads()
        others, before = np.empty((2, x.shape[1]), np.int64)
        count_pairs(self._pattern, self._threads, others, before)
        self._pair_starts, self._starts = np.r_[0, np.cumsum(before)], np.r_[0, np.cumsum(np.minimum(others, neighbours))]
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
        pairs = Pairs(self._pair_starts, np.empty(self.pairs, np.int32), np.empty(self.pairs, np.float32))
        fill_pairs(self._pattern, self._threads, pairs)
        chosen, weights = np.empty(self._starts[-1], np.int32), np.empty(self._starts[-1], np.float32)
        sizes, ridges = self._size, ridge[self._order]
        neighbour_regressions(self._pattern, self._threads, pairs, sizes, ridges, self._starts, chosen, weights)
        shape = (len(ridge), len(ridge))
        w = csc_array((weights, self._order[chosen], self._starts), shape=shape).tocsr()
        w = csr_array((w.data, self._order[w.indices], w.indptr), shape=shape)  # back to the original numbers
        w.sort_indices()
        return w
