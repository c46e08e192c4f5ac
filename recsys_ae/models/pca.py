"""PCA: the optimal linear autoencoder of rank K under the squared error, in closed form."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from recsys_ae.declaration import likely_cause
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.limits import check_memory
from recsys_ae.models.base import FitContext, Floats, checked_pairs, checked_rows, fitted_on, fitted_state
from recsys_ae.models.baselines import Biases
from recsys_ae.models.factors import FactorModel, pair_products
from recsys_ae.space import Range, Space


@dataclass
class PCA(FactorModel):
    """Truncated singular value decomposition of the rating matrix, in which unobserved entries are 0.

    With X = U S V^T of rank K, scores are X V V^T: a new user needs only their row of X. Works for any user; an item
    without ratings has its baseline as score.

    Source: Cremonesi et al. 2010 (PureSVD) for `centring: none`. With `centring: bias` the residuals from the baseline (see
    `models.baselines`) are decomposed, for which 0 is a sensible value of unobserved entries; only then are scores ratings.

    Attributes:
        factors: K.
        centring: `bias` or `none`.
    """

    factors: Annotated[int, Field(ge=1)] = 16
    centring: Literal["bias", "none"] = "bias"
    space: ClassVar[Space] = {"factors": Range(low=4, high=128, log=True)}

    @property
    def predicts_ratings(self) -> bool:
        return self.centring == "bias"

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        limit = min(train.matrix.shape) - 1
        if not limit:
            raise DataError(f"pca needs at least two users and two items, got {train.n_users} and {train.n_items}")
        if self.factors > limit:
            raise ConfigError(f"pca on a {train.matrix.shape} matrix can have at most {limit} factors, got {self.factors}")
        check_memory("PCA", 8 * self.factors * sum(train.matrix.shape), likely_cause(self))
        biases = Biases.fit(train)
        centred = biases.residuals(train.matrix) if self.predicts_ratings else train.matrix
        components = np.zeros((train.n_items, self.factors), np.float32)
        if centred.data.any():  # equal ratings leave nothing to decompose
            start = np.random.default_rng(context.seed).normal(size=min(train.matrix.shape))
            _, _, found = svds(centred, k=self.factors, v0=start, return_singular_vectors="vh")
            components[:] = found[::-1].T  # strongest first
        return fitted_on(train, {"components": components, **biases.arrays()}, keep_scale=True)

    def _user_factors(self, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        """[B, K], or [B, K + 2] if scores are ratings: the code, 1, and the mean rating with the user's bias."""
        codes = self._codes(fitted, history.matrix[rows])
        if not self.predicts_ratings:
            return codes
        biases = Biases.from_arrays(fitted)
        level = biases.mean + biases.of_users(history.matrix[rows])
        return np.c_[codes, np.ones(len(rows), np.float32), level.astype(np.float32)]

    def _item_factors(self, fitted: Fitted) -> Floats:
        """[M, K], or [M, K + 2] if scores are ratings: the components, the item's bias, and 1."""
        components = fitted.arrays["components"]
        if not self.predicts_ratings:
            return components
        bias = fitted.arrays["item_bias"].astype(np.float32)
        return np.c_[components, bias, np.ones(len(bias), np.float32)]

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        user_rows, item_rows = checked_pairs(history, user_rows, item_rows)
        fitted = fitted_state(self, history)
        components = fitted.arrays["components"]
        above = pair_products(lambda rows: self._codes(fitted, history.matrix[rows]), components, user_rows, item_rows)
        return Biases.from_arrays(fitted).pairs(history, user_rows, item_rows) + above

    def item_vectors(self) -> Floats:
        return fitted_state(self).arrays["components"]

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        return self._codes(fitted_state(self, history), history.matrix[rows])

    def _codes(self, fitted: Fitted, ratings: csr_array) -> Floats:
        """Codes of the rows of ratings, [B, K]."""
        centred = Biases.from_arrays(fitted).residuals(ratings) if self.predicts_ratings else ratings
        return centred @ fitted.arrays["components"]
