"""Bayesian personalised ranking, fitted by the library `implicit`."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import FitContext, Floats, Recommender, copy_matching_rows, fitted_on, fitted_state
from recsys_ae.models.factors import trained_rows
from recsys_ae.models.implicit_adapter import fit_with_implicit
from recsys_ae.models.recommend import check_scorable


@dataclass
class BPR(Recommender):
    """Matrix factorisation with item biases that ranks a user's items above all others.

    Source: Rendle et al. 2009, by stochastic gradient descent over sampled pairs. Fitted by `implicit` on one thread, because
    with several the result is not reproducible. Values of interactions are ignored. Scores only users seen in training:
    `scores` raises an error for any other, and `recommend` treats them as its `cold` says.

    Attributes:
        factors: K.
        l2: regularisation of factors and biases.
        learning_rate: of the descent.
        epochs: passes over as many sampled pairs as there are interactions.
    """

    factors: Annotated[int, Field(ge=1)] = 64
    l2: Annotated[float, Field(ge=0)] = 0.01
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 100

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        before, seed = context.before, context.seed

        def make() -> Any:
            model = BayesianPersonalizedRanking(
                self.factors, self.learning_rate, self.l2, iterations=self.epochs, num_threads=1, random_state=seed
            )
            if before is not None:
                rng = np.random.default_rng(seed)
                model.user_factors = (rng.random((train.n_users, self.factors + 1), np.float32) - 0.5) / self.factors
                model.item_factors = (rng.random((train.n_items, self.factors + 1), np.float32) - 0.5) / self.factors
                copy_matching_rows(model.user_factors, before.arrays["users"], train.users, before.ids["users"])
                copy_matching_rows(model.item_factors, before.arrays["items"], train.items, before.ids["items"])
            return model

        model = fit_with_implicit(make, ones(train.matrix))
        trained, seen = np.diff(train.matrix.indptr) > 0, np.bincount(train.matrix.indices, minlength=train.n_items) > 0
        learned: dict[str, NDArray[Any]] = {
            "users": np.asarray(model.user_factors, np.float32),
            "items": np.where(seen[:, None], model.item_factors, 0).astype(np.float32),
            "trained_users": trained,
        }
        return fitted_on(train, learned, keep_users=True)

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return trained_rows(fitted_state(self, history), history, rows) >= 0

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self.user_vectors(history, rows) @ self.item_vectors().T

    def item_vectors(self) -> Floats:
        """Item factors followed by the bias, [M, K + 1]."""
        return np.asarray(fitted_state(self).arrays["items"])

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        """User factors followed by 1 for the bias, [B, K + 1]."""
        fitted = fitted_state(self, history)
        known = trained_rows(fitted, history, rows)
        check_scorable(known >= 0, history, rows)
        return np.asarray(fitted.arrays["users"][known])
