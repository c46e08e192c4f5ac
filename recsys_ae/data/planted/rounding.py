"""Ratings of 1 to 5 that arise by rounding and clipping a normal variable, and the errors that no predictor can avoid."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

SCALE = (1.0, 5.0)
VALUES = np.arange(SCALE[0], SCALE[1] + 1)
Floats = NDArray[np.float64]


def rating_probabilities(mean: Floats, deviation: Floats | float) -> Floats:
    """The probabilities of the ratings 1 to 5, float64 [..., 5], where rating = clip(round(N(mean, deviation^2)), 1, 5).

    Args:
        mean, deviation: float64 [...], of the same shape; or a single deviation.
    """
    bounds = VALUES[:-1] + 0.5
    upper = ndtr((bounds - np.asarray(mean)[..., None]) / np.asarray(deviation)[..., None])  # P(rating <= 1..4)
    return np.asarray(np.diff(upper, axis=-1, prepend=0.0, append=1.0))


def lowest_errors(believed: Floats, metrics: Sequence[str], actual: Floats | None = None) -> dict[str, float]:
    """The expected values of those `metrics` that are `rmse` or `mae`, for the best predictions from what can be known.

    The best predictions are the mean and a median of what is believed about each rating.

    Args:
        believed: float64 [n, 5], the probabilities of the ratings 1 to 5 of n events, given what can be known.
        actual: float64 [n, 5], those by which the ratings were drawn, over which errors are averaged. None: as believed.
    """
    actual = believed if actual is None else actual
    found: dict[str, float] = {}
    if "rmse" in metrics:
        errors = np.square((believed @ VALUES)[:, None] - VALUES)  # [n, 5], by rating
        found["rmse"] = float(np.sqrt(np.mean(np.sum(actual * errors, axis=1))))
    if "mae" in metrics:
        distance = np.abs(VALUES[:, None] - VALUES)
        median = np.argmin(believed @ distance, axis=1)
        found["mae"] = float(np.mean(np.sum(actual * distance[median], axis=1)))
    return found
