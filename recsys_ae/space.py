"""Search spaces: for each parameter, a range of numbers or a list of values."""

from collections.abc import Mapping
from math import floor, log10
from typing import Any, Self

from pydantic import model_validator

from recsys_ae.declaration import Declared

DIGITS = 4  # significant digits of drawn numbers


class Range(Declared):
    """The numbers from `low` to `high`, only integers for an integer parameter; with `log`, on a logarithmic scale."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range must begin above 0, got {self.low}")
        return self

    def including(self, value: Any) -> "Range":
        """The range extended to `value`, if that is a number on its scale."""
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.log and value <= 0):
            return self
        return Range(low=min(self.low, value), high=max(self.high, value), log=self.log)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def rounded(self, value: float) -> float:
        """A number in the range with four significant digits: what is printed is what was used."""
        digits = DIGITS - 1 - floor(log10(abs(value))) if value else 0
        return min(max(round(value, digits), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


Space = Mapping[str, Range | list[Any]]  # by parameter


def in_words(space: Space, parameter: str) -> str:
    """What a space says about a parameter; empty if that is not searched."""
    if parameter not in space:
        return ""
    values = space[parameter]
    return str(values) if isinstance(values, Range) else ", ".join(map(str, values))
