"""Protocols: functions that split interactions into training, validation and test parts.

Shares are fractions between 0 and 1. `valid` is taken from what is left for training in the same way as `test`, so that a
model's score on it predicts its score on the test part.

Protocols by time (`leave_last`, `last_session`, `time_cut`) split events and merge pairs afterwards, so that no event before a
cut moves to the other side because its pair occurs again later. The others split merged pairs.
"""

from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import Annotated, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from recsys_ae.declaration import check_seed, validate_params
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, check_interactions
from recsys_ae.registry import Registry
from recsys_ae.split import Predict, Repeats, Split
from recsys_ae.times import moment

# A date in a YAML file need not be quoted.
Moment = Annotated[str | float, BeforeValidator(lambda at: at.isoformat() if isinstance(at, date) else at)]
PROTOCOLS = (
    "random",
    "per_user",
    "leave_last",
    "last_session",
    "time_cut",
    "k_fold",
    "user_holdout",
    "cold_items",
    "cold_users",
)
SPLITS = Registry("split", {name: f"recsys_ae.splitting:{name}" for name in PROTOCOLS})

TRAIN, VALID, TEST, FOLD_IN = range(4)
F = TypeVar("F", bound=Callable[..., Split])


def _protocol(function: F) -> F:
    """The protocol, which raises `DataError` for other data than interactions, and `ConfigError` as `validate_params` does."""

    @wraps(function)
    def checked(data: Interactions, **params: Any) -> Split:
        check_interactions(data, "data")
        return function(data, **validate_params(function, params, function.__name__))

    return cast(F, checked)


@_protocol
def random(data: Interactions, *, test: float = 0.1, valid: float = 0.0, seed: int = 0) -> Split:
    """`test` and `valid` shares of all observations, at random."""
    _check_shares(test=test, valid=valid)
    order = _generator(seed).permutation(len(data))
    return _head_split(data, order, round(test * len(data)), valid, "random", {"test": test, "valid": valid, "seed": seed})


@_protocol
def per_user(data: Interactions, *, test: float = 0.2, valid: float = 0.0, seed: int = 0) -> Split:
    """`test` and `valid` shares of each user's observations, rounded to the nearest; at least one stays for training."""
    _check_shares(test=test, valid=valid)
    rank = _rank_within_user(data, _generator(seed).random(len(data)))
    count = np.diff(data.matrix.indptr)[data.user_rows()]
    n_test = np.minimum(np.floor(test * count + 0.5), count - 1)
    n_valid = np.minimum(np.floor(valid * count + 0.5), count - 1 - n_test)
    part = np.where(rank < n_test, TEST, np.where(rank < n_test + n_valid, VALID, TRAIN))
    return _split(data.filter, part, "per_user", {"test": test, "valid": valid, "seed": seed})


@_protocol
def leave_last(data: Interactions, *, test: int = 1, valid: int = 0, repeats: Repeats = "excluded") -> Split:
    """The last `test` events of each user, and the `valid` ones before them; equal times are in the order of the source.

    Users with at most `test + valid` events stay in training. `repeats`: see `Split`. `ConfigError` if there are no times.
    """
    if test < 1 or valid < 0:
        raise ConfigError(f"leave_last needs test >= 1 and valid >= 0, got test={test}, valid={valid}")
    _event_times(data, "leave_last")
    events = data.stored_events
    count = np.bincount(events.users, minlength=data.n_users)
    by_time = events.by_time(data.n_items)
    by_user = by_time[np.argsort(events.users[by_time], kind="stable")]
    later = np.empty(len(events), np.int64)  # number of later events of the same user
    later[by_user] = np.repeat(np.cumsum(count), count) - 1 - np.arange(len(events))
    part = np.where(later < test, TEST, np.where(later < test + valid, VALID, TRAIN))
    part[count[events.users] <= test + valid] = TRAIN
    return _split(data.filter_events, part, "leave_last", {"test": test, "valid": valid, "repeats": repeats}, repeats)


@_protocol
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
    _event_times(data, "last_session")
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
    return _split(data.filter_events, _of_events(data, part), "last_session", params, repeats, predict)


