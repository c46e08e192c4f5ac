"""Baselines: popularity, and user and item biases, by which other models centre ratings and on which they fall back."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, hstack
from scipy.sparse.linalg import lsqr

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import (
    FitContext,
    Floats,
    Recommender,
    checked_pairs,
    checked_rows,
    fitted_on,
    fitted_state,
    item_counts,
)
from recsys_ae.ranking import row_of_entry
from recsys_ae.space import Range, Space

USER_REG, ITEM_REG = 5.0, 3.0  # regularisation of biases, in ratings
SWEEPS = 15  # after half of them the fourth decimal of the RMSE no longer changes
FEATURE_REG = 10.0  # regularisation of the weights of features in biases
ADDED_ROWS = 64  # rows of float64 in memory at a time
TINY = 1e-12  # avoids 0 / 0 where there are no ratings and no regularisation


@dataclass(frozen=True, repr=False)
class Biases:
    """rating(u, i) = mean + user bias + item bias, with item biases [M] float64 learned once.

    A user's bias is computed from their history, so that it exists for any user. It is the ridge estimate: the sum of
    rating - mean - item bias - prior over their n ratings, divided by n + `user_reg`, plus the prior. The prior is what their
    features predict (`user_weights` [F] times the features), or 0. Items have biases of the same form. Users and items without
    ratings therefore have the bias that their features predict, or 0.

    Attributes:
        item_prior: float64 [M], what the features of items alone predict.
        item_centre: float64 [M], towards which the biases of items are shrunk: the prior, and what their popularity adds.
    """

    mean: float
    item: NDArray[np.float64]
    user_reg: float
    item_prior: NDArray[np.float64]
    item_centre: NDArray[np.float64]
    user_weights: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        train: Interactions,
        user_reg: float = USER_REG,
        item_reg: float = ITEM_REG,
        *,
        user_features: csr_array | None = None,
        item_features: csr_array | None = None,
        popularity: bool = False,
    ) -> "Biases":
        """Biases fitted by alternating ridge regression; a regularisation of r acts like r more ratings at the prior.

        Features (float32 [N, F] and [M, G]) predict biases by a ridge regression in which no user or item counts for more than
        `user_reg` or `item_reg` ratings, as in the mixed model with that ratio of variances. With `popularity`, items have two
        more: 1, since the mean item is not rated like the mean rating, and the logarithm of their number of ratings, since
        those that are rated often are rated better. An item without ratings, which may be new, counts as average in this.
        """
        user, item, rating = train.user_rows(), train.item_rows(), train.matrix.data.astype(np.float64)
        mean, of_user = float(rating.mean()), np.zeros(train.n_users)
        parts = [] if item_features is None else [item_features]
        of_items = hstack([*parts, *_popularity(item_counts(train))]).tocsr() if popularity else item_features
        item_prior, item_centre, item_bias = np.zeros((3, train.n_items))
        user_weights = np.zeros(0)
        for _ in range(SWEEPS):
            left = rating - mean - item_bias[item]
            if user_features is not None:
                user_weights = _feature_weights(user_features, user, left, user_reg)
            biases = cls(mean, item_bias, user_reg, item_prior, item_centre, user_weights)
            of_user = biases.of_users(train.matrix, user_features)
            left = rating - mean - of_user[user]
            if of_items is not None:
                weights = _feature_weights(of_items, item, left, item_reg)
                item_prior = item_centre = of_items @ weights
                if popularity:
                    item_prior = of_items[:, :-1] @ weights[:-1]
            item_bias = _shrunk(left, item, item_centre, item_reg)
        return cls(mean, item_bias, user_reg, item_prior, item_centre, user_weights)

    def user_prior(self, n_users: int, features: csr_array | None) -> NDArray[np.float64]:
        """The biases that users' features [B, F] predict, float64 [B]; 0 without features."""
        return np.zeros(n_users) if features is None or not len(self.user_weights) else features @ self.user_weights

    def of_users(self, ratings: csr_array, features: csr_array | None = None) -> NDArray[np.float64]:
        """Biases of the users whose ratings are the rows of a matrix [B, M], float64 [B]; `features` [B, F] or None."""
        prior = self.user_prior(ratings.shape[0], features)
        left = ratings.data - self.mean - self.item[ratings.indices]
        return _shrunk(left, row_of_entry(ratings), prior, self.user_reg)

    def residuals(self, ratings: csr_array) -> csr_array:
        """Ratings minus their baseline at the same entries, float32 [B, M]."""
        users = np.repeat(self.of_users(ratings), np.diff(ratings.indptr))
        left = ratings.data - (self.mean + users + self.item[ratings.indices])
        return csr_array((left.astype(np.float32), ratings.indices, ratings.indptr), shape=ratings.shape)

    def block(self, history: Interactions, rows: Rows, features: csr_array | None = None) -> Floats:
        """Baseline ratings of all items for the users at `rows`, with features [B, F] or None, float32 [B, M]."""
        scores = np.zeros((len(rows), len(self.item)), np.float32)
        self.add_to(scores, history, rows, features)
        return scores

    def add_to(self, scores: Floats, history: Interactions, rows: Rows, features: csr_array | None = None) -> None:
        """Add `block` to scores, float32 [B, M], in place, without memory for another block."""
        of_user = self.mean + self.of_users(history.matrix[rows], features)
        for start in range(0, len(rows), ADDED_ROWS):
            part = slice(start, start + ADDED_ROWS)
            scores[part] += (of_user[part, None] + self.item).astype(np.float32)

    def pairs(self, history: Interactions, user_rows: Rows, item_rows: Rows, features: csr_array | None = None) -> Floats:
        """Baseline ratings of the pairs (user_rows[n], item_rows[n]), float32 [n]; features are of all users [N, F]."""
        return (self.mean + self.of_users(history.matrix, features)[user_rows] + self.item[item_rows]).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        own = {"mean": np.array([self.mean]), "item_bias": self.item, "user_reg": np.array([self.user_reg])}
        of_items = {"item_prior": self.item_prior, "item_centre": self.item_centre}
        prior = {name: values for name, values in of_items.items() if values.any()}
        return own | prior | ({"user_weights": self.user_weights} if len(self.user_weights) else {})

    @classmethod
    def from_arrays(cls, fitted: Fitted) -> "Biases":
        """The biases among the arrays of a fitted model."""
        arrays = fitted.arrays
        none = np.zeros_like(arrays["item_bias"])
        prior, centre = arrays.get("item_prior", none), arrays.get("item_centre", none)
        weights = arrays.get("user_weights", np.zeros(0))
        return cls(float(arrays["mean"][0]), arrays["item_bias"], float(arrays["user_reg"][0]), prior, centre, weights)


