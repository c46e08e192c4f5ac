"""Collection of the values of metrics, over blocks of lists and of predicted ratings."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import TrainingError
from recsys_ae.evaluation.metrics import Metric, errors_per_user
from recsys_ae.evaluation.metrics.catalogue import Rows, Values
from recsys_ae.evaluation.metrics.exposure import Exposure
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.evaluation.report import UNDEFINED, Report
from recsys_ae.evaluation.segments import Members, column_of, mean, means_by_item_group, means_by_user_group
from recsys_ae.evaluation.ties import extreme_orders

Ratings = NDArray[np.float32]


class Tally:
    """Collects values in the order in which blocks of lists are added, so that only one block has to be in memory.

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
        self._blocks: dict[str, list[Values]] = {metric.name: [] for metric in self.ranked}
        self._exposed = [metric for metric in metrics if not metric.per_user]
        self._exposures: dict[int, Exposure] = {}  # by the length of lists
        self._tied: list[Rows] = [np.empty(0, np.int64)]  # users whose values depend on the order of ties
        self._orders: dict[str, list[tuple[Values, Values]]] = {
            metric.name: [] for metric in self.accuracy if metric.best_by_rating
        }
        self._n_users = 0
        self._rated: dict[str, float | None] = {}
        self._errors: dict[str, Values] = {}

    @property
    def rates(self) -> bool:
        """Whether there is a rating metric."""
        return any(metric.k is None for metric in self.metrics)

    def add(self, lists: RankedLists) -> None:
        """Add the lists of a block of users."""
        found = _values(self.ranked, lists)
        for segment, groups in self.item_groups.items():
            for group, members in groups.items():
                inside, rows = lists.only(members)
                for name, own in _values(self.accuracy, inside).items():
                    found[column := column_of(name, segment, group)] = np.full(len(lists.items), np.nan)
                    found[column][rows] = own
        for name, values in found.items():
            self._blocks.setdefault(name, []).append(values)
        for k in {metric.k for metric in self._exposed if metric.k is not None}:
            exposure = Exposure.of(lists.top(k))
            self._exposures[k] = self._exposures[k] + exposure if k in self._exposures else exposure
        self._add_orders(lists)
        self._n_users += len(lists.items)

    def _add_orders(self, lists: RankedLists) -> None:
        if self.scored and self._orders and (found := extreme_orders(lists)):
            tied, worst, best = found
            ordered = [metric for metric in self.accuracy if metric.name in self._orders]
            low, high = _values(ordered, worst), _values(ordered, best)
            for name, orders in self._orders.items():
                orders.append((low[name], high[name]))
            self._tied.append(self._n_users + tied)

    def add_ratings(self, predicted: Ratings, actual: Ratings, rows: Rows, n_rows: int) -> None:
        """Add all predicted and actual ratings [n] at once; `rows` [n] are those of the users among `n_rows`."""
        for metric in self.metrics:
            if metric.k is None:
                self._rated[metric.name] = metric.compute(predicted, actual)
                self._errors[metric.name] = errors_per_user(metric.name, predicted, actual, rows, n_rows)
        self._errors["ratings"] = np.bincount(rows, minlength=n_rows).astype(np.float64)

    def report(
        self, users: NDArray[Any], ranked: Rows, counts: dict[str, int], groups: Mapping[str, pd.Categorical] | None = None
    ) -> Report:
        """The report on `users` [U], of whom those at `ranked` have had their lists added, in this order.

        Args:
            groups: the group of each user [U], by segment of users.

        Raises:
            TrainingError: a metric is not finite.
        """
        values = {name: np.concatenate([np.empty(0), *blocks]) for name, blocks in self._blocks.items()}
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
            kept = np.flatnonzero(self._errors["ratings"])
            for name, own in per_user.items():
                per_user[name] = np.full(len(users), np.nan)
                per_user[name][ranked] = own
            per_user = {name: own[kept] for name, own in {**per_user, **self._errors}.items()}
        labels = {name: of_users[kept] for name, of_users in (groups or {}).items()}
        segments |= {name: means_by_user_group(per_user, own, self.metrics) for name, own in labels.items()}
        if self.scored and self.ranked:
            counts = {**counts, "users_tied": sum(map(len, self._tied))}
        counts = {**counts, **_undefined(self.ranked, values)}
        metrics = {metric.name: found[metric.name] for metric in self.metrics}
        return Report(metrics, users[kept], per_user, counts, self._ties(values), labels, segments)

    def _ties(self, values: dict[str, Values]) -> dict[str, tuple[float, float]]:
        """`Report.ties`, given the values of each metric."""
        if not self.scored or not self._n_users:
            return {}
        tied, ties = np.concatenate(self._tied), {}
        for name, orders in self._orders.items():
            ends = []
            for end in range(2):
                own = values[name].copy()
                own[tied] = np.concatenate([np.empty(0), *(pair[end] for pair in orders)])
                ends.append(mean(own, partial=True))
            if ends[0] is not None and ends[1] is not None:
                ties[name] = ends[0], ends[1]
        return ties


def _values(metrics: Sequence[Metric], lists: RankedLists) -> dict[str, Values]:
    """float64 [U]: the values of each user, by metric."""
    tops = {k: lists.top(k) for k in {metric.k for metric in metrics if metric.k is not None}}
    return {metric.name: metric.compute(tops[metric.k]) for metric in metrics if metric.k is not None}


def _undefined(metrics: Sequence[Metric], values: Mapping[str, Values]) -> dict[str, int]:
    """The number of users who do not count in a metric whose value is undefined for some, under `undefined:METRIC`."""
    numbers = {metric.name: int(np.isnan(values[metric.name]).sum()) for metric in metrics if metric.partial}
    return {f"{UNDEFINED}{name}": number for name, number in numbers.items() if number}
