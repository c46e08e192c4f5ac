"""Repeated trainings: intervals over seeds, folds or random splits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from recsys_ae.errors import ConfigError, DataError, quoted
from recsys_ae.evaluation.uncertainty.paired import NO_VARIATION
from recsys_ae.evaluation.uncertainty.statistics import Interval


@dataclass(frozen=True)
class Repetitions:
    """The mean of n repetitions, of a metric or of the difference of two models.

    Attributes:
        deviation: standard deviation of the repetitions; None with a single one.
        interval: t interval of the mean; it covers what varies from one repetition to the next, and nothing else. With seeds on
            a fixed split, these are initial weights and sampling, but not the users. None with a single repetition.
        p_value: two-sided, that the mean is zero; meant for differences. None if the repetitions do not vary.
    """

    n: int
    mean: float
    deviation: float | None
    interval: Interval | None
    p_value: float | None


def over_repetitions(values: ArrayLike, *, test_to_train: float = 0.0, level: float = 0.95) -> Repetitions:
    """The mean of values [n] of repetitions with an interval.

    Folds and random splits train on much the same data, so that their results vary less than those of independent
    repetitions. With `test_to_train`, the variance of the mean is (1/n + test_to_train) times that of the values rather than
    1/n times: the corrected resampled t-test of Nadeau and Bengio 2003 ("Inference for the generalization error").

    Args:
        test_to_train: size of a test part over that of its training part, 1 / (folds - 1) for folds; 0 for seeds.

    Raises:
        ConfigError: a level that is not between 0 and 1, or a negative `test_to_train`.
        DataError: no values, more than one dimension, or a value that is not finite.

    >>> low, high = over_repetitions([0.1, 0.2, 0.3]).interval
    >>> round(low, 3), round(high, 3)
    (-0.048, 0.448)
    """
    own = np.asarray(values, np.float64)
    if not 0 < level < 1 or not 0 <= test_to_train < np.inf:
        raise ConfigError(f"level {quoted(level)} must lie between 0 and 1, test_to_train {quoted(test_to_train)} not below 0")
    if own.ndim != 1 or not len(own) or not np.isfinite(own).all():
        raise DataError(f"repetitions need finite values [n], got {quoted(own.tolist())}; leave out those without a value")
    n, mean = len(own), float(own.mean())
    if n == 1:
        return Repetitions(1, mean, None, None, None)
    deviation = float(own.std(ddof=1))
    if deviation <= NO_VARIATION * np.abs(own).max():
        return Repetitions(n, mean, 0.0, (mean, mean), None)
    error = deviation * (1 / n + test_to_train) ** 0.5
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    p_value = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return Repetitions(n, mean, deviation, (mean - reach, mean + reach), p_value)
