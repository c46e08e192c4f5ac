"""What all protocols share: checked parameters, and the split in which each event or pair has the number of its part."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from recsys_ae.declaration import check_seed, validate_params
from recsys_ae.errors import ConfigError
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, check_interactions
from recsys_ae.split import Predict, Repeats, Split

TRAIN, VALID, TEST, FOLD_IN, LATER = np.arange(5, dtype=np.int8)
Parts = NDArray[np.int8]
F = TypeVar("F", bound=Callable[..., Split])


def protocol(function: F) -> F:
    """The protocol, which raises `DataError` for other data than interactions, and `ConfigError` as `validate_params` does."""

    @wraps(function)
    def checked(data: Interactions, **params: Any) -> Split:
        check_interactions(data, "data")
        return function(data, **validate_params(function, params, function.__name__))

    return cast(F, checked)


def split_by_part(
    select: Callable[[NDArray[np.bool_]], Interactions],
    part: Parts,
    protocol: str,
    params: dict[str, Any],
    repeats: Repeats = "excluded",
    predict: Predict = "all",
) -> Split:
    """The split in which `select` picks the members of each part by their number in `part`."""
    train, valid, test = (select(part == number) for number in (TRAIN, VALID, TEST))
    fold_in = select(part == FOLD_IN) if protocol == "user_holdout" else None
    later = select(part == LATER) if (part == LATER).any() else None
    return Split(train, valid, test, protocol, params, fold_in, repeats, predict, later)


def generator(seed: int) -> np.random.Generator:
    """The generator of a protocol that draws at random; `ConfigError` for an impossible seed."""
    check_seed(seed)
    return np.random.default_rng(seed)


def event_times(data: Interactions, protocol: str) -> Rows:
    """The times of `data.stored_events`, int64 [E]; `ConfigError` if there are none."""
    times = data.times if data.events is None else data.events.times
    if times is None:
        raise ConfigError(f"a {protocol} split needs times, but this data has none; declare its time column")
    return times


def check_shares(**shares: float) -> None:
    """Raise `ConfigError` unless the shares, by name, can be taken from one whole and leave something."""
    if any(not 0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        written = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise ConfigError(f"shares must be at least 0 and sum to less than 1, got {written}")
