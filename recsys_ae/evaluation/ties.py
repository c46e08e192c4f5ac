"""Orders of items with equal scores, among which a ranking is arbitrary."""

from typing import Any

import numpy as np

from recsys_ae import ranking
from recsys_ae.evaluation.metrics.catalogue import Rows
from recsys_ae.evaluation.metrics.lists import RankedLists


def extreme_orders(lists: RankedLists) -> tuple[Rows, RankedLists, RankedLists] | None:
    """The users [T] whose hits depend on the order of tied items, with their lists in the worst and in the best order.

    In the worst order, the relevant items come last within each group of equal scores, and those with the highest ratings last
    of all; in the best order they come first. A group that the end of the list cuts includes its items beyond (`lists.tied`).
    None if there are no ties.
    """
    same = lists.scores[:, 1:] == lists.scores[:, :-1]
    tied = same.any(axis=1)
    if lists.tied is not None:
        tied |= np.diff(lists.tied.indptr) > 0
    if not tied.any():
        return None
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
    known["candidates"] = None if lists.candidates is None else lists.candidates[rows]
    known["excludes_seen"] = lists.excludes_seen
    ordered = [np.take_along_axis(items, order[matters], axis=1) for order in (worst, best)]
    lowest, highest = (RankedLists.of(own, truth[matters], lists.k, **known) for own in ordered)
    return rows, lowest, highest


def _with_items_beyond(lists: RankedLists, rows: Rows, groups: Rows) -> tuple[Rows, Rows]:
    """The items of the lists at `rows` and their `groups` of equal scores, both with the ties beyond the list: [T, P + W]."""
    items = lists.items[rows]
    if lists.tied is None or not lists.tied.nnz:
        return items, groups
    tied = lists.tied[rows]
    number = np.diff(tied.indptr)
    used = np.arange(number.max(initial=0)) < number[:, None]
    beyond = np.full(used.shape, -1)
    beyond[used] = tied.indices
    return np.c_[items, beyond], np.c_[groups, np.where(used, groups[:, -1:], items.shape[1])]  # unused places come last
