"""Factors of rows that fit their entries best, given those of columns."""

from typing import Any

import numpy as np
from numba import prange

from recsys_ae.core.kernels.cholesky import solve_system
from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.layers import FAST
from recsys_ae.core.kernels.products import COLUMNS, ROWS, multiply_tile


@compiled(parallel=True, fastmath=FAST)
def weighted_factors(indptr: Any, columns: Any, factors: Any, gram: Any, weight: Any, l2: Any, out: Any) -> None:
    """out[b] [H] = the x that minimises sum_c w_c (t_c - x . factors[c])^2 + l2 |x|^2 over all columns c.

    In the columns of row b, the weight w is `weight` and the target t is 1; in all others w is 1 and t is 0.

    Args:
        indptr, columns: of the rows, int64 [B + 1] and [nnz].
        factors: float32 [D, H].
        gram: float32 [H, H], factors^T factors.
        weight, l2: float32; l2 is positive.
    """
    height = factors.shape[1]
    for b in prange(len(indptr) - 1):
        system, least = np.zeros((height, height + 1), np.float32), np.full(height, l2)
        own = np.empty((indptr[b + 1] - indptr[b], height), np.float32)
        for n in range(len(own)):
            vector, copy = factors[columns[indptr[b] + n]], own[n]
            for i in range(len(copy)):
                copy[i] = vector[i]
        if len(own):
            _add_gram(own, weight - np.float32(1), system)
        for i in range(height):
            for j in range(i, height):
                system[i, j] += gram[i, j]
            system[i, i] += l2
        for vector in own:
            for i in range(height):
                system[i, height] += weight * vector[i]
        solve_system(system, least, out[b])


@compiled(fastmath=FAST)
def _add_gram(vectors: Any, weight: Any, system: Any) -> None:
    """Add the upper triangle of weight * vectors^T vectors to `system`; vectors are float32 [n, H], n at least 1."""
    n, height = vectors.shape
    panels = np.zeros(((height + COLUMNS - 1) // COLUMNS, n, COLUMNS), np.float32)
    for panel in range(len(panels)):
        for v in range(n):
            vector, copy = vectors[v][panel * COLUMNS :], panels[panel, v]
            for c in range(min(COLUMNS, len(vector))):
                copy[c] = vector[c]
    rows, products = np.zeros((n, ROWS), np.float32), np.empty((ROWS, COLUMNS), np.float32)
    limits = np.full(ROWS, np.float32(np.inf))
    for first in range(0, height, ROWS):
        number = min(ROWS, height - first)
        for v in range(n):
            vector, copy = vectors[v][first:], rows[v]
            for r in range(number):
                copy[r] = vector[r]
        for panel in range(first // COLUMNS, len(panels)):
            multiply_tile(rows, panels[panel], limits, products)
            for r in range(number):
                for c in range(min(COLUMNS, height - panel * COLUMNS)):
                    system[first + r, panel * COLUMNS + c] += weight * products[r, c]
