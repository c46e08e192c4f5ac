"""Bayesian personalised ranking, fitted by the library `implicit`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, copy_matching_rows, fitted_on, fitted_state, item_counts
from recsys_ae.models.factors import FactorModel, trained_rows
from recsys_ae.models.implicit_adapter import fit_with_implicit
from recsys_ae.models.recommend import check_scorable


@dataclass
class BPR(FactorModel):
    """Matrix factorisation with item biases that ranks a user's items above all others.

    Source: Rendle et al. 2009, by stochastic gradient descent over sampled pairs. Fitted by `implicit` on one thread, because
    with several the result is not reproducible. Values of interactions are ignored. Scores only users seen in training:
    `scores` raises an error for any other, and `recommend` treats them as its `cold` says. Item vectors are the factors
    followed by the item's bias, user vectors the factors followed by 1.

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

        start: dict[str, Floats] = {}
        if (before := context.before) is not None:
            rng = np.random.default_rng(context.seed)
            for name, kind, ids in (("user_factors", "users", train.users), ("item_factors", "items", train.items)):
                start[name] = rng.random((len(ids), self.factors + 1), np.float32)
                start[name] = (start[name] - 0.5) / self.factors
                copy_matching_rows(start[name], before.arrays[kind], ids, before.ids[kind])
        options = {"factors": self.factors, "learning_rate": self.learning_rate, "regularization": self.l2}
        options |= {"iterations": self.epochs, "num_threads": 1, "random_state": context.seed}
        model = fit_with_implicit(BayesianPersonalizedRanking, train, start, **options)
        items = np.where(item_counts(train)[:, None] > 0, model.item_factors, 0).astype(np.float32)
        users = np.asarray(model.user_factors, np.float32)
        return fitted_on(train, {"users": users, "items": items}, keep_users=True)

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return trained_rows(fitted_state(self, history), history, rows) >= 0

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        known = trained_rows(fitted, history, rows)
        check_scorable(known >= 0, history, rows)
        return fitted.arrays["users"][known]
