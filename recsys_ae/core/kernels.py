"""Compiled loops over sparse rows, for the CPU.

Each works on NumPy views of tensors and writes into arrays it is given. Rows (or columns) are shared out to threads, and
each of them is summed in the order of its entries by one thread, so that results do not depend on the number of threads.

B rows of a batch with nnz entries, D columns, H units. A batch is `indptr` [B + 1], `columns` [nnz] and values [nnz].
"""

from typing import Any

import numpy as np
from numba import njit, prange

# Sums may be reordered into vectors, but infinities and NaN keep their meaning: a diverging loss must be seen.
FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(parallel=True, fastmath=FAST, cache=True)
def rows_times(indptr: Any, columns: Any, values: Any, weight: Any, out: Any) -> None:
    """out[b] = sum of values[k] * weight[columns[k]] over the entries k of row b; weight [D, H], out [B, H]."""
    for b in prange(len(indptr) - 1):
        row = out[b]
        row[:] = 0
        for k in range(indptr[b], indptr[b + 1]):
            value, unit = values[k], weight[columns[k]]
            for j in range(len(row)):
                row[j] += value * unit[j]


@njit(parallel=True, fastmath=FAST, cache=True)
def products_at(indptr: Any, columns: Any, code: Any, weight: Any, bias: Any, out: Any) -> None:
    """out[k] = code[b] . weight[columns[k]] + bias[columns[k]] for every entry k of every row b; out [nnz]."""
    for b in prange(len(indptr) - 1):
        left = code[b]
        for k in range(indptr[b], indptr[b + 1]):
            right = weight[columns[k]]
            total = np.float32(0)
            for j in range(len(left)):
                total += left[j] * right[j]
            out[k] = total + bias[columns[k]]


@njit(cache=True)
def by_column(indptr: Any, columns: Any, width: int) -> Any:
    """The same pattern column by column.

    Returns:
        touched: the columns with entries, increasing; indptr of their entries [len(touched) + 1]; for each of these
        entries its place in the batch's order, and its row.
    """
    count = np.zeros(width + 1, np.int64)
    for k in range(len(columns)):
        count[columns[k] + 1] += 1
    touched = np.flatnonzero(count[1:])
    place = np.cumsum(count)
    entry, row = np.empty(len(columns), np.int64), np.empty(len(columns), np.int64)
    for b in range(len(indptr) - 1):
        for k in range(indptr[b], indptr[b + 1]):
            at = place[columns[k]]
            place[columns[k]] += 1
            entry[at], row[at] = k, b
    starts = np.empty(len(touched) + 1, np.int64)
    starts[0] = 0
    for t in range(len(touched)):
        starts[t + 1] = starts[t] + count[touched[t] + 1]
    return touched, starts, entry, row


@njit(fastmath=FAST)
def _add_term(gradient: Any, start: int, end: int, entry: Any, row: Any, values: Any, factor: Any) -> None:
    """gradient += sum of values[entry[p]] * factor[row[p]] over the places p of one column."""
    for p in range(start, end):
        value, unit = values[entry[p]], factor[row[p]]
        for j in range(len(gradient)):
            gradient[j] += value * unit[j]


@njit(parallel=True, fastmath=FAST, cache=True)
def column_sums(touched: Any, starts: Any, entry: Any, row: Any, values: Any, factor: Any, out: Any) -> None:
    """out[c] += sum of values[k] * factor[b] over the entries k of column c, b being their rows; factor [B, H], out [D, H]."""
    for t in prange(len(touched)):
        _add_term(out[touched[t]], starts[t], starts[t + 1], entry, row, values, factor)


@njit(parallel=True, fastmath=FAST, cache=True)
def adam_columns(
    touched: Any,
    starts: Any,
    entry: Any,
    row: Any,
    values: Any,
    factor: Any,
    more_values: Any,
    more_factor: Any,
    shrink: Any,
    weight: Any,
    mean: Any,
    square: Any,
    rate: Any,
    betas: Any,
    corrections: Any,
    eps: Any,
) -> None:
    """One step of Adam for the touched rows of `weight` [D, H], their gradient being summed on the way.

    Args:
        values, factor: [nnz] and [B, H], a term of the gradient, see `column_sums`.
        more_values, more_factor: a second term, which a weight shared by two layers has; empty if there is none.
        shrink: float32 [D]; adds shrink[c] * weight[c] to the gradient for every entry of column c.
        mean, square: Adam's running averages [D, H].
        rate, betas, corrections, eps: learning rate, decay rates of the two averages, 1 - beta^t of each, and epsilon.
    """
    one = np.float32(1)
    for t in prange(len(touched)):
        c = touched[t]
        w, m, s = weight[c], mean[c], square[c]
        gradient = (shrink[c] * np.float32(starts[t + 1] - starts[t])) * w
        _add_term(gradient, starts[t], starts[t + 1], entry, row, values, factor)
        if len(more_values):
            _add_term(gradient, starts[t], starts[t + 1], entry, row, more_values, more_factor)
        for j in range(len(w)):
            g = gradient[j]
            m[j] = betas[0] * m[j] + (one - betas[0]) * g
            s[j] = betas[1] * s[j] + (one - betas[1]) * g * g
            w[j] -= rate * (m[j] / corrections[0]) / (np.sqrt(s[j] / corrections[1]) + eps)
