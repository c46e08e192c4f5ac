"""Rating metrics of `predicted` and `actual` [n], n >= 1; sums are in float64."""

import numpy as np
from numpy.typing import ArrayLike


def rmse(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Root mean squared error.

    >>> rmse([1, 2], [1, 4]) == 2 ** 0.5
    True
    """
    return float(np.sqrt(np.mean(np.square(np.subtract(predicted, actual, dtype=np.float64)))))


def mae(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Mean absolute error.

    >>> mae([1, 2], [1, 4])
    1.0
    """
    return float(np.mean(np.abs(np.subtract(predicted, actual, dtype=np.float64))))
