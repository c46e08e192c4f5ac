"""Rows, their products with dense matrices, and the same pattern column by column."""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.prefetching import prefetch

# Sums may be reordered into vector instructions, but infinities and NaN keep their meaning: a diverging loss must be seen.
FAST = {"reassoc", "contract", "arcp", "nsz"}

AHEAD = 4  # entries from the one whose row is read to the one whose row is prefetched
SHARES = 16  # of the rows, where every thread needs its own array


class Columns(NamedTuple):
    """The pattern of a batch in compressed sparse column form, without its empty columns; int64."""

    touched: Any  # [T], the columns with entries, increasing
    starts: Any  # [T + 1]; the entries of column touched[t] are starts[t] to starts[t + 1]
    row: Any  # [nnz], the row of each entry
    entry: Any  # [nnz], the position of each entry in the CSR arrays


@compiled(fastmath=FAST)
def add_weighted(start: int, end: int, values: Any, index: Any, matrix: Any, out: Any) -> None:
    """out[j] += sum of values[k] * matrix[index[k], j] over start <= k < end."""
    k = start
    while k + 4 <= end:  # four at a time: `out` is read and written a quarter as often
        v0, v1, v2, v3 = values[k], values[k + 1], values[k + 2], values[k + 3]
        r0, r1, r2, r3 = matrix[index[k]], matrix[index[k + 1]], matrix[index[k + 2]], matrix[index[k + 3]]
        for j in range(len(out)):
            out[j] += v0 * r0[j] + v1 * r1[j] + v2 * r2[j] + v3 * r3[j]
        k += 4
    while k < end:
        value, row = values[k], matrix[index[k]]
        for j in range(len(out)):
            out[j] += value * row[j]
        k += 1


@compiled(parallel=True, fastmath=FAST)
def rows_times(indptr: Any, columns: Any, values: Any, weight: Any, out: Any) -> None:
    """out[b] = sum of values[k] * weight[columns[k]] over the entries k of row b; weight [D, H], out [B, H]."""
    for b in prange(len(indptr) - 1):
        k, later = indptr[b], indptr[b] + AHEAD
        if indptr[b + 1] == k + 1 and later < len(columns):  # longer sums keep the memory busy without it
            prefetch(weight[columns[later]])
        out[b] = 0
        add_weighted(k, indptr[b + 1], values, columns, weight, out[b])


@compiled(parallel=True, fastmath=FAST)
def products_at(indptr: Any, columns: Any, code: Any, weight: Any, bias: Any, out: Any) -> None:
    """out[k] = code[b] . weight[columns[k]] + bias[columns[k]] for every entry k of every row b; out [nnz]."""
    zero = np.float32(0)
    for b in prange(len(indptr) - 1):
        left = code[b]
        k, end = indptr[b], indptr[b + 1]
        while k + 4 <= end:  # four at a time: `left` is read a quarter as often
            c0, c1, c2, c3 = columns[k], columns[k + 1], columns[k + 2], columns[k + 3]
            r0, r1, r2, r3 = weight[c0], weight[c1], weight[c2], weight[c3]
            t0, t1, t2, t3 = zero, zero, zero, zero
            for j in range(len(left)):
                x = left[j]
                t0 += x * r0[j]
                t1 += x * r1[j]
                t2 += x * r2[j]
                t3 += x * r3[j]
            out[k], out[k + 1], out[k + 2], out[k + 3] = t0 + bias[c0], t1 + bias[c1], t2 + bias[c2], t3 + bias[c3]
            k += 4
        while k < end:
            right, total = weight[columns[k]], zero
            for j in range(len(left)):
                total += left[j] * right[j]
            out[k] = total + bias[columns[k]]
            k += 1


