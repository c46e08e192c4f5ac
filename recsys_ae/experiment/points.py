"""The points of a space of parameters, as Optuna draws and stores them."""

import json
from collections.abc import Mapping
from itertools import product
from math import inf, prod
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from recsys_ae.space import Range, Space

Point = dict[str, Any]  # parameters as Optuna stores them


class Points:
    """The points of a space, which Optuna stores as numbers, booleans, None and strings."""

    def __init__(self, space: Space, model: Any) -> None:
        """`model` is an unfitted one with the lowest values, whose type decides whether a range is one of integers."""
        self._space = space
        self.distributions: dict[str, BaseDistribution] = {}
        for key, values in space.items():
            if isinstance(values, list):
                self.distributions[key] = CategoricalDistribution([_plain(value) for value in values])
            elif isinstance(getattr(model, key), float):
                self.distributions[key] = FloatDistribution(values.low, values.high, log=values.log)
            else:
                self.distributions[key] = IntDistribution(int(values.low), int(values.high), log=values.log)

    def all_of_them(self, at_most: int) -> list[Point]:
        """All points in order; none if there are more than `at_most`, or infinitely many."""
        sizes = [_size(one) for one in self.distributions.values()]
        if prod(sizes) > at_most:
            return []
        values = [
            one.choices if isinstance(one, CategoricalDistribution) else range(one.low, one.high + 1)  # type: ignore[attr-defined]
            for one in self.distributions.values()
        ]
        return [dict(zip(self.distributions, point, strict=True)) for point in product(*values)]

    def rounded(self, point: Point) -> Point:
        """The point in the order of the space, with rounded floats."""
        return {
            key: values.rounded(point[key]) if isinstance(values, Range) and isinstance(point[key], float) else point[key]
            for key, values in self._space.items()
        }

    def point(self, params: Mapping[str, Any]) -> Point:
        """Those of a model's parameters that are in the space."""
        return {key: _plain(params[key]) for key, values in self._space.items() if params[key] in values}

    def params(self, point: Point) -> dict[str, Any]:
        """The parameters of a model at a point."""
        lists = {key: values for key, values in self._space.items() if isinstance(values, list)}
        listed = {key: {_plain(value): value for value in values} for key, values in lists.items()}
        return {key: listed[key][value] if key in listed else value for key, value in point.items()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else json.dumps(value)


def _size(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return distribution.high - distribution.low + 1 if isinstance(distribution, IntDistribution) else inf
