"""Baselines: popularity, and user and item biases, by which other models centre ratings and on which they fall back."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, Recommender, checked_rows, clip, fitted_on, fitted_state

SWEEPS = 15  # after half of them the fourth decimal of the RMSE no longer changes
TINY = 1e-12  # avoids 0 / 0 where there are no ratings and no regularisation


@dataclass(frozen=True, repr=False)
class Biases:
    """rating(u, i) = mean + user bias + item bias, with item biases [M] float64 learned once.

    A user's bias is computed from their history, so that it exists for any user. It is the ridge estimate: the sum of
    rating - mean - item bias over their n ratings, divided by n + `user_reg`. Items and users without ratings have bias 0.
    """

    mean: float
    item: NDArray[np.float64]
    user_reg: float

    @classmethod
    def fit(cls, train: Interactions, user_reg: float = 5.0, item_reg: float = 3.0) -> "Biases":
        """Biases fitted by alternating ridge regression; a regularisation of r acts like r more ratings at the mean."""
        user, item, rating = train.user_rows(), train.item_rows(), train.matrix.data.astype(np.float64)
        mean = float(rating.mean())
        item_count = np.bincount(item, minlength=train.n_items)
        biases = cls(mean, np.zeros(train.n_items), user_reg)
        for _ in range(SWEEPS):
            left = rating - mean - biases.of_users(train.matrix)[user]
            item_bias = np.bincount(item, left, train.n_items) / np.maximum(item_reg + item_count, TINY)
            biases = cls(mean, item_bias, user_reg)
        return biases

    def of_users(self, ratings: csr_array) -> NDArray[np.float64]:
        """Biases of the users whose ratings are the rows of a matrix [B, M], float64 [B]."""
        n_users, count = ratings.shape[0], np.diff(ratings.indptr)
        left = ratings.data - self.mean - self.item[ratings.indices]
        total = np.bincount(np.repeat(np.arange(n_users), count), left, n_users)
        return total / np.maximum(self.user_reg + count, TINY)

    def residuals(self, ratings: csr_array) -> csr_array:
        """Ratings minus their baseline at the same entries, float32 [B, M]."""
        users = np.repeat(self.of_users(ratings), np.diff(ratings.indptr))
        left = ratings.data - (self.mean + users + self.item[ratings.indices])
        return csr_array((left.astype(np.float32), ratings.indices, ratings.indptr), shape=ratings.shape)

    def block(self, history: Interactions, rows: Rows) -> Floats:
        """Baseline ratings of all items for the users at `rows`, float32 [B, M]."""
        return (self.mean + self.of_users(history.matrix[rows])[:, None] + self.item).astype(np.float32)

    def pairs(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        """Baseline ratings of the pairs (user_rows[n], item_rows[n]), float32 [n]."""
        return (self.mean + self.of_users(history.matrix)[user_rows] + self.item[item_rows]).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": np.array([self.mean]), "item_bias": self.item, "user_reg": np.array([self.user_reg])}

    @classmethod
    def from_arrays(cls, fitted: Fitted) -> "Biases":
        """The biases among the arrays of a fitted model."""
        arrays = fitted.arrays
        return cls(float(arrays["mean"][0]), arrays["item_bias"], float(arrays["user_reg"][0]))


@dataclass
class Bias(Recommender):
    """Mean + user bias + item bias, each bias shrunk towards 0. Works for any user.

    Attributes:
        user_reg, item_reg: strength of the shrinkage, in ratings.
    """

    user_reg: Annotated[float, Field(ge=0)] = 5.0
    item_reg: Annotated[float, Field(ge=0)] = 3.0
    predicts_ratings: ClassVar[bool] = True

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, Biases.fit(train, self.user_reg, self.item_reg).arrays(), keep_scale=True)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        return Biases.from_arrays(fitted_state(self, history)).block(history, rows)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        return clip(Biases.from_arrays(fitted).pairs(history, user_rows, item_rows), fitted)


@dataclass
class Popularity(Recommender):
    """Most popular items for everyone. Ranks only; works for any user."""

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, {})

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        counts = fitted_state(self, history).arrays["popularity"]
        return np.broadcast_to(counts, (len(rows), len(counts)))
