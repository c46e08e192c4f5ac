"""One metric of several models on the same users: what intervals and tests are computed from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ldexp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, DataError, quoted

Floats = NDArray[np.float64]
LIMIT = 1e100  # of values and weights, so that their products and squares are finite
BITS = 46  # of a whole number, see `whole`
TIED = 2  # units; two differences of whole numbers that stand for equal differences are no further apart


class Whole(NamedTuple):
    """Whole numbers, float64, that stand for `numbers * unit`; the unit is a power of 2."""

    numbers: Floats
    unit: float


def whole(values: Floats) -> Whole:
    """Values [..., U] as multiples of 2^-46 of the largest, or 2^-52 U with more than 64 users.

    Sums over users, each counted up to U times in all, are then exact in float64 in whatever order they are formed. Hence no
    result depends on threads, blocks or the library behind a matrix product.

    >>> whole(np.array([0.1 + 0.2, 0.3])).numbers - whole(np.array([0.3, 0.3])).numbers
    array([0., 0.])
    """
    bits = min(BITS, 52 - (values.shape[-1] - 1).bit_length())
    exponent = bits - int(np.frexp(np.abs(values).max())[1])
    return Whole(np.rint(np.ldexp(values, exponent)), ldexp(1.0, -exponent))


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """One metric of m models on the same U users, who are the units that are resampled and compared.

    The metric of a model is sum(w v) / sum(w) over the users, or the root of that.

    Attributes:
        values: float64 [m, U], the mean value of each user.
        weights: float64 [U], above 0: the number of targets or ratings behind a user's value; None if all users count alike.
        root: the values are mean squared errors, and the metric is the root of their mean (RMSE).
        lower_is_better: as for errors.

    Raises:
        DataError: no model or no user, shapes that do not match, a value that is not finite or a negative squared error, a
            weight that is not above 0. A user without a value for one of the models cannot be compared.
    """

    values: Floats
    weights: Floats | None = None
    root: bool = False
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float64)
        object.__setattr__(self, "values", values)
        if values.ndim != 2 or not values.size:
            raise DataError(f"values of a metric need the shape [models, users], got {list(values.shape)}")
        right = (np.abs(values) < LIMIT) & ((values >= 0) | (not self.root))
        if not right.all():
            model, user = np.argwhere(~right)[0]
            what, found = "squared error" if self.root else "value", quoted(float(values[model, user]))
            raise DataError(f"{found} of model {model} and user {user} is no {what}; leave out users or models without a value")
        if self.weights is None:
            return
        weights = np.asarray(self.weights, np.float64)
        object.__setattr__(self, "weights", weights)
        if weights.shape != values.shape[1:]:
            raise DataError(f"weights need a number for each of {values.shape[1]} users, got the shape {list(weights.shape)}")
        right = (weights > 0) & (weights < LIMIT)
        if not right.all():
            user = int(right.argmin())
            raise DataError(f"{quoted(float(weights[user]))} is no weight of user {user}; leave out users without targets")

    @property
    def n_models(self) -> int:
        return self.values.shape[0]

    @property
    def n_users(self) -> int:
        return self.values.shape[1]

    @cached_property
    def contributions(self) -> Whole:
        """[m, U]: w v of each user, what it adds to the metric's numerator."""
        return whole(self.values if self.weights is None else self.values * self.weights)

    @cached_property
    def whole_weights(self) -> Whole:
        """[U]: w of each user."""
        return Whole(np.ones(self.n_users), 1.0) if self.weights is None else whole(self.weights)

    def metric(self, numerators: Floats, denominators: Floats | float) -> Floats:
        """The metric from sums of the whole numbers of `contributions` and `whole_weights` over any users."""
        means = numerators / denominators * (self.contributions.unit / self.whole_weights.unit)
        return np.sqrt(means) if self.root else means

    @cached_property
    def metrics(self) -> Floats:
        """Float64 [m]: the metric of each model over all users."""
        return self.metric(self.contributions.numbers.sum(axis=1), float(self.whole_weights.numbers.sum()))

    @cached_property
    def pseudo_values(self) -> Floats:
        """Float64 [m, U]: what each user says about the metric, v itself where all users count alike.

        U times the metric less U - 1 times that of all other users (the jackknife; Efron and Tibshirani 1993, chapter 11). By
        them t-tests and effect sizes apply to ratios and roots. Of a single user, v or its root.
        """
        numbers, weights = self.contributions.numbers, self.whole_weights.numbers
        if self.n_users == 1 or (self.weights is None and not self.root):
            return self.metric(numbers, weights)
        others = self.metric(numbers.sum(axis=1, keepdims=True) - numbers, weights.sum() - weights)
        return self.n_users * self.metrics[:, None] - (self.n_users - 1) * others

    @cached_property
    def degrees(self) -> float:
        """Degrees of freedom, at least 1: one less than the effective number of users, (sum w)^2 / sum w^2 (Kish 1965).

        That is U - 1 where all users count alike. With few users and unlike weights, U - 1 would make intervals too narrow.
        """
        if self.weights is None:
            return max(self.n_users - 1.0, 1.0)
        shares = self.weights / self.weights.sum()
        return max(1 / float(np.square(shares).sum()) - 1, 1.0)


def check_samples(samples: Sequence[Sample], shares: dict[str, float], counts: dict[str, int]) -> None:
    """Raise unless the samples have the same users, the named shares lie between 0 and 1, and the counts are at least 100."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ConfigError(f"{name} must lie between 0 and 1, got {quoted(share)}")
    for name, count in counts.items():
        if count < 100:
            raise ConfigError(f"{name} must be at least 100, got {quoted(count)}")
    users = sorted({sample.n_users for sample in samples})
    if len(users) != 1:
        found = f"samples of {users[0]} and of {users[-1]} users" if users else "none"
        raise DataError(f"samples of the same users are needed, got {found}; align them, and leave out users without a value")
