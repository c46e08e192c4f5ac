"""Analysis of values per user: the findings on several models, by metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.evaluation.metrics import Metric
from recsys_ae.evaluation.report import RATINGS, USER
from recsys_ae.evaluation.uncertainty.sample import Floats, Sample
from recsys_ae.evaluation.uncertainty.statistics import Findings, compare
from recsys_ae.ids import Rows


@dataclass(frozen=True)
class MetricFindings:
    """The findings on one metric.

    Attributes:
        models: labels of the models, in the order of `findings`.
        left_out: by model, the number of its users who are left out because they do not count for all of these models; without
            models that have none.
    """

    metric: str
    models: list[str]
    left_out: dict[str, int]
    findings: Findings


def analyse(tables: Mapping[str, Sequence[pd.DataFrame]], metrics: Sequence[Metric]) -> list[MetricFindings]:
    """Findings on each metric with values per user, for the models that have it.

    If a user has several values, from several seeds or predicted events, they are averaged first, because users are what is
    resampled and compared. Each seed counts alike, however many users it has, so that the mean of a model is the mean over the
    seeds. Users who do not count for one of the models are left out.

    Args:
        tables: per model, the tables of its seeds as `Report.to_frame` gives them; none if it has no value of any user.
    """
    tables = {label: own for label, own in tables.items() if own}
    frames = {label: pd.concat(own, ignore_index=True) for label, own in tables.items()}
    seeds = {label: np.repeat(np.arange(len(own)), list(map(len, own))) for label, own in tables.items()}
    index = pd.Index(pd.concat([frame[USER] for frame in frames.values()]).unique()) if frames else pd.Index([])
    rows = {label: index.get_indexer(pd.Index(frame[USER])) for label, frame in frames.items()}
    found: dict[str, tuple[list[str], dict[str, int]]] = {}
    samples: dict[bytes, dict[str, Sample]] = {}  # by the users who count: their resamples are shared
    for metric in metrics:
        own = {label: _values(frame, metric) for label, frame in frames.items() if metric.name in frame}
        if not own:
            continue
        counts = np.array([np.bincount(rows[label], count, len(index)) for label, (_, count) in own.items()])
        counted = (counts[0] > 0) & (counts == counts[0]).all(axis=0)
        if not counted.any():
            continue
        means = [_means(*own[label], seeds[label], rows[label], counted) for label in own]
        weights = None if np.ptp(means[0][1]) == 0 else means[0][1]
        values = np.array([value for value, _ in means])
        sample = Sample(values, weights, root=metric.name == "rmse", lower_is_better=metric.lower_is_better)
        samples.setdefault(counted.tobytes(), {})[metric.name] = sample
        missing = {label: int(((count > 0) & ~counted).sum()) for label, count in zip(own, counts, strict=True)}
        found[metric.name] = list(own), {label: number for label, number in missing.items() if number}
    findings = {name: one for group in samples.values() for name, one in zip(group, compare(list(group.values())), strict=True)}
    return [MetricFindings(name, *facts, findings[name]) for name, facts in found.items()]


def _values(frame: pd.DataFrame, metric: Metric) -> tuple[Floats, Floats]:
    """The value of each row, squared for RMSE, and the number of targets or ratings behind it; 0 where there is none."""
    values = frame[metric.name].to_numpy(np.float64)
    counts = frame[RATINGS].to_numpy(np.float64) if metric.k is None else (~np.isnan(values)).astype(np.float64)
    return np.where(counts > 0, values**2 if metric.name == "rmse" else values, 0), counts


def _means(values: Floats, counts: Floats, seeds: Rows, rows: Rows, counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The mean value of each counted user and its weight; the rows of a seed have the same weight as those of any other."""
    counts = np.where(counted[rows], counts, 0)
    totals = np.bincount(seeds, counts)
    shares = np.divide(totals.max(), totals, out=np.zeros_like(totals), where=totals > 0)
    weights = counts * shares[seeds]
    sums = np.bincount(rows, weights, len(counted))[counted].astype(np.float64)
    return np.bincount(rows, values * weights, len(counted))[counted] / sums, sums
