"""Splits: training, validation and test interactions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_ae.digests import digest_of
from recsys_ae.errors import ConfigError, DataError, described, quoted
from recsys_ae.events import Duplicates, read_events
from recsys_ae.frames import Frame
from recsys_ae.interactions import Interactions, ones
from recsys_ae.sequences import sessions_by_gap
from recsys_ae.times import TimeUnit

Repeats = Literal["excluded", "wanted"]
Predict = Literal["all", "next"]


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Training, validation and test interactions of one protocol, with the same ids.

    A pair may be in several parts only if the data declares how duplicates are merged. A pair of the validation or test part
    that is already in the history of that part is a *repeat*.

    Attributes:
        protocol: name of the protocol in a pipeline.
        params: its parameters.
        fold_in: histories of users who are wholly absent from `train` (user hold-out), else None.
        repeats: whether lists exclude seen items, so that repeats cannot be relevant (`excluded`), or not (`wanted`).
        predict: whether `all` pairs of a user's part are predicted at once from the history before the part, or each event from
            all earlier events of its user (`next`), see `NextEvents`.
        later: events after the test part that are neither known nor tested (all windows but the last), else None.

    Raises:
        ConfigError: an unknown policy.
        DataError: parts with different ids, nothing to train on, or pairs in several parts of data without a policy.
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    protocol: str = "given"
    params: Mapping[str, Any] = field(default_factory=dict)
    fold_in: Interactions | None = None
    repeats: Repeats = "excluded"
    predict: Predict = "all"
    later: Interactions | None = None

    def __post_init__(self) -> None:
        check_repeats(self.repeats)
        if self.predict not in get_args(Predict):
            raise ConfigError(f"predict must be all or next, got {quoted(self.predict)}")
        parts = {"train": self.train, "valid": self.valid, "test": self.test} | self.parts()
        for name, part in parts.items():
            if not isinstance(part, Interactions):
                raise DataError(f"{name} must be Interactions, got {described(part)}; Split.from_frames takes data frames")
            if part.users != self.train.users or part.items != self.train.items:
                raise DataError(f"the {name} part has other users or items than the train part; build all with the same ids")
        if len(self.train) == 0:
            raise DataError(f"the {self.protocol} split has an empty training part; hold out less")
        if self.train.duplicates == "error" and (repeated := repeated_pairs([part.matrix for part in parts.values()])):
            where = f"{repeated} pairs of user and item are in more than one part of the split"
            raise DataError(f"{where}; if that is intended, declare duplicates: last, mean, max or sum")

    def __repr__(self) -> str:
        return f"Split({self.protocol}: {', '.join(f'{len(part)} {name}' for name, part in self.parts().items())})"

    def parts(self) -> dict[str, Interactions]:
        """The parts by name."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test, "fold_in": self.fold_in, "later": self.later}
        return {name: part for name, part in parts.items() if part is not None}

    @classmethod
    def from_frames(
        cls,
        train: Frame,
        test: Frame,
        valid: Frame | None = None,
        *,
        user: str = "user_id",
        item: str = "item_id",
        rating: str | None = "rating",
        time: str | None = None,
        time_unit: TimeUnit = "s",
        session: str | None = None,
        duplicates: Duplicates = "error",
        scale: tuple[float, float] | None = None,
        repeats: Repeats = "excluded",
        predict: Predict = "all",
    ) -> "Split":
        """A ready-made split from data frames of any library; column names and errors as for `Interactions.from_frame`.

        Ids are collected from all parts, so that an item that occurs only in `test` has a row too. Equal times are in the order
        train, valid, test.
        """
        columns = {"user": user, "item": item, "rating": rating, "time": time, "session": session}
        if valid is None:
            valid = pd.DataFrame(columns=[name for name in columns.values() if name is not None])
        tables = {"the train table": train, "the valid table": valid, "the test table": test}
        logs, users, items = read_events(tables, columns, time_unit, None, None, scale)
        known, chosen, asked = (Interactions.from_events(log, users, items, duplicates, scale) for log in logs)
        return cls(known, chosen, asked, repeats=repeats, predict=predict)

    def with_sessions(self, gap_minutes: float) -> "Split":
        """The same split, in which a session ends when its user pauses for `gap_minutes` or longer, also across parts."""
        n_items, logs = self.train.n_items, [part.stored_events for part in self.parts().values()]
        whole = reduce(lambda log, other: log.union(other, n_items), logs)
        order, sessions = whole.by_time(n_items), np.empty(len(whole), np.int64)
        sessions[order] = sessions_by_gap(whole[order], gap_minutes)
        own = np.split(sessions, np.cumsum([len(log) for log in logs])[:-1])
        parts: dict[str, Any] = {
            name: part.with_events(replace(log, sessions=numbers))
            for (name, part), log, numbers in zip(self.parts().items(), logs, own, strict=True)
        }
        return replace(self, **parts)

    def history(self, part: Literal["valid", "test"]) -> Interactions:
        """Everything known before `part`: what a model is shown, and what is seen, when `part` is scored."""
        if part not in ("valid", "test"):
            raise ConfigError(f"the part must be 'valid' or 'test', got {quoted(part)}")
        return self._known_before_valid if part == "valid" else self._known_before_test

    @cached_property
    def _known_before_valid(self) -> Interactions:
        return self.train if self.fold_in is None else self.train.union(self.fold_in)

    @cached_property
    def _known_before_test(self) -> Interactions:
        return self._known_before_valid.union(self.valid)

    @cached_property
    def everything(self) -> Interactions:
        """All parts together: the data for a final fit and for the lists to ship."""
        past = self._known_before_test.union(self.test)
        return past if self.later is None else past.union(self.later)

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) of all parts, of the policies for duplicates and repeats, and of what to predict."""
        parts = [f"{name} {part.digest} " for name, part in self.parts().items()]
        asked = "" if self.predict == "all" else f" {self.predict}"
        return digest_of([*parts, f"{self.train.duplicates} {self.repeats}{asked}"])


def repeated_pairs(parts: Sequence[csr_array]) -> int:
    """How often a pair that is in one of these matrices [N, M] is in an earlier one too, the smallest first."""
    patterns = [ones(part, np.int8) for part in parts]
    seen, *others = sorted(patterns, key=lambda pattern: pattern.nnz)
    repeated = 0
    for pattern in others:
        repeated += seen.multiply(pattern).nnz
        seen = seen.maximum(pattern) if pattern is not others[-1] else seen
    return repeated


def check_split(split: object) -> None:
    """Raise `DataError` unless this is a `Split`."""
    if not isinstance(split, Split):
        makers = "recsys_ae.splitting and Split.from_frames make them; evaluate_recommendations evaluates lists"
        raise DataError(f"split must be a Split, got {described(split)}; {makers}")


def check_repeats(repeats: Repeats) -> None:
    """Raise `ConfigError` unless `repeats` is a policy."""
    if repeats not in get_args(Repeats):
        raise ConfigError(f"repeats must be excluded or wanted, got {quoted(repeats)}")
