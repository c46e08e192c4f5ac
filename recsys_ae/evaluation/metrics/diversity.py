"""How diverse lists are, and how well they match tastes: functions of `RankedLists`, one value per user, float64 [U].

Intra-list diversity is the mean of 1 - cosine over all pairs of listed items (Smyth and McClave 2001; Ziegler et al. 2005): 0
if all are alike, 1 if they have nothing in common, up to 2 where vectors can be opposed. It is computed from sums of unit
vectors [U, D], without similarities of pairs. NaN for a user with fewer than two listed items. A zero vector, such as that of
an item without known features, has nothing in common with others.

In the examples, items 0 and 1 have the kind a, item 2 has the kind b, and the user's history consists of items 0 and 2.
"""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_ae.evaluation.metrics.catalogue import Catalogue, Directions, Values
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.features import FeatureTable
from recsys_ae.ids import IdMap
from recsys_ae.ranking import row_of_entry

SMOOTHING = 0.01  # alpha of Steck 2018: the share of the history's categories that is mixed into the list's
PLACES = 20_000_000  # entries of sums of audiences in memory at a time


def example(*items: int) -> RankedLists:
    """One list of one user, for the examples below."""
    kinds = pd.DataFrame({"id": range(3), "kind": ["a", "a", "b"]})
    features = FeatureTable.from_frame(kinds, {"kind": "category"}, ids=IdMap(range(3)))
    history = csr_array(np.array([[1, 0, 1], [1, 1, 0], [1, 1, 0]], np.float32))  # of this user and two others
    counts, vectors = np.array([3, 2, 1]), np.array([[1.0, 0], [1, 1], [0, 2]])
    catalogue = Catalogue(counts, features, history, vectors)
    return RankedLists.of(np.array([items]), history[:1], len(items), seen=history[:1], catalogue=catalogue)


def feature_diversity(lists: RankedLists) -> Values:
    """Intra-list diversity by the encoded features of items, without the columns of missing values.

    >>> feature_diversity(example(0, 1, 2)).round(4)  # cosines 1, 0 and 0
    array([0.6667])
    """
    return _diversity(lists.indicator, lists.catalogue.feature_directions)


def vector_diversity(lists: RankedLists) -> Values:
    """Intra-list diversity by vectors given to `evaluate`, such as `item_vectors` of a model or embeddings of texts.

    >>> vector_diversity(example(0, 1, 2)).round(4)  # cosines 0.7071, 0 and 0.7071
    array([0.5286])
    """
    return _diversity(lists.indicator, lists.catalogue.vector_directions)


def audience_diversity(lists: RankedLists) -> Values:
    """Intra-list diversity by audiences: the cosine of two items is the number of users who have both in the history, over the
    geometric mean of the numbers of users of each. Needs no features.

    >>> audience_diversity(example(0, 1, 2)).round(4)  # cosines 2 / sqrt(6), 1 / sqrt(3) and 0
    array([0.5354])
    """
    sizes = np.cumsum(np.where(lists.listed, lists.catalogue.users_of_items[lists.items], 0).sum(axis=1))
    cuts = np.unique(np.searchsorted(sizes, np.arange(PLACES, sizes[-1], PLACES)))
    parts = [lists.indicator[rows] for rows in np.split(np.arange(len(lists.items)), cuts)]
    return np.concatenate([_diversity(part, lists.catalogue.audiences) for part in parts])


def _diversity(lists: csr_array, directions: Directions) -> Values:
    """Intra-list diversity of lists [U, M] of ones, from |sum of unit vectors|^2 = sum of squares + sum of cosines."""
    total, n = lists @ directions.units, np.diff(lists.indptr)
    if isinstance(total, csr_array):
        # Multiples of 2^-52 n^2, whose sum is at most n^2, are added without rounding, so their order does not matter.
        unit = np.repeat(2.0 ** (np.ceil(2 * np.log2(np.maximum(n, 1))) - 52), np.diff(total.indptr))
        lengths = _row_sums(total, np.rint(total.data**2 / unit) * unit)
    else:
        lengths = np.cumsum(total**2, axis=1)[:, -1]
    cosines = (lengths - lists @ directions.squares) / np.maximum(n * (n - 1), 1)
    return np.where(n > 1, 1 - cosines, np.nan)


def miscalibration(lists: RankedLists) -> Values:
    """Kullback-Leibler divergence, in nats, of the categories of the listed items from those of the history (Steck 2018).

    Categories are the labels of all features of the kinds category and multi-label. An item with several labels counts in equal
    parts for each. With the shares p in the history and q in the list, the sum of p log(p / (0.99 q + 0.01 p)). NaN for a user
    without a category in the list or in the history. Items have no weights: the paper's example halves that of older ones.

    >>> miscalibration(example(0, 1)).round(4)  # 0.5 log(0.5 / 0.995) + 0.5 log(0.5 / 0.005)
    array([1.9585])
    >>> miscalibration(example(0, 2))
    array([0.])
    """
    categories = lists.catalogue.categories
    wanted, found = _shares(lists.history @ categories), _shares(lists.indicator @ categories)
    mixed = (1 - SMOOTHING) * found + SMOOTHING * wanted
    mixed.data = 1 / mixed.data
    ratios = wanted.multiply(mixed).tocsr()  # p / mixture, where p > 0
    for matrix in (wanted, ratios):
        matrix.sort_indices()
    divergence = _row_sums(wanted, wanted.data * np.log(ratios.data))
    defined = (np.diff(wanted.indptr) > 0) & (np.diff(found.indptr) > 0)
    return np.where(defined, np.maximum(divergence, 0), np.nan)  # rounding may give -1e-17


def _shares(sums: csr_array) -> csr_array:
    """Rows divided by their sums; empty rows stay empty."""
    totals = _row_sums(sums, sums.data)
    return csr_array((sums.data / np.repeat(totals, np.diff(sums.indptr)), sums.indices, sums.indptr), shape=sums.shape)


def _row_sums(matrix: csr_array, values: Values) -> Values:
    """float64 [U]: sums of `values` of the stored entries of each row, added in order."""
    return np.asarray(np.bincount(row_of_entry(matrix), values, matrix.shape[0]), np.float64)
