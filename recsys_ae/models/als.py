"""Alternating least squares on implicit feedback, fitted by the library `implicit`."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import FitContext, Floats, Recommender, copy_matching_rows, fitted_on, fitted_state
from recsys_ae.models.implicit_adapter import fit_with_implicit


@dataclass
class ALS(Recommender):
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

        before, seed = context.before, context.seed

        def make() -> Any:
            options = {"regularization": self.l2, "alpha": self.alpha, "iterations": self.epochs, "random_state": seed}
            model = AlternatingLeastSquares(self.factors, **options)
            if before is not None:  # items that it does not know keep random factors, as in a cold start
                model.item_factors = np.random.default_rng(seed).random((train.n_items, self.factors), np.float32) * 0.01
                copy_matching_rows(model.item_factors, before.arrays["items"], train.items, before.ids["items"])
            return model

        model = fit_with_implicit(make, ones(train.matrix))
        seen = np.bincount(train.matrix.indices, minlength=train.n_items) > 0
        items = np.where(seen[:, None], model.item_factors, 0).astype(np.float32)
        return fitted_on(train, {"items": items})

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self.user_vectors(history, rows) @ self.item_vectors().T

    def item_vectors(self) -> Floats:
        return np.asarray(fitted_state(self).arrays["items"])

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        items = fitted_state(self, history).arrays["items"]
        base = items.T @ items + self.l2 * np.eye(self.factors, dtype=np.float32)
        matrix = history.matrix[rows]
        parts = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
        return np.stack([self._half_step(items[matrix.indices[start:end]], base) for start, end in parts])

    def _half_step(self, own: NDArray[np.float32], base: NDArray[np.float32]) -> NDArray[np.float32]:
        """[K]: the user factors that minimise the objective, given the factors `own` [n, K] of the user's items."""
        return np.asarray(np.linalg.solve(base + (self.alpha - 1) * (own.T @ own), self.alpha * own.sum(axis=0)), np.float32)
