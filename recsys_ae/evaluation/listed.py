"""Lists that are given in parts, of which only one has to be in memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import DataError
from recsys_ae.evaluation.list_truth import COLUMNS, ListTruth
from recsys_ae.evaluation.measured import Measured
from recsys_ae.evaluation.overlap import Side, ids_in
from recsys_ae.frames import Frame, read_frame
from recsys_ae.ids import IdMap, Rows, id_index, shown

SIDES: tuple[Side, Side] = ("user", "item")


@dataclass(frozen=True, eq=False, repr=False)
class Contents:
    """What a part of lists holds.

    Attributes:
        users, items: their distinct ids, see `id_index`.
        rows: number of rows.
        scored: whether there is a column of scores.
    """

    users: pd.Index
    items: pd.Index
    rows: int
    scored: bool

    @classmethod
    def of(cls, lists: Frame) -> "Contents":
        """Of a data frame of any library; `ConfigError` or `DataError` if it has no such columns or ids."""
        frame = read_frame(lists, COLUMNS, "the lists", optional=["score"])
        users, items = (ids_in({"the lists": frame}, side).get("the lists", pd.Index([])).unique() for side in SIDES)
        return cls(users, items, len(frame), "score" in frame)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, for `from_arrays`."""
        return {
            "users": self.users.to_numpy(),
            "items": self.items.to_numpy(),
            "rows": np.array([self.rows]),
            "scored": np.array([self.scored]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Contents":
        """The inverse of `to_arrays`."""
        users, items = (id_index(arrays[name], "the list of ids") for name in ("users", "items"))
        return cls(users, items, int(arrays["rows"][0]), bool(arrays["scored"][0]))


@dataclass(frozen=True, eq=False, repr=False)
class Listed:
    """What all parts of lists hold.

    Attributes:
        users: distinct ids of the users in each part, by its name.
        starts: number of the first row of each part, by its name.
        items: distinct ids.
        rows: number of rows.
        scored: whether there are scores.
    """

    users: dict[str, pd.Index]
    starts: dict[str, int]
    items: pd.Index
    rows: int
    scored: bool

    @classmethod
    def of(cls, parts: Iterator[tuple[str, Contents]]) -> "Listed":
        """Of all parts, by name; `DataError` if a user is in two of them."""
        users, counts, items, scored = dict[str, pd.Index](), dict[str, int](), pd.Index([]), True
        for name, part in parts:
            users[name], counts[name], scored = part.users, part.rows, scored and part.scored
            items = _union(items, part.items)
        starts = dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))
        listed = cls(users, starts, _together([items], "item_id"), sum(counts.values()), scored)
        if not (every := listed.ids("user")).is_unique:
            twice = every[every.duplicated()][0]
            first, second, *_ = (name for name, own in users.items() if (own == twice).any())
            whose = f"user {shown(twice)} has rows in {first} and in {second}"
            raise DataError(f"{whose}, but a list must be in one part; export the lists again")
        return listed

    def ids(self, side: Side) -> pd.Index:
        """The distinct ids of the users or of the items of all parts."""
        return self.items if side == "item" else self._all_users

    @cached_property
    def _all_users(self) -> pd.Index:
        return _together(list(self.users.values()), "user_id")

    def shares(self, known: IdMap) -> dict[str, Rows]:
        """The rows in `known` of the users of each part, in increasing order; others are left out."""
        ends = np.cumsum([len(own) for own in self.users.values()])
        found = np.split(known.find(self.ids("user")), ends[:-1])  # at once, because finding costs as much as all known ids
        return {name: np.sort(rows[rows >= 0]) for name, rows in zip(self.users, found, strict=True)}


class GivenLists(Protocol):
    """Lists of any origin, in parts that hold all rows of their users."""

    @property
    def listed(self) -> Listed:
        """What they hold."""

    def measured(self, truth: ListTruth, shares: Mapping[str, Rows]) -> Iterator[Measured]:
        """The values of the users at the rows [n] of the truth that are in each part, by its name; in any order."""


@dataclass(frozen=True, eq=False)
class PartByPart:
    """Lists that are measured by this process, with one part in memory.

    Attributes:
        parts: data frames of any library by name; each is asked for twice, and may be read then.
    """

    parts: Mapping[str, Frame]

    @cached_property
    def listed(self) -> Listed:
        return Listed.of((name, Contents.of(self.parts[name])) for name in self.parts)

    def measured(self, truth: ListTruth, shares: Mapping[str, Rows]) -> Iterator[Measured]:
        for name, rows in shares.items():
            yield truth.of_users(rows).measured(self.parts[name], self.listed.starts[name])


def _together(ids: list[pd.Index], column: str) -> pd.Index:
    """The ids of several parts, one after the other; `DataError` if they are of several types."""
    first, *others = [own for own in ids if len(own)] or [pd.Index([])]
    return id_index(first.append(others), f"column {column!r} of the lists")


def _union(known: pd.Index, more: pd.Index) -> pd.Index:
    """The distinct ids in either; the same object if all are known, so that it is indexed once for many parts."""
    if not len(known):
        return more
    new = more[known.get_indexer(more) < 0]
    return known.append(new) if len(new) else known
