"""Business rules in files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.data.id_tables import read_ids
from recsys_ae.errors import ConfigError, DataError, UnknownIdError
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.models.rules import ItemSets, Rules, capped_categories, item_rows

ROLES = ("candidates", "blocked", "repeatable")
WAY_OUT = "--skip-unknown (in a pipeline, skip_unknown: true) leaves them out"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RuleFiles:
    """The files of `Rules`, in any of the formats of logs.

    Attributes:
        candidates, blocked, repeatable: files with the column item_id and, if they are about single users, user_id. The rows of
            several files add up, those about all users and those about single users each for themselves.
        categories: a file with the columns item_id and category.
        cap: how many items of a category a list may hold.
        skip_unknown: leave out rows with items or users that are not known instead of raising.
    """

    candidates: Sequence[Path] = ()
    blocked: Sequence[Path] = ()
    repeatable: Sequence[Path] = ()
    categories: Path | None = None
    cap: int | None = None
    skip_unknown: bool = False

    def __post_init__(self) -> None:
        if (self.categories is None) != (self.cap is None):
            given, missing = ("categories", "cap") if self.cap is None else ("cap", "categories")
            raise ConfigError(f"{given} without {missing}: give both a file of categories and how many items of each to list")
        if self.cap is not None and self.cap < 1:
            raise ConfigError(f"cap must be at least 1, got {self.cap}; to list no items of a category, block them")

    def named(self) -> dict[str, Path]:
        """All files by what they are, such as `blocked`, or `blocked-2` for a second one."""
        found = {}
        for role in ROLES:
            for number, path in enumerate(getattr(self, role), 1):
                found[role if number == 1 else f"{role}-{number}"] = path
        return found if self.categories is None else found | {"categories": self.categories}

    def read(self, items: IdMap, users: IdMap) -> Rules:
        """The rules for these items and users.

        Raises:
            UnknownIdError: a row has another item or user.
            DataError: as for `read_ids`, or none of the candidates is known.
        """
        sets = {role: self._sets(getattr(self, role), items, users) for role in ROLES if getattr(self, role)}
        for what, count in (sets["candidates"].counts() if "candidates" in sets else {}).items():
            if not count:
                files = ", ".join(map(str, self.candidates))
                raise DataError(f"{files}: none of the {what} of the candidates is known, so that all lists would be empty")
        capped = None
        if self.categories is not None:
            frame = read_ids(self.categories, {"item": items.kind, "category": "str"})
            rows = self._item_rows(self.categories, frame, items)
            capped = capped_categories(len(items), rows[rows >= 0], frame["category"][rows >= 0], self.cap)
        if "candidates" in sets and (own := sets["candidates"].users) is not None and len(own) < len(users):
            logger.info("%d of %d users have no candidates, so that they get no list", len(users) - len(own), len(users))
        return Rules(items, **sets, categories=capped)

    def _sets(self, paths: Sequence[Path], items: IdMap, users: IdMap) -> ItemSets:
        """The sets of items in files."""
        shared: list[Rows] = []
        pairs: list[tuple[pd.Series, Rows]] = []
        for path in paths:
            frame = read_ids(path, {"item": items.kind, "user": users.kind}, optional="user")
            rows = self._item_rows(path, frame, items)
            if "user_id" in frame:
                rows = np.where(self._known_users(path, frame, users), rows, -1)
                pairs.append((frame["user_id"][rows >= 0], rows[rows >= 0]))
            else:
                shared.append(rows[rows >= 0])
        own = (pd.concat([ids for ids, _ in pairs]), np.concatenate([rows for _, rows in pairs])) if pairs else None
        return ItemSets.of_rows(len(items), np.concatenate(shared) if shared else None, own)

    def _item_rows(self, path: Path, frame: pd.DataFrame, items: IdMap) -> Rows:
        """The rows of the items in a file, -1 where unknown."""
        rows = item_rows(items, frame["item_id"], str(path), None if self.skip_unknown else WAY_OUT)
        if n := int((rows < 0).sum()):
            logger.info("%s: %d of %d rows left out, whose items the model does not know", path, n, len(rows))
        return rows

    def _known_users(self, path: Path, frame: pd.DataFrame, users: IdMap) -> NDArray[np.bool_]:
        """bool [n]: whether the users in a file are known."""
        known = users.find(frame["user_id"]) >= 0
        if known.all():
            return known
        n, first = int((~known).sum()), shown(frame["user_id"][~known].iloc[0])
        if not self.skip_unknown:
            raise UnknownIdError(
                f"{path}: the history has no user {first} ({n} of {len(known)} rows have such users); {WAY_OUT}"
            )
        logger.info("%s: %d of %d rows left out, whose users are not in the history", path, n, len(known))
        return known
