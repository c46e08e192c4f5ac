"""What lists recommend, whether or not it is relevant: functions of `RankedLists` with one value per user, float64 [U].

In the examples, items have 8, 4, 2, ... users.
"""

import numpy as np
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.lists import Catalogue, RankedLists, Rows, Values


def example(*items: int) -> RankedLists:
    """One list of one user, for the examples below."""
    truth = csr_array((np.ones(1, np.float32), [0], [0, 1]), (1, 4))
    return RankedLists.of(np.array([items]), truth, len(items), catalogue=Catalogue(8 >> np.arange(4)))


def popularity(lists: RankedLists) -> Rows:
    """int64 [U, P]: number of users of the item at each rank, 0 in empty places; `ConfigError` if the history is unknown."""
    if not len(lists.catalogue.item_counts):
        raise ConfigError("popularity metrics need the history, from which the popularity of items is counted")
    return np.where(lists.listed, lists.catalogue.item_counts[lists.items], 0)


def novelty(lists: RankedLists) -> Values:
    """Mean of -log2 of the popularity share of the listed items: their self-information in bits (Zhou et al. 2010).

    An item's share is its part of all pairs in the history. An item without users counts as one with one user.

    >>> novelty(example(0, 1)).round(4)  # shares of 8/15 and 4/15
    array([1.4069])
    """
    counts = np.maximum(popularity(lists), 1)
    return lists.mean_over_items(np.log2(max(lists.catalogue.item_counts.sum(), 1)) - np.log2(counts))


def average_popularity(lists: RankedLists) -> Values:
    """Mean number of users of the listed items.

    >>> average_popularity(example(0, 1))
    array([6.])
    """
    return lists.mean_over_items(popularity(lists))
