"""Top-k lists from blocks of scores, shared by training, recommendation and evaluation: B users, M items, list length K."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Hits = NDArray[np.bool_]


def exclude(scores: Floats, seen: csr_array) -> None:
    """Set the scores [B, M] of the entries stored in `seen` [B, M] to -inf, in place."""
    scores[_row_of_entry(seen), seen.indices] = -np.inf


def top_k(scores: Floats, k: int) -> tuple[Indices, Floats]:
    """Columns and values of the `k` highest scores of each row of float32 [B, M], which holds no NaN; ties by column.

    Scores of -inf are left out.

    Returns:
        int64 [B, k] padded with -1, float32 [B, k] padded with NaN.
    """
    n_rows, n_columns = scores.shape
    width = min(k, n_columns)
    columns = _largest(scores, width)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.lexsort((columns, -values), axis=1)
    columns, values = np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
    left_out = np.isneginf(values)
    columns[left_out], values[left_out] = -1, np.nan
    padded_columns, padded_values = np.full((n_rows, k), -1), np.full((n_rows, k), np.nan, np.float32)
    padded_columns[:, :width], padded_values[:, :width] = columns, values
    return padded_columns, padded_values


def entries(lists: Indices, matrix: csr_array) -> Indices:
    """int64 [B, K]: index in `matrix.data` [B, M] of the entry of each item in `lists` (int64 [B, K], -1 for none), else -1."""
    n_rows, n_items = matrix.shape
    if not matrix.nnz:
        return np.full(lists.shape, -1)
    keys = _row_of_entry(matrix) * n_items + matrix.indices
    asked = np.where(lists >= 0, np.arange(n_rows)[:, None] * n_items + lists, -1)
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, place, -1)


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


def _row_of_entry(matrix: csr_array) -> Indices:
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _largest(scores: Floats, width: int) -> Indices:
    """Columns of the `width` largest entries of each row, in no order; the leftmost of those that tie at the cut."""
    n_rows, n_columns = scores.shape
    if width == n_columns:
        return np.tile(np.arange(n_columns), (n_rows, 1))
    partition = np.argpartition(scores, (n_columns - width - 1, n_columns - width), axis=1)
    chosen = partition[:, n_columns - width :]
    threshold = np.take_along_axis(scores, partition[:, [n_columns - width]], axis=1)
    below = np.take_along_axis(scores, partition[:, [n_columns - width - 1]], axis=1)
    for row in np.flatnonzero((threshold == below)[:, 0]):  # the partition chose arbitrarily among ties
        above = np.flatnonzero(scores[row] > threshold[row])
        equal = np.flatnonzero(scores[row] == threshold[row])
        chosen[row] = np.r_[above, equal[: width - len(above)]]
    return chosen
