"""PCA: the linear autoencoder of rank K with the least squared error, in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from recsys_ae.errors import ConfigError
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Fitted, Floats, Recommender, clip, fitted_state, rating_scale
from recsys_ae.models.bias import Biases
from recsys_ae.models.factors import pair_products


@dataclass
class PCA:
    """Truncated singular value decomposition of the rating matrix, an entry that is not observed being 0.

    With X = U S V^T of rank K, scores are X V V^T: a new user needs only their row of X. Works for any user; an item
    that nobody rated has score 0 above its baseline.

    Source: Cremonesi et al. 2010 (PureSVD) for `centring: none`. With `centring: bias` what is decomposed is the ratings
    above their baseline (`models.bias`), to which "not observed = 0" does justice; only then are scores ratings.

    Attributes:
        factors: K.
        centring: `bias` or `none`.
    """

    factors: Annotated[int, Field(ge=1)] = 16
    centring: Literal["bias", "none"] = "bias"
    fitted: Fitted | None = field(default=None, init=False, repr=False)

    @property
    def predicts_ratings(self) -> bool:
        return self.centring == "bias"

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
        limit = min(train.matrix.shape) - 1
        if self.factors > limit:
            raise ConfigError(f"pca with {self.factors} factors needs more than a {train.matrix.shape} matrix; at most {limit}")
        biases = Biases.fit(train)
        centred = biases.residuals(train.matrix) if self.predicts_ratings else train.matrix
        components = np.zeros((train.n_items, self.factors), np.float32)
        if centred.data.any():  # there is nothing to decompose where all ratings are the same
            start = np.random.default_rng(seed).normal(size=min(train.matrix.shape))
            _, _, found = svds(centred, k=self.factors, v0=start, return_singular_vectors="vh")
            components[:] = found[::-1].T  # strongest first
        self.fitted = Fitted.on(train, {"components": components, **biases.arrays()}, scale=rating_scale(train))
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        scores = self._codes(fitted, history.matrix[rows]) @ fitted.arrays["components"].T
        if self.predicts_ratings:
            scores += Biases.from_arrays(fitted).block(history, rows)
        return scores

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        above = pair_products(
            lambda rows: self._codes(fitted, history.matrix[rows]), fitted.arrays["components"], user_rows, item_rows
        )
        return clip(Biases.from_arrays(fitted).pairs(history, user_rows, item_rows) + above, fitted)

    def item_vectors(self) -> Floats:
        return np.asarray(fitted_state(self).arrays["components"])

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        return self._codes(fitted_state(self, history), history.matrix[rows])

    def _codes(self, fitted: Fitted, ratings: csr_array) -> Floats:
        """[B, K]"""
        centred = Biases.from_arrays(fitted).residuals(ratings) if self.predicts_ratings else ratings
        return np.asarray(centred @ fitted.arrays["components"])
