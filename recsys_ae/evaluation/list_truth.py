"""What lists of any origin are measured against, and how, user by user."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import DataError, counted
from recsys_ae.evaluation.measured import Measured
from recsys_ae.evaluation.metrics import Metric
from recsys_ae.evaluation.metrics.catalogue import Catalogue
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.evaluation.segments import Members
from recsys_ae.evaluation.tally import Tally
from recsys_ae.frames import Frame, ranks, read_frame
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.interactions import ones

BLOCK_PLACES, BLOCK_USERS = 100_000, 10_000  # limits of a block of lists: places and users
COLUMNS = {"user": "user_id", "item": "item_id", "rank": "rank"}  # of lists, by role
SPARSE = ("data", "indices", "indptr")


@dataclass(frozen=True, eq=False, repr=False)
class ListTruth:
    """The truth about U users and M items, and by which metrics lists are measured against it. It can be pickled.

    Attributes:
        users: ids of the users.
        rows: int64 [U], numbers of the users, which `Measured` refers to.
        items: ids of the items, all that lists may have among them.
        relevant: float32 csr_array [U, M], ratings of the relevant items of each user.
        seen: csr_array [U, M], the history of each user; None if it is unknown.
        item_groups: members of groups of items, see `Tally`.
        excludes_seen: whether items in the history of a user cannot be in the user's list.
        scored: whether lists have scores.
    """

    metrics: Sequence[Metric]
    users: IdMap
    rows: Rows
    items: IdMap
    relevant: csr_array
    seen: csr_array | None
    catalogue: Catalogue
    item_groups: Mapping[str, Mapping[str, Members]]
    excludes_seen: bool
    scored: bool

    def of_users(self, at: Rows) -> "ListTruth":
        """The same about the users at these places [n]."""
        seen = None if self.seen is None else self.seen[at]
        return replace(self, users=self.users.of(at), rows=self.rows[at], relevant=self.relevant[at], seen=seen)

    def measured(self, lists: Frame, first: int = 0) -> Measured:
        """The values of all users with relevant items, of whom those without rows in `lists` have no hits.

        Args:
            lists: rows of these users, and perhaps of others, who do not count.
            first: number of the first row, in messages.

        Raises:
            DataError: an invalid rank or score, two items at one rank, or one item at two.
        """
        frame = read_frame(lists, COLUMNS, "the lists", optional=["score"])
        tally = Tally(self.metrics, item_groups=self.item_groups, scored=self.scored)
        relevant = np.flatnonzero(np.diff(self.relevant.indptr))
        for block, found, scores, tied in _blocks(frame, tally.k, self.users, self.items, relevant, first):
            seen = None if self.seen is None else self.seen[block]
            known: dict[str, Any] = {"seen": seen, "excludes_seen": self.excludes_seen, "catalogue": self.catalogue}
            ranked = RankedLists.of(found, self.relevant[block], tally.k, scores=scores, tied=tied, **known)
            tally.add(ranked, self.rows[block])
        return tally.measured

    @property
    def shared(self) -> "ListTruth":
        """What is the same for all users, without the users; `with_arrays` adds some of them."""
        catalogue = self.catalogue
        if not any(metric.needs_all_histories for metric in self.metrics):
            catalogue = replace(catalogue, history=None)
        return replace(self.of_users(np.empty(0, np.int64)), catalogue=catalogue)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What is not `shared`, by names that `with_arrays` understands."""
        matrices = {"relevant": self.relevant, "seen": self.seen}
        arrays = {f"{name}:{part}": getattr(own, part) for name, own in matrices.items() if own is not None for part in SPARSE}
        return {"users": self.users.values, "rows": self.rows, **arrays}

    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> "ListTruth":
        """The inverse of `to_arrays`, given what is shared."""
        shape = len(arrays["rows"]), len(self.items)
        relevant, seen = (
            csr_array(tuple(arrays[f"{name}:{part}"] for part in SPARSE), shape) if f"{name}:data" in arrays else None
            for name in ("relevant", "seen")
        )
        return replace(self, users=IdMap(arrays["users"]), rows=arrays["rows"], relevant=relevant, seen=seen)


