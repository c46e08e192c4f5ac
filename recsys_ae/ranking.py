"""Top-k lists from scores, shared by training, recommendation and evaluation: B users, M items, list length K.

Scores are an array, or a `Product` of factors, of which only the best are ever stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Hits = NDArray[np.bool_]

TABLE_SIZE = 2**18  # entries of several rows are looked up in a table that fits the cache
TIED_SCORES = 2**22  # scores in memory at a time while ties are searched


@dataclass(frozen=True)
class Allowed:
    """Which columns may be listed; all by default.

    Attributes:
        columns: bool [M], which columns any row may list.
        candidates: csr_array [B, M] in canonical form; a row may list only its entries.
        excluded: csr_array [B, M] in canonical form; a row may not list its entries.
    """

    columns: NDArray[np.bool_] | None = None
    candidates: csr_array | None = None
    excluded: csr_array | None = None

    def __getitem__(self, rows: Indices) -> "Allowed":
        """The same for these rows."""
        own = [None if pattern is None else pattern[rows] for pattern in (self.candidates, self.excluded)]
        return Allowed(self.columns, *own)

    def restrict(self, scores: Floats) -> None:
        """Set the scores [B, M] of what may not be listed to -inf, in place."""
        if self.columns is not None:
            scores[:, ~self.columns] = -np.inf
        if self.candidates is not None:
            at = row_of_entry(self.candidates), self.candidates.indices
            kept = scores[at]
            scores[:] = -np.inf
            scores[at] = kept
        if self.excluded is not None:
            exclude(scores, self.excluded)


@dataclass(frozen=True, eq=False)
class ColumnFactors:
    """Factors [M, H] of columns, sorted for products with those of rows.

    Attributes:
        panels: see `core.kernels.best.Panels`.
    """

    panels: Any

    @classmethod
    def of(cls, factors: Floats) -> Self:
        """From factors [M, H], of which a copy is kept in float32."""
        from recsys_ae.core.kernels.best import Panels  # heavy
        from recsys_ae.core.kernels.products import COLUMNS

        factors = np.asarray(factors, np.float32)
        m, h = factors.shape
        length = np.sqrt(np.einsum("mh,mh->m", factors, factors, dtype=np.float64))
        length[np.isnan(length)] = np.inf  # so that `Product.bound` sees it
        order = np.argsort(-length, kind="stable")
        n_panels = -(-m // COLUMNS)
        sorted_factors, column = np.zeros((n_panels * COLUMNS, h), np.float32), np.full(n_panels * COLUMNS, -1)
        np.take(factors, order, axis=0, out=sorted_factors[:m])
        column[:m], place = order, np.empty(m, np.int64)
        place[order] = np.arange(m)
        panels = np.ascontiguousarray(sorted_factors.reshape(n_panels, COLUMNS, h).transpose(0, 2, 1))
        return cls(Panels(panels, column, place, length[order][::COLUMNS].copy()))

    def __len__(self) -> int:
        return len(self.panels.place)


@dataclass(frozen=True, eq=False)
class Product:
    """Scores that are products of factors, and are computed a few at a time; each has the same bits in any block.

    Attributes:
        rows: float32 [B, H].
        columns: of M columns.
    """

    rows: Floats
    columns: ColumnFactors

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Indices | slice) -> "Product":
        return Product(self.rows[rows], self.columns)

    def reach(self) -> NDArray[np.float64]:
        """float64 [B]: no product of a row with a column of length 1 exceeds this, rounding included."""
        rounding = 1 + (self.rows.shape[1] + 2) * np.finfo(np.float32).eps
        return np.sqrt(np.einsum("bh,bh->b", self.rows, self.rows, dtype=np.float64)) * rounding

    def bound(self) -> float:
        """A number that no score exceeds in size; not finite if a score might not be."""
        longest = self.columns.panels.length[:1].max(initial=0.0)
        return float(self.reach().max(initial=0.0) * longest) if np.isfinite(self.rows).all() else np.inf

    def to_array(self) -> Floats:
        """float32 [B, M]"""
        from recsys_ae.core.kernels.best import all_products  # heavy

        out = np.empty(self.shape, np.float32)
        all_products(np.ascontiguousarray(self.rows, np.float32), self.columns.panels, out)
        return out


Scores = Floats | Product
"""Scores [B, M]; arrays have no NaN, and -inf for what must not be listed."""

EVERYTHING = Allowed()


def exclude(scores: Floats, seen: csr_array) -> None:
    """Set the scores [B, M] of the entries stored in `seen` [B, M] to -inf, in place."""
    scores[row_of_entry(seen), seen.indices] = -np.inf


def row_of_entry(matrix: csr_array) -> Indices:
    """The row of each entry, int64 [nnz]."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def entry_keys(matrix: csr_array) -> Indices:
    """Each entry as one number, row * M + column, int64 [nnz]; increasing for a matrix [B, M] in canonical form."""
    return row_of_entry(matrix) * matrix.shape[1] + matrix.indices


