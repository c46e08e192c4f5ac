"""Business rules in files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.id_tables import read_ids
from recsys_ae.data.layouts import Place
from recsys_ae.errors import ConfigError, DataError, UnknownIdError
from recsys_ae.ids import IdMap, Rows, shown, spelling_hint
from recsys_ae.models.categories import CappedCategories
from recsys_ae.models.rules import ItemSets, Rules, capped_categories, item_rows

RULES = {"candidates": "candidates", "block": "blocked", "repeatable": "repeatable"}  # option -> attribute of `Rules`
ROLES = (*RULES, "categories")
WAY_OUT = "--skip-unknown (in a pipeline, skip_unknown: true) leaves them out"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RuleFiles:
    """The files of `Rules`, in any of the formats of logs.

    Attributes:
        candidates, block, repeatable: files with the column item_id and, if they are about single users, user_id; every row
            counts, whatever is in other columns. Several files add up, separately for everyone and for single users.
        categories: files with the columns item_id and category, whose rows add up too.
        cap: how many items of a category a list may contain.
    """

    candidates: tuple[Path, ...] = ()
    block: tuple[Path, ...] = ()
    repeatable: tuple[Path, ...] = ()
    categories: tuple[Path, ...] = ()
    cap: int | None = None

    def __post_init__(self) -> None:
        if bool(self.categories) != (self.cap is not None):
            given, missing = ("categories", "cap") if self.cap is None else ("cap", "categories")
            raise ConfigError(f"{given} without {missing}: give both a file of categories and how many items of each to list")
        if self.cap is not None and self.cap < 1:
            raise ConfigError(f"cap must be at least 1, got {self.cap}; to list no items of a category, block them")

    @classmethod
    def of(cls, named: Mapping[str, Path], cap: int | None) -> "RuleFiles":
        """The files of rules among the `named` ones."""
        several = {role: tuple(path for name, path in named.items() if name.split("-")[0] == role) for role in ROLES}
        return cls(**several, cap=cap)

    def named(self) -> dict[str, Path]:
        """All files by the option that names them, such as `block`; a second one is `block-2`."""
        found = {}
        for role in ROLES:
            for number, path in enumerate(getattr(self, role), 1):
                found[role if number == 1 else f"{role}-{number}"] = path
        return found

    def read(self, items: IdMap, users: IdMap, *, card: RatingsCard | None = None, skip_unknown: bool = False) -> Rules:
        """The rules for these items and users.

        Args:
            card: its first file declares further names for the columns of users and items, and the encoding.
            skip_unknown: leave out rows with other items or users instead of raising; their number is logged.

        Raises:
            UnknownIdError: a row has another item or user.
            DataError: as for `read_ids`, or none of the candidates is known.
        """
        log = next(iter(card.files), None) if card else None
        names, encoding = (log.columns.model_dump(), log.encoding) if log else ({}, None)
        reader = _Reader(items, users, skip_unknown, names, encoding)
        sets = {role: reader.sets(getattr(self, name)) for name, role in RULES.items() if getattr(self, name)}
        if (candidates := sets.get("candidates")) is not None:
            if what := [what for what, count in candidates.counts().items() if not count]:
                files = ", ".join(map(str, self.candidates))
                raise DataError(f"{files}: there are no known {what[0]} among the candidates, so all lists would be empty")
            if candidates.users is not None and (n := len(users) - len(candidates.users)):
                logger.info("%d of %d users have no candidates, and get no list", n, len(users))
        return Rules(items, **sets, categories=reader.categories(self.categories, self.cap) if self.categories else None)


@dataclass(frozen=True)
class _Reader:
    """Reads rules for these items and users."""

    items: IdMap
    users: IdMap
    skip_unknown: bool
    names: Mapping[str, Place | None]  # of the columns, by role, besides the usual ones
    encoding: str | None  # of text that is not UTF-8

    def sets(self, paths: Sequence[Path]) -> ItemSets:
        """The sets of items in files."""
        shared: list[Rows] = []
        pairs: list[tuple[pd.Series, Rows]] = []
        for path in paths:
            frame = read_ids(path, {"item": self.items.kind, "user": self.users.kind}, "user", self.names, self.encoding)
            rows = self._item_rows(path, frame)
            if "user_id" in frame:
                known = (rows >= 0) & self._known_users(path, frame)
                pairs.append((frame["user_id"][known], rows[known]))
            else:
                shared.append(rows[rows >= 0])
        own = (pd.concat([ids for ids, _ in pairs]), np.concatenate([rows for _, rows in pairs])) if pairs else None
        return ItemSets.of_rows(len(self.items), np.concatenate(shared) if shared else None, own)

    def categories(self, paths: Sequence[Path], cap: int | None) -> CappedCategories:
        """The categories in files."""
        found: list[tuple[Rows, pd.Series]] = []
        for path in paths:
            frame = read_ids(path, {"item": self.items.kind, "category": "str"}, own_names=self.names, encoding=self.encoding)
            rows = self._item_rows(path, frame)
            found.append((rows[rows >= 0], frame["category"][rows >= 0]))
        rows, names = np.concatenate([rows for rows, _ in found]), pd.concat([names for _, names in found])
        return capped_categories(len(self.items), rows, names, cap)

    def _item_rows(self, path: Path, frame: pd.DataFrame) -> Rows:
        """The rows of the items in a file, -1 where unknown."""
        rows = item_rows(self.items, frame["item_id"], str(path), None if self.skip_unknown else WAY_OUT)
        _log_left_out(path, frame["item_id"][rows < 0], len(rows), "the model does not know their items", self.items)
        return rows

    def _known_users(self, path: Path, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """bool [n]: which rows of a file have a known user."""
        known = self.users.find(frame["user_id"]) >= 0
        unknown = frame["user_id"][~known]
        if len(unknown) and not self.skip_unknown:
            first, rest = shown(unknown.iloc[0]), f"such users in {len(unknown)} of {len(known)} rows"
            raise UnknownIdError(
                f"{path}: the history has no user {first} ({rest}){spelling_hint(unknown, self.users)}; {WAY_OUT}"
            )
        _log_left_out(path, unknown, len(known), "their users are not in the history", self.users)
        return known


def _log_left_out(path: Path, unknown: pd.Series, n_rows: int, why: str, known: IdMap) -> None:
    """Log how many rows of a file were left out because of these unknown ids, as a warning if they may be misspelt."""
    if len(unknown):
        hint = spelling_hint(unknown, known)
        level = logging.WARNING if hint else logging.INFO
        message = "%s: left out %d of %d rows, because %s%s"
        logger.log(level, message, path, len(unknown), n_rows, why, hint, extra={"once": True})
