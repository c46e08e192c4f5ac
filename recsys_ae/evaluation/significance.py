"""Paired significance test between two models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import ttest_rel

from recsys_ae.errors import ConfigError


@dataclass(frozen=True)
class PairedTest:
    """Two models measured on the same n occasions (seeds, users).

    Attributes:
        difference: mean of the first minus mean of the second.
        p_value: of Student's two-sided paired t-test, the probability of such a difference by chance alone. None where the
            test is undefined: all differences are equal (up to rounding), so they say nothing about chance.
    """

    difference: float
    p_value: float | None
    n: int


def paired_t_test(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Compare values [n] of two models on the same occasions, n >= 2.

    Raises:
        ConfigError: the two have different lengths, or fewer than 2 values.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ConfigError(f"a paired test needs the same number of values, at least 2, of both; got {a.shape} and {b.shape}")
    rounding = 8 * np.finfo(np.float64).eps * np.abs([a, b]).max()
    p_value = float(ttest_rel(a, b).pvalue) if np.ptp(a - b) > rounding else None
    return PairedTest(float((a - b).mean()), p_value, len(a))
