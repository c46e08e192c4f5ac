"""Orders of items with equal scores, among which a ranking is arbitrary."""

from typing import Any

import numpy as np

from recsys_ae import ranking
from recsys_ae.evaluation.lists import RankedLists, Rows


def extreme_orders(lists: RankedLists) -> tuple[Rows, RankedLists, RankedLists]:
    """The users [T] whose hits depend on the order of tied items, with their lists in the worst and in the best order.

    In the worst order, the relevant items come last within each group of equal scores, and those with the highest ratings last
    of all; in the best order they come first. A group that the end of the list cuts includes its items beyond (`lists.ties`).
    In place of those that are not relevant, the worst order has empty places, which are misses as well.
    """
    same = lists.scores[:, 1:] == lists.scores[:, :-1]
    tied = same.any(axis=1)
    if lists.ties is not None:
        tied |= lists.ties.count > 0
    rows = np.flatnonzero(tied)
    groups = np.c_[np.zeros(len(rows), np.int64), np.cumsum(~same[rows], axis=1)]
    items, groups = _with_items_beyond(lists, rows, groups)
    truth, length = lists.truth[rows], lists.items.shape[1]
    entries = ranking.entries(items, truth)
    ratings = np.where(entries >= 0, np.r_[truth.data, 0][entries], -np.inf)
    worst, best = np.lexsort((ratings, groups))[:, :length], np.lexsort((-ratings, groups))[:, :length]
    matters = (np.take_along_axis(ratings, worst, axis=1) != np.take_along_axis(ratings, best, axis=1)).any(axis=1)
    rows, items = rows[matters], items[matters]
    seen = None if lists.seen is None else lists.seen[rows]
    known: dict[str, Any] = {"scores": lists.scores[rows], "seen": seen, "catalogue": lists.catalogue}
    ordered = [np.take_along_axis(items, order[matters], axis=1) for order in (worst, best)]
    lowest, highest = (RankedLists.of(own, truth[matters], lists.k, **known) for own in ordered)
    return rows, lowest, highest


def _with_items_beyond(lists: RankedLists, rows: Rows, groups: Rows) -> tuple[Rows, Rows]:
    """The items of the lists at `rows` and their `groups` of equal scores, both with the ties beyond the list: [T, P + W]."""
    items = lists.items[rows]
    if lists.ties is None or not lists.ties.count.any():
        return items, groups
    (n, length), wanted = items.shape, lists.ties.wanted[rows]
    hits = np.diff(wanted.indptr)
    misses = np.minimum(lists.ties.count[rows] - hits, length)  # more could not be listed
    place = np.arange(int((hits + misses).max()))
    beyond = np.full((n, len(place)), -1)
    beyond[place < hits[:, None]] = wanted.indices
    after = np.where(place < (hits + misses)[:, None], groups[:, -1:], length)  # a group of unused places comes last
    return np.c_[items, beyond], np.c_[groups, after]
