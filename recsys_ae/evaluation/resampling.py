"""Resampling of users: bootstrap replicates, and sign flips of paired differences. All sums are exact, see `sample.whole`."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard
from scipy.special import ndtr, stdtrit

from recsys_ae.evaluation.sample import TIED, Floats, Sample

BLOCK = 4_000_000  # numbers in a block of resamples, 32 MB
WALSH = 2**13  # patterns of signs in a round
Rows = NDArray[np.int64]


def bootstrap(samples: Sequence[Sample], replicates: int, seed: int) -> list[Floats]:
    """Float64 [m, replicates] by sample: the metrics on users drawn with replacement, the same draws for all.

    With weights, numerator and denominator are drawn together (the ratio estimator).
    """
    rng, n_users = np.random.default_rng(seed), samples[0].n_users
    drawn = [np.empty((one.n_models, replicates)) for one in samples]
    step = max(1, BLOCK // n_users)
    for start in range(0, replicates, step):
        times = np.empty((min(step, replicates - start), n_users))
        for row in times:
            row[:] = np.bincount(rng.integers(n_users, size=n_users), minlength=n_users)
        for one, own in zip(samples, drawn, strict=True):
            weights = n_users if one.weights is None else times @ one.whole_weights.numbers
            own[:, start : start + step] = one.metric(one.contributions.numbers @ times.T, weights)
    return drawn


def percentiles(replicates: Floats, n_users: int, level: float) -> Floats:
    """Float64 [n, 2]: expanded percentile intervals from replicates [n, R] over n_users >= 2 users.

    Plain percentiles are too narrow for few users: they use the variance with divisor U and normal quantiles. The expanded
    ones reach as far out as the t interval does (Hesterberg 2015, "What teachers should know about the bootstrap", 3.3).
    """
    share = ndtr(np.sqrt(n_users / (n_users - 1)) * stdtrit(n_users - 1, (1 - level) / 2))
    return np.ascontiguousarray(np.quantile(replicates, [share, 1 - share], axis=1).T)


def sign_flip_test(samples: Sequence[Sample], flips: int, seed: int) -> list[Floats]:
    """Two-sided p of the randomisation test of each pair of models, in the order of `np.triu_indices`, by sample.

    The metrics of two models are compared with what they are if, for some users at random, the two are exchanged. That gives
    each user's difference of w v a random sign; a root changes nothing, as the sum over both models stays the same. The signs
    are the same for all pairs, so that those of models suffice: the flipped sum of a difference is the difference of sums.
    p is exact if there are at most `flips` patterns of signs, otherwise (1 + reached) / (1 + flips) (Phipson and Smyth 2010).
    """
    pairs = [np.triu_indices(one.n_models, 1) for one in samples]
    numbers = [one.contributions.numbers for one in samples]
    sums = [own.sum(axis=1, keepdims=True) for own in numbers]
    rounding = TIED * samples[0].n_users
    observed = [np.abs(_differences(own, *pair)) - rounding for own, pair in zip(sums, pairs, strict=True)]
    reached, n = [np.zeros(len(one), np.int64) for one in observed], 0
    for flipped in _flipped(numbers, flips, seed):
        for own, pair, least, count in zip(flipped, pairs, observed, reached, strict=True):
            count += (np.abs(_differences(own, *pair)) >= least).sum(axis=1)
        n += flipped[0].shape[1]
    other = int(2 ** samples[0].n_users > flips)  # the observed pattern itself, unless all occur
    return [(count + other) / (n + other) for count in reached]


def _differences(sums: Floats, first: Rows, second: Rows) -> Floats:
    return sums[first] - sums[second]


def _flipped(numbers: Sequence[Floats], flips: int, seed: int) -> Iterator[list[Floats]]:
    """Blocks of sums [m, B] over users with random signs, of numbers [m, U] by sample; all samples get the same signs.

    Every pattern once, if there are at most `flips`. Otherwise rounds of B <= 8192 patterns until there are `flips`: users, in
    random order and with random signs, are added up in B groups, whose sums get the signs of the B Walsh functions (rows of a
    Hadamard matrix, here the product of two small ones). So every pattern is uniformly distributed, and any two of a round
    differ for half of the groups, while a round costs U + B sqrt(B) operations rather than U B.
    """
    rng, n_users = np.random.default_rng(seed), numbers[0].shape[1]
    if 2**n_users <= flips:
        yield [_all_flipped(own) for own in numbers]
        return
    power = min((n_users - 1).bit_length(), WALSH.bit_length() - 1)
    outer, inner = (hadamard(2**half, np.float64) for half in (power // 2, power - power // 2))
    layers = -(-n_users // 2**power)
    for _ in range(-(-flips // 2**power)):
        signs, places = rng.integers(2, size=n_users) * 2.0 - 1, rng.permutation(layers * 2**power)[:n_users]
        yield [_walsh(_grouped(own * signs, places, layers, 2**power), outer, inner) for own in numbers]


def _all_flipped(numbers: Floats) -> Floats:
    """Sums [m, 2^U] of numbers [m, U] with all patterns of signs."""
    sums = np.zeros((len(numbers), 1))
    for user in numbers.T[:, :, None]:
        sums = np.concatenate([sums + user, sums - user], axis=1)
    return sums


def _grouped(numbers: Floats, places: Rows, layers: int, groups: int) -> Floats:
    """Sums [m, groups] of numbers [m, U] of users at distinct places, of which each layer has one per group."""
    placed = np.zeros((len(numbers), layers * groups))
    placed[:, places] = numbers
    return placed.reshape(len(numbers), layers, groups).sum(axis=1)


def _walsh(sums: Floats, outer: Floats, inner: Floats) -> Floats:
    """The Walsh-Hadamard transform of sums [m, B], where B is the product of the sizes of the two Hadamard matrices."""
    return (outer @ (sums.reshape(-1, len(outer), len(inner)) @ inner)).reshape(sums.shape)
