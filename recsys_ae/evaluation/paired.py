"""Paired tests of models on the same users, vectorised over pairs of models; Holm's correction."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, ndtr, stdtr, stdtrit

from recsys_ae.evaluation.sample import TIED, Floats, Sample

BLOCK = 500_000  # differences in a block of pairs, 4 MB
NO_VARIATION = 1e-9  # relative to the largest value; a smaller deviation of differences is due to rounding


class Paired(NamedTuple):
    """Differences of n pairs of models, in the order of `np.triu_indices`; each float64 [n]."""

    differences: Floats  # of the metrics
    deviations: Floats  # standard deviations of the users' differences in pseudo-values; 0 up to rounding is 0
    signed_rank: Floats  # p of the signed-rank test of the users' differences in w v
    better: Floats  # share of users for whom the first model is better
    worse: Floats


def paired(sample: Sample) -> Paired:
    """All pairs of a sample's models, in blocks of pairs."""
    first, second = np.triu_indices(sample.n_models, 1)
    differences = sample.metrics[first] - sample.metrics[second]
    numbers, pseudo, n_users = sample.contributions.numbers, sample.pseudo_values, sample.n_users
    deviations, signed_rank, above, below = np.zeros((4, len(first)))
    step = max(1, BLOCK // n_users)
    for start in range(0, len(first), step):
        block = slice(start, start + step)
        i, j = first[block], second[block]
        own = (numbers[i] - numbers[j]).astype(np.int64)
        own[np.abs(own) <= TIED] = 0
        signed_rank[block] = signed_rank_test(own)
        above[block], below[block] = (own > 0).mean(axis=1), (own < 0).mean(axis=1)
        deviations[block] = (pseudo[i] - pseudo[j]).std(axis=1, ddof=min(n_users - 1, 1))
    rounding = NO_VARIATION * np.abs(pseudo).max()
    differences[np.abs(differences) <= rounding] = 0
    deviations[deviations <= rounding] = 0
    better, worse = (below, above) if sample.lower_is_better else (above, below)
    return Paired(differences, deviations, signed_rank, better, worse)


def t_test(differences: Floats, deviations: Floats, n_users: int) -> Floats:
    """Two-sided p of Student's paired t-test, float64 [n], from means and standard deviations of the differences of n_users.

    If all differences are equal, t is undefined. Then p is 1 if they are zero, and otherwise that of the sign test,
    2^(1 - n_users), as for a single user.
    """
    varies = deviations > 0
    t = differences / np.where(varies, deviations, 1) * np.sqrt(n_users)
    equal = np.where(differences == 0, 1.0, 2.0 ** (1 - n_users))
    return np.where(varies, 2 * stdtr(max(n_users - 1, 1), -np.abs(t)), equal)


def signed_rank_test(differences: NDArray[np.int64]) -> Floats:
    """Two-sided p of Wilcoxon's signed-rank test, float64 [n], of differences [n, U] of whole numbers.

    Zeros are left out, equal sizes get their mean rank, and p is that of the normal approximation with the variance for ties,
    without correction for continuity (as SciPy's `wilcoxon(method="asymptotic")`); 1 without a difference.
    """
    n, n_users = differences.shape
    keys = np.sort(np.abs(differences) << 1 | (differences > 0), axis=1)  # by size; the last bit says which is better
    sizes, positive = keys >> 1, keys & 1
    zeros = (sizes == 0).sum(axis=1)
    first_of_tie = np.ones((n, n_users), bool)
    first_of_tie[:, 1:] = np.diff(sizes, axis=1) > TIED
    starts = np.flatnonzero(first_of_tie)
    lengths, rows = np.diff(starts, append=n * n_users), starts // n_users
    twice_rank = 2 * (starts % n_users - zeros[rows]) + lengths + 1  # of a tie's mean, from 1
    twice_rank[sizes.ravel()[starts] == 0] = 0
    first_of_row = np.flatnonzero(np.diff(rows, prepend=-1))
    above = np.add.reduceat(np.add.reduceat(positive.ravel(), starts) * twice_rank, first_of_row)
    total = np.add.reduceat(lengths * twice_rank, first_of_row)
    squares = np.add.reduceat(lengths * twice_rank**2, first_of_row)
    z = (2 * above - total) / np.sqrt(np.maximum(squares, 1))
    return 2 * ndtr(-np.abs(z))


def holm(p_values: Floats) -> Floats:
    """P-values [n] corrected for n tests (Holm 1979): at level alpha, any wrong rejection has a probability of at most alpha.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    factors = np.arange(len(p_values), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def smallest_difference(deviations: Floats, n_users: int, alpha: float, power: float) -> Floats:
    """The true differences [n] that a two-sided t-test at `alpha` shows with probability `power`; 0 without variation.

    From the noncentral t distribution; n_users >= 2.
    """
    critical = stdtrit(n_users - 1, 1 - alpha / 2)
    return nctdtrinc(n_users - 1, 1 - power, critical) * deviations / np.sqrt(n_users)
