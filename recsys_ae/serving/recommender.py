"""A saved model with what is needed to answer requests: defaults, and the histories of users.

A request is a table with one row per list. Lists are computed as for an export, in blocks of users, so that they equal exported
ones.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.digests import digest_of_file
from recsys_ae.errors import DataError
from recsys_ae.events import Duplicates, Events
from recsys_ae.files import check_file, read_json, write_json
from recsys_ae.ids import KINDS, IdMap, Rows, id_index, kind_of, shown
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import fitted_state
from recsys_ae.models.recommend import Cold, recommend_blocks
from recsys_ae.models.rules import Rules
from recsys_ae.models.storage import load_model
from recsys_ae.serving.histories import Histories
from recsys_ae.serving.requests import is_missing, read_histories

_List = tuple[list[Any], list[int], list[float]]  # items, ranks and scores

SETTINGS, HISTORY, SEEN = "serving.json", "history", "seen"
REMEDY = "log the model again"


@dataclass(frozen=True)
class Settings:
    """How a model is served, and the content of `serving.json`.

    Attributes:
        k, exclude_seen, cold: defaults of requests.
        duplicates: how repeated events of one user and item are merged.
        positive_at: only ratings of at least this are part of a history, each as 1; all others count as seen.
        files: digests of the files beside it.
    """

    k: int = 10
    exclude_seen: bool = True
    cold: Cold = "popular"
    duplicates: Duplicates = "last"
    positive_at: float | None = None
    files: dict[str, str] = field(default_factory=dict)


def write_serving(
    folder: Path, settings: Settings, history: Interactions | None = None, seen: Interactions | None = None
) -> None:
    """Write to an existing folder what `ServedRecommender` needs beside the model.

    Args:
        history: of the users who then need not send theirs; None stores none.
        seen: what these users have seen, if that is more than their history.
    """
    for name, data in ((HISTORY, history), (SEEN, seen)):
        if data is not None:
            Histories.of(data).write(folder, name)
    files = {path.name: digest_of_file(path) for path in sorted(folder.iterdir())}
    write_json(replace(settings, files=files), folder / SETTINGS)


class ServedRecommender:
    """A fitted model that answers requests.

    Args:
        model: folder of the saved model.
        folder: what `write_serving` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """

    def __init__(self, model: Path, folder: Path) -> None:
        self.model = load_model(model)
        self.settings = read_json(Settings, folder / SETTINGS, REMEDY)
        for name, digest in self.settings.files.items():
            check_file(folder / name, digest, REMEDY)
        fitted = fitted_state(self.model)
        self.items: IdMap = fitted.ids["items"]
        self._item_ids = self.items.values
        self._user_kind: str = fitted.meta["user_ids"]
        scale = fitted.meta["scale"]
        rated = scale is not None and scale[0] < scale[1]
        self._unrated = None if rated else 1.0
        if self.settings.positive_at is not None:
            self._unrated = self.settings.positive_at
        kept = {
            name: Histories.read(folder, name) for name in (HISTORY, SEEN) if f"{name}-users.parquet" in self.settings.files
        }
        self._history, self._seen = kept.get(HISTORY), kept.get(SEEN)

    def answer(
        self,
        request: pd.DataFrame,
        *,
        k: int | None = None,
        exclude_seen: bool | None = None,
        candidates: Sequence[Any] = (),
        cold: Cold | None = None,
    ) -> pd.DataFrame:
        """The best items for each row of a request.

        Args:
            request: the columns user_id, history or both. A history is a list of item ids, oldest first, or of events with
                the key item_id and optionally rating, time and session; it replaces the stored history of the user. Items
                that the model does not know are left out.
            k, exclude_seen, cold: as for `models.recommend.recommend`; None means the default in the settings.
            candidates: ids of the only items that may be recommended; the model need not know all of them. Empty: all items.

        Returns:
            One row per row of the request: user_id as given, and the lists item_id, rank (from 1) and score.

        Raises:
            DataError: neither column, or ids or events of a wrong type.
            ColdUserError, ConfigError: as for `recommend`.
        """
        if not {"user_id", HISTORY} & {*request.columns}:
            raise DataError("a request needs the column user_id, history or both")
        users = self._user_ids(request)
        given = {row: value for row, value in enumerate(request.get(HISTORY, ())) if not is_missing(value)}
        rules = Rules.of(self.items, candidates=list(candidates), skip_unknown=True) if len(candidates) else None
        options = {
            "k": self.settings.k if k is None else k,
            "exclude_seen": self.settings.exclude_seen if exclude_seen is None else exclude_seen,
            "cold": cold or self.settings.cold,
            "rules": rules,
        }
        events = read_histories(given, self.items, self._unrated)
        lists: dict[int, _List] = {}
        names, sources = self._names(users, given), _sources(users, given)
        for rows in _turns(names, sorted({*sources})):
            stored = np.array([row not in given and users[row] is not None for row in rows], bool)
            found = self._lists(self._named([names[row] for row in rows]), stored, _of_rows(events, rows), options)
            lists |= zip(rows.tolist(), found, strict=True)
        columns = [list(column) for column in zip(*(lists[row] for row in sources), strict=True)] or [[], [], []]
        return pd.DataFrame({"user_id": _column(users), **dict(zip(("item_id", "rank", "score"), columns, strict=True))})

    def _user_ids(self, request: pd.DataFrame) -> list[Any]:
        """The id in each row, None where there is none; `DataError` for ids of another type than in training."""
        column = request["user_id"] if "user_id" in request else [None] * len(request)
        present = {row: value for row, value in enumerate(column) if not is_missing(value)}
        users: list[Any] = [None] * len(request)
        if present:
            index = id_index(list(present.values()), "user_id")
            if kind_of(index) != self._user_kind:
                raise DataError(f"user_id must be {KINDS[self._user_kind]}, as in training, got {shown(index[0])}")
            for row, value in zip(present, index.tolist(), strict=True):
                users[row] = value
        return users

    def _names(self, users: list[Any], given: Container[int]) -> list[Any]:
        """The ids, None for a repeated user with a history in the request, unless the model has learned that id."""
        trained, names, before = self._trained(), users.copy(), set()
        for row, user in enumerate(users):
            if row in given and user in before and user not in trained:
                names[row] = None
            before.add(user)
        return names

    def _trained(self) -> Container[Any]:
        """The users whose ids the model has learned."""
        return fitted_state(self.model).ids.get("users", ())

    def _named(self, users: list[Any]) -> IdMap:
        """The ids of users who are all different, with new ids for those who have none."""
        trained, taken = self._trained(), {*users}
        numbers = (-number if self._user_kind == "int" else f"anonymous-{number}" for number in count(1))
        free = (name for name in numbers if name not in taken and name not in trained)
        return IdMap([next(free) if user is None else user for user in users])

    def _lists(self, users: IdMap, stored: NDArray[np.bool_], asked: Events, options: dict[str, Any]) -> Iterator[_List]:
        """The lists of users.

        Args:
            stored: bool [B], whether the history of a user is the stored one, if there is one.
            asked: the events in the request.
        """
        history, seen = self._interactions(users, np.flatnonzero(stored), asked)
        for block in recommend_blocks(self.model, history, np.arange(len(users)), seen=seen, **options):
            for items, scores in zip(block.item_rows, block.scores, strict=True):
                n = int((items >= 0).sum())
                yield self._item_ids[items[:n]].tolist(), list(range(1, n + 1)), scores[:n].tolist()

    def _interactions(self, users: IdMap, stored: Rows, asked: Events) -> tuple[Interactions, Interactions | None]:
        """The history of users (the stored one at the rows `stored`), and what they have seen if that is more."""
        liked = asked
        if (least := self.settings.positive_at) is not None:
            liked = asked[asked.ratings >= least]
            liked = replace(liked, ratings=np.ones(len(liked), np.float32))
        history = self._merged(users, self._history, stored, liked)
        if least is None and self._seen is None:
            return history, None
        return history, self._merged(users, self._seen or self._history, stored, asked)

    def _merged(self, users: IdMap, kept: Histories | None, stored: Rows, asked: Events) -> Interactions:
        """The events of the request, and those kept for the users at the rows `stored`."""
        parts = [asked]
        if kept is not None and len(stored):
            found = kept.users.find(users.values[stored])
            own = kept[found[found >= 0]]
            parts.append(replace(own, users=stored[found >= 0][own.users]))
        log = _concatenated(parts)
        duplicates = "last" if self.settings.duplicates == "error" else self.settings.duplicates
        return Interactions.from_events(replace(log, order=np.arange(len(log))), users, self.items, duplicates)


def _concatenated(parts: Sequence[Events]) -> Events:
    """The events of all parts; those without sessions are in a session of their own."""
    users, items, ratings = (np.concatenate([getattr(part, name) for part in parts]) for name in ("users", "items", "ratings"))
    if all(part.sessions is None for part in parts):
        return Events(users, items, ratings)
    sessions = [np.zeros(len(part), np.int64) if part.sessions is None else part.sessions for part in parts]
    return Events(users, items, ratings, sessions=np.concatenate(sessions))


def _of_rows(events: Events, rows: Rows) -> Events:
    """The events of the rows (increasing) of a request, renumbered."""
    place = np.searchsorted(rows, events.users).clip(max=len(rows) - 1)
    own = rows[place] == events.users
    return replace(events[own], users=place[own])


def _sources(users: Sequence[Any], given: Container[int]) -> list[int]:
    """For each row, the row whose list it gets: the first of the same user if the history is the stored one, else itself."""
    first: dict[Any, int] = {}
    return [row if row in given or user is None else first.setdefault(user, row) for row, user in enumerate(users)]


def _turns(users: Sequence[Any], rows: Iterable[int]) -> list[Rows]:
    """The rows in as few groups as possible, with no user twice in the same group."""
    times: Counter[Any] = Counter()
    turns: list[list[int]] = []
    for row in rows:
        user = users[row]
        turn = 0 if user is None else times[user]
        times[user] += 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(row)
    return [np.array(turn) for turn in turns]


def _column(users: list[Any]) -> NDArray[Any] | list[Any]:
    """A column of ids; integers as int64 if none is missing."""
    return np.array(users, np.int64) if users and all(isinstance(user, int) for user in users) else users
