"""The highest numbers of each row of a matrix, or of a product that is never stored.

Numbers that might be among the k highest of their row are collected. When there is no more room, they are reduced to the k
best, of which the lowest is the row's limit; what does not exceed it is passed over by a comparison of vectors. A number and
its column are one integer, its key: keys are all different, and among those of equal numbers the first column has the highest.

B rows, M columns, H factors, lists of length K. The columns of a product come in panels of 16, from the longest to the
shortest, so that panels are left out that are too short to have a product above the limit of a row.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.largest import move_largest
from recsys_ae.core.kernels.products import COLUMNS, ROWS, multiply_tile, packed_rows

GROUPS = 8  # of rows that a thread takes at a time
PANEL_BLOCK = 2**15  # numbers of the panels that stay in the cache while these rows pass
SCANNED = 64  # numbers compared at a time
SPARE = 256  # keys collected beyond K; there must be room for those compared at a time
BELOW_ALL = np.float32(-np.inf)
ABOVE_ALL = np.float32(np.inf)
LAST_COLUMN = 2**32 - 1
SIGN = 2**31 - 1  # all bits but the sign's


class Panels(NamedTuple):
    """M columns of H factors, sorted by falling length.

    Attributes:
        factors: float32 [P, H, 16], filled up with zeros.
        column: int64 [16 P], the column at each place, -1 where there is none.
        place: int64 [M], the place of each column.
        length: float64 [P], of the longest column of each panel.
    """

    factors: Any
    column: Any
    place: Any
    length: Any


class Filter(NamedTuple):
    """Which columns may be listed.

    Attributes:
        forbidden: uint8 [M / 8, rounded up], a bit for each column that no row may list, the lowest first.
        excluded_starts, excluded: int64 [B + 1] and [nnz], columns that a row may not list, in CSR form.
        restricted: whether there are candidates: the only columns that a row may list.
        candidate_starts, candidates: int64 [B + 1] and [nnz], in CSR form.
    """

    forbidden: Any
    excluded_starts: Any
    excluded: Any
    restricted: Any
    candidate_starts: Any
    candidates: Any


@compiled()
def _key(bits: Any, column: int) -> Any:
    """An integer that is higher for a higher float32 (given as its bits, int32), and among equal ones for an earlier column."""
    whole = np.int64(0) if bits == -SIGN - 1 else np.int64(bits)  # -0 equals 0
    return ((whole ^ ((whole >> 31) & SIGN)) << 32) | (LAST_COLUMN - column)


@compiled()
def _forbidden(allowed: Any, start: int, end: int) -> Any:
    """uint8 [n, M / 8]: a bit for each column that each of the rows from start to end may not list."""
    bits = np.empty((end - start, len(allowed.forbidden)), np.uint8)
    for row in range(start, end):
        for byte in range(len(allowed.forbidden)):
            bits[row - start, byte] = allowed.forbidden[byte]
        for e in range(allowed.excluded_starts[row], allowed.excluded_starts[row + 1]):
            column = allowed.excluded[e]
            bits[row - start, column >> 3] |= np.uint8(1 << (column & 7))
    return bits


@compiled()
def _may_list(forbidden: Any, column: int) -> bool:
    return (forbidden[column >> 3] >> (column & 7)) & 1 == 0


@compiled()
def _reduce(keys: Any, n: int, k: int) -> int:
    """Keep the k highest of n keys, if there are more; returns how many are left."""
    if n > k:
        move_largest(keys[:n], k)
    return min(n, k)


@compiled()
def _limit(keys: Any, n: int, k: int) -> Any:
    """The lowest of k numbers; -inf if there are fewer."""
    if n < k:
        return BELOW_ALL
    whole = keys[k - 1] >> 32
    return np.full(1, whole ^ ((whole >> 31) & SIGN), np.int32).view(np.float32)[0]


@compiled(fastmath={"nnan", "nsz"})
def _highest(numbers: Any) -> Any:
    highest = BELOW_ALL
    for n in range(len(numbers)):
        highest = max(highest, numbers[n])
    return highest


@compiled(parallel=True)
def best_of_scores(scores: Any, allowed: Any, k: int, keys: Any, number: Any) -> None:
    """The keys of the best columns of float32 scores [B, M] without NaN; those of -inf are left out.

    Args:
        allowed: `Filter`.
        keys: int64 [B, K + SPARE], of which the first `number`, int64 [B], are set, in no order; it is 0 before the call.
    """
    bits = scores.view(np.int32)
    for row in prange(len(scores)):
        line, line_bits, own, n, limit = scores[row], bits[row], keys[row], 0, BELOW_ALL
        forbidden = _forbidden(allowed, row, row + 1)[0]
        if allowed.restricted:
            for e in range(allowed.candidate_starts[row], allowed.candidate_starts[row + 1]):
                column = allowed.candidates[e]
                if line[column] > limit and _may_list(forbidden, column):
                    own[n] = _key(line_bits[column], column)
                    n += 1
                if n == len(own):
                    n = _reduce(own, n, k)
                    limit = _limit(own, n, k)
        else:
            for start in range(0, len(line), SCANNED):
                end = min(start + SCANNED, len(line))
                if _highest(line[start:end]) > limit:
                    for column in range(start, end):
                        if line[column] > limit and _may_list(forbidden, column):
                            own[n] = _key(line_bits[column], column)
                            n += 1
                    if n > len(own) - SCANNED:
                        n = _reduce(own, n, k)
                        limit = _limit(own, n, k)
        number[row] = _reduce(own, n, k)


@compiled(parallel=True)
def best_products(factors: Any, reach: Any, panels: Any, allowed: Any, k: int, keys: Any, number: Any) -> None:
    """The keys of the columns with the highest products with each row.

    Args:
        factors: float32 [B, H], of the rows.
        reach: float64 [B], such that no product with a column of length 1 exceeds it, rounding included.
        panels, allowed: `Panels` and `Filter`.
        keys, number: as in `best_of_scores`.
    """
    per_thread = GROUPS * ROWS
    step = max(1, PANEL_BLOCK // (COLUMNS * factors.shape[1]))
    for part in prange((len(factors) + per_thread - 1) // per_thread):
        start, end = part * per_thread, min((part + 1) * per_thread, len(factors))
        packed, forbidden = packed_rows(factors, start, end), _forbidden(allowed, start, end)
        n, limits = number[start:end], np.full(per_thread, ABOVE_ALL)
        limits[: end - start] = BELOW_ALL
        products = np.empty((ROWS, COLUMNS), np.float32)
        if allowed.restricted:
            for at in range(end - start):
                some = allowed.candidates[allowed.candidate_starts[start + at] : allowed.candidate_starts[start + at + 1]]
                n[at] = _best_candidates(
                    some, packed[at // ROWS], at % ROWS, panels, products, k, forbidden[at], keys[start + at]
                )
            continue
        for first in range(0, len(panels.factors), step):
            for group in range(len(packed)):
                at, stop = group * ROWS, min((group + 1) * ROWS, end - start)
                own_limits = limits[at : at + ROWS]
                last = _in_reach(first, first + step, panels.length, reach[start + at : start + stop], own_limits)
                for panel in range(first, last):
                    above = multiply_tile(packed[group], panels.factors[panel], own_limits, products)
                    if above:
                        columns = panels.column[panel * COLUMNS : (panel + 1) * COLUMNS]
                        _collect(above, products, columns, own_limits, n[at:], k, forbidden[at:], keys[start + at :])
        for at in range(end - start):
            n[at] = _reduce(keys[start + at], n[at], k)


@compiled()
def _in_reach(first: int, end: int, length: Any, reach: Any, limits: Any) -> int:
    """The end of the panels from `first` to `end` that are long enough for a row to have a product above its limit."""
    end = min(end, len(length))
    while end > first:
        for r in range(len(reach)):
            if reach[r] * length[end - 1] > limits[r]:
                return end
        end -= 1
    return end


@compiled()
def _collect(above: int, products: Any, columns: Any, limits: Any, n: Any, k: int, forbidden: Any, keys: Any) -> None:
    """Collect the products of a panel, for those of its ROWS rows that have one above their limit."""
    bits = products.view(np.int32)
    for r in range(ROWS):
        if (above >> r) & 1:
            own, found = keys[r], n[r]
            for c in range(COLUMNS):
                if products[r, c] > limits[r] and columns[c] >= 0 and _may_list(forbidden[r], columns[c]):
                    own[found] = _key(bits[r, c], columns[c])
                    found += 1
            if found > len(own) - COLUMNS:
                found = _reduce(own, found, k)
                # A little less than the lowest, because an equal number in an earlier column may follow.
                limits[r] = np.nextafter(_limit(own, found, k), BELOW_ALL)
            n[r] = found


@compiled()
def _best_candidates(
    candidates: Any, packed: Any, r: int, panels: Any, products: Any, k: int, forbidden: Any, keys: Any
) -> int:
    """Set the keys of the best candidates of row r of those `packed`; returns their number."""
    bits, limits, n = products.view(np.int32), np.full(ROWS, ABOVE_ALL), 0
    for column in candidates:
        if not _may_list(forbidden, column):
            continue
        place = panels.place[column]
        multiply_tile(packed, panels.factors[place // COLUMNS], limits, products)
        keys[n] = _key(bits[r, place % COLUMNS], column)
        n += 1
        if n == len(keys):
            n = _reduce(keys, n, k)
    return _reduce(keys, n, k)


@compiled(parallel=True)
def all_products(factors: Any, panels: Any, out: Any) -> None:
    """out [B, M] = the products of every row with every column, float32."""
    for group in prange((len(factors) + ROWS - 1) // ROWS):
        start, end = group * ROWS, min((group + 1) * ROWS, len(factors))
        packed = packed_rows(factors, start, end)[0]
        nothing, products = np.full(ROWS, ABOVE_ALL), np.empty((ROWS, COLUMNS), np.float32)
        for panel in range(len(panels.factors)):
            multiply_tile(packed, panels.factors[panel], nothing, products)
            for c in range(COLUMNS):
                column = panels.column[panel * COLUMNS + c]
                if column >= 0:
                    for r in range(end - start):
                        out[start + r, column] = products[r, c]