@compiled(parallel=True, fastmath=FAST)
def errors_at(indptr: Any, columns: Any, code: Any, weight: Any, bias: Any, targets: Any, weights: Any, out: Any) -> None:
    """Weighted errors of `products_at` at the entries, their sums of squares by row, and their gradients of the code.

    With the error d[k] = code[b] . weight[columns[k]] + bias[columns[k]] - targets[k], the three arrays of `out` become
    weights[k] * d[k] for every entry [nnz]; the sum of weights[k] * d[k]^2 over the entries of each row [B]; and that of
    weights[k] * d[k] * weight[columns[k]] [B, H]. Rows of the weight are read once.
    """
    errors, squares, of_code = out
    zero = np.float32(0)
    for b in prange(len(indptr) - 1):
        left, total = code[b], of_code[b]
        total[:], squares[b] = 0, 0
        k, end = indptr[b], indptr[b + 1]
        while k + 4 <= end:  # four at a time: `left` and `total` are read a quarter as often
            c0, c1, c2, c3 = columns[k], columns[k + 1], columns[k + 2], columns[k + 3]
            r0, r1, r2, r3 = weight[c0], weight[c1], weight[c2], weight[c3]
            d0, d1, d2, d3 = zero, zero, zero, zero
            for j in range(len(left)):
                x = left[j]
                d0 += x * r0[j]
                d1 += x * r1[j]
                d2 += x * r2[j]
                d3 += x * r3[j]
            d0, d1 = d0 + bias[c0] - targets[k], d1 + bias[c1] - targets[k + 1]
            d2, d3 = d2 + bias[c2] - targets[k + 2], d3 + bias[c3] - targets[k + 3]
            e0, e1, e2, e3 = weights[k] * d0, weights[k + 1] * d1, weights[k + 2] * d2, weights[k + 3] * d3
            errors[k], errors[k + 1], errors[k + 2], errors[k + 3] = e0, e1, e2, e3
            squares[b] += e0 * d0 + e1 * d1 + e2 * d2 + e3 * d3
            for j in range(len(left)):
                total[j] += e0 * r0[j] + e1 * r1[j] + e2 * r2[j] + e3 * r3[j]
            k += 4
        while k < end:
            right, d0 = weight[columns[k]], bias[columns[k]] - targets[k]
            for j in range(len(left)):
                d0 += left[j] * right[j]
            e0 = weights[k] * d0
            errors[k] = e0
            squares[b] += e0 * d0
            for j in range(len(left)):
                total[j] += e0 * right[j]
            k += 1


@compiled(parallel=True, fastmath=FAST)
def attribute_products(indptr: Any, columns: Any, tables: Any, attributes: Any, out: Any) -> None:
    """out[s, k] = tables[s, b] . a[columns[k]] for entries k of rows b; tables [S, B, A], a sparse [D, A], out [S, nnz].

    `attributes` are the CSR arrays of a: indptr, columns and values. Each is read once for all S tables.
    """
    starts, names, weights = attributes
    n_tables = len(tables)
    for b in prange(len(indptr) - 1):
        beside, total = np.empty((tables.shape[2], n_tables), np.float32), np.empty(n_tables, np.float32)
        for a in range(len(beside)):
            for s in range(n_tables):
                beside[a, s] = tables[s, b, a]
        only = tables[0, b]
        for k in range(indptr[b], indptr[b + 1]):
            if n_tables == 1:  # a number in a register, instead of an array
                single = np.float32(0)
                for n in range(starts[columns[k]], starts[columns[k] + 1]):
                    single += weights[n] * only[names[n]]
                out[0, k] = single
                continue
            for s in range(n_tables):
                total[s] = 0
            add_weighted(starts[columns[k]], starts[columns[k] + 1], weights, names, beside, total)
            for s in range(n_tables):
                out[s, k] = total[s]


@compiled(parallel=True, fastmath=FAST)
def attribute_gradients(indptr: Any, columns: Any, gradient: Any, attributes: Any, out: Any) -> None:
    """out[s, b] = sum of gradient[s, k] * a[columns[k]] over entries k of row b; see `attribute_products`; out [S, B, A]."""
    starts, names, weights = attributes
    n_tables = len(out)
    for b in prange(len(indptr) - 1):
        if n_tables == 1:  # in place, with the gradient of an entry in a register
            only = out[0, b]
            for a in range(len(only)):
                only[a] = 0
            for k in range(indptr[b], indptr[b + 1]):
                single = gradient[0, k]
                for n in range(starts[columns[k]], starts[columns[k] + 1]):
                    only[names[n]] += single * weights[n]
            continue
        beside, value = np.zeros((out.shape[2], n_tables), np.float32), np.empty(n_tables, np.float32)
        for k in range(indptr[b], indptr[b + 1]):
            for s in range(n_tables):
                value[s] = gradient[s, k]
            for n in range(starts[columns[k]], starts[columns[k] + 1]):
                row, weight = beside[names[n]], weights[n]
                for s in range(n_tables):
                    row[s] += weight * value[s]
        for s in range(n_tables):
            for a in range(len(beside)):
                out[s, b, a] = beside[a, s]


def by_column(indptr: Any, columns: Any, width: int) -> Columns:
    """The pattern of CSR arrays in compressed sparse column form."""
    most, place = min(width, len(columns)), np.zeros(width, np.int64)
    touched, starts = np.empty(most, np.int64), np.empty(most + 1, np.int64)
    row, entry = np.empty(len(columns), np.int64), np.empty(len(columns), np.int64)
    n = _fill_by_column(indptr, columns, place, touched, starts, row, entry)
    return Columns(touched[:n], starts[: n + 1], row, entry)


