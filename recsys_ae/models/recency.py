"""Weights that fall with distance and age, for models of sessions."""

import numpy as np
from numpy.typing import NDArray

DAY = 86_400e6  # microseconds
NEGLIGIBLE = 1e-6  # a weight below it counts as 0, which bounds the work for long sessions


def decays(length: float, n: int) -> NDArray[np.float64]:
    """exp(-d / length) for the distances d from 0, as long as it is not negligible and d < n."""
    weights = np.exp(-np.arange(min(n, 2 + int(min(n, -length * np.log(NEGLIGIBLE))))) / length)
    return weights[weights >= NEGLIGIBLE]
