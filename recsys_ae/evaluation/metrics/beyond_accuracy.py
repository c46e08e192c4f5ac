"""How popular and how surprising lists are: functions of `RankedLists` with one value per user, float64 [U].

In the examples, four items have 8, 4, 2 and 1 users; the user with the list has the last item in the history.
"""

import numpy as np
from scipy.sparse import csr_array

from recsys_ae.evaluation.metrics.catalogue import Catalogue, Values
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.ids import Rows
from recsys_ae.ranking import row_of_entry


def example(*items: int, relevant: int = 0) -> RankedLists:
    """One list of one user with one relevant item, for the examples below."""
    seen, truth = (csr_array((np.ones(1, np.float32), [item], [0, 1]), (1, 4)) for item in (3, relevant))
    return RankedLists.of(np.array([items]), truth, len(items), seen=seen, catalogue=Catalogue(8 >> np.arange(4)))


def popularity(lists: RankedLists) -> Rows:
    """int64 [U, P]: number of users of the item at each rank, 0 in empty places; `ConfigError` if the history is unknown."""
    return np.where(lists.listed, lists.catalogue.users_of_items[lists.items], 0)


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


def popularity_lift(lists: RankedLists) -> Values:
    """Mean popularity of the listed items over that of the items in the user's history, minus 1 (Abdollahpouri et al. 2020).

    The paper takes both means over the users of a group; here each user is a group of one, so the value of several users is the
    mean of their ratios, not the ratio of their means. NaN for a user without a list or a history.

    >>> popularity_lift(example(1, 2))  # 3 users on average, against 1
    array([2.])
    """
    counts, seen = lists.catalogue.users_of_items, lists.history
    total = np.diff(np.r_[0, np.cumsum(counts[seen.indices])][seen.indptr])
    own = total / np.maximum(np.diff(seen.indptr), 1)
    defined = lists.listed.any(axis=1) & (own > 0)
    return np.where(defined, average_popularity(lists) / np.where(own > 0, own, 1) - 1, np.nan)


def serendipity(lists: RankedLists) -> Values:
    """Hits that popularity would not have found, over K: useful and unexpected (Ge et al. 2010).

    The expected items are a user's K most popular unseen ones: fewer than K unseen items have more users than each of them.

    >>> serendipity(example(1, 2, relevant=1)), serendipity(example(1, 2, relevant=2))
    (array([0.]), array([0.5]))
    """
    user, place = np.nonzero(lists.hits)
    hits = lists.items[user, place]
    more = lists.catalogue.more_popular[hits]
    if lists.excludes_seen:
        more = more - _seen_with_more_users(lists, user, hits)
    return np.bincount(user[more >= lists.k], minlength=len(lists.items)) / lists.k


def _seen_with_more_users(lists: RankedLists, user: Rows, items: Rows) -> Rows:
    """int64 [n]: how many items in the history of each user [n] have more users than the item [n]."""
    counts, seen = lists.catalogue.users_of_items, lists.history
    step = int(counts.max(initial=0)) + 1
    keys = np.sort(row_of_entry(seen) * step + counts[seen.indices])
    return seen.indptr[user + 1] - np.searchsorted(keys, user * step + counts[items], side="right")