@compiled()
def _fill_by_column(indptr: Any, columns: Any, place: Any, touched: Any, starts: Any, row: Any, entry: Any) -> int:
    """Fill in the arrays of `Columns`; returns the number of columns with entries. `place` [D] is zero, and is overwritten."""
    for k in range(len(columns)):
        place[columns[k]] += 1
    n = before = 0
    for d in range(len(place)):
        if place[d]:
            touched[n], starts[n] = d, before
            place[d], before = before, before + place[d]
            n += 1
    starts[n] = before
    for b in range(len(indptr) - 1):
        for k in range(indptr[b], indptr[b + 1]):
            at = place[columns[k]]
            place[columns[k]] += 1
            entry[at], row[at] = k, b
    return n


@compiled(parallel=True, fastmath=FAST)
def add_transposed_product(pattern: Any, values: Any, factor: Any, out: Any) -> None:
    """out [D, H] += S^T factor [B, H], for S with this pattern (`Columns`) and these values in its order."""
    touched, starts, row, _ = pattern
    for t in prange(len(touched)):
        add_weighted(starts[t], starts[t + 1], values, row, factor, out[touched[t]])


@compiled(parallel=True)
def copy_rows(indptr: Any, columns: Any, values: Any, index: Any, new_indptr: Any, new_columns: Any, new_values: Any) -> None:
    """Copy the entries of row index[b] to row b."""
    for b in prange(len(index)):
        old, new, n = indptr[index[b]], new_indptr[b], new_indptr[b + 1] - new_indptr[b]
        new_columns[new : new + n] = columns[old : old + n]
        new_values[new : new + n] = values[old : old + n]


@compiled(parallel=True)
def gather(values: Any, index: Any, out: Any) -> None:
    """out[k] = values[index[k]]."""
    for k in prange(len(index)):
        out[k] = values[index[k]]


@compiled(parallel=True)
def with_draws(
    indptr: Any, columns: Any, width: int, draws: Any, ratio: int, new_columns: Any, targets: Any, weights: Any
) -> None:
    """Write rows in which each entry is followed by the `ratio` columns drawn for it, to the last three arguments.

    Their targets are 1 for an entry and 0 for a draw; the weight is 0 for a draw that is an entry of its row, otherwise 1.
    `draws` is int64 [ratio * nnz], each below `width`; outputs are [(1 + ratio) * nnz].
    """
    for share in prange(SHARES):
        own = np.zeros(width, np.bool_)
        for b in range(share, len(indptr) - 1, SHARES):
            row = columns[indptr[b] : indptr[b + 1]]
            for column in row:
                own[column] = True
            for k in range(indptr[b], indptr[b + 1]):
                at = (1 + ratio) * k
                new_columns[at], targets[at], weights[at] = columns[k], 1, 1
                for n in range(ratio):
                    drawn = draws[ratio * k + n]
                    new_columns[at + 1 + n], targets[at + 1 + n], weights[at + 1 + n] = drawn, 0, not own[drawn]
            for column in row:
                own[column] = False


@compiled(parallel=True, fastmath=FAST)
def unit_rows(matrix: Any, smallest: Any, units: Any, lengths: Any) -> None:
    """lengths[t] = |matrix[t]|, or `smallest` if that is more, and units[t] = matrix[t] / lengths[t]; units [T, K]."""
    for t in prange(len(matrix)):
        row, unit, square = matrix[t], units[t], np.float32(0)
        for j in range(len(row)):
            square += row[j] * row[j]
        lengths[t] = max(np.sqrt(square), smallest)
        inverse = np.float32(1) / lengths[t]
        for j in range(len(row)):
            unit[j] = inverse * row[j]


@compiled(parallel=True, fastmath=FAST)
def unit_rows_gradient(gradient: Any, units: Any, lengths: Any, smallest: Any, out: Any) -> None:
    """out[t] = the gradient for matrix[t] from that for units[t], see `unit_rows`; all [T, K].

    A change along units[t] only changes the length, unless that is `smallest` anyway.
    """
    for t in prange(len(gradient)):
        row, unit, target, along = gradient[t], units[t], out[t], np.float32(0)
        if lengths[t] > smallest:
            for j in range(len(row)):
                along += row[j] * unit[j]
        inverse = np.float32(1) / lengths[t]
        for j in range(len(row)):
            target[j] = inverse * (row[j] - along * unit[j])
