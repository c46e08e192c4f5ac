"""Collection of the values of metrics, over blocks of lists and of predicted ratings."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import TrainingError
from recsys_ae.evaluation.measured import Measured, places
from recsys_ae.evaluation.metrics import Metric, errors_per_user
from recsys_ae.evaluation.metrics.catalogue import Values
from recsys_ae.evaluation.metrics.exposure import Exposure
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.evaluation.report import RATINGS, UNDEFINED, Report
from recsys_ae.evaluation.segments import Members, column_of, mean, means_by_item_group, means_by_user_group
from recsys_ae.evaluation.ties import extreme_orders
from recsys_ae.ids import Rows

Ratings = NDArray[np.float32]


class Tally:
    """Values per user, collected block by block, so that only one block of lists has to be in memory.

    Attributes:
        k: length of the lists to add, the highest of all ranking metrics; 0 if there are none.
        scored: whether the scores of the listed items are known, so that ties can be seen.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        *,
        item_groups: Mapping[str, Mapping[str, Members]] | None = None,
        scored: bool = True,
    ) -> None:
        """Also collects metrics of accuracy for each of `item_groups`, the members by segment and group."""
        self.metrics, self.item_groups, self.scored = metrics, item_groups or {}, scored
        self.ranked = [metric for metric in metrics if metric.k is not None and metric.per_user]
        self.accuracy = [metric for metric in self.ranked if metric.measures_accuracy]
        self.k = max((metric.k or 0 for metric in metrics), default=0)
        self._exposed = [metric for metric in metrics if not metric.per_user]
        self._ordered = [metric for metric in self.accuracy if metric.best_by_rating]
        values, orders = ({metric.name: np.empty(0) for metric in known} for known in (self.ranked, self._ordered))
        self._blocks = [Measured(values=values, worst=orders, best=orders)]
        self._exposures: dict[int, Exposure] = {}  # summed at once, because they are as long as the catalogue
        self._rated: dict[str, float | None] = {}
        self._errors: dict[str, Values] = {}

    @property
    def rates(self) -> bool:
        """Whether there is a rating metric."""
        return any(metric.k is None for metric in self.metrics)

    def add(self, lists: RankedLists, rows: Rows) -> None:
        """Measure the lists of a block of users; `rows` [U] are theirs, each of which is added once."""
        found = _values(self.ranked, lists)
        for segment, groups in self.item_groups.items():
            for group, members in groups.items():
                inside, at = lists.only(members)
                for name, own in _values(self.accuracy, inside).items():
                    found[column := column_of(name, segment, group)] = np.full(len(lists.items), np.nan)
                    found[column][at] = own
        lengths = {metric.k for metric in self._exposed if metric.k is not None}
        exposures = {k: Exposure.of(lists.top(k)) for k in lengths}
        self.take(Measured(rows, found, exposures=exposures, **self._orders(lists, rows)))

    def _orders(self, lists: RankedLists, rows: Rows) -> dict[str, Any]:
        """The users whose values depend on the order of ties, and these values."""
        if not (self.scored and self._ordered and (found := extreme_orders(lists))):
            return {}
        tied, *ends = found
        worst, best = (_values(self._ordered, own) for own in ends)
        return {"tied": rows[tied], "worst": worst, "best": best}

    def take(self, measured: Measured) -> None:
        """Add what another tally with the same arguments has `measured` of other users."""
        self._blocks.append(replace(measured, exposures={}))
        self._exposures = dict(Measured.joined([Measured(exposures=self._exposures), measured]).exposures)

    @property
    def measured(self) -> Measured:
        """All that was added."""
        return replace(Measured.joined(self._blocks), exposures=self._exposures)

    def add_ratings(self, predicted: Ratings, actual: Ratings, rows: Rows, n_rows: int) -> None:
        """Add all predicted and actual ratings [n] at once; `rows` [n] are those of the users among `n_rows`."""
        for metric in self.metrics:
            if metric.k is None:
                self._rated[metric.name] = metric.compute(predicted, actual)
                self._errors[metric.name] = errors_per_user(metric.name, predicted, actual, rows, n_rows)
        self._errors[RATINGS] = np.bincount(rows, minlength=n_rows).astype(np.float64)

    def report(
        self, users: NDArray[Any], ranked: Rows, counts: dict[str, int], groups: Mapping[str, pd.Categorical] | None = None
    ) -> Report:
        """The report on `users` [U].

        Args:
            ranked: the rows of those whose lists were added, in the order of their values.
            groups: the group of each user [U], by segment of users.

        Raises:
            TrainingError: a metric is not finite.
        """
        measured = self.measured
        order = places(ranked, measured.rows) if len(measured.rows) else measured.rows  # none if only ratings are measured
        values = {name: own[order] for name, own in measured.values.items()}
        means = {metric.name: mean(values[metric.name], partial=metric.partial) for metric in self.ranked}
        exposed = {metric.name: metric.compute(self._exposures[metric.k or 0]) for metric in self._exposed if self._exposures}
        found = {**{metric.name: None for metric in self.metrics}, **self._rated, **means, **exposed}
        for name, value in found.items():
            if value is not None and not isfinite(value):
                way_out = "fit the model again with other parameters, or check your own metric"
                raise TrainingError(f"{name} is not finite; {way_out}")
        segments = {name: means_by_item_group(values, name, of, self.accuracy) for name, of in self.item_groups.items()}
        per_user = {name: own for name, own in values.items() if name in means or not np.isnan(own).all()}
        kept = ranked
        if self._errors:
            kept = np.flatnonzero(self._errors[RATINGS])
            for name, own in per_user.items():
                per_user[name] = np.full(len(users), np.nan)
                per_user[name][ranked] = own
            per_user = {name: own[kept] for name, own in {**per_user, **self._errors}.items()}
        labels = {name: of_users[kept] for name, of_users in (groups or {}).items()}
        segments |= {name: means_by_user_group(per_user, own, self.metrics) for name, own in labels.items()}
        if self.scored and self.ranked:
            counts = {**counts, "users_tied": len(measured.tied)}
        counts = {**counts, **_undefined(self.ranked, values)}
        metrics = {metric.name: found[metric.name] for metric in self.metrics}
        return Report(metrics, users[kept], per_user, counts, self._ties(measured, ranked, values), labels, segments)

    def _ties(self, measured: Measured, ranked: Rows, values: Mapping[str, Values]) -> dict[str, tuple[float, float]]:
        """`Report.ties`, given the values of each metric."""
        if not self.scored or not len(measured.rows):
            return {}
        tied, ties = places(measured.tied, ranked), {}
        for name in measured.worst:
            ends = []
            for end in (measured.worst, measured.best):
                own = values[name].copy()
                own[tied] = end[name]
                ends.append(mean(own, partial=True))
            if ends[0] is not None and ends[1] is not None:
                ties[name] = ends[0], ends[1]
        return ties


def _values(metrics: Sequence[Metric], lists: RankedLists) -> dict[str, Values]:
    """float64 [U]: the values of each user, by metric."""
    tops = {k: lists.top(k) for k in {metric.k for metric in metrics if metric.k is not None}}
    return {metric.name: metric.compute(tops[metric.k]) for metric in metrics if metric.k is not None}


def _undefined(metrics: Sequence[Metric], values: Mapping[str, Values]) -> dict[str, int]:
    """The number of users for whom a metric is undefined, under `undefined:METRIC`; without metrics that all users have."""
    numbers = {metric.name: int(np.isnan(values[metric.name]).sum()) for metric in metrics if metric.partial}
    return {f"{UNDEFINED}{name}": number for name, number in numbers.items() if number}
