"""Steps of Adam, in one pass over a weight and its running averages."""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.layers import FAST, add_weighted
from recsys_ae.core.kernels.prefetching import prefetch

BLOCK = 16  # rows that a thread updates at a time
AHEAD = 2  # rows between the one that is updated and the one that is prefetched


class Moments(NamedTuple):
    """A weight [D, H] and Adam's running averages of its gradient and of the gradient's square, all changed in place."""

    weight: Any
    mean: Any
    square: Any


class Rates(NamedTuple):
    """float32 scalars: learning rate, decay rates of the averages, 1 - decay^step of each, and epsilon."""

    learning_rate: Any
    beta1: Any
    beta2: Any
    correction1: Any
    correction2: Any
    eps: Any


@compiled()
def add_shrinkage(pattern: Any, own: Any, strength: Any, shrink: Any) -> None:
    """shrink[t] += strength[c] for every entry of `own` in column c = touched[t] of `pattern`; float32 [T] and [D].

    Both patterns are `Columns`, and every column of `own` is one of `pattern`.
    """
    t = 0
    for o in range(len(own.touched)):
        c = own.touched[o]
        while pattern.touched[t] < c:
            t += 1
        shrink[t] += strength[c] * np.float32(own.starts[o + 1] - own.starts[o])


@compiled(parallel=True, fastmath=FAST)
def adam_columns(pattern: Any, values: Any, factors: Any, shrink: Any, moments: Any, rates: Any) -> None:
    """One step for the touched rows of a weight with gradient S_1^T G_1 + ... + S_n^T G_n + diag(shrink) weight, n >= 1.

    Args:
        pattern: `Columns` of all S_i.
        values, factors: float32 [n, nnz] of the S_i, in the order of the pattern, and [n, B, H], the G_i.
        shrink: float32 [T], of the touched rows.
    """
    touched, starts, row, _ = pattern
    weight, mean, square = moments
    first_values, first_factor = values[0], factors[0]
    one, first, second, eps = np.float32(1), rates.beta1, rates.beta2, rates.eps
    step, unit = rates.learning_rate / rates.correction1, one / rates.correction2
    for block in prange((len(touched) + BLOCK - 1) // BLOCK):
        gradient = np.empty(weight.shape[1], np.float32)
        for t in range(block * BLOCK, min((block + 1) * BLOCK, len(touched))):
            c = touched[t]
            w, m, s = weight[c], mean[c], square[c]
            if t + AHEAD < len(touched):
                later = touched[t + AHEAD]
                prefetch(weight[later]), prefetch(mean[later]), prefetch(square[later])
            for j in range(len(w)):
                gradient[j] = shrink[t] * w[j]
            add_weighted(starts[t], starts[t + 1], first_values, row, first_factor, gradient)
            for n in range(1, len(values)):
                add_weighted(starts[t], starts[t + 1], values[n], row, factors[n], gradient)
            for j in range(len(w)):
                m[j] = first * m[j] + (one - first) * gradient[j]
                s[j] = second * s[j] + (one - second) * gradient[j] * gradient[j]
                w[j] -= step * m[j] / (np.sqrt(s[j] * unit) + eps)


@compiled(parallel=True, fastmath=FAST)
def adam_rows(gradient: Any, shrink: Any, moments: Any, rates: Any) -> None:
    """One step for all rows of a weight, with the gradient `gradient` [D, H] + diag(shrink) weight; shrink [D]."""
    weight, mean, square = moments
    one, first, second, eps = np.float32(1), rates.beta1, rates.beta2, rates.eps
    step, unit = rates.learning_rate / rates.correction1, one / rates.correction2
    for d in prange(len(gradient)):
        g, w, m, s, strength = gradient[d], weight[d], mean[d], square[d], shrink[d]
        for j in range(len(w)):
            slope = g[j] + strength * w[j]
            m[j] = first * m[j] + (one - first) * slope
            s[j] = second * s[j] + (one - second) * slope * slope
            w[j] -= step * m[j] / (np.sqrt(s[j] * unit) + eps)
