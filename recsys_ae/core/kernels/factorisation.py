"""Stochastic gradient descent over single entries, by several threads at once."""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.layers import FAST


class Strata(NamedTuple):
    """Entries of a matrix in strata whose parts can be processed in parallel, see `by_block`."""

    entries: Any
    starts: Any


class Factors(NamedTuple):
    """float32 [N, K], [M, K], [N] and [M], changed in place; or what each of their rows is charged, [N], [M], [N], [M]."""

    left: Any
    right: Any
    left_bias: Any
    right_bias: Any


def by_block(order: Any, row: Any, column: Any, row_block: Any, column_block: Any, blocks: int) -> Strata:
    """Entries split into `blocks` strata of `blocks` parts; no two parts of a stratum share a row or a column.

    Args:
        order: int64 [nnz], a permutation of the entries, kept within each part.
        row, column: int64 [nnz], of each entry.
        row_block, column_block: int64, a block from 0 to blocks - 1 for each row and column.

    Returns:
        `Strata` of entries, int64 [nnz], and starts [blocks^2 + 1]: part p of stratum s, with the rows of block p, begins at
        starts[s * blocks + p].
    """
    entries, starts = np.empty(len(order), np.int64), np.zeros(blocks * blocks + 1, np.int64)
    _place_by_block(order, row, column, row_block, column_block, blocks, entries, starts)
    return Strata(entries, starts)


@compiled()
def _place_by_block(
    order: Any, row: Any, column: Any, row_block: Any, column_block: Any, blocks: int, entries: Any, starts: Any
) -> None:
    """Fill in the arrays of `Strata`; `starts` is zero before."""
    part = np.empty(len(order), np.int64)
    for n in range(len(order)):
        r, c = row_block[row[order[n]]], column_block[column[order[n]]]
        part[n] = (c - r) % blocks * blocks + r
        starts[part[n] + 1] += 1
    for p in range(len(starts) - 1):
        starts[p + 1] += starts[p]
    place = starts.copy()
    for n in range(len(order)):
        entries[place[part[n]]] = order[n]
        place[part[n]] += 1


@compiled(parallel=True, fastmath=FAST)
def factor_steps(strata: Any, row: Any, column: Any, value: Any, factors: Any, rate: Any, l2: Any, errors: Any) -> None:
    """A step of gradient descent for each entry: sequential within a part, the parts of a stratum in parallel.

    The loss of an entry is (value - left[row] . right[column] - both biases)^2 / 2 + the sum of l2 / 2 * |w|^2 over all four.

    Args:
        strata, factors: `Strata` and `Factors`; row, column and value are [nnz].
        l2: `Factors` of the strengths, float32 [N], [M], [N] and [M].
        errors: float64 [blocks, blocks], set to the sum of squared errors of each part.
    """
    left, right, left_bias, right_bias = factors
    blocks = len(errors)
    one = np.float32(1)
    for stratum in range(blocks):
        for part in prange(blocks):
            total = 0.0
            for n in range(strata.starts[stratum * blocks + part], strata.starts[stratum * blocks + part + 1]):
                entry = strata.entries[n]
                r, c = row[entry], column[entry]
                p, q = left[r], right[c]
                product = np.float32(0)
                for k in range(len(p)):
                    product += p[k] * q[k]
                error = value[entry] - (product + left_bias[r] + right_bias[c])
                total += error * error
                step = rate * error
                left_bias[r] = (one - rate * l2.left_bias[r]) * left_bias[r] + step
                right_bias[c] = (one - rate * l2.right_bias[c]) * right_bias[c] + step
                keep_left, keep_right = one - rate * l2.left[r], one - rate * l2.right[c]
                for k in range(len(p)):
                    before = p[k]
                    p[k] = keep_left * before + step * q[k]
                    q[k] = keep_right * q[k] + step * before
            errors[stratum, part] = total
