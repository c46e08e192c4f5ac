"""Accuracy of lists: functions of `RankedLists` with one value per user, float64 [U]. docs/metrics.md has the formulas.

Empty places of a list shorter than K are misses.
"""

import numpy as np
from scipy.sparse import csr_array

from recsys_ae import ranking
from recsys_ae.evaluation.lists import RankedLists, Values


def example(*hits: bool, relevant: int) -> RankedLists:
    """One list of one user, for the examples below."""
    wanted = [*np.flatnonzero(hits), *range(len(hits), len(hits) + relevant - sum(hits))]
    truth = csr_array((np.ones(relevant, np.float32), wanted, [0, relevant]), (1, len(hits) + relevant))
    return RankedLists.of(np.arange(len(hits))[None], truth, len(hits))


def precision(lists: RankedLists) -> Values:
    """Share of the K places that are hits.

    >>> precision(example(True, False, True, False, relevant=3))
    array([0.5])
    """
    return lists.n_hits / lists.k


def recall(lists: RankedLists) -> Values:
    """Share of all relevant items that are in the list.

    >>> recall(example(True, False, True, False, relevant=5))
    array([0.4])
    """
    return lists.n_hits / lists.relevant


def capped_recall(lists: RankedLists) -> Values:
    """Hits over min(K, relevant): the recall of Liang et al. 2018, which is 1 for every perfect list.

    >>> capped_recall(example(True, False, True, False, relevant=5))
    array([0.5])
    """
    return lists.n_hits / np.minimum(lists.k, lists.relevant)


def ndcg(lists: RankedLists) -> Values:
    """Binary discounted cumulative gain over that of a perfect list of the same length (truncated ideal).

    >>> ndcg(example(True, False, True, relevant=2)).round(4)
    array([0.9197])
    """
    return lists.total(discounted_hits) / ranking.ideal_gain(np.minimum(lists.k, lists.relevant))


def discounted_hits(lists: RankedLists) -> Values:
    """1 / log2(rank + 1) at each hit, else 0."""
    return lists.hits * ranking.discounts(lists.hits.shape[1])


def average_precision(lists: RankedLists) -> Values:
    """Mean of the precisions at the hits, over min(K, relevant); its mean over users is MAP.

    >>> average_precision(example(True, False, True, relevant=2)).round(4)
    array([0.8333])
    """
    return lists.total(precisions_at_hits) / np.minimum(lists.k, lists.relevant)


def precisions_at_hits(lists: RankedLists) -> Values:
    """Precision of the list down to each hit, else 0."""
    ranks = np.arange(1, lists.hits.shape[1] + 1)
    return np.asarray(np.cumsum(lists.hits, axis=1) / ranks * lists.hits)


def reciprocal_rank(lists: RankedLists) -> Values:
    """1 / rank of the first hit, 0 without one; its mean over users is MRR.

    >>> reciprocal_rank(example(False, False, True, relevant=1)).round(4)
    array([0.3333])
    """
    rank_of_first: Values = lists.hits.argmax(axis=1) + 1.0
    return lists.hits.any(axis=1) / rank_of_first


def hit_rate(lists: RankedLists) -> Values:
    """1 if there is any hit, else 0."""
    return np.asarray(lists.hits.any(axis=1), np.float64)
