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

PARTS = 16  # that rows are shared out in where each thread needs an array of its own


@njit(fastmath=FAST)
def _add_weighted(start: int, end: int, values: Any, index: Any, matrix: Any, out: Any) -> None:
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


@njit(parallel=True, fastmath=FAST, cache=True)
def rows_times(indptr: Any, columns: Any, values: Any, weight: Any, out: Any) -> None:
    """out[b] = sum of values[k] * weight[columns[k]] over the entries k of row b; weight [D, H], out [B, H]."""
    for b in prange(len(indptr) - 1):
        out[b] = 0
        _add_weighted(indptr[b], indptr[b + 1], values, columns, weight, out[b])


@njit(parallel=True, fastmath=FAST, cache=True)
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


@njit(parallel=True, cache=True)
def copy_rows(indptr: Any, columns: Any, values: Any, index: Any, new_indptr: Any, new_columns: Any, new_values: Any) -> None:
    """The entries of row index[b] become those of row b."""
    for b in prange(len(index)):
        old, new, n = indptr[index[b]], new_indptr[b], new_indptr[b + 1] - new_indptr[b]
        new_columns[new : new + n] = columns[old : old + n]
        new_values[new : new + n] = values[old : old + n]


@njit(parallel=True, cache=True)
def gather(values: Any, index: Any, out: Any) -> None:
    """out[k] = values[index[k]]."""
    for k in prange(len(index)):
        out[k] = values[index[k]]


@njit(parallel=True, cache=True)
def with_draws(
    indptr: Any, columns: Any, width: int, draws: Any, ratio: int, new_columns: Any, targets: Any, weights: Any
) -> None:
    """Rows in which each entry is followed by `ratio` columns that were drawn for it.

    Args:
        draws: int64 [ratio * nnz], each below `width`.
        new_columns, targets, weights: [(1 + ratio) * nnz]; the target is 1 for an entry and 0 for a draw, the weight 1, but 0
            for a draw that hits an entry of its row.
    """
    for part in prange(PARTS):
        own = np.zeros(width, np.bool_)
        for b in range(part, len(indptr) - 1, PARTS):
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