def top_k(scores: Scores, k: int, allowed: Allowed = EVERYTHING) -> tuple[Indices, Floats]:
    """Columns and values of the `k` highest scores [B, M] of each row, best first; equal ones in the order of the columns.

    Returns:
        int64 [B, k] padded with -1, float32 [B, k] padded with NaN.
    """
    from recsys_ae.core.kernels.best import LAST_COLUMN, SIGN, SPARE, Filter, best_of_scores, best_products  # heavy

    n_rows = len(scores)
    keys, number = np.empty((n_rows, k + SPARE), np.int64), np.zeros(n_rows, np.int64)
    mask = np.zeros(scores.shape[1], bool) if allowed.columns is None else ~allowed.columns
    excluded, candidates = (_pattern(pattern, n_rows) for pattern in (allowed.excluded, allowed.candidates))
    filters = Filter(np.packbits(mask, bitorder="little"), *excluded, allowed.candidates is not None, *candidates)
    if isinstance(scores, Product):
        best_products(
            np.ascontiguousarray(scores.rows, np.float32), scores.reach(), scores.columns.panels, filters, k, keys, number
        )
    else:
        best_of_scores(np.ascontiguousarray(scores, np.float32), filters, k, keys, number)
    none = np.arange(k) >= number[:, None]
    best = np.sort(np.where(none, np.iinfo(np.int64).min, keys[:, :k]), axis=1)[:, ::-1]
    whole = best >> 32
    values = (whole ^ ((whole >> 31) & SIGN)).astype(np.int32).view(np.float32)
    return np.where(none, -1, LAST_COLUMN - (best & LAST_COLUMN)), np.where(none, np.float32(np.nan), values)


def _pattern(matrix: csr_array | None, n_rows: int) -> tuple[Indices, Indices]:
    """The row starts and columns of a matrix, int64; no entries for None."""
    if matrix is None:
        return np.zeros(n_rows + 1, np.int64), np.zeros(0, np.int64)
    return matrix.indptr.astype(np.int64, copy=False), matrix.indices.astype(np.int64, copy=False)


def top_k_and_ties(
    scores: Scores, k: int, wanted: csr_array, allowed: Allowed = EVERYTHING
) -> tuple[Indices, Floats, csr_array]:
    """`top_k`, and which entries are not listed only because the list ends within a group of equal scores.

    Args:
        wanted: csr_array [B, M], entries that are more important than others.

    Returns:
        int64 [B, k], float32 [B, k], and the ties with the last place beyond the list, bool csr_array [B, M]: all `wanted` ones
        and, as far as there are any, at least k others.
    """
    columns, values = top_k(scores, k + 1, allowed)
    columns, values, following = columns[:, :k], values[:, :k], values[:, k]
    found, numbers = [np.empty(0, np.int64)], np.zeros(len(scores), np.int64)
    for row, line in _lines(scores, allowed, np.flatnonzero(values[:, -1] == following)):
        tied = np.flatnonzero(line == following[row])
        beyond = tied[np.count_nonzero(values[row] == following[row]) :]  # the first are listed
        own = wanted.indices[wanted.indptr[row] : wanted.indptr[row + 1]]
        own = own[(line[own] == following[row]) & (own >= beyond[0])]
        found.append(np.union1d(own, beyond[: k + len(own)]))
        numbers[row] = len(found[-1])
    indices = np.concatenate(found)
    return columns, values, csr_array((np.ones(len(indices), bool), indices, np.r_[0, np.cumsum(numbers)]), scores.shape)


def _lines(scores: Scores, allowed: Allowed, rows: Indices) -> Iterator[tuple[int, Floats]]:
    """Each of the rows, and its scores [M], -inf for what may not be listed."""
    step = max(1, TIED_SCORES // scores.shape[1])
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        block = scores[some]
        block = block.to_array() if isinstance(block, Product) else block
        allowed[some].restrict(block)
        yield from zip(some, block, strict=True)


def entries(lists: Indices, matrix: csr_array) -> Indices:
    """int64 [B, K]: index in `matrix.data` [B, M] of the entry of each item in `lists` (int64 [B, K], -1 for none), else -1."""
    n_rows, n_items = matrix.shape
    step = max(1, min(n_rows, TABLE_SIZE // n_items))
    place_of_row = n_items * np.arange(step)
    table = np.full(step * n_items + 1, -1)  # the last place, -1, is that of no item
    found = np.empty(lists.shape, np.int64)
    for start in range(0, n_rows, step):
        rows, bounds = lists[start : start + step], matrix.indptr[start : start + step + 1]
        own = place_of_row[: len(rows)]
        stored = np.repeat(own, np.diff(bounds)) + matrix.indices[bounds[0] : bounds[-1]]
        table[stored] = np.arange(bounds[0], bounds[-1])
        found[start : start + step] = table[np.where(rows >= 0, own[:, None] + rows, -1)]
        table[stored] = -1
    return found


def hits(lists: Indices, relevant: csr_array) -> Hits:
    """bool [B, K]: whether the item at each rank of `lists` (int64 [B, K], -1 for none) is stored in `relevant` [B, M]."""
    return entries(lists, relevant) >= 0


def ndcg(hits: Hits, n_relevant: Indices, k: int) -> NDArray[np.float64]:
    """Binary NDCG, float64 [B]: discounted gain of each list of `hits` [B, at most k] over that of a perfect list of length k.

    Args:
        n_relevant: int64 [B], number of relevant items of each user, at least 1.

    >>> ndcg(np.array([[True, False, True]]), np.array([2]), 3).round(4)
    array([0.9197])
    """
    gain = np.cumsum(hits * discounts(hits.shape[1]), axis=1)[:, -1]
    return np.asarray(gain / ideal_gain(np.minimum(k, n_relevant)))


def discounts(n: int) -> NDArray[np.float64]:
    """1 / log2(rank + 1) of the first `n` ranks, float64 [n]."""
    return np.asarray(1 / np.log2(np.arange(2, n + 2)))


def ideal_gain(n_hits: Indices) -> NDArray[np.float64]:
    """Discounted gain, float64 [B], of lists that begin with `n_hits` [B] hits, at least one, and have no others."""
    return np.asarray(np.cumsum(discounts(int(n_hits.max(initial=1))))[n_hits - 1])
