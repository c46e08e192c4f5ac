"""Protocols by time: they split events and merge pairs afterwards.

So no event before a cut moves to the other side because its pair occurs again later.
"""

from datetime import date
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.sorting import by_group, within_groups
from recsys_ae.split import Predict, Repeats, Split
from recsys_ae.splitting.parts import LATER, TEST, TRAIN, VALID, Parts, check_shares, event_times, protocol, split_by_part
from recsys_ae.times import moment


def _moment(at: str | float) -> str | float:
    """`at`, if it is a moment; `ValueError` otherwise, which is reported with the name of the key."""
    try:
        moment(at)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return at


# A date in a YAML file need not be quoted.
Moment = Annotated[
    str | float, BeforeValidator(lambda at: at.isoformat() if isinstance(at, date) else at), AfterValidator(_moment)
]
Days = Annotated[float, Field(gt=0, le=365_000)]
DAY = 86_400 * 10**6  # microseconds


@protocol
def leave_last(data: Interactions, *, test: int = 1, valid: int = 0, repeats: Repeats = "excluded") -> Split:
    """The last `test` events of each user, and the `valid` ones before them; equal times are in the order of the source.

    Users with at most `test + valid` events stay in training. `repeats`: see `Split`. `ConfigError` if there are no times.
    """
    if test < 1 or valid < 0:
        raise ConfigError(f"leave_last needs test >= 1 and valid >= 0, got test={test}, valid={valid}")
    times = event_times(data, "leave_last")
    if data.events is None:
        at, starts = within_groups(data.matrix.indptr, times, data.order), data.matrix.indptr
    else:  # which are by time
        at, starts = by_group(data.events.users, data.n_users)
    count = np.diff(starts)
    later = np.repeat(starts[1:], count) - 1 - np.arange(len(at), dtype=at.dtype)  # number of later events of the same user
    ordered = np.where(later < test, TEST, np.where(later < test + valid, VALID, TRAIN))
    ordered[np.repeat(count <= test + valid, count)] = TRAIN
    part = np.empty_like(ordered)
    part[at] = ordered
    return split_by_part(data.filter_events, part, "leave_last", {"test": test, "valid": valid, "repeats": repeats}, repeats)


@protocol
def last_session(
    data: Interactions, *, test: int = 1, valid: int = 0, repeats: Repeats = "wanted", predict: Predict = "next"
) -> Split:
    """The last `test` sessions of each user, and the `valid` ones before them; sessions are ordered by their last events.

    Users with at most `test + valid` sessions stay in training. By default, each event is predicted from all earlier events of
    its user, and lists may contain seen items; for `repeats` and `predict` see `Split`. `ConfigError` if there are no times or
    sessions.
    """
    if test < 1 or valid < 0:
        raise ConfigError(f"last_session needs test >= 1 and valid >= 0, got test={test}, valid={valid}")
    event_times(data, "last_session")
    if data.events is None or data.events.sessions is None:
        raise ConfigError(
            "a last_session split needs sessions; declare a session column, or session_gap to divide events by time"
        )
    sequences = data.sequences
    count = np.diff(sequences.user_starts)
    later = np.repeat(sequences.user_starts[1:], count) - 1 - np.arange(sequences.n_sessions)  # sessions of the same user
    part = np.where(later < test, TEST, np.where(later < test + valid, VALID, TRAIN))
    part[np.repeat(count, count) <= test + valid] = TRAIN
    params = {"test": test, "valid": valid, "repeats": repeats, "predict": predict}
    return split_by_part(data.filter_events, _of_events(data, part), "last_session", params, repeats, predict)


@protocol
def time_cut(
    data: Interactions,
    *,
    test: float = 0.1,
    valid: float = 0.0,
    at: Moment | None = None,
    repeats: Repeats | None = None,
    predict: Predict = "all",
) -> Split:
    """Everything from one moment on is the test part; models learn nothing from the future.

    Args:
        test: share of the events from the cut on, unless `at` is given; equal times stay on one side.
        valid: share of all events just before the cut.
        at: the moment, as ISO 8601 text or seconds since 1970.
        repeats, predict: see `Split`; repeats are `wanted` by default with `predict: next`, otherwise `excluded`.

    Raises:
        ConfigError: the data has no times.
    """
    check_shares(test=test, valid=valid)
    repeats = repeats or default_repeats(predict)
    times = event_times(data, "time_cut")
    if at is None and round(test * len(times)) == 0:
        raise ConfigError(f"time_cut with test={test:g} leaves the test part empty; use a larger share")
    ordered = np.sort(times)
    start = moment(at) if at is not None else ordered[len(ordered) - round(test * len(ordered))]
    part = np.where(times >= start, TEST, np.where(times >= _start_before(ordered, start, valid), VALID, TRAIN))
    params = {"test": test, "valid": valid, "at": str(np.datetime64(int(start), "us")), "repeats": repeats, "predict": predict}
    return split_by_part(data.filter_events, part, "time_cut", params, repeats, predict)