@njit(cache=True)
def by_column(indptr: Any, columns: Any, width: int) -> Any:
    """The same pattern column by column.

    Returns:
        A triple: the columns with entries, increasing; indptr of their entries [len(touched) + 1]; the row of each of these
        entries [nnz]. Then the place that each of them has in the batch [nnz].
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
    return (touched, starts, row), entry


@njit(parallel=True, fastmath=FAST, cache=True)
def column_sums(touched: Any, starts: Any, row: Any, values: Any, factor: Any, out: Any) -> None:
    """out[c] += sum of values[p] * factor[row[p]] over the places p of column c; factor [B, H], out [D, H].

    Values are in the order of `by_column`.
    """
    for t in prange(len(touched)):
        _add_weighted(starts[t], starts[t + 1], values, row, factor, out[touched[t]])


@njit(parallel=True, fastmath=FAST, cache=True)
def adam_columns(
    touched: Any,
    starts: Any,
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
    first, second = betas[0], betas[1]
    step, unit = rate / corrections[0], one / corrections[1]
    for t in prange(len(touched)):
        c = touched[t]
        w, m, s = weight[c], mean[c], square[c]
        gradient = (shrink[c] * np.float32(starts[t + 1] - starts[t])) * w
        _add_weighted(starts[t], starts[t + 1], values, row, factor, gradient)
        if len(more_values):
            _add_weighted(starts[t], starts[t + 1], more_values, row, more_factor, gradient)
        for j in range(len(w)):
            m[j] = first * m[j] + (one - first) * gradient[j]
            s[j] = second * s[j] + (one - second) * gradient[j] * gradient[j]
            w[j] -= step * m[j] / (np.sqrt(s[j] * unit) + eps)


@njit(parallel=True, fastmath=FAST, cache=True)
def adam_rows(
    gradient: Any, shrink: Any, weight: Any, mean: Any, square: Any, rate: Any, betas: Any, corrections: Any, eps: Any
) -> None:
    """One step of Adam for all rows of `weight` [D, H] with `gradient` [D, H] + shrink[d] * weight[d]; see `adam_columns`."""
    one = np.float32(1)
    first, second = betas[0], betas[1]
    step, unit = rate / corrections[0], one / corrections[1]
    for d in prange(len(weight)):
        g, w, m, s, strength = gradient[d], weight[d], mean[d], square[d], shrink[d]
        for j in range(len(w)):
            slope = g[j] + strength * w[j]
            m[j] = first * m[j] + (one - first) * slope
            s[j] = second * s[j] + (one - second) * slope * slope
            w[j] -= step * m[j] / (np.sqrt(s[j] * unit) + eps)


@njit(cache=True)
def by_block(order: Any, row: Any, column: Any, row_block: Any, column_block: Any, blocks: int) -> Any:
    """Entries parted so that those of one stratum can be worked on at once: no two of its parts share a row or a column.

    Args:
        order: int64 [nnz], the entries in some order, which is kept within each part.
        row, column: int64 [nnz], of each entry.
        row_block, column_block: int64, a number from 0 to blocks - 1 for each row and column.

    Returns:
        The entries, int64 [nnz], and starts [blocks^2 + 1]: part p of stratum s is from starts[s * blocks + p] on; its rows
        are of block p.
    """
    part = np.empty(len(order), np.int64)
    count = np.zeros(blocks * blocks + 1, np.int64)
    for n in range(len(order)):
        r, c = row_block[row[order[n]]], column_block[column[order[n]]]
        part[n] = (c - r) % blocks * blocks + r
        count[part[n] + 1] += 1
    starts = np.cumsum(count)
    place, entries = starts.copy(), np.empty(len(order), np.int64)
    for n in range(len(order)):
        entries[place[part[n]]] = order[n]
        place[part[n]] += 1
    return entries, starts


@njit(parallel=True, fastmath=FAST, cache=True)
def factor_steps(
    entries: Any,
    starts: Any,
    row: Any,
    column: Any,
    value: Any,
    left: Any,
    right: Any,
    left_bias: Any,
    right_bias: Any,
    rate: Any,
    l2: Any,
    errors: Any,
) -> None:
    """A step of gradient descent for each entry, one after the other within a part, parts of a stratum at once.

    An entry's loss is (value - left[row] . right[column] - both biases)^2 / 2 + l2 / 2 * (all four squared).

    Args:
        entries, starts: see `by_block`.
        left, right, left_bias, right_bias: float32 [N, K], [M, K], [N] and [M], changed in place.
        errors: float64 [blocks, blocks], set to the sum of squared errors of each part.
    """
    blocks = len(errors)
    keep = np.float32(1) - rate * l2
    for stratum in range(blocks):
        for part in prange(blocks):
            total = 0.0
            for n in range(starts[stratum * blocks + part], starts[stratum * blocks + part + 1]):
                entry = entries[n]
                r, c = row[entry], column[entry]
                p, q = left[r], right[c]
                product = np.float32(0)
                for k in range(len(p)):
                    product += p[k] * q[k]
                error = value[entry] - (product + left_bias[r] + right_bias[c])
                total += error * error
                step = rate * error
                left_bias[r] = keep * left_bias[r] + step
                right_bias[c] = keep * right_bias[c] + step
                for k in range(len(p)):
                    before = p[k]
                    p[k] = keep * before + step * q[k]
                    q[k] = keep * q[k] + step * before
            errors[stratum, part] = total


@njit(parallel=True, fastmath=FAST, cache=True)
def sparse_gram(starts: Any, row: Any, row_values: Any, indptr: Any, columns: Any, values: Any, out: Any) -> None:
    """out[c] += sum of x[b, c] * x[b] over the rows b; out [D, D].

    Args:
        starts, row, row_values: the matrix column by column.
        indptr, columns, values: the matrix row by row.
    """
    for c in prange(len(starts) - 1):
        line = out[c]
        for p in range(starts[c], starts[c + 1]):
            b, value = row[p], row_values[p]
            for k in range(indptr[b], indptr[b + 1]):
                line[columns[k]] += value * values[k]


@njit(cache=True)
def _together(pattern: Any, c: int, stop: int, count: Any, found: Any) -> int:
    """count[d] = how many rows hold both c and d, for d < stop other than c; those with any go to `found`.

    Args:
        pattern: see `count_pairs`.
        count: float32 [D], all 0.

    Returns:
        How many were found.
    """
    starts, row, indptr, columns = pattern
    n = 0
    for p in range(starts[c], starts[c + 1]):
        for k in range(indptr[row[p]], indptr[row[p] + 1]):
            d = columns[k]
            if d >= stop:
                break
            if d != c:
                if count[d] == 0:
                    found[n] = d
                    n += 1
                count[d] += 1
    return n


@njit(parallel=True, cache=True)
def count_pairs(pattern: Any, threads: int, others: Any, before: Any) -> None:
    """others[c] = how many columns share a row with column c, before[c] = how many of these have a lower number; [D] each.

    Here and below threads take columns in turn, because the low ones are more work; scratch space is one per thread.

    Args:
        pattern: (starts, row, indptr, columns), a pattern [B, D] column by column and row by row, the columns of each row
            increasing.
    """
    width = len(others)
    for t in prange(threads):
        count, found = np.zeros(width, np.float32), np.empty(width, np.int32)
        for c in range(t, width, threads):
            others[c] = _together(pattern, c, width, count, found)
            before[c] = 0
            for f in range(others[c]):
                before[c] += found[f] < c
                count[found[f]] = 0


@njit(parallel=True, cache=True)
def fill_pairs(pattern: Any, threads: int, pairs: Any) -> None:
    """X^T X below its diagonal, for the pattern X of `count_pairs`.

    Args:
        pairs: (starts [D + 1], partner and times [number of pairs]); from starts[c] on, `partner` is set to the columns
            before c that share a row with it, in no order, and `times` to how many rows they share.
    """
    starts, partner, times = pairs
    width = len(starts) - 1
    for t in prange(threads):
        count, found = np.zeros(width, np.float32), np.empty(width, np.int32)
        for c in range(t, width, threads):
            first = starts[c]
            for f in range(_together(pattern, c, c, count, found)):
                partner[first + f], times[first + f] = found[f], count[found[f]]
                count[found[f]] = 0


@njit(cache=True)
def _nearest(found: Any, count: Any, size: Any, k: int) -> Any:
    """The k of the columns found that have the largest count^2 / size, ties by number; increasing."""
    if k == len(found):
        return np.sort(found)
    score, key = np.empty(len(found), np.float32), np.empty(len(found), np.int64)
    for f in range(len(found)):
        score[f] = count[found[f]] * count[found[f]] / size[found[f]]
    bits = score.view(np.int32)  # which order positive numbers as their values do, so that one integer orders by both
    for f in range(len(found)):
        key[f] = found[f] - (np.int64(bits[f]) << 32)
    return np.sort((np.partition(key, k - 1)[:k] & 0xFFFFFFFF).astype(np.int32))


@njit(cache=True)
def _fill_system(near: Any, pairs: Any, size: Any, ridge: Any, count: Any, place: Any, system: Any) -> None:
    """The upper triangle of G + diag(ridge), G being X^T X of the columns `near` [k], and then their `count`.

    Args:
        place: int32 [D], all -1.
        system: float32, k rows and k + 1 columns of it are written.
    """
    starts, partner, times = pairs
    k = len(near)
    for a in range(k):
        d = near[a]
        place[d] = a
        system[a][:k] = 0
        system[a, a] = size[d] + ridge[d]
        system[a, k] = count[d]
        for p in range(starts[d], starts[d + 1]):
            before = place[partner[p]]
            if before >= 0:
                system[before, a] = times[p]
    for a in range(k):
        place[near[a]] = -1


@njit(fastmath=FAST, cache=True)
def _solve(system: Any, least: Any, out: Any) -> None:
    """out [k] = A^-1 b by Cholesky's factorisation, for a symmetric positive definite A.

    Args:
        system: A's upper triangle and then b, in k rows and k + 1 columns of it; overwritten.
        least: [k], which a squared pivot cannot be less than, and would be by rounding only.
    """
    k = len(out)
    for i in range(k):
        line = system[i][i : k + 1]
        p = 0
        while p + 4 <= i:  # four at a time: `line` is read and written a quarter as often
            v0, v1, v2, v3 = system[p, i], system[p + 1, i], system[p + 2, i], system[p + 3, i]
            r0, r1 = system[p][i : k + 1], system[p + 1][i : k + 1]
            r2, r3 = system[p + 2][i : k + 1], system[p + 3][i : k + 1]
            for j in range(len(line)):
                line[j] -= v0 * r0[j] + v1 * r1[j] + v2 * r2[j] + v3 * r3[j]
            p += 4
        while p < i:
            value, row = system[p, i], system[p][i : k + 1]
            for j in range(len(line)):
                line[j] -= value * row[j]
            p += 1
        by_pivot = np.float32(1) / np.sqrt(max(line[0], least[i]))
        for j in range(len(line)):
            line[j] *= by_pivot
        line[0] = by_pivot  # which is what is needed below
    for i in range(k - 1, -1, -1):
        total, row = system[i, k], system[i]
        for j in range(i + 1, k):
            total -= row[j] * out[j]
        out[i] = total * row[i]


@njit(parallel=True, cache=True)
def neighbour_regressions(
    pattern: Any, threads: int, pairs: Any, size: Any, ridge: Any, starts: Any, chosen: Any, weight: Any
) -> None:
    """Solves (G + diag(ridge)) w = g for each column c, where G = X^T X of the columns nearest to c, and g theirs with c.

    Args:
        pattern, pairs: see `count_pairs` and `fill_pairs`.
        size, ridge: float32 [D], the diagonal of X^T X and what is added to it.
        starts: [D + 1]; from starts[c] to starts[c + 1], `chosen` is set to the nearest columns, increasing, and `weight` to
            w. Nearest are those with the largest cosine, ties by number.
    """
    width = len(size)
    largest = 0
    for c in range(width):
        largest = max(largest, starts[c + 1] - starts[c])
    for t in prange(threads):
        count, found, place = np.zeros(width, np.float32), np.empty(width, np.int32), np.full(width, -1, np.int32)
        system = np.empty((largest, largest + 1), np.float32)
        for c in range(t, width, threads):
            n = _together(pattern, c, width, count, found)
            near = _nearest(found[:n], count, size, starts[c + 1] - starts[c])
            chosen[starts[c] : starts[c + 1]] = near
            _fill_system(near, pairs, size, ridge, count, place, system)
            _solve(system, ridge[near], weight[starts[c] : starts[c + 1]])
            for f in range(n):
                count[found[f]] = 0
