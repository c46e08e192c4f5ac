"""Ranking metrics: functions of `RankedLists` with one value per user, float64 [U]. docs/metrics.md has the formulas.

Empty places of a list shorter than K are misses. In the examples, items have 8, 4, 2, ... users.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys_ae import ranking
from recsys_ae.errors import ConfigError

Values = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class RankedLists:
    """Lists of U users over M items, with everything that a metric may need.

    Attributes:
        k: the requested list length K; only the first P <= min(K, M) places are stored, and all others are empty.
        items: int64 [U, P], item row at each rank, -1 in empty places.
        scores: float32 [U, P], NaN in empty places or where scores are unknown.
        hits: bool [U, P], whether the item at each rank is relevant.
        relevant: int64 [U], number of relevant items of each user, at least 1.
        item_counts: int64 [M], number of users with each item in the history; empty if the history is unknown.
    """

    k: int
    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    relevant: NDArray[np.int64]
    item_counts: NDArray[np.int64]

    def top(self, k: int) -> "RankedLists":
        """The first `k` places of the lists."""
        return replace(self, k=k, items=self.items[:, :k], scores=self.scores[:, :k], hits=self.hits[:, :k])

    def popularity(self) -> NDArray[np.int64]:
        """int64 [U, P]: number of users of the item at each rank, 0 in empty places; `ConfigError` if unknown."""
        if not len(self.item_counts):
            raise ConfigError("popularity metrics need the history, from which the popularity of items is counted")
        return np.where(self.items >= 0, self.item_counts[self.items], 0)

    def mean_over_items(self, values: NDArray[np.float64] | NDArray[np.int64]) -> Values:
        """Mean of values [U, P] over the places that hold an item; 0 for an empty list."""
        listed = self.items >= 0
        return np.asarray((values * listed).sum(axis=1) / np.maximum(listed.sum(axis=1), 1), np.float64)


def example(*hits: bool, relevant: int) -> RankedLists:
    """One list of one user, for the examples below."""
    width = len(hits)
    items, scores = np.arange(width)[None], np.zeros((1, width), np.float32)
    return RankedLists(width, items, scores, np.array([hits]), np.array([relevant]), 8 >> np.arange(width))


def precision(lists: RankedLists) -> Values:
    """Share of the K places that are hits.

    >>> precision(example(True, False, True, False, relevant=3))
    array([0.5])
    """
    return lists.hits.sum(axis=1) / lists.k


def recall(lists: RankedLists) -> Values:
    """Share of all relevant items that are in the list.

    >>> recall(example(True, False, True, False, relevant=5))
    array([0.4])
    """
    return lists.hits.sum(axis=1) / lists.relevant


def capped_recall(lists: RankedLists) -> Values:
    """Hits over min(K, relevant): the recall of Liang et al. 2018, which is 1 for every perfect list.

    >>> capped_recall(example(True, False, True, False, relevant=5))
    array([0.5])
    """
    return lists.hits.sum(axis=1) / np.minimum(lists.k, lists.relevant)


def ndcg(lists: RankedLists) -> Values:
    """Binary discounted cumulative gain over that of a perfect list of the same length (truncated ideal)."""
    return ranking.ndcg(lists.hits, lists.relevant, lists.k)


def average_precision(lists: RankedLists) -> Values:
    """Mean of the precisions at the hits, over min(K, relevant); its mean over users is MAP.

    >>> average_precision(example(True, False, True, relevant=2)).round(4)
    array([0.8333])
    """
    precisions = np.cumsum(lists.hits, axis=1) / np.arange(1, lists.hits.shape[1] + 1)
    return np.asarray((precisions * lists.hits).sum(axis=1) / np.minimum(lists.k, lists.relevant))


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


def novelty(lists: RankedLists) -> Values:
    """Mean of -log2 of the popularity share of the listed items: their self-information in bits (Zhou et al. 2010).

    An item's share is its part of all pairs in the history. An item without users counts as one with one user.

    >>> novelty(example(True, False, relevant=1)).round(4)  # shares of 8/12 and 4/12
    array([1.085])
    """
    popularity = np.maximum(lists.popularity(), 1)
    return lists.mean_over_items(np.log2(max(lists.item_counts.sum(), 1)) - np.log2(popularity))


def average_popularity(lists: RankedLists) -> Values:
    """Mean number of users of the listed items.

    >>> average_popularity(example(True, False, relevant=1))
    array([6.])
    """
    return lists.mean_over_items(lists.popularity())