@protocol
def rolling_window(
    data: Interactions,
    *,
    windows: int = 5,
    window: int = 0,
    test: float = 0.2,
    days: Days | None = None,
    valid: float = 0.0,
    repeats: Repeats | None = None,
    predict: Predict = "all",
) -> Split:
    """Window number `window` (from 0, the earliest) of `windows` at the end of the log is the test part.

    All events before the window are known, all after it are `later`: neither known nor tested. Equal times are in the same
    window.

    Args:
        test: share of the events in all windows together, which have about equal numbers of events, unless `days` is given.
        days: length of each window; the last one ends with the last event.
        valid: share of all events just before the window.
        repeats, predict: as for `time_cut`.

    Raises:
        ConfigError: the data has no times, or there is no such window.
        DataError: no event is within the window.
    """
    if not 0 <= window < windows:
        raise ConfigError(f"rolling_window needs 0 <= window < windows, got windows={windows}, window={window}")
    check_shares(test=test, valid=valid)
    repeats = repeats or default_repeats(predict)
    times = event_times(data, "rolling_window")
    ordered = np.sort(times)
    starts, end = _window_starts(ordered, windows, test, days), int(ordered[-1]) + 1
    start, until = [*starts, end][window : window + 2]
    if not ((ordered >= start) & (ordered < until)).any():
        way_out = "use fewer windows, or a larger share" if days is None else "use fewer or longer windows"
        raise DataError(f"window {window} of {windows} has no event; {way_out}")
    part = np.array([TRAIN, VALID, TEST, LATER])[np.digitize(times, [_start_before(ordered, start, valid), start, until])]
    cut = {"at": str(np.datetime64(start, "us")), "until": str(np.datetime64(until, "us"))}
    params = {"windows": windows, "window": window, "test": test, "days": days, "valid": valid, **cut}
    params |= {"repeats": repeats, "predict": predict}
    return split_by_part(data.filter_events, part, "rolling_window", params, repeats, predict)


def default_repeats(predict: Predict) -> Repeats:
    """The policy for repeats if none is declared: with `predict: next`, lists may contain seen items."""
    return "wanted" if predict == "next" else "excluded"


def latest_sessions(data: Interactions, share: float) -> tuple[Interactions, Interactions]:
    """The interactions without the latest `share` of all sessions, by the time of their first event, and these sessions.

    In a log without sessions, all events of a user are one session. `ConfigError` if there are no times.
    """
    check_shares(valid=share)
    event_times(data, "next-event")
    sequences = data.sequences
    assert sequences.times is not None
    latest = np.argsort(sequences.times[sequences.session_starts[:-1]], kind="stable")
    part = np.full(sequences.n_sessions, TRAIN)
    part[latest[len(latest) - round(share * len(latest)) :]] = VALID
    of_event = _of_events(data, part)
    return data.filter_events(of_event == TRAIN), data.filter_events(of_event == VALID)


def _start_before(ordered: Rows, start: int, valid: float) -> int:
    """The start of the part before `start` that is the `valid` share of all events; `ordered` [E] are their times."""
    before = int(np.searchsorted(ordered, start))
    n_valid = min(round(valid * len(ordered)), before)
    return int(ordered[before - n_valid]) if n_valid else start


def _window_starts(ordered: Rows, windows: int, test: float, days: float | None) -> list[int]:
    """The start of each window, of equal numbers of events or of equal length; `ordered` [E] are the times of all events."""
    if days is not None:
        return [int(ordered[-1]) + 1 - round(days * DAY * left) for left in range(windows, 0, -1)]
    sizes = [round(test * len(ordered) * left / windows) for left in range(windows, 0, -1)]
    return [int(ordered[len(ordered) - size]) if size else int(ordered[-1]) + 1 for size in sizes]


def _of_events(data: Interactions, part: Parts) -> Parts:
    """The part of each of `data.stored_events`, given that of each session of `data.sequences`."""
    events, sequences = data.stored_events, data.sequences
    found = np.empty(len(events), part.dtype)
    found[events.by_time(data.n_items)[sequences.at]] = part[sequences.session_of_event()]
    return found
