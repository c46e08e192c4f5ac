"""Accuracy of lists: functions of `RankedLists` with one value per user, float64 [U]. docs/metrics.md has the formulas.

Empty places of a list shorter than K are misses.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae import ranking
from recsys_ae.evaluation.metrics.catalogue import Catalogue, Values
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.ids import Rows
from recsys_ae.interactions import ones

PERSISTENCE = 0.8  # of a user of `rbp`, who looks at the next place with this probability: at 5 places on average


def example(*hits: bool, relevant: int) -> RankedLists:
    """One list of one user, for the examples below; every item has a user."""
    wanted = [*np.flatnonzero(hits), *range(len(hits), len(hits) + relevant - sum(hits))]
    truth = csr_array((np.ones(relevant, np.float32), wanted, [0, relevant]), (1, len(hits) + relevant - sum(hits)))
    catalogue = Catalogue(np.ones(truth.shape[1], np.int64))
    return RankedLists.of(np.arange(len(hits))[None], truth, len(hits), catalogue=catalogue)


def rated(*ratings: float, k: int) -> RankedLists:
    """One list of one user, for the examples below: the first `k` of some relevant items with these ratings."""
    truth = csr_array((np.array(ratings, np.float32), range(len(ratings)), [0, len(ratings)]), (1, len(ratings)))
    return RankedLists.of(np.arange(k)[None], truth, k)


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
    """Sum of the precisions at the hits, over min(K, relevant); its mean over users is MAP.

    >>> average_precision(example(True, False, True, relevant=5)).round(4)
    array([0.5556])
    """
    return lists.total(precisions_at_hits) / np.minimum(lists.k, lists.relevant)


def uncapped_average_precision(lists: RankedLists) -> Values:
    """Sum of the precisions at the hits, over all relevant items, as trec_eval's map_cut (Buckley and Voorhees 2005).

    >>> uncapped_average_precision(example(True, False, True, relevant=5)).round(4)
    array([0.3333])
    """
    return lists.total(precisions_at_hits) / lists.relevant


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


def r_precision(lists: RankedLists) -> Values:
    """Hits among the first R places, over R, the number of relevant items; the list ends at K (Buckley and Voorhees 2005).

    >>> r_precision(example(True, False, True, relevant=2))
    array([0.5])
    """
    first = np.arange(lists.hits.shape[1]) < lists.relevant[:, None]
    return (lists.hits & first).sum(axis=1) / lists.relevant


def rbp(lists: RankedLists) -> Values:
    """Rank-biased precision: (1 - p) times the sum of p^(rank - 1) over the hits, p = 0.8 (Moffat and Zobel 2008, equation 1).

    The part of a perfect list beyond K, p^K, is missing: at K = 10, no value is above 0.893.

    >>> rbp(example(True, False, True, relevant=2)).round(4)
    array([0.328])
    """
    return (1 - PERSISTENCE) * lists.total(hits_by_persistence)


def hits_by_persistence(lists: RankedLists) -> Values:
    """The probability of looking at each hit, else 0."""
    return lists.hits * PERSISTENCE ** np.arange(lists.hits.shape[1])


def auc(lists: RankedLists) -> Values:
    """Share of the pairs of a relevant and an irrelevant candidate that are in the right order: the area under the ROC curve.

    Candidates beyond rank K count as in random order, so half of their pairs are right (the limited AUC of Schroeder et al.
    2011); the value is exact if the list holds all candidates. Candidates are the items with users in the history, the relevant
    and the listed ones, without those that lists exclude as seen; or, in sampled evaluation, the user's candidates. NaN for a
    user without irrelevant candidates.

    >>> auc(example(True, False, True, False, relevant=2))
    array([0.75])
    >>> auc(example(True, False, True, False, relevant=2).top(1))  # 2 pairs, and half of the other 2
    array([0.75])
    """
    irrelevant, misses = _irrelevant(lists), lists.listed & ~lists.hits
    below = irrelevant[:, None] - np.cumsum(misses, axis=1)
    beyond = (lists.relevant - lists.hits.sum(axis=1)) * (irrelevant - misses.sum(axis=1))
    right, pairs = (below * lists.hits).sum(axis=1) + beyond / 2, lists.relevant * irrelevant
    return np.where(pairs > 0, right / np.maximum(pairs, 1), np.nan)


def _irrelevant(lists: RankedLists) -> Rows:
    """int64 [U]: number of irrelevant candidates, see `auc`."""
    if lists.candidates is not None:
        excluded = lists.seen if lists.excludes_seen else None
        others = 0 if excluded is None else np.diff(ones(lists.candidates).multiply(ones(excluded)).tocsr().indptr)
        return np.asarray(np.diff(lists.candidates.indptr) - others - lists.relevant, np.int64)
    known = lists.catalogue.users_of_items > 0
    outside = lists.listed & ~lists.hits & ~known[lists.items]
    number = known.sum() - _count(known, lists.truth)
    if lists.excludes_seen and lists.seen is not None:
        number -= _count(known, lists.seen)
        outside |= lists.listed & (ranking.entries(lists.items, lists.seen) >= 0)  # a given list may hold what it should not
    return np.asarray(number + outside.sum(axis=1), np.int64)


def _count(wanted: NDArray[np.bool_], matrix: csr_array) -> Rows:
    """int64 [U]: number of stored entries of each row whose column is `wanted`, bool [M]."""
    return np.diff(np.r_[0, np.cumsum(wanted[matrix.indices])][matrix.indptr])


def graded_ndcg(lists: RankedLists) -> Values:
    """NDCG whose gain is the rating of a relevant item (Jarvelin and Kekalainen 2002), as in trec_eval and scikit-learn.

    The ideal list has the K highest ratings in order. Ratings below 0 gain nothing; 0 if no relevant item has a gain.

    >>> graded_ndcg(rated(3, 5, 4, k=2)).round(4)  # (3 + 5 / log2 3) / (5 + 4 / log2 3)
    array([0.818])
    """
    return gain_ndcg(lists, np.maximum(lists.truth.data.astype(np.float64), 0))


def exponential_ndcg(lists: RankedLists) -> Values:
    """NDCG whose gain is 2^rating - 1 (Burges et al. 2005), so that the highest ratings decide; else as `graded_ndcg`.

    >>> exponential_ndcg(rated(3, 5, 4, k=2)).round(4)  # (7 + 31 / log2 3) / (31 + 15 / log2 3)
    array([0.6564])
    """
    ratings = np.maximum(lists.truth.data.astype(np.float64), 0)
    highest = np.repeat(np.maximum.reduceat(ratings, lists.truth.indptr[:-1]), lists.relevant) if len(ratings) else ratings
    return gain_ndcg(lists, np.exp2(ratings - highest) - np.exp2(-highest))  # over 2^highest, since 2^rating may overflow


def gain_ndcg(lists: RankedLists, gains: Values) -> Values:
    """Discounted gain over that of the best list of length K, 0 without any; `gains` of the entries of `lists.truth`, >= 0."""
    n_users, starts = len(lists.relevant), lists.truth.indptr[:-1]
    user = ranking.row_of_entry(lists.truth)
    best = gains[np.lexsort((-gains, user))]
    place = np.arange(len(gains)) - np.repeat(starts, lists.relevant)
    counting = place < lists.k
    discount = ranking.discounts(max(lists.items.shape[1], min(lists.k, int(lists.relevant.max(initial=0)))))
    ideal = np.bincount(user[counting], best[counting] * discount[place[counting]], n_users)
    found = sum_at_hits(lists, gains, discount)
    return np.where(ideal > 0, found / np.where(ideal > 0, ideal, 1), 0.0)


def sum_at_hits(lists: RankedLists, gains: Values, weights: Values) -> Values:
    """float64 [U]: the gains of the hits times the `weights` of their ranks, added in the order of the ranks."""
    places = np.append(gains, 0.0)[lists.entries] * weights[: lists.items.shape[1]]
    return np.asarray(np.cumsum(places, axis=1)[:, -1])


def sum_of_gains(lists: RankedLists, gains: Values) -> Values:
    """float64 [U]: the gains of all relevant items of each user, added in order."""
    return np.asarray(np.bincount(ranking.row_of_entry(lists.truth), gains, len(lists.relevant)), np.float64)
