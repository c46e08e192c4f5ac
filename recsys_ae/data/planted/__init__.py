"""Generated data and the processes behind it, from which the best figures that any model can reach are known."""

from collections.abc import Callable, Sequence
from typing import Protocol

from recsys_ae.data.planted.features import planted_features
from recsys_ae.data.planted.ratings import planted_ratings
from recsys_ae.data.planted.sessions import planted_sessions
from recsys_ae.interactions import Interactions
from recsys_ae.split import Split


class Process(Protocol):
    """The process behind generated data."""

    def best(self, split: Split, metrics: Sequence[str]) -> dict[str, float]:
        """The best expected values on the test part that any model can reach, of those `metrics` for which they are known."""
        ...


PLANTED: dict[str, Callable[..., tuple[Interactions, Process]]] = {
    "planted-ratings": planted_ratings,
    "planted-features": planted_features,
    "planted-sessions": planted_sessions,
}
