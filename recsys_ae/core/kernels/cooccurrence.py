"""Co-occurrences of columns, X^T X for sparse X, and the regressions of each column on its nearest ones."""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from recsys_ae.core.kernels.cholesky import solve_system
from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.largest import move_largest
from recsys_ae.core.kernels.layers import FAST


class Pattern(NamedTuple):
    """A pattern X [B, D] column by column (starts, row) and row by row (indptr, columns); columns of a row increase."""

    starts: Any
    row: Any
    indptr: Any
    columns: Any
    shared: Any  # int, the number of rows from which columns that share them count as a pair


class Pairs(NamedTuple):
    """X^T X below its diagonal: `times` rows hold both c and `partner` < c, for the entries starts[c] to starts[c + 1]."""

    starts: Any
    partner: Any
    times: Any


@compiled(parallel=True, fastmath=FAST)
def sparse_gram(starts: Any, row: Any, row_values: Any, indptr: Any, columns: Any, values: Any, out: Any) -> None:
    """out += X^T X [D, D], for X column by column (starts, row, row_values) and row by row (indptr, columns, values)."""
    for c in prange(len(starts) - 1):
        line = out[c]
        for p in range(starts[c], starts[c + 1]):
            b, value = row[p], row_values[p]
            for k in range(indptr[b], indptr[b + 1]):
                line[columns[k]] += value * values[k]


@compiled()
def _together(pattern: Any, c: int, stop: int, count: Any, found: Any) -> int:
    """Set count[d] (float32 [D], all 0) to the number of rows with both c and d, for d < stop other than c.

    The d that share enough rows are written to `found`, and their number is returned; the counts of the others stay 0.
    """
    starts, row, indptr, columns, shared = pattern
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
    if shared == 1:
        return n
    kept = 0
    for f in range(n):
        if count[found[f]] < shared:
            count[found[f]] = 0
        else:
            found[kept] = found[f]
            kept += 1
    return kept


@compiled(parallel=True)
def count_pairs(pattern: Any, threads: int, others: Any, before: Any) -> None:
    """Count the columns that share a row with column c: others[c] in all, before[c] with a lower number; both [D].

    Here and below, threads take columns in turn, because low ones are more work; each thread has its own scratch space.
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


@compiled(parallel=True)
def fill_pairs(pattern: Any, threads: int, pairs: Any) -> None:
    """Fill in `pairs.partner` and `pairs.times`; the partners of a column are in no particular order."""
    starts, partner, times = pairs
    width = len(starts) - 1
    for t in prange(threads):
        count, found = np.zeros(width, np.float32), np.empty(width, np.int32)
        for c in range(t, width, threads):
            first = starts[c]
            for f in range(_together(pattern, c, c, count, found)):
                partner[first + f], times[first + f] = found[f], count[found[f]]
                count[found[f]] = 0


@compiled()
def _nearest(found: Any, count: Any, size: Any, k: int) -> Any:
    """The k columns of `found` with the largest count^2 / size, ties by number, in increasing order."""
    score, key = np.empty(len(found), np.float32), np.empty(len(found), np.int64)
    for f in range(len(found)):
        score[f] = count[found[f]] * count[found[f]] / size[found[f]]
    bits = score.view(np.int32)  # positive floats sort like their bits, so one integer sorts by score and number
    for f in range(len(found)):
        key[f] = (np.int64(bits[f]) << 32) - found[f]
    move_largest(key, k)
    near = np.empty(k, np.int32)
    for f in range(k):
        near[f] = -key[f] & 0xFFFFFFFF
    near.sort()
    return near


@compiled()
def _fill_system(near: Any, pairs: Any, size: Any, ridge: Any, count: Any, place: Any, system: Any) -> None:
    """Write the upper triangle of G + diag(ridge) to `system`, `count` to its column k; G is X^T X of the columns `near` [k].

    `system` has at least k rows and k + 1 columns; `place` is int32 [D], all -1.
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


@compiled(parallel=True)
def neighbour_regressions(
    pattern: Any, threads: int, pairs: Any, size: Any, ridge: Any, starts: Any, chosen: Any, weight: Any
) -> None:
    """Solve (G + diag(ridge)) w = g for each column c; G is X^T X of the columns nearest to c, and g their products with c.

    Nearest are the columns with the largest cosine, ties by number.

    Args:
        size, ridge: float32 [D], the diagonal of X^T X, and its ridge.
        starts: [D + 1]; the nearest columns of c, increasing, go to starts[c] to starts[c + 1] of `chosen`, w to `weight`.
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
            solve_system(system, ridge[near], weight[starts[c] : starts[c + 1]])
            for f in range(n):
                count[found[f]] = 0