def _popularity(count: Floats) -> tuple[csr_array, csr_array]:
    """[M, 1] each: 1, and the logarithm of the number of ratings `count` [M], less its mean over the items that have any."""
    rated, logarithm = count > 0, np.log1p(count)
    centred = np.where(rated, logarithm - logarithm[rated].mean(), 0)
    return csr_array(np.ones((len(count), 1), np.float32)), csr_array(centred[:, None])


def _shrunk(left: NDArray[np.float64], row: Rows, prior: NDArray[np.float64], reg: float) -> NDArray[np.float64]:
    """float64 [n]: for each row, the mean of its residuals `left` [nnz], as if there were `reg` more that equal its `prior`."""
    total, count = np.bincount(row, left, len(prior)), np.bincount(row, minlength=len(prior))
    return (total + reg * prior) / np.maximum(reg + count, TINY)


def _feature_weights(features: csr_array, row: Rows, left: NDArray[np.float64], reg: float) -> NDArray[np.float64]:
    """float64 [F]: the ridge regression of the rows' mean residuals on their features [n, F]."""
    n = features.shape[0]
    count = np.bincount(row, minlength=n)
    weight = np.sqrt(count * reg / np.maximum(count + reg, TINY))  # standard deviation of a row's mean, inverted
    mean = np.bincount(row, left, n) / np.maximum(count, 1)
    solved = lsqr(features.multiply(weight[:, None]).tocsr(), weight * mean, damp=FEATURE_REG**0.5, atol=1e-8, btol=1e-8)
    return np.asarray(solved[0], np.float64)


@dataclass
class Bias(Recommender):
    """Mean + user bias + item bias, each bias shrunk towards 0. Works for any user.

    Attributes:
        user_reg, item_reg: strength of the shrinkage, in ratings.
    """

    user_reg: Annotated[float, Field(ge=0)] = USER_REG
    item_reg: Annotated[float, Field(ge=0)] = ITEM_REG
    space: ClassVar[Space] = {"user_reg": Range(low=0.5, high=50, log=True), "item_reg": Range(low=0.5, high=50, log=True)}
    predicts_ratings: ClassVar[bool] = True

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, Biases.fit(train, self.user_reg, self.item_reg).arrays(), keep_scale=True)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        return Biases.from_arrays(fitted_state(self, history)).block(history, rows)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        pairs = checked_pairs(history, user_rows, item_rows)
        return Biases.from_arrays(fitted_state(self, history)).pairs(history, *pairs)


@dataclass
class Popularity(Recommender):
    """Most popular items for everyone. Ranks only; works for any user."""

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, {})

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        counts = fitted_state(self, history).arrays["popularity"]
        return np.broadcast_to(counts, (len(rows), len(counts)))
