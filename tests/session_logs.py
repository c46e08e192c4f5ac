"""Small logs with sessions, and plain lists that tests of session models read from them."""

from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from recsys_ae import IdMap, Interactions

ITEMS = IdMap(np.arange(6))
# (user, session, item, hour): items repeat, times tie, sessions of one user overlap, item 5 never occurs
LOGS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=40)


def from_rows(rows: list[tuple[int, int, int, int]], users: IdMap | None = None) -> Interactions:
    frame = pd.DataFrame(rows, columns=["user_id", "session", "item_id", "time"])
    frame["time"] *= 3600
    options = {"rating": None, "time": "time", "session": "session", "duplicates": "sum"}
    return Interactions.from_frame(frame, users=users, items=ITEMS, **options)


def sessions_of(rows: list[tuple[int, int, int, int]]) -> list[tuple[int, int, list[int]]]:
    """(user, hour of the last event, items) of each session, by user, then by last event."""
    by_time = sorted(enumerate(rows), key=lambda row: (row[1][3], row[0]))
    found: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for place, (_, (user, session, item, hour)) in enumerate(by_time):
        found.setdefault((user, session), []).append((place, hour, item))
    order = sorted(found, key=lambda key: (key[0], found[key][-1][0]))
    return [(key[0], found[key][-1][1], [item for _, _, item in found[key]]) for key in order]


def current_items(rows: list[tuple[int, int, int, int]]) -> dict[int, list[int]]:
    """The items of the last session of each user."""
    return {user: items for user, _, items in sessions_of(rows)}


def popularity(rows: list[tuple[int, int, int, int]]) -> list[int]:
    """Number of users of each item."""
    return [len({user for user, _, other, _ in rows if other == item}) for item in range(len(ITEMS))]


def repeat_share(sessions: list[tuple[int, int, list[int]]]) -> float:
    """The share of events, without the first of each session, that have the same item as the event before."""
    repeats = [before == after for _, _, items in sessions for before, after in pairwise(items)]
    return sum(repeats) / max(1, len(repeats))
