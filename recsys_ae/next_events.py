"""Prediction of the next event: the events of a part of a split, each with all earlier events of its user."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import DataError
from recsys_ae.events import Events
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.sequences import Sequences, ranges
from recsys_ae.split import Split


@dataclass(frozen=True, eq=False, repr=False)
class NextEvents:
    """T target events of a part, by user, then time.

    Every event of the part is a target, with two exceptions: the first event of each session, which no event of the session
    precedes, and, if the split declares `repeats: excluded`, events with an item that the user has already had. In a log
    without sessions, all events of a user are one session.

    Attributes:
        known: the history before the part.
        log: the events of history and part together, by user, then time.
        at: int64 [T], positions of the targets in the log.
    """

    known: Interactions
    log: Events
    at: Rows

    @classmethod
    def of(cls, split: Split, part: Literal["valid", "test"]) -> "NextEvents":
        """The targets of a part.

        Raises:
            DataError: there are none.
        """
        known, asked = split.history(part), split.test if part == "test" else split.valid
        before, after = known.stored_events, asked.stored_events
        log, new = before.union(after, known.n_items), np.r_[np.zeros(len(before), bool), np.ones(len(after), bool)]
        order = log.by_time(known.n_items)
        order = order[np.argsort(log.users[order], kind="stable")]
        log, target = log[order], new[order]
        sequences = Sequences.of_log(log, known.n_users)
        target[sequences.at[sequences.session_starts[:-1]]] = False
        if split.repeats == "excluded":
            target &= _first(log.keys(known.n_items))
        if not target.any():
            raise DataError(f"the {part} part of the {split.protocol} split has no event that follows another in its session")
        return cls(known, log, np.flatnonzero(target))

    def __len__(self) -> int:
        """Number of targets T."""
        return len(self.at)

    def __repr__(self) -> str:
        return f"NextEvents({len(self)} of {len(self.log)} events)"

    @property
    def users(self) -> Rows:
        """int64 [T], the user row of each target."""
        return self.log.users[self.at]

    @property
    def items(self) -> Rows:
        """int64 [T], the item row of each target."""
        return self.log.items[self.at]

    @property
    def n_repeats(self) -> int:
        """Number of targets whose item their user has already had."""
        return int((~_first(self.log.keys(self.known.n_items)))[self.at].sum())

    @cached_property
    def _rounds(self) -> Rows:
        """int64 [T], how many targets of the same user precede each target."""
        first = np.flatnonzero(_first(self.users))
        return np.arange(len(self)) - np.repeat(first, np.diff(first, append=len(self)))

    def blocks(self, size: int) -> Iterator[tuple[Rows, Interactions]]:
        """Numbers of at most `size` targets of different users, and the interactions before each target.

        The interactions have the users of the block, in its order, and all items.
        """
        order = np.argsort(self._rounds, kind="stable")
        for in_round in np.split(order, np.flatnonzero(np.diff(self._rounds[order])) + 1):
            for start in range(0, len(in_round), size):
                block = in_round[start : start + size]
                yield block, self._before(block)

    def _before(self, block: Rows) -> Interactions:
        user_starts = np.searchsorted(self.log.users, self.users[block])
        events, _ = ranges(user_starts, self.at[block])
        users = IdMap(self.known.users.values[self.users[block]])
        log = replace(self.log[events], users=np.repeat(np.arange(len(block)), self.at[block] - user_starts))
        known = self.known
        data = Interactions.from_events(log, users, known.items, known.duplicates, known.scale)
        features = None if known.user_features is None else known.user_features.align(users)
        if features is None and known.item_features is None:
            return data
        return replace(data, user_features=features, item_features=known.item_features, merged=True)


def _first(keys: Rows) -> NDArray[np.bool_]:
    """bool [n]: which keys do not occur before."""
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
