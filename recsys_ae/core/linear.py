"""Dense symmetric matrices of one row per item, for models in closed form."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.core import kernels

BASE = 1024  # rows that are inverted by a Cholesky factorisation of LAPACK's; far below the sizes at which those fail
CHUNK = 4096  # rows of a product held beside the matrix


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
