"""What a ranking metric sees: lists of a block of users, and what was known when they were made."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae import ranking
from recsys_ae.features import FeatureTable

Rows = NDArray[np.int64]
Values = NDArray[np.float64]
Places = NDArray[np.bool_] | Rows | Values


@dataclass(frozen=True, eq=False, repr=False)
class Catalogue:
    """What is known of all M items.

    Attributes:
        item_counts: int64 [M], number of users with each item in the history; empty if the history is unknown.
        features: features of the items [M], or None.
    """

    item_counts: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    features: FeatureTable | None = None


@dataclass(frozen=True, eq=False, repr=False)
class RankedLists:
    """Lists of U users over M items, with everything that a metric may need.

    A metric adds numbers in the order of the places (`total`), so that its values do not depend on the block of users, on the
    empty places stored or on the number of threads.

    Attributes:
        k: the requested list length K; only the first P <= min(K, M) places are stored, and all others are empty.
        items: int64 [U, P], item row at each rank, -1 in empty places.
        scores: float32 [U, P], NaN in empty places or where scores are unknown.
        entries: int64 [U, P], index in `truth.data` of the hit at each rank, -1 where there is none.
        truth: float32 csr_array [U, M], ratings of the relevant items of each user, at least one.
        seen: csr_array [U, M], the history of each user; None if unknown.
        tied: bool csr_array [U, M], items beyond the places that tie with the last: all relevant ones, and as many others as
            there are places, if there are so many; None if unknown.
        longest: the lists of which these are the top, None if they are no part of longer ones.
    """

    k: int
    items: Rows
    scores: NDArray[np.float32]
    entries: Rows
    truth: csr_array
    seen: csr_array | None
    catalogue: Catalogue
    tied: csr_array | None = None
    longest: "RankedLists | None" = None
    _totals: dict[Callable[["RankedLists"], Places], Values] = field(default_factory=dict, init=False)

    @classmethod
    def of(
        cls,
        items: Rows,
        truth: csr_array,
        k: int,
        *,
        scores: NDArray[np.float32] | None = None,
        seen: csr_array | None = None,
        catalogue: Catalogue | None = None,
        tied: csr_array | None = None,
    ) -> "RankedLists":
        """Lists [U, P] of items, with the hits found in `truth`."""
        scores = np.full(items.shape, np.nan, np.float32) if scores is None else scores
        return cls(k, items, scores, ranking.entries(items, truth), truth, seen, catalogue or Catalogue(), tied)

    def top(self, k: int) -> "RankedLists":
        """The first `k` places of the lists."""
        first = {name: getattr(self, name)[:, :k] for name in ("items", "scores", "entries")}
        return replace(self, k=k, tied=None, longest=self.longest or self, **first)

    def total(self, values: Callable[["RankedLists"], Places]) -> Values:
        """Sum over the places of `values`, a function of lists, float64 [U].

        The values [U, P] of a place must not depend on later places: they are computed once, for the longest lists.
        """
        longest = self.longest or self
        if values not in longest._totals:
            longest._totals[values] = np.cumsum(values(longest), axis=1, dtype=np.float64)
        return longest._totals[values][:, self.items.shape[1] - 1]

    @cached_property
    def n_hits(self) -> Values:
        """float64 [U], number of hits."""
        return self.total(_hits)

    @cached_property
    def hits(self) -> NDArray[np.bool_]:
        """bool [U, P], whether the item at each rank is relevant."""
        return self.entries >= 0

    @cached_property
    def relevant(self) -> Rows:
        """int64 [U], number of relevant items of each user."""
        return np.diff(self.truth.indptr).astype(np.int64)

    @cached_property
    def listed(self) -> NDArray[np.bool_]:
        """bool [U, P], which places hold an item."""
        return self.items >= 0

    def mean_over_items(self, values: Values | Rows) -> Values:
        """Mean of values [U, P] over the places that hold an item; 0 for an empty list."""
        sums = np.cumsum(values * self.listed, axis=1, dtype=np.float64)[:, -1]
        return np.asarray(sums / np.maximum(self.listed.sum(axis=1), 1))


def _hits(lists: RankedLists) -> Places:
    return lists.hits