def distinct(rows: Rows, columns: Rows, shape: tuple[int, int]) -> csr_array:
    """Ones at these places, which may repeat."""
    return ones(csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape))


def _blocks(
    recommendations: pd.DataFrame, k: int, users: IdMap, items: IdMap, rows: Rows, first: int
) -> Iterator[tuple[Rows, Rows, NDArray[np.float32], csr_array]]:
    """The users at `rows` in blocks [U] of bounded size, with items and scores at each rank [U, at most k], and `_beyond`."""
    lists = _checked(recommendations, k, users, items, first)
    beyond, lists = _beyond(lists, k, (len(users), len(items))), _kept(lists, lists["place"] < k)
    for column, n, twice in (("place", k, "two items at one rank"), ("item", len(items), "one item twice")):
        keys = np.sort(lists["user"].to_numpy() * n + lists[column].to_numpy())
        if (keys[1:] == keys[:-1]).any():
            repeated = lists.duplicated(["user", column]).to_numpy()
            example = lists.iloc[int(repeated.argmax())]
            whose, which = shown(users.values[int(example["user"])]), shown(items.values[int(example["item"])])
            rows_of_it = counted(int(repeated.sum()), "such row")
            raise DataError(f"the lists have {twice} for user {whose}, such as {which} ({rows_of_it}); remove them")
    lists = _kept(lists, np.isin(np.arange(len(users)), rows)[lists["user"]])
    length = np.ones(len(users), np.int64)
    np.maximum.at(length, lists["user"], lists["place"] + 1)
    at, shape = (lists["user"], lists["place"]), (len(users), int(length.max(initial=1)))
    listed = csr_array((lists["item"] + 1, at), shape=shape)
    scored = csr_array((lists["score"], at), shape=shape)
    while len(rows):  # as many users as fit, given the longest of their lists; one long list must not widen other blocks
        width = np.maximum.accumulate(length[rows[:BLOCK_USERS]])
        n = max(1, int((width * np.arange(1, len(width) + 1) <= BLOCK_PLACES).sum()))
        block, rows, places = rows[:n], rows[n:], slice(int(width[n - 1]))
        found, scores = listed[block][:, places].toarray() - 1, scored[block][:, places].toarray()
        yield block, found, np.where(found < 0, np.float32("nan"), scores), beyond[block]


def _checked(recommendations: pd.DataFrame, k: int, users: IdMap, items: IdMap, first: int) -> pd.DataFrame:
    """The rows of these users as numbers: user, place (from 0, k for all later ones), item and score, NaN if unknown."""
    place = np.minimum(ranks(recommendations, first), k + 1) - 1
    user, item = users.find(recommendations["user_id"]), items.rows(recommendations["item_id"])
    score: Any = recommendations.get("score", np.float32("nan"))
    if not pd.api.types.is_numeric_dtype(score):
        raise DataError(f"column 'score' of the lists must hold numbers, got {shown(score.iloc[0])}")
    if "score" in recommendations and (bad := ~np.isfinite(score.to_numpy(np.float64, na_value=np.nan))).any():
        row = int(bad.argmax())
        raise DataError(f"scores must be finite numbers, got {shown(score.iloc[row])} in row {first + row} of the lists")
    lists = pd.DataFrame({"user": user, "place": place, "item": item, "score": score})
    return _kept(lists, lists["user"] >= 0)


def _kept(lists: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """The rows of a mask [n], without a copy if these are all."""
    return lists if mask.all() else lists[mask]


def _beyond(lists: pd.DataFrame, k: int, shape: tuple[int, int]) -> csr_array:
    """bool [U, M]: the items after place k whose score is that of place k."""
    last = np.full(shape[0], np.nan)
    at_the_end, after = lists[lists["place"] == k - 1], lists[lists["place"] >= k]
    last[at_the_end["user"]] = at_the_end["score"]
    after = after[after["score"].to_numpy() == last[after["user"]]]
    return csr_array((np.ones(len(after), bool), (after["user"], after["item"])), shape)
