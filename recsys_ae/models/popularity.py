"""Popularity: the baseline that every recommender must beat."""

from dataclasses import dataclass

import numpy as np

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, Recommender, fitted_on, fitted_state


@dataclass
class Popularity(Recommender):
    """Most popular items for everyone. Ranks only; works for any user."""

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, {})

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        counts = fitted_state(self, history).arrays["popularity"]
        return np.broadcast_to(counts, (len(rows), len(counts)))
