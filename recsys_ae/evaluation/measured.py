"""Values of some users, which can be joined with those of others in any order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.evaluation.metrics.catalogue import Values
from recsys_ae.evaluation.metrics.exposure import Exposure
from recsys_ae.ids import Rows

NONE: Rows = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Measured:
    """The values of U users. For T of them, values depend on the order of items with equal scores.

    Attributes:
        rows: int64 [U], the row of each user, in any order.
        values: float64 [U] by metric, and by `column_of` the metrics for groups of items.
        tied: int64 [T], rows of users.
        worst, best: float64 [T] by metric: the values in the worst and in the best order.
        exposures: by length of lists, summed over the users.
    """

    rows: Rows = field(default_factory=lambda: NONE)
    values: Mapping[str, Values] = field(default_factory=dict)
    tied: Rows = field(default_factory=lambda: NONE)
    worst: Mapping[str, Values] = field(default_factory=dict)
    best: Mapping[str, Values] = field(default_factory=dict)
    exposures: Mapping[int, Exposure] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Iterable["Measured"]) -> "Measured":
        """The values of all the parts, whose users are different."""
        parts, exposures = list(parts), dict[int, Exposure]()
        for part in parts:
            for k, exposure in part.exposures.items():
                exposures[k] = exposures[k] + exposure if k in exposures else exposure
        rows, tied = (np.concatenate([NONE, *found]) for found in zip(*((part.rows, part.tied) for part in parts), strict=True))
        values, worst, best = (_joined(found) for found in zip(*((p.values, p.worst, p.best) for p in parts), strict=True))
        return cls(rows, values, tied, worst, best, exposures)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All values by names that `from_arrays` understands."""
        arrays = {"rows": self.rows, "tied": self.tied}
        for kind in ("values", "worst", "best"):
            arrays |= {f"{kind}:{name}": own for name, own in getattr(self, kind).items()}
        return arrays | {f"times:{k}": exposure.times for k, exposure in self.exposures.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], item_counts: Rows) -> "Measured":
        """The inverse of `to_arrays`; `item_counts` are those of the exposures."""
        by_kind: dict[str, dict[str, NDArray[Any]]] = {}
        for name, own in arrays.items():
            kind, _, rest = name.partition(":")
            by_kind.setdefault(kind, {})[rest] = own
        exposures = {int(k): Exposure(times, item_counts) for k, times in by_kind.get("times", {}).items()}
        values, worst, best = (by_kind.get(kind, {}) for kind in ("values", "worst", "best"))
        return cls(arrays["rows"], values, arrays["tied"], worst, best, exposures)


def places(wanted: Rows, rows: Rows) -> Rows:
    """int64: the place of each of the wanted rows among `rows`, each of which occurs once.

    >>> places(np.array([7, 3]), np.array([3, 5, 7]))
    array([2, 0])
    """
    order = np.argsort(rows, kind="stable")
    return order[np.searchsorted(rows, wanted, sorter=order)]


def _joined(parts: Iterable[Mapping[str, Values]]) -> dict[str, Values]:
    """The values by name, one part after the other."""
    found: dict[str, list[Values]] = {}
    for part in parts:
        for name, own in part.items():
            found.setdefault(name, []).append(own)
    return {name: np.concatenate(own) for name, own in found.items()}
