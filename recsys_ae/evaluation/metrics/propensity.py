"""Accuracy as if items had been observed equally often, by self-normalised inverse propensities (Yang et al. 2018).

Popular items are observed more often than the interest in them explains, so averages over the test part flatter models that
recommend them. Here a relevant item counts by 1 / p, and a user's weights sum to one (the estimator SNIPS). The propensity p
of an item with n users in the history is taken to be n^((GAMMA + 1) / 2) up to a factor, which cancels; an item without users
counts as one with one. The estimate is as good as this model of observation, and varies more than plain metrics.

Functions of `RankedLists` with one value per user, float64 [U]. In the examples, the two relevant items have 4 users and 1.
"""

import numpy as np
from scipy.sparse import csr_array

from recsys_ae.evaluation.metrics.accuracy import gain_ndcg, sum_at_hits, sum_of_gains
from recsys_ae.evaluation.metrics.catalogue import Catalogue, Values
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.ranking import discounts

GAMMA = 1.69  # exponent of popularity in observation; the middle one of 1.55, 1.69 and 1.89, which the authors evaluate with


def example(*items: int) -> RankedLists:
    """One list of one user, for the examples below."""
    truth = csr_array((np.ones(2, np.float32), [0, 1], [0, 2]), (1, 4))
    return RankedLists.of(np.array([items]), truth, len(items), catalogue=Catalogue(np.array([4, 1, 8, 8])))


def ipw_recall(lists: RankedLists) -> Values:
    """Sum of 1 / p over the hits, over that of all relevant items.

    >>> ipw_recall(example(0, 2)).round(4), ipw_recall(example(1, 2)).round(4)
    (array([0.1342]), array([0.8658]))
    """
    weights = _weights(lists)
    return sum_at_hits(lists, weights, np.ones(lists.items.shape[1])) / sum_of_gains(lists, weights)


def ipw_dcg(lists: RankedLists) -> Values:
    """Sum of 1 / p / log2(rank + 1) over the hits, over the sum of 1 / p of all relevant items.

    This is the estimator's DCG: not normalised by a perfect list, so that several relevant items cannot reach 1.

    >>> ipw_dcg(example(2, 1)).round(4)
    array([0.5463])
    """
    weights = _weights(lists)
    return sum_at_hits(lists, weights, discounts(lists.items.shape[1])) / sum_of_gains(lists, weights)


def ipw_ndcg(lists: RankedLists) -> Values:
    """NDCG with the gain 1 / p, hence with an ideal list that begins with the least popular relevant items.

    >>> ipw_ndcg(example(1, 0)), ipw_ndcg(example(0, 1)).round(4)
    (array([1.]), array([0.7159]))
    """
    return gain_ndcg(lists, _weights(lists))


def _weights(lists: RankedLists) -> Values:
    """1 / p of each entry of `lists.truth`."""
    users = np.maximum(lists.catalogue.users_of_items[lists.truth.indices], 1)
    return np.asarray(users, np.float64) ** (-(GAMMA + 1) / 2)
