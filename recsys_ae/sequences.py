"""The events of users in order, session by session: the view of a log that sequential models read."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, quoted
from recsys_ae.events import Events, Ratings
from recsys_ae.ids import Rows

LONGEST_GAP = 1e8  # minutes, two centuries


@dataclass(frozen=True, eq=False, repr=False)
class Sequences:
    """E events of B users in S sessions, ordered by user, then session, then time.

    The sessions of a user are in the order of their last events, so that the last session is the current one. Equal times are
    in the order of the source. In a log without sessions, all events of a user are one session.

    Attributes:
        items: int64 [E], item rows.
        ratings: float32 [E].
        times: int64 [E], microseconds since 1970, or None.
        session_starts: int64 [S + 1]; the events of session s are those from session_starts[s] to session_starts[s + 1].
        user_starts: int64 [B + 1]; the sessions of user b are those from user_starts[b] to user_starts[b + 1].
        at: int64 [E], positions of the events in the log.
    """

    items: Rows
    ratings: Ratings
    times: Rows | None
    session_starts: Rows
    user_starts: Rows
    at: Rows

    @classmethod
    def of_log(cls, log: Events, n_users: int) -> "Sequences":
        """The sequences of all N users; the events of each user are by time in `log`, as in `Interactions.log`."""
        by_user, new = _by_session(log)
        starts = np.flatnonzero(new)
        per_user = np.bincount(log.users[by_user][starts], minlength=n_users)
        ordered = log[by_user]
        starts = np.r_[starts, len(log)]
        return cls(ordered.items, ordered.ratings, ordered.times, starts, np.r_[0, np.cumsum(per_user)], by_user)

    def __len__(self) -> int:
        """Number of users B."""
        return len(self.user_starts) - 1

    def __repr__(self) -> str:
        return f"Sequences({len(self)} users, {self.n_sessions} sessions, {len(self.items)} events)"

    @property
    def n_sessions(self) -> int:
        return len(self.session_starts) - 1

    def __getitem__(self, rows: Rows) -> "Sequences":
        """The sequences of the users at `rows` (int64 [b]), in that order."""
        sessions, user_starts = ranges(self.user_starts[rows], self.user_starts[rows + 1])
        events, session_starts = ranges(self.session_starts[sessions], self.session_starts[sessions + 1])
        return self._of(events, session_starts, user_starts)

    def last_sessions(self) -> "Sequences":
        """The last session of each user; a user without events keeps none."""
        has_any = np.diff(self.user_starts) > 0
        ends = self.user_starts[1:][has_any]
        events, session_starts = ranges(self.session_starts[ends - 1], self.session_starts[ends])
        return self._of(events, session_starts, np.r_[0, np.cumsum(has_any)])

    def _of(self, events: Rows, session_starts: Rows, user_starts: Rows) -> "Sequences":
        """The events at these positions, with other sessions and users."""
        times = None if self.times is None else self.times[events]
        return Sequences(self.items[events], self.ratings[events], times, session_starts, user_starts, self.at[events])

    def session_ends(self) -> Rows:
        """int64 [S]: the time of the last event of each session; only where there are times."""
        assert self.times is not None
        return self.times[self.session_starts[1:] - 1]

    def session_of_event(self) -> Rows:
        """int64 [E]: the session of each event, 0 to S - 1."""
        return np.repeat(np.arange(self.n_sessions), np.diff(self.session_starts))

    @property
    def event_starts(self) -> Rows:
        """int64 [B + 1]: the events of user b are those from event_starts[b] to event_starts[b + 1]."""
        return self.session_starts[self.user_starts]

    def user_of_session(self) -> Rows:
        """int64 [S]: the user of each session, 0 to B - 1."""
        return np.repeat(np.arange(len(self)), np.diff(self.user_starts))

    def user_of_event(self) -> Rows:
        """int64 [E]: the user of each event, 0 to B - 1."""
        return np.repeat(np.arange(len(self)), np.diff(self.event_starts))

    def position_in_session(self) -> Rows:
        """int64 [E]: how many events of its session precede each event."""
        return np.arange(len(self.items)) - np.repeat(self.session_starts[:-1], np.diff(self.session_starts))

    def left_in_session(self) -> Rows:
        """int64 [E]: how many events of its session follow each event."""
        return np.repeat(self.session_starts[1:], np.diff(self.session_starts)) - 1 - np.arange(len(self.items))

    def comes_again(self) -> NDArray[np.bool_]:
        """bool [E]: whether the item of each event has a later event in the same session."""
        session = self.session_of_event()
        order = np.lexsort((self.items, session))  # stable, so the events of an item stay in order
        same = (np.diff(self.items[order]) == 0) & (np.diff(session[order]) == 0)
        again = np.zeros(len(order), bool)
        again[order[:-1][same]] = True
        return again

    def repeat_share(self) -> float:
        """The share of events, without the first of each session, that have the same item as the event before."""
        follows = np.diff(self.session_of_event()) == 0
        return float((np.diff(self.items) == 0)[follows].mean()) if follows.any() else 0.0


def sessions_by_gap(log: Events, gap_minutes: float) -> Rows:
    """int64 [E]: session numbers for the events of `log`, which is by time; a pause of that length or more ends a session."""
    if log.times is None:
        raise ConfigError("sessions by gap need times, but this data has none; declare its time column")
    if not (isinstance(gap_minutes, Real) and 0 < gap_minutes <= LONGEST_GAP):
        raise ConfigError(f"the gap between sessions must be a positive number of minutes, got {quoted(gap_minutes)}")
    gap = round(gap_minutes * 60_000_000)
    by_user = np.argsort(log.users, kind="stable")
    users, times = log.users[by_user], log.times[by_user]
    begins = np.r_[True, (np.diff(users) != 0) | (np.diff(times) >= gap)][: len(users)]
    sessions = np.empty(len(log), np.int64)
    sessions[by_user] = np.cumsum(begins) - 1
    return sessions


def _by_session(log: Events) -> tuple[Rows, NDArray[np.bool_]]:
    """Positions that sort a log by user, session and time, int64 [E], and where sessions begin, bool [E]."""
    if log.sessions is None:
        by_user = np.argsort(log.users, kind="stable")
        return by_user, np.r_[True, np.diff(log.users[by_user]) != 0][: len(log)]
    together = np.lexsort((log.sessions, log.users))  # stable, so by time within a session
    users, sessions = log.users[together], log.sessions[together]
    new = np.r_[True, (np.diff(users) != 0) | (np.diff(sessions) != 0)][: len(log)]
    number = np.cumsum(new) - 1
    last = together[np.r_[new[1:], True][: len(log)]]  # position in the log of the last event of each session
    order = np.lexsort((np.arange(len(log)), last[number], users))
    number = number[order]
    return together[order], np.r_[True, np.diff(number) != 0][: len(log)]


def ranges(starts: Rows, ends: Rows) -> tuple[Rows, Rows]:
    """The concatenated ranges starts[i]:ends[i], and where each begins among them, int64 [n + 1]."""
    lengths = ends - starts
    begins = np.r_[0, np.cumsum(lengths)]
    return np.repeat(starts - begins[:-1], lengths) + np.arange(begins[-1]), begins
