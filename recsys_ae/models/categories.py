"""Lists with at most a given number of items of each category."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.ids import Rows
from recsys_ae.models.base import Floats
from recsys_ae.ranking import top_k


@dataclass(frozen=True, eq=False)
class CappedCategories:
    """Categories of M items; a list may contain at most `cap` items of each category.

    An item counts towards each of its categories; an item without a category is not limited.

    Attributes:
        matrix: bool csr_array [M, C] in canonical form, the categories of each item.
    """

    matrix: csr_array
    cap: int

    def top_k(self, scores: Floats, k: int) -> tuple[Rows, Floats]:
        """`ranking.top_k` under the cap: items from the best one down, passing over those with a full category.

        Among all allowed lists, this is the one with the best first item, then the best second one, and so on. If no item has
        several categories, no other allowed list of its length has a higher sum of scores. `scores` [B, M] are overwritten.

        Scores are searched k at a time, only for the users whose lists are not full yet. An item is passed over only if its
        category is full, and then all items of the category are taken out. So there are at most about k / cap searches.
        """
        from recsys_ae.core.kernels.groups import take_capped  # heavy

        columns, values = np.full((len(scores), k), -1), np.full((len(scores), k), np.nan, np.float32)
        lengths, counts = np.zeros(len(scores), np.int64), np.zeros(self.matrix.shape[1], np.int64)
        rows = np.arange(len(scores))
        while len(rows):
            found, _ = top_k(scores if len(rows) == len(scores) else scores[rows], k)
            take_capped(scores, rows, found, self._groups, self.cap, (columns, values, lengths), counts)
            rows = rows[(lengths[rows] < k) & (found[:, -1] >= 0)]
        return columns, values

    def over_cap(self, lists: Rows) -> NDArray[np.bool_]:
        """bool [B, K]: which items of `lists` (int64 [B, K], -1 for none) have a category that is full before them."""
        row, place = np.nonzero(lists >= 0)
        starts, sizes = self.matrix.indptr[lists[row, place]], np.diff(self.matrix.indptr)[lists[row, place]]
        entry = np.repeat(np.arange(len(row)), sizes)  # one per listed item and category, in the order of the lists
        within = np.arange(len(entry)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        keys = row[entry] * self.matrix.shape[1] + self.matrix.indices[np.repeat(starts, sizes) + within]
        order = np.argsort(keys, kind="stable")
        first = np.flatnonzero(np.diff(keys[order], prepend=-1))
        number = np.empty(len(keys), np.int64)  # of the same category earlier in the list
        number[order] = np.arange(len(keys)) - np.repeat(first, np.diff(np.r_[first, len(keys)]))
        wrong = np.zeros(lists.shape, bool)
        full = entry[number >= self.cap]
        wrong[row[full], place[full]] = True
        return wrong

    @cached_property
    def _groups(self) -> tuple[NDArray[Any], ...]:
        """The categories of the items and the items of the categories, as `take_capped` takes them."""
        by_category = self.matrix.tocsc()
        arrays = (self.matrix.indptr, self.matrix.indices, by_category.indptr, by_category.indices)
        return tuple(np.ascontiguousarray(array, np.int64) for array in arrays)
