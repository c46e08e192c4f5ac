import numpy as np
import pandas as pd
import pytest
from builders import random_interactions
from hypothesis import given, settings, strategies as st

from recsys_ae import Interactions
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.splitting import rolling_window, time_cut

DAY = 86_400
HOURS = [0, 1, 10, 24, 30, 47, 48, 49, 60, 72]


@pytest.fixture
def days() -> Interactions:
    """Ten events of three users; the last three days hold 3, 3 and 3 of them (0 h to 72 h, counted from the last event)."""
    frame = pd.DataFrame({"user_id": [1, 2, 3, 1, 2, 3, 1, 2, 3, 1], "item_id": range(10), "time": np.array(HOURS) * 3600})
    return Interactions.from_frame(frame, rating=None, time="time")


def hours(part: Interactions) -> list[int]:
    return sorted((part.log.times // (3600 * 10**6)).tolist())


@pytest.mark.parametrize(
    ("window", "before", "within"), [(0, [0], [1, 10, 24]), (1, [0, 1, 10, 24], [30, 47, 48]), (2, HOURS[:7], [49, 60, 72])]
)
def test_windows_of_a_day(days, window, before, within):
    split = rolling_window(days, windows=3, window=window, days=1)
    assert hours(split.train) == before
    assert hours(split.test) == within
    assert not len(split.valid)
    assert (hours(split.later) if split.later else []) == HOURS[len(before) + len(within) :]
    assert split.everything.digest == days.digest


@pytest.mark.parametrize(("window", "within"), [(0, [24, 30]), (1, [47, 48]), (2, [49, 60, 72])])
def test_windows_of_equal_numbers_of_events(days, window, within):
    """Seven of ten events in three windows: the last has round(7 / 3) = 2, the last two round(14 / 3) = 5, all 7."""
    split = rolling_window(days, windows=3, window=window, test=0.7)
    expected = {0: HOURS[3:5], 1: HOURS[5:8], 2: HOURS[8:]}[window]
    assert hours(split.test) == expected
    assert hours(split.train) == HOURS[: HOURS.index(expected[0])]


def test_the_validation_part_is_just_before_the_window(days):
    split = rolling_window(days, windows=3, window=1, days=1, valid=0.2)
    assert (hours(split.train), hours(split.valid), hours(split.test)) == ([0, 1], [10, 24], [30, 47, 48])
    assert split.params["at"] == "1970-01-02T00:00:00.000001"
    assert split.params["until"] == "1970-01-03T00:00:00.000001"


def test_one_window_is_a_time_cut():
    data = random_interactions()
    window, cut = rolling_window(data, windows=1, test=0.3, valid=0.1), time_cut(data, test=0.3, valid=0.1)
    assert window.digest == cut.digest
    assert window.params["at"] == cut.params["at"]


CLICKS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 12)), min_size=4, max_size=40)


@settings(deadline=None)
@given(rows=CLICKS, windows=st.integers(1, 4), days=st.sampled_from([None, 1.0, 2.5]), test=st.sampled_from([0.2, 0.5, 0.8]))
def test_every_event_is_in_one_window_or_before_all(rows, windows, days, test):
    """By brute force: what is before a window is known, equal times are together, and later events are neither."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "day"])
    data = Interactions.from_frame(frame.assign(time=frame.day * DAY), rating=None, time="time", duplicates="sum")
    times, tested = np.sort(frame.day.to_numpy()), []
    for window in range(windows):
        try:
            split = rolling_window(data, windows=windows, window=window, days=days, test=test)
        except DataError:  # no event in the window, or none before it
            return
        train, within = (np.sort(part.log.times // (DAY * 10**6)) for part in (split.train, split.test))
        assert train.tolist() == times[times < within.min()].tolist()
        assert split.everything.digest == data.digest
        assert split.history("test").digest == split.train.digest
        assert within.tolist() == times[(times >= within.min()) & (times <= within.max())].tolist()
        tested.append(within)
        if days is not None:
            left = windows - window
            assert within.min() > times[-1] - days * left
            assert within.max() <= times[-1] - days * (left - 1)
    together = np.concatenate(tested)
    assert together.tolist() == times[len(times) - len(together) :].tolist()
    if days is None:
        ideal = test * len(times) / windows
        ties = np.unique(times, return_counts=True)[1].max()
        assert all(abs(len(within) - ideal) <= ties + 1 for within in tested)


def test_what_cannot_be(days):
    with pytest.raises(ConfigError, match="0 <= window < windows, got windows=3, window=3"):
        rolling_window(days, windows=3, window=3)
    with pytest.raises(ConfigError, match="days: expected more than 0"):
        rolling_window(days, days=0)
    with pytest.raises(DataError, match="window 0 of 40 has no event; use fewer windows, or a larger share"):
        rolling_window(days, windows=40)
    with pytest.raises(DataError, match="window 1 of 3 has no event; use fewer or longer windows"):
        rolling_window(days, windows=3, window=1, days=0.2)
    with pytest.raises(DataError, match="the rolling_window split has an empty training part"):
        rolling_window(days, windows=4, days=1)
    with pytest.raises(ConfigError, match="a rolling_window split needs times"):
        rolling_window(random_interactions(times=False))