@_protocol
def time_cut(
    data: Interactions,
    *,
    test: float = 0.1,
    valid: float = 0.0,
    at: Moment | None = None,
    repeats: Repeats | None = None,
    predict: Predict = "all",
) -> Split:
    """Everything from one moment on is the test part: the only protocol that learns nothing from the future.

    Args:
        test: share of the events from the cut on, unless `at` is given; equal times stay on one side.
        valid: share of all events just before the cut.
        at: the moment, as ISO 8601 text or seconds since 1970.
        repeats, predict: see `Split`; repeats are `wanted` by default with `predict: next`, otherwise `excluded`.

    Raises:
        ConfigError: the data has no times.
    """
    _check_shares(test=test, valid=valid)
    repeats = repeats or default_repeats(predict)
    times = _event_times(data, "time_cut")
    if at is None and round(test * len(times)) == 0:
        raise ConfigError(f"time_cut with test={test:g} leaves the test part empty; use a larger share")
    ordered = np.sort(times)
    start = moment(at) if at is not None else ordered[len(ordered) - round(test * len(ordered))]
    before = int(np.searchsorted(ordered, start))
    n_valid = min(round(valid * len(ordered)), before)
    valid_start = ordered[before - n_valid] if n_valid else start
    part = np.where(times >= start, TEST, np.where(times >= valid_start, VALID, TRAIN))
    params = {"test": test, "valid": valid, "at": str(np.datetime64(int(start), "us")), "repeats": repeats, "predict": predict}
    return _split(data.filter_events, part, "time_cut", params, repeats, predict)


@_protocol
def k_fold(data: Interactions, *, k: int = 5, fold: int = 0, valid: float = 0.0, seed: int = 0) -> Split:
    """Fold number `fold` (from 0) of `k` random folds is the test part; `valid` is a share of all observations."""
    if not 2 <= k <= len(data) or not 0 <= fold < k:
        raise ConfigError(
            f"k_fold needs 2 <= k <= {len(data)}, the number of interactions, and 0 <= fold < k, got k={k}, fold={fold}"
        )
    _check_shares(test=1 / k, valid=valid)
    folds = np.array_split(_generator(seed).permutation(len(data)), k)
    order = np.concatenate([*folds[fold:], *folds[:fold]])
    return _head_split(data, order, len(folds[fold]), valid, "k_fold", {"k": k, "fold": fold, "valid": valid, "seed": seed})


@_protocol
def user_holdout(data: Interactions, *, test: float = 0.1, valid: float = 0.1, fold_in: float = 0.8, seed: int = 0) -> Split:
    """Strong generalisation (Liang et al. 2018): shares of the *users* are held out of training entirely.

    The history of a held-out user is a random `fold_in` share of their observations; the rest has to be predicted. Users with
    a single observation are never held out.
    """
    _check_shares(test=test, valid=valid)
    _check_shares(fold_in=fold_in)
    rng = _generator(seed)
    count = np.diff(data.matrix.indptr)
    able = rng.permutation(np.flatnonzero(count > 1))
    n_test, n_valid = round(test * data.n_users), round(valid * data.n_users)
    if n_test + n_valid > len(able):
        raise DataError(f"cannot hold out {n_test + n_valid} users: only {len(able)} have two interactions or more")
    role = np.full(data.n_users, TRAIN)
    role[able[:n_test]] = TEST
    role[able[n_test : n_test + n_valid]] = VALID
    user = data.user_rows()
    rank = _rank_within_user(data, rng.random(len(data)))
    known = np.clip(np.floor(fold_in * count + 0.5), 1, np.maximum(count - 1, 1))
    part = np.where((role[user] != TRAIN) & (rank < known[user]), FOLD_IN, role[user])
    return _split(data.filter, part, "user_holdout", {"test": test, "valid": valid, "fold_in": fold_in, "seed": seed})


@_protocol
def cold_items(data: Interactions, *, test: float = 0.1, valid: float = 0.0, seed: int = 0) -> Split:
    """All interactions of `test` and `valid` shares of the *items* that have any, drawn at random.

    The items of a part have no history before it, so models know only their features.
    """
    return _hold_out(data, data.item_rows(), "cold_items", {"test": test, "valid": valid, "seed": seed})


