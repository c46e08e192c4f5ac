"""Collection of the values of metrics, over blocks of lists and of predicted ratings."""

from collections.abc import Container, Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import TrainingError
from recsys_ae.evaluation.lists import RankedLists, Rows, Values
from recsys_ae.evaluation.metrics import Metric, errors_per_user
from recsys_ae.evaluation.report import Report
from recsys_ae.evaluation.ties import extreme_orders

Ratings = NDArray[np.float32]


class Tally:
    """Collects values in the order in which blocks of lists are added, so that only one block has to be in memory.

    Attributes:
        k: length of the lists to add, the highest of all ranking metrics; 0 if there are none.
        scored: whether the scores of the listed items are known, so that ties can be seen.
    """

    def __init__(self, metrics: Sequence[Metric], *, scored: bool = True) -> None:
        self.metrics, self.scored = metrics, scored
        self.ranked = [metric for metric in metrics if metric.k is not None]
        self.k = max((metric.k or 0 for metric in metrics), default=0)
        self._blocks: dict[str, list[Values]] = {metric.name: [] for metric in self.ranked}
        self._tied: list[Rows] = [np.empty(0, np.int64)]  # users whose values depend on the order of ties
        self._orders: dict[str, list[tuple[Values, Values]]] = {
            metric.name: [] for metric in self.ranked if metric.measures_accuracy
        }
        self._n_users = 0
        self._rated: dict[str, float | None] = {}
        self._errors: dict[str, Values] = {}

    @property
    def rates(self) -> bool:
        """Whether there is a rating metric."""
        return len(self.ranked) < len(self.metrics)

    def add(self, lists: RankedLists) -> None:
        """Add the lists of a block of users."""
        for name, values in self._values(lists, self._blocks).items():
            self._blocks[name].append(values)
        tied, worst, best = extreme_orders(lists)
        if len(tied):
            low, high = self._values(worst, self._orders), self._values(best, self._orders)
            for name, orders in self._orders.items():
                orders.append((low[name], high[name]))
            self._tied.append(self._n_users + tied)
        self._n_users += len(lists.items)

    def _values(self, lists: RankedLists, names: Container[str]) -> dict[str, Values]:
        """The values [U] of the metrics among `names`."""
        tops = {k: lists.top(k) for k in {metric.k for metric in self.ranked if metric.k is not None}}
        return {one.name: one.compute(tops[one.k]) for one in self.ranked if one.k is not None and one.name in names}

    def add_ratings(self, predicted: Ratings, actual: Ratings, rows: Rows, n_rows: int) -> None:
        """Add all predicted and actual ratings [n] at once; `rows` [n] are those of the users among `n_rows`."""
        for metric in self.metrics:
            if metric.k is None:
                self._rated[metric.name] = metric.compute(predicted, actual)
                self._errors[metric.name] = errors_per_user(metric.name, predicted, actual, rows, n_rows)
        self._errors["ratings"] = np.bincount(rows, minlength=n_rows).astype(np.float64)

    def report(self, users: NDArray[Any], ranked: Rows, counts: dict[str, int]) -> Report:
        """The report on `users` [U], of whom those at `ranked` have had their lists added, in this order.

        Raises:
            TrainingError: a metric is not finite.
        """
        values = {name: np.concatenate([np.empty(0), *blocks]) for name, blocks in self._blocks.items()}
        means = {name: _mean(own) if len(own) else None for name, own in values.items()}
        found = {**{metric.name: None for metric in self.metrics}, **self._rated, **means}
        for name, value in found.items():
            if value is not None and not isfinite(value):
                way_out = "fit the model again with other parameters, or check your own metric"
                raise TrainingError(f"{name} is not finite; {way_out}")
        per_user = {**values, **self._errors}
        if self._errors:
            kept = self._errors["ratings"] > 0
            for name, own in values.items():
                per_user[name] = np.full(len(users), np.nan)
                per_user[name][ranked] = own
            per_user = {name: own[kept] for name, own in per_user.items()}
            users = users[kept]
        else:
            users = users[ranked]
        if self.scored and self.ranked:
            counts = {**counts, "users_tied": sum(map(len, self._tied))}
        return Report({metric.name: found[metric.name] for metric in self.metrics}, users, per_user, counts, self._ties(values))

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
                ends.append(_mean(own))
            ties[name] = ends[0], ends[1]
        return ties


def _mean(values: Values) -> float:
    """The mean; the numbers are added in ascending order, so that it does not depend on the order of the users."""
    return float(np.sort(values).mean())
