"""Top-k lists from blocks of scores, shared by training, recommendation and evaluation: B users, M items, list length K."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Hits = NDArray[np.bool_]

GROUP = 64  # columns of which the maximum is taken
TABLE_SIZE = 2**18  # entries of several rows are looked up in a table that fits the cache


def exclude(scores: Floats, seen: csr_array) -> None:
    """Set the scores [B, M] of the entries stored in `seen` [B, M] to -inf, in place."""
    scores[row_of_entry(seen), seen.indices] = -np.inf


def keep(scores: Floats, candidates: csr_array) -> None:
    """Set all scores [B, M] but those of the entries stored in `candidates` [B, M] to -inf, in place."""
    at = row_of_entry(candidates), candidates.indices
    kept = scores[at]
    scores[:] = -np.inf
    scores[at] = kept


def row_of_entry(matrix: csr_array) -> Indices:
    """The row of each entry, int64 [nnz]."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def top_k(scores: Floats, k: int) -> tuple[Indices, Floats]:
    """Columns and values of the `k` highest scores of each row of float32 [B, M], which holds no NaN; ties by column.

    Scores of -inf are left out.

    Returns:
        int64 [B, k] padded with -1, float32 [B, k] padded with NaN.
    """
    n_rows, n_columns = scores.shape
    chosen = _highest(scores, min(k, n_columns))
    flat = np.flatnonzero(chosen)
    bounds = np.searchsorted(flat, n_columns * np.arange(n_rows + 1))
    rows, places = np.repeat(np.arange(n_rows), np.diff(bounds)), np.arange(len(flat)) - np.repeat(bounds[:-1], np.diff(bounds))
    width = max(k, int(np.diff(bounds).max(initial=0)))
    columns, values = np.full((n_rows, width), -1), np.full((n_rows, width), -np.inf, np.float32)
    columns[rows, places], values[rows, places] = flat - n_columns * rows, scores.ravel()[flat]
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    columns, values = np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
    values[columns < 0] = np.nan
    return columns, values


def top_k_and_ties(scores: Floats, k: int, wanted: csr_array) -> tuple[Indices, Floats, csr_array]:
    """`top_k`, and which entries are not listed only because the list ends within a group of equal scores.

    Args:
        wanted: csr_array [B, M], entries that are more important than others.

    Returns:
        int64 [B, k], float32 [B, k], and the ties with the last place beyond the list, bool csr_array [B, M]: all `wanted` ones
        and, as far as there are any, at least k others.
    """
    columns, values = top_k(scores, k + 1)
    columns, values, following = columns[:, :k], values[:, :k], values[:, k]
    found, numbers = [np.empty(0, np.int64)], np.zeros(len(scores), np.int64)
    for row in np.flatnonzero(values[:, -1] == following):
        tied = np.flatnonzero(scores[row] == following[row])
        beyond = tied[np.count_nonzero(values[row] == following[row]) :]  # the first are listed
        own = wanted.indices[wanted.indptr[row] : wanted.indptr[row + 1]]
        own = own[(scores[row, own] == following[row]) & (own >= beyond[0])]
        found.append(np.union1d(own, beyond[: k + len(own)]))
        numbers[row] = len(found[-1])
    indices = np.concatenate(found)
    return columns, values, csr_array((np.ones(len(indices), bool), indices, np.r_[0, np.cumsum(numbers)]), scores.shape)


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


def _highest(scores: Floats, k: int) -> Hits:
    """bool [B, M]: which scores may be among the `k` highest of their row; all that are, and up to 3 k others.

    The k-th highest of the maxima of some groups of columns is at most the k-th highest score, and close to it if there are
    many more groups than k. So one partition of a few numbers replaces that of all of them.
    """
    n_rows, n_columns = scores.shape
    size = max(1, min(GROUP, n_columns // (4 * k)))
    n_groups = n_columns // size
    maxima = scores[:, : size * n_groups].reshape(n_rows, size, n_groups).max(axis=1)
    bounds = np.partition(maxima, n_groups - k, axis=1)[:, [n_groups - k]]
    chosen = scores >= np.maximum(bounds, np.finfo(np.float32).min)  # not -inf
    if np.count_nonzero(chosen) > k * n_rows:
        for row in np.flatnonzero(chosen.sum(axis=1) > 4 * k):  # mostly equal scores
            threshold, own = bounds[row, 0], scores[row]
            if (n_above := np.count_nonzero(own > threshold)) >= k:
                threshold = np.partition(own[own > threshold], n_above - k)[n_above - k]
            chosen[row] = own > threshold
            chosen[row, np.flatnonzero(own == threshold)[: k - np.count_nonzero(chosen[row])]] = True
    return chosen
