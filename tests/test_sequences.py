from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from recsys_ae import Interactions
from recsys_ae.errors import ConfigError
from recsys_ae.sequences import Sequences


def by_hand(frame: pd.DataFrame, users: list[int]) -> list[list[list[int]]]:
    """The item ids of each session of each user, sessions by their last event; `frame` is in the order of the file."""
    frame = frame.sort_values("time", kind="stable").reset_index(drop=True)
    found = []
    for user in users:
        sessions = [own for _, own in frame[frame["user_id"] == user].groupby("session")]
        found.append([own["item_id"].tolist() for own in sorted(sessions, key=lambda own: own.index[-1])])
    return found


def as_lists(sequences: Sequences, items: np.ndarray) -> list[list[list[int]]]:
    starts = sequences.session_starts
    sessions = [items[sequences.items[a:b]].tolist() for a, b in pairwise(starts)]
    return [sessions[a:b] for a, b in pairwise(sequences.user_starts)]


LOGS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=30)


@settings(deadline=None)
@given(rows=LOGS)
def test_sequences_are_what_pandas_does_by_hand(rows):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time", "session"])
    data = Interactions.from_frame(frame, rating=None, time="time", session="session", duplicates="sum")
    expected = by_hand(frame, data.users.values.tolist())
    sequences = data.sequences
    assert as_lists(sequences, data.items.values) == expected
    chosen = np.array([len(expected) - 1, 0, 0])
    assert as_lists(sequences[chosen], data.items.values) == [expected[row] for row in chosen]
    assert as_lists(sequences.last_sessions(), data.items.values) == [own[-1:] for own in expected]
    assert sequences.position_in_session().tolist() == [n for own in expected for one in own for n in range(len(one))]
    assert sequences.left_in_session().tolist() == [n for own in expected for one in own for n in reversed(range(len(one)))]
    sessions = [one for own in expected for one in own]
    assert sequences.comes_again().tolist() == [item in one[n + 1 :] for one in sessions for n, item in enumerate(one)]
    repeats = [before == after for one in sessions for before, after in pairwise(one)]
    assert sequences.repeat_share() == pytest.approx(np.mean(repeats) if repeats else 0)
    assert np.diff(sequences.event_starts).tolist() == [sum(map(len, own)) for own in expected]


def test_a_log_without_sessions_is_one_session_per_user():
    frame = pd.DataFrame({"user_id": [1, 2, 1, 1], "item_id": [9, 7, 8, 7], "time": [3, 3, 1, 3]})
    data = Interactions.from_frame(frame, rating=None, time="time")
    assert as_lists(data.sequences, data.items.values) == [[[8, 9, 7]], [[7]]]


def test_a_user_without_events_has_no_sessions():
    frame = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [9, 7, 8], "time": [3, 3, 1]})
    data = Interactions.from_frame(frame, rating=None, time="time")
    data = data.filter(data.user_rows() != 1)
    assert as_lists(data.sequences, data.items.values) == [[[9]], [], [[8]]]
    assert as_lists(data.sequences.last_sessions(), data.items.values) == [[[9]], [], [[8]]]


def test_a_gap_ends_a_session():
    minutes = [0, 29, 59, 60, 200, 10, 40]
    frame = pd.DataFrame({"user_id": [1] * 5 + [2] * 2, "item_id": range(7), "time": [60 * m for m in minutes]})
    data = Interactions.from_frame(frame, rating=None, time="time").with_sessions(30)
    assert as_lists(data.sequences, data.items.values) == [[[0, 1], [2, 3], [4]], [[5], [6]]]
    assert data.digest != Interactions.from_frame(frame, rating=None, time="time").digest


@pytest.mark.parametrize("gap", [0, -1, float("nan"), float("inf"), "30"])
def test_a_gap_is_a_positive_number(gap):
    frame = pd.DataFrame({"user_id": [1], "item_id": [1], "time": [1]})
    with pytest.raises(ConfigError, match="the gap between sessions must be a positive number of minutes"):
        Interactions.from_frame(frame, rating=None, time="time").with_sessions(gap)


def test_a_gap_needs_times():
    frame = pd.DataFrame({"user_id": [1], "item_id": [1]})
    with pytest.raises(ConfigError, match="sessions by gap need times"):
        Interactions.from_frame(frame, rating=None).with_sessions(30)