@_protocol
def cold_users(data: Interactions, *, test: float = 0.1, valid: float = 0.0, seed: int = 0) -> Split:
    """All interactions of `test` and `valid` shares of the *users* that have any, drawn at random.

    The users of a part have no history before it, unlike those of `user_holdout`, so models know only their features.
    """
    return _hold_out(data, data.user_rows(), "cold_users", {"test": test, "valid": valid, "seed": seed})


def _hold_out(data: Interactions, row: Rows, protocol: str, params: dict[str, Any]) -> Split:
    """A split that holds out whole users or whole items; `row` [nnz] is that of each observation."""
    test, valid = params["test"], params["valid"]
    _check_shares(test=test, valid=valid)
    able = _generator(params["seed"]).permutation(np.unique(row))
    n_test, n_valid = round(test * len(able)), round(valid * len(able))
    role = np.full(max(data.matrix.shape), TRAIN)
    role[able[:n_test]] = TEST
    role[able[n_test : n_test + n_valid]] = VALID
    return _split(data.filter, role[row], protocol, params)


def _head_split(data: Interactions, order: Rows, n_test: int, valid: float, protocol: str, params: dict[str, Any]) -> Split:
    """The first `n_test` observations in `order` are the test part, the next ones the `valid` share."""
    part = np.full(len(data), TRAIN)
    part[order[:n_test]] = TEST
    part[order[n_test : n_test + round(valid * len(data))]] = VALID
    return _split(data.filter, part, protocol, params)


def _split(
    select: Callable[[NDArray[np.bool_]], Interactions],
    part: NDArray[np.int64],
    protocol: str,
    params: dict[str, Any],
    repeats: Repeats = "excluded",
    predict: Predict = "all",
) -> Split:
    """The split in which `select` picks the members of each part by their number in `part`."""
    train, valid, test = (select(part == number) for number in (TRAIN, VALID, TEST))
    fold_in = select(part == FOLD_IN) if protocol == "user_holdout" else None
    return Split(train, valid, test, protocol, params, fold_in, repeats, predict)


def default_repeats(predict: Predict) -> Repeats:
    """The policy for repeats if none is declared: with `predict: next`, lists may contain seen items."""
    return "wanted" if predict == "next" else "excluded"


def latest_sessions(data: Interactions, share: float) -> tuple[Interactions, Interactions]:
    """The interactions without the latest `share` of all sessions, by the time of their first event, and these sessions.

    In a log without sessions, all events of a user are one session. `ConfigError` if there are no times.
    """
    _check_shares(valid=share)
    _event_times(data, "next-event")
    sequences = data.sequences
    assert sequences.times is not None
    latest = np.argsort(sequences.times[sequences.session_starts[:-1]], kind="stable")
    part = np.full(sequences.n_sessions, TRAIN)
    part[latest[len(latest) - round(share * len(latest)) :]] = VALID
    of_event = _of_events(data, part)
    return data.filter_events(of_event == TRAIN), data.filter_events(of_event == VALID)


def _of_events(data: Interactions, part: NDArray[np.int64]) -> NDArray[np.int64]:
    """The part of each of `data.stored_events`, given that of each session of `data.sequences`."""
    events, sequences = data.stored_events, data.sequences
    found = np.empty(len(events), np.int64)
    found[events.by_time(data.n_items)[sequences.at]] = part[sequences.session_of_event()]
    return found


def _rank_within_user(data: Interactions, key: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank (from 0) of each observation among those of its user, by `key`."""
    user = data.user_rows()
    rank = np.empty(len(data), np.int64)
    rank[np.lexsort((key, user))] = np.arange(len(data)) - data.matrix.indptr[user]
    return rank


def _generator(seed: int) -> np.random.Generator:
    check_seed(seed)
    return np.random.default_rng(seed)


def _event_times(data: Interactions, protocol: str) -> Rows:
    """The times of `data.stored_events`."""
    times = data.times if data.events is None else data.events.times
    if times is None:
        raise ConfigError(f"a {protocol} split needs times, but this data has none; declare its time column")
    return times


def _check_shares(**shares: float) -> None:
    if any(not 0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        written = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise ConfigError(f"shares must be at least 0 and sum to less than 1, got {written}")
