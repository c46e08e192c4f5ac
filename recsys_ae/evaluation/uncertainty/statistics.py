"""Intervals of metrics, and comparisons of models on the same users. docs/uncertainty.md says how to read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys_ae.evaluation.uncertainty.groups import best_group, compact_letters
from recsys_ae.evaluation.uncertainty.paired import holm, paired, smallest_difference, t_test
from recsys_ae.evaluation.uncertainty.resampling import bootstrap, percentiles, sign_flip_test
from recsys_ae.evaluation.uncertainty.sample import Floats, Sample, check_samples

Interval = tuple[float, float]


class PValue(NamedTuple):
    """The two-sided p-value of a test, and the same after Holm's correction over all pairs of models."""

    raw: float
    corrected: float


@dataclass(frozen=True)
class Pair:
    """Two models compared by one metric on the same users.

    Attributes:
        first, second: rows of the sample.
        difference: metric of the first minus that of the second.
        interval: bootstrap interval of the difference, not corrected for the number of pairs; None with a single user.
        t, randomisation, wilcoxon: paired t-test (which decides), sign flips, signed ranks.
        different: whether the corrected p-value of the t-test is at most alpha.
        effect: Cohen's d_z, the difference in standard deviations of the users' differences; None if these do not vary.
        better, worse: shares of the users for whom the first model is better or worse than the second.
        smallest: the true difference of this pair that the test would detect with probability `Findings.power` even if Holm's
            correction is at its most severe (alpha over the number of pairs); None if the differences do not vary.
    """

    first: int
    second: int
    difference: float
    interval: Interval | None
    t: PValue
    randomisation: PValue
    wilcoxon: PValue
    different: bool
    effect: float | None
    better: float
    worse: float
    smallest: float | None


@dataclass(frozen=True)
class Findings:
    """Findings on one metric of m models on the same users.

    Attributes:
        metrics: value of each model.
        intervals: bootstrap interval of each model; None with a single user.
        pairs: all pairs of models with first < second, sorted.
        letters: of each model; models that share a letter cannot be told apart.
        best: rows of the best model and of those that cannot be told from it.
        alpha: probability of finding any difference if there is none.
        level: of the intervals.
        power: probability of detecting a difference of `Pair.smallest`.
    """

    n_users: int
    metrics: list[float]
    intervals: list[Interval] | None
    pairs: list[Pair]
    letters: list[str]
    best: list[int]
    alpha: float
    level: float
    power: float = 0.8  # that of reports without it

    @property
    def smallest(self) -> Interval | None:
        """The smallest differences that this test part can show, from the most alike pair to the least; None if unknown."""
        known = [pair.smallest for pair in self.pairs if pair.smallest is not None]
        return (min(known), max(known)) if known else None


def intervals(samples: Sequence[Sample], *, level: float = 0.95, replicates: int = 2000, seed: int = 0) -> list[Floats] | None:
    """Bootstrap intervals of each sample's metrics, float64 [m, 2]; None with a single user.

    They cover the variation over users of the same population, not that of training.

    Args:
        samples: on the same users, whose resamples they share.

    Raises:
        ConfigError: a level that is not between 0 and 1, or fewer than 100 replicates.
        DataError: no sample, or different numbers of users.
    """
    check_samples(samples, {"level": level}, {"replicates": replicates})
    if samples[0].n_users == 1:
        return None
    drawn = bootstrap(samples, replicates, seed)
    return [percentiles(own, sample.degrees_of_freedom, level) for sample, own in zip(samples, drawn, strict=True)]


def compare(
    samples: Sequence[Sample],
    *,
    alpha: float = 0.05,
    level: float = 0.95,
    power: float = 0.8,
    replicates: int = 2000,
    flips: int = 10_000,
    seed: int = 0,
) -> list[Findings]:
    """Findings on each sample: intervals, paired tests of all pairs, and groups of models that cannot be told apart.

    The paired t-test with Holm's correction over the pairs of the metric decides which models differ. With many users it keeps
    its level for skewed values with many ties, and unlike the signed-rank test it compares means, which is what tables show;
    see docs/uncertainty.md. There is no correction for the number of metrics.

    Args:
        samples: on the same users; resamples and signs are the same for all.
        power: probability of detecting a difference of `Pair.smallest`.
        flips: least number of sign patterns in the randomisation test, whose p is at least 1 / (1 + flips).

    Raises:
        ConfigError: a level, alpha or power that is not between 0 and 1, or fewer than 100 replicates or flips.
        DataError: no sample, or different numbers of users.
    """
    check_samples(samples, {"level": level, "alpha": alpha, "power": power}, {"replicates": replicates, "flips": flips})
    drawn = bootstrap(samples, replicates, seed) if samples[0].n_users > 1 else [None] * len(samples)
    randomised = sign_flip_test(samples, flips, seed)
    return [
        _findings(sample, replicated, p_values, alpha, level, power)
        for sample, replicated, p_values in zip(samples, drawn, randomised, strict=True)
    ]


def _findings(sample: Sample, drawn: Floats | None, randomised: Floats, alpha: float, level: float, power: float) -> Findings:
    """The findings from one sample, the replicates [m, R] of its metric, and p-values [pairs] of the randomisation test."""
    found = paired(sample)
    first, second = np.triu_indices(sample.n_models, 1)
    t = _p_values(t_test(sample, found))
    different = np.zeros((sample.n_models, sample.n_models), bool)
    different[first, second] = different[second, first] = [p.corrected <= alpha for p in t]
    varies = found.deviations > 0
    scale = np.where(varies, found.deviations, 1)
    smallest = smallest_difference(sample, scale, alpha / max(len(t), 1), power)
    columns = {
        "first": first.tolist(),
        "second": second.tolist(),
        "difference": found.differences.tolist(),
        "interval": [None] * len(t) if drawn is None else _intervals(drawn[first] - drawn[second], sample, level),
        "t": t,
        "randomisation": _p_values(randomised),
        "wilcoxon": _p_values(found.signed_rank),
        "different": different[first, second].tolist(),
        "effect": _where(varies, found.differences / scale),
        "better": found.better.tolist(),
        "worse": found.worse.tolist(),
        "smallest": _where(varies & np.isfinite(smallest), smallest),
    }
    order = np.argsort(sample.metrics if sample.lower_is_better else -sample.metrics, kind="stable").tolist()
    return Findings(
        n_users=sample.n_users,
        metrics=sample.metrics.tolist(),
        intervals=None if drawn is None else _intervals(drawn, sample, level),
        pairs=[Pair(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)],
        letters=compact_letters(different, order),
        best=best_group(different, order),
        alpha=alpha,
        level=level,
        power=power,
    )


def _p_values(raw: Floats) -> list[PValue]:
    return [PValue(*both) for both in zip(raw.tolist(), holm(raw).tolist(), strict=True)]


def _intervals(drawn: Floats, sample: Sample, level: float) -> list[Interval]:
    return [(low, high) for low, high in percentiles(drawn, sample.degrees_of_freedom, level).tolist()]


def _where(known: NDArray[np.bool_], values: Floats) -> list[float | None]:
    return [value if own else None for own, value in zip(known.tolist(), values.tolist(), strict=True)]
