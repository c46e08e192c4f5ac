"""Paired tests of models on the same users, vectorised over pairs of models; Holm's correction."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, ndtr, stdtr, stdtrit

from recsys_ae.evaluation.uncertainty.sample import TIED, Floats, Sample

BLOCK = 500_000  # differences in a block of pairs, 4 MB
EXACT = 50  # differences up to which the signed-rank test is exact
NO_VARIATION = 1e-9  # relative to the values; smaller differences and deviations are due to rounding


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
    differences[np.abs(differences) <= NO_VARIATION * np.abs(sample.metrics).max()] = 0
    deviations[deviations <= NO_VARIATION * np.abs(pseudo).max()] = 0
    better, worse = (below, above) if sample.lower_is_better else (above, below)
    return Paired(differences, deviations, signed_rank, better, worse)


def t_test(sample: Sample, found: Paired) -> Floats:
    """Two-sided p of Student's paired t-test, float64 [n]; with weights or a root, of the jackknife's t.

    If all differences are equal, t is undefined. Then p is 1 if they are zero, and otherwise that of the sign test, 2^(1 - U).
    """
    varies = found.deviations > 0
    t = found.differences / np.where(varies, found.deviations, 1) * np.sqrt(sample.n_users)
    equal = np.where(found.differences == 0, 1.0, 2.0 ** (1 - sample.n_users))
    return np.where(varies, 2 * stdtr(sample.degrees, -np.abs(t)), equal)


def signed_rank_test(differences: NDArray[np.int64]) -> Floats:
    """Two-sided p of Wilcoxon's signed-rank test, float64 [n], of differences [n, U] of whole numbers.

    Zeros are left out, and equal sizes get their mean rank. p is exact, given the ties, for up to 50 differences that are not
    zero; for more it is that of the normal approximation with the variance for ties and without correction for continuity (as
    SciPy's `wilcoxon`, which does not treat ties exactly).
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
    ranks = np.repeat(twice_rank, lengths).reshape(n, n_users)
    above, total = (ranks * positive).sum(axis=1), ranks.sum(axis=1)
    z = (2 * above - total) / np.sqrt(np.maximum(np.square(ranks, dtype=np.float64).sum(axis=1), 1))
    p_values = 2 * ndtr(-np.abs(z))
    for row in np.flatnonzero(n_users - zeros <= EXACT):
        p_values[row] = _exact_rank_sum(ranks[row, zeros[row] :], int(above[row]))
    return p_values


def _exact_rank_sum(ranks: NDArray[np.int64], above: int) -> float:
    """The probability that the sum of ranks [n], each taken or not with even chances, is as far from its mean as `above`."""
    total = int(ranks.sum())
    chances = np.zeros(total + 1)
    chances[0] = 1
    for rank in ranks:
        chances[rank:] += chances[:-rank].copy()
    as_far = np.abs(2 * np.arange(total + 1) - total) >= abs(2 * above - total)
    return float(chances[as_far].sum() / 2.0 ** len(ranks))


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


def smallest_difference(sample: Sample, deviations: Floats, alpha: float, power: float) -> Floats:
    """The true differences [n] that a two-sided t-test at `alpha` shows with probability `power`, from the noncentral t."""
    critical = stdtrit(sample.degrees, 1 - alpha / 2)
    return nctdtrinc(sample.degrees, 1 - power, critical) * deviations / np.sqrt(sample.n_users)
