"""What a ranking metric sees: lists of a block of users, and what was known when they were made."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae import ranking
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics.catalogue import Catalogue, Rows, Values
from recsys_ae.interactions import ones

Places = NDArray[np.bool_] | Rows | Values


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
        excludes_seen: whether items in the history of a user cannot be in the user's list.
        candidates: bool csr_array [U, M], the only items that can be in the lists, relevant ones included; None if all can.
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
    excludes_seen: bool = True
    candidates: csr_array | None = None
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
        excludes_seen: bool = True,
        candidates: csr_array | None = None,
        tied: csr_array | None = None,
    ) -> "RankedLists":
        """Lists [U, P] of items, with the hits found in `truth`."""
        scores = np.full(items.shape, np.nan, np.float32) if scores is None else scores
        known = seen, catalogue or Catalogue(), excludes_seen, candidates, tied
        return cls(k, items, scores, ranking.entries(items, truth), truth, *known)

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

    @cached_property
    def indicator(self) -> csr_array:
        """float64 csr_array [U, M]: 1 for each item of a list, in the order of the list."""
        ends = np.r_[0, np.cumsum(self.listed.sum(axis=1))]
        return csr_array((np.ones(ends[-1]), self.items[self.listed], ends), (len(self.items), self.truth.shape[1]))

    @property
    def history(self) -> csr_array:
        """float32 csr_array [U, M]: 1 for each item in the history of each user; `ConfigError` if it is unknown."""
        if self.seen is None:
            raise ConfigError("what a list is compared with is the history, which is unknown; give the history (--history)")
        return ones(self.seen)

    def only(self, wanted: NDArray[np.bool_]) -> tuple["RankedLists", Rows]:
        """The same lists with only the items in `wanted`, bool [M], as relevant ones.

        Returns:
            The lists of the users who have such an item, and the places of these users, int64.
        """
        kept = wanted[self.truth.indices]
        number = np.r_[0, np.cumsum(kept)]  # of kept entries before each
        indptr = number[self.truth.indptr]
        rows = np.flatnonzero(np.diff(indptr))
        parts = self.truth.data[kept], self.truth.indices[kept], np.r_[0, indptr[rows + 1]]
        truth = csr_array(parts, (len(rows), len(wanted)))
        entries = self.entries[rows]
        entries = np.where((entries >= 0) & np.r_[kept, False][entries], number[entries], -1)
        own = {name: getattr(self, name) for name in ("items", "scores", "seen", "candidates", "tied")}
        own = {name: value if value is None else value[rows] for name, value in own.items()}
        return replace(self, entries=entries, truth=truth, longest=None, **own), rows

    def mean_over_items(self, values: Values | Rows) -> Values:
        """Mean of values [U, P] over the places that hold an item; 0 for an empty list."""
        sums = np.cumsum(values * self.listed, axis=1, dtype=np.float64)[:, -1]
        return np.asarray(sums / np.maximum(self.listed.sum(axis=1), 1))


def _hits(lists: RankedLists) -> Places:
    return lists.hits
