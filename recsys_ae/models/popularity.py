"""Popularity: the baseline that every recommender has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Fitted, Floats, Recommender, fitted_state


@dataclass
class Popularity:
    """Everyone gets the items with the most interactions. Ranks only; works for any user."""

    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = False

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Any] = (),
        warm_start: Recommender | None = None,
    ) -> Self:
        self.fitted = Fitted.on(train, {})
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        counts = fitted_state(self, history).arrays["popularity"]
        return np.broadcast_to(counts, (len(rows), len(counts)))
