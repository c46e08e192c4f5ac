"""What the values per user of several models say about these models, metric by metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys_ae.evaluation.metrics import Metric
from recsys_ae.evaluation.uncertainty.sample import Floats, Sample
from recsys_ae.evaluation.uncertainty.statistics import Findings, compare
from recsys_ae.ids import Rows

USER, RATINGS = "user_id", "ratings"


@dataclass(frozen=True)
class MetricFindings:
    """The findings on one metric.

    Attributes:
        models: labels of the models, in the order of `findings`.
        left_out: numbers of users who do not count for all of these models, by model; only models that have such users.
    """

    metric: str
    models: list[str]
    left_out: dict[str, int]
    findings: Findings


def find(tables: Mapping[str, Sequence[pd.DataFrame]], metrics: Sequence[Metric]) -> list[MetricFindings]:
    """Findings on each metric that has values per user, for the models that have it.

    The values of a user who occurs several times, in several seeds or as the user of several predicted events, are averaged
    first: users are what is resampled and compared. Users who do not count for one of the models are left out.

    Args:
        tables: per model, the tables of its seeds as `Report.to_frame` gives them.
    """
    frames = {label: pd.concat(own, ignore_index=True) for label, own in tables.items()}
    index = pd.Index(pd.concat([frame[USER] for frame in frames.values()]).unique()) if frames else pd.Index([])
    rows = {label: index.get_indexer(pd.Index(frame[USER])) for label, frame in frames.items()}
    found: dict[str, tuple[list[str], dict[str, int]]] = {}
    samples: dict[bytes, dict[str, Sample]] = {}  # by the users who count: their resamples are shared
    for metric in metrics:
        own = {
            label: _values(frame, rows[label], len(index), metric) for label, frame in frames.items() if metric.name in frame
        }
        if not own:
            continue
        counts = np.array([count for _, count in own.values()])
        counted = (counts[0] > 0) & (counts == counts[0]).all(axis=0)
        if not counted.any():
            continue
        weights = None if np.ptp(counts[0, counted]) == 0 else counts[0, counted]
        values = np.array([value[counted] for value, _ in own.values()])
        sample = Sample(values, weights, root=metric.name == "rmse", lower_is_better=metric.lower_is_better)
        samples.setdefault(counted.tobytes(), {})[metric.name] = sample
        missing = {label: int(((count > 0) & ~counted).sum()) for label, (_, count) in own.items()}
        found[metric.name] = list(own), {label: number for label, number in missing.items() if number}
    findings = {name: one for group in samples.values() for name, one in zip(group, compare(list(group.values())), strict=True)}
    return [MetricFindings(name, *facts, findings[name]) for name, facts in found.items()]


def _values(frame: pd.DataFrame, rows: Rows, n_users: int, metric: Metric) -> tuple[Floats, Floats]:
    """Each user's mean value [n_users], of squared errors for RMSE, and the number of targets or ratings behind it."""
    values = frame[metric.name].to_numpy(np.float64)
    weights = frame[RATINGS].to_numpy(np.float64) if metric.k is None else (~np.isnan(values)).astype(np.float64)
    values = np.where(weights > 0, values**2 if metric.name == "rmse" else values, 0)
    counts = np.bincount(rows, weights, n_users).astype(np.float64)
    return np.bincount(rows, values * weights, n_users) / np.maximum(counts, 1), counts
