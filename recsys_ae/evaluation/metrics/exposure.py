"""How often items are listed, over the lists of all users: functions of `Exposure` with one value in all.

The catalogue of these metrics is the items with users in the history and those that are listed, so that values do not depend
on ids that nothing else is known of. In the examples, two of four items are listed, 3 times and once.
"""

from dataclasses import dataclass

import numpy as np

from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics.catalogue import Rows
from recsys_ae.evaluation.metrics.lists import RankedLists


@dataclass(frozen=True, eq=False, repr=False)
class Exposure:
    """How often each of M items is in a list of length K.

    Attributes:
        times: int64 [M].
        item_counts: int64 [M], number of users with each item in the history; empty if the history is unknown.
    """

    times: Rows
    item_counts: Rows

    @classmethod
    def of(cls, lists: RankedLists) -> "Exposure":
        """In these lists."""
        return cls(np.bincount(lists.items[lists.listed], minlength=lists.truth.shape[1]), lists.catalogue.item_counts)

    def __add__(self, other: "Exposure") -> "Exposure":
        """In these and other lists of the same items."""
        return Exposure(self.times + other.times, self.item_counts)

    @property
    def of_catalogue(self) -> Rows:
        """The `times` of the items of the catalogue, in increasing order; `ConfigError` if the history is unknown."""
        if not len(self.item_counts):
            raise ConfigError("metrics of the catalogue need the history, which says what the items are; give the history")
        return np.sort(self.times[(self.item_counts > 0) | (self.times > 0)])


def example() -> Exposure:
    """Of the examples below."""
    return Exposure(np.array([3, 1, 0, 0]), np.array([8, 4, 2, 1]))


def coverage(exposure: Exposure) -> float:
    """Share of the items of the catalogue that are in any list (Herlocker et al. 2004; Ge et al. 2010).

    >>> coverage(example())
    0.5
    """
    return float((exposure.of_catalogue > 0).mean())


def gini(exposure: Exposure) -> float:
    """Gini coefficient of the times that items are listed: 0 if all are listed equally often, near 1 if one takes every place.

    Half the mean absolute difference of two items, over the mean. 0 if nothing is listed.

    >>> gini(example())
    0.625
    """
    return gini_coefficient(exposure.of_catalogue)


def gini_coefficient(counts: Rows) -> float:
    """The Gini coefficient of counts [n]; 0 if all of them are.

    >>> gini_coefficient(np.array([1, 1, 1, 1])), gini_coefficient(np.array([0, 0, 4, 0]))
    (0.0, 0.75)
    """
    ordered, n, total = np.sort(counts), len(counts), int(counts.sum())
    weighted = int(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum())  # in integers, so that no order rounds
    return weighted / (n * total) if total else 0.0


def entropy(exposure: Exposure) -> float:
    """Shannon entropy of the item at a place of a list, in bits: log2 of the number of items that as many bits can tell apart.

    >>> round(entropy(example()), 4)
    0.8113
    """
    times = exposure.of_catalogue
    shares = times[times > 0] / max(int(times.sum()), 1)
    return float(-(shares * np.log2(shares)).sum() + 0.0)
