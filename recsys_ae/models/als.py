"""Alternating least squares on implicit feedback, fitted by the library `implicit`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, copy_matching_rows, fitted_on, fitted_state, item_counts
from recsys_ae.models.factors import FactorModel
from recsys_ae.models.implicit_adapter import fit_with_implicit


@dataclass
class ALS(FactorModel):
    """Weighted matrix factorisation of implicit feedback by alternating least squares.

    Source: Hu, Koren & Volinsky 2008, with confidence `alpha` for an interaction and 1 for every other pair; values are
    ignored. Fitted by `implicit`. Known and new users alike are scored by one half step of the algorithm, from their history
    with the item factors fixed. Items without interactions, and users without a history, have score 0 everywhere.

    Attributes:
        factors: K.
        l2: regularisation of all factors.
        alpha: confidence of an interaction.
        epochs: alternations of users and items.
    """

    factors: Annotated[int, Field(ge=1)] = 64
    l2: Annotated[float, Field(gt=0)] = 20.0
    alpha: Annotated[float, Field(gt=0)] = 2.0
    epochs: Annotated[int, Field(ge=1)] = 15

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        from implicit.cpu.als import AlternatingLeastSquares

        start: dict[str, Floats] = {}
        if (before := context.before) is not None:  # new items start with random factors, as in a cold start
            items = np.random.default_rng(context.seed).random((train.n_items, self.factors), np.float32) * 0.01
            copy_matching_rows(items, before.arrays["items"], train.items, before.ids["items"])
            start = {"item_factors": items}
        options = {"factors": self.factors, "regularization": self.l2, "alpha": self.alpha, "iterations": self.epochs}
        model = fit_with_implicit(AlternatingLeastSquares, train, start, **options, random_state=context.seed)
        items = np.where(item_counts(train)[:, None] > 0, model.item_factors, 0).astype(np.float32)
        return fitted_on(train, {"items": items})

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        items = fitted_state(self, history).arrays["items"]
        base = items.T @ items + self.l2 * np.eye(self.factors, dtype=np.float32)
        matrix = history.matrix[rows]
        vectors = np.empty((len(rows), self.factors), np.float32)
        for row, vector in enumerate(vectors):  # each minimises the objective, given the factors [n, K] of the user's items
            own = items[matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]]
            vector[:] = np.linalg.solve(base + (self.alpha - 1) * (own.T @ own), self.alpha * own.sum(axis=0))
        return vectors
