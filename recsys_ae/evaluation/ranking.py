"""Ranking metrics, one value per user. docs/metrics.md has the formulas.

Arguments of each: `hits` bool [U, K], whether the item at each place of a user's list is relevant; `relevant` int [U],
how many relevant items the user has, at least 1. A list shorter than K has no hits in its empty places. All return
float64 [U] in [0, 1].
"""

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def precision(hits: Hits, relevant: Counts) -> Values:
    """Share of the K places that are hits.

    >>> precision(np.array([[True, False, True, False]]), np.array([3]))
    array([0.5])
    """
    return hits.sum(axis=1) / hits.shape[1]


def recall(hits: Hits, relevant: Counts) -> Values:
    """Share of all relevant items that are in the list.

    >>> recall(np.array([[True, False, True, False]]), np.array([5]))
    array([0.4])
    """
    return hits.sum(axis=1) / relevant


def capped_recall(hits: Hits, relevant: Counts) -> Values:
    """Hits over min(K, relevant): the recall of Liang et al. 2018, which a perfect list always brings to 1.

    >>> capped_recall(np.array([[True, False, True, False]]), np.array([5]))
    array([0.5])
    """
    return hits.sum(axis=1) / np.minimum(hits.shape[1], relevant)


def ndcg(hits: Hits, relevant: Counts) -> Values:
    """Binary discounted cumulative gain over that of a perfect list of the same length (truncated ideal).

    >>> ndcg(np.array([[True, False, True]]), np.array([2])).round(4)
    array([0.9197])
    """
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(hits.shape[1], relevant) - 1]
    return np.asarray(hits @ discount / ideal)


def average_precision(hits: Hits, relevant: Counts) -> Values:
    """Mean of the precisions at the hits, over min(K, relevant); its mean over users is MAP.

    >>> average_precision(np.array([[True, False, True]]), np.array([2])).round(4)
    array([0.8333])
    """
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precisions * hits).sum(axis=1) / np.minimum(hits.shape[1], relevant))


def reciprocal_rank(hits: Hits, relevant: Counts) -> Values:
    """1 / rank of the first hit, 0 without one; its mean over users is MRR.

    >>> reciprocal_rank(np.array([[False, False, True]]), np.array([1])).round(4)
    array([0.3333])
    """
    rank_of_first: Values = hits.argmax(axis=1) + 1.0
    return hits.any(axis=1) / rank_of_first


def hit_rate(hits: Hits, relevant: Counts) -> Values:
    """1 if there is any hit, else 0.

    >>> hit_rate(np.array([[False, False, True]]), np.array([1]))
    array([1.])
    """
    return np.asarray(hits.any(axis=1), np.float64)
