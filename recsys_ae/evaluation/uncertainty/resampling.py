"""Resampling of users: bootstrap replicates, and sign flips of paired differences. All sums are exact, see `sample.whole`."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard
from scipy.special import ndtr, stdtrit

from recsys_ae.evaluation.uncertainty.sample import TIED, Floats, Sample

BLOCK = 4_000_000  # numbers in a block of resamples, 32 MB
GROUPS = 2**13  # a power of 2; more users are added up in so many random groups
Rows = NDArray[np.int64]


def bootstrap(samples: Sequence[Sample], replicates: int, seed: int) -> list[Floats]:
    """Float64 [m, replicates] by sample: the metrics on users drawn with replacement, the same draws for all.

    With weights, numerator and denominator are drawn together (the ratio estimator). More than 8192 users are first added up in
    as many random groups, which are drawn instead (Wolter 2007, chapter 2, random groups); the cost then hardly grows with U.
    """
    rng, n_users = np.random.default_rng(seed), samples[0].n_users
    groups = min(n_users, GROUPS)
    places = _places(n_users, groups, rng)
    parts = [part for one in samples for part in (one.contributions.numbers, one.whole_weights.numbers[None])]
    columns = np.concatenate([_grouped(part, places, groups) for part in parts])
    drawn = np.empty((len(columns), replicates))
    step = max(1, BLOCK // groups)
    for start in range(0, replicates, step):
        times = np.empty((min(step, replicates - start), groups))  # that each group is drawn
        for row in times:
            row[:] = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        drawn[:, start : start + step] = columns @ times.T
    sums = np.split(drawn, np.cumsum([len(part) for part in parts])[:-1])
    return [one.metric(*own) for one, *own in zip(samples, sums[::2], sums[1::2], strict=True)]


def percentiles(replicates: Floats, degrees: float, level: float) -> Floats:
    """Float64 [n, 2]: expanded percentile intervals from replicates [n, R] with so many degrees of freedom (`Sample.degrees`).

    Plain percentiles are too narrow for few users: they use the variance with divisor U and normal quantiles. The expanded
    ones reach as far out as the t interval does (Hesterberg 2015, "What teachers should know about the bootstrap").
    """
    share = ndtr(np.sqrt(1 + 1 / degrees) * stdtrit(degrees, (1 - level) / 2))
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
    power = min(n_users, GROUPS - 1).bit_length()
    outer, inner = (hadamard(2**half, np.float64) for half in (power // 2, power - power // 2))
    for _ in range(-(-flips // 2**power)):
        signs, places = rng.integers(2, size=n_users) * 2.0 - 1, _places(n_users, 2**power, rng)
        yield [_walsh(_grouped(own * signs, places, 2**power), outer, inner) for own in numbers]


def _all_flipped(numbers: Floats) -> Floats:
    """Sums [m, 2^U] of numbers [m, U] with all patterns of signs."""
    sums = np.zeros((len(numbers), 1))
    for user in numbers.T[:, :, None]:
        sums = np.concatenate([sums + user, sums - user], axis=1)
    return sums


def _places(n_users: int, groups: int, rng: np.random.Generator) -> Rows:
    """Distinct random places [U] of users in layers, each of which has one place per group."""
    return rng.permutation(-(-n_users // groups) * groups)[:n_users]


def _grouped(numbers: Floats, places: Rows, groups: int) -> Floats:
    """Sums [m, groups] of numbers [m, U] of the users in each group."""
    placed = np.zeros((len(numbers), -(-numbers.shape[1] // groups) * groups))
    placed[:, places] = numbers
    return placed.reshape(len(numbers), -1, groups).sum(axis=1)


def _walsh(sums: Floats, outer: Floats, inner: Floats) -> Floats:
    """The Walsh-Hadamard transform of sums [m, B] in some order; B is the product of the sizes of the two Hadamard matrices."""
    half = (sums.reshape(-1, len(inner)) @ inner).reshape(-1, len(outer), len(inner))
    return (half.swapaxes(1, 2).reshape(-1, len(outer)) @ outer).reshape(sums.shape)  # two products, however many rows
