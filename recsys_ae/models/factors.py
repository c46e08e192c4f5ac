"""Scores that are products: of user factors [B, H] and item factors [M, H], or of items and sparse item-item weights."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import ThreadpoolController

from recsys_ae.errors import TrainingError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.limits import limits
from recsys_ae.models.base import (
    BATCH_USERS,
    REFIT,
    FitContext,
    Floats,
    Recommender,
    checked_items,
    checked_rows,
    fitted_on,
    fitted_state,
)
from recsys_ae.ranking import ColumnFactors, Product

T = TypeVar("T")
BATCH_PAIRS = 16_384


@runtime_checkable
class ScoresByFactors(Protocol):
    """A recommender whose scores are products, so that the best of them can be found without a block of scores."""

    def score_product(self, history: Interactions, rows: Rows) -> Product:
        """`scores` of the users at `rows` [B] of the history, [B, M], as a product."""


def finite_product(model: Recommender, history: Interactions, rows: Rows) -> Product:
    """`score_product` of a model that is a `ScoresByFactors`; raises `TrainingError` unless all scores are finite."""
    kind = type(model).__name__
    with limits(f"scoring with {kind}", REFIT):
        product = cast(ScoresByFactors, model).score_product(history, rows)
    if not product.bound() < np.finfo(np.float32).max:
        raise TrainingError(f"{kind} has factors whose products are NaN or infinite; {REFIT}")
    return product


class FactorModel(Recommender):
    """Scores are products of factors that follow from a user's history and learned factors of items."""

    @abstractmethod
    def _user_factors(self, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        """float32 [B, H]"""

    @abstractmethod
    def _item_factors(self, fitted: Fitted) -> Floats:
        """float32 [M, H]"""

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self.score_product(history, rows).to_array()

    def score_product(self, history: Interactions, rows: Rows) -> Product:
        fitted, rows = fitted_state(self, history), checked_rows(history, rows)
        return Product(self._user_factors(fitted, history, rows), self.derived(self._columns))

    def _columns(self, fitted: Fitted) -> ColumnFactors:
        return ColumnFactors.of(self._item_factors(fitted))


class SparseItemWeights(Recommender):
    """The learned state is a sparse matrix [M, M] of weights between items."""

    @abstractmethod
    def _weights(self, train: Interactions) -> csr_array:
        """The weights to learn from `train`, [M, M]."""

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, sparse_arrays(self._weights(train)))

    def _learned(self, *histories: Interactions) -> csr_array:
        fitted = fitted_state(self, *histories)
        arrays, m = fitted.arrays, len(fitted.ids["items"])
        return csr_array((arrays["weights"], arrays["columns"], arrays["indptr"]), shape=(m, m))


class SparseLinearModel(SparseItemWeights):
    """Scores are binary histories [B, M] times sparse item-item weights [M, M]."""

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        weights = self._learned(history)
        return np.asarray((ones(history.matrix[rows]) @ weights).toarray(), np.float32)

    def item_weights(self, rows: Rows) -> Floats:
        return self._learned()[checked_items(self, rows)].toarray()


def sparse_arrays(weights: csr_array) -> dict[str, NDArray[Any]]:
    """Sparse weights [M, M] as arrays of a fitted state."""
    indptr, columns = weights.indptr.astype(np.int64), weights.indices.astype(np.int32)
    return {"indptr": indptr, "columns": columns, "weights": weights.data.astype(np.float32)}


def pair_products(user_factors: Callable[[Rows], Floats], item_factors: Floats, user_rows: Rows, item_rows: Rows) -> Floats:
    """Dot products of the pairs (user_rows[n], item_rows[n]) -> float32 [n], without a users x items block.

    Args:
        user_factors: maps B user rows to their factors [B, H]; called once for each user, in batches.
        item_factors: factors of all items [M, H].
    """
    result = np.empty(len(user_rows), np.float32)
    for vectors, pairs, user in pair_batches(user_rows, user_factors):
        result[pairs] = np.einsum("nh,nh->n", vectors[user], item_factors[item_rows[pairs]])
    return result


def pair_batches(user_rows: Rows, encode: Callable[[Rows], T]) -> Iterator[tuple[T, Rows, Rows]]:
    """Batches of at most `BATCH_PAIRS` pairs of the users at `user_rows` [n], grouped by user.

    Each is what `encode` makes of at most `BATCH_USERS` distinct users, the places of the pairs, and of their users in these.
    Each user is encoded once.
    """
    users, place = np.unique(user_rows, return_inverse=True)
    order = np.argsort(place, kind="stable")
    by_user = place[order]
    for start in range(0, len(users), BATCH_USERS):
        encoded = encode(users[start : start + BATCH_USERS])
        first, last = np.searchsorted(by_user, [start, start + BATCH_USERS])
        for at in range(first, last, BATCH_PAIRS):
            pairs = order[at : min(at + BATCH_PAIRS, last)]
            yield encoded, pairs, place[pairs] - start


def trained_rows(fitted: Fitted, history: Interactions, rows: Rows) -> Rows:
    """int64 [B]: training row of each user at `rows` of the history, -1 for users without training ratings."""
    users = fitted.ids["users"]
    found = rows if history.users is users else users.find(history.users.values[rows])
    return np.where((found >= 0) & fitted.arrays["trained_users"][found], found, -1)


def kept_columns(ratings: csr_array, kept: NDArray[np.bool_]) -> csr_array:
    """The entries of a matrix [B, M] in the columns to be kept, bool [M], in the same shape."""
    return kept_entries(ratings, kept[ratings.indices])


def kept_entries(ratings: csr_array, entries: NDArray[np.bool_]) -> csr_array:
    """The entries of a matrix [B, M] to be kept, bool [nnz], in the same shape."""
    indptr = np.r_[0, np.cumsum(entries)][ratings.indptr].astype(ratings.indptr.dtype)
    return csr_array((ratings.data[entries], ratings.indices[entries], indptr), shape=ratings.shape)


def ridge(inputs: Floats, targets: Floats, strength: float) -> Floats:
    """The w [K] that minimises |inputs [n, K] . w - targets [n]|^2 + strength * |w|^2, in min(n, K) unknowns; 0 for n = 0.

    In one thread: a second one would spin longer than it computes, and the last digits would depend on it.
    """
    strength = strength + 1e-6  # makes the solution unique even without regularisation
    n, k = inputs.shape
    with _blas().limit(limits=1):
        if n < k:
            gram = inputs @ inputs.T
            gram[np.diag_indices(n)] += strength
            return inputs.T @ np.linalg.solve(gram, targets)
        gram = inputs.T @ inputs
        gram[np.diag_indices(k)] += strength
        return np.linalg.solve(gram, inputs.T @ targets)


@cache
def _blas() -> Any:
    """The BLAS libraries of NumPy and SciPy; finding them takes some milliseconds."""
    return ThreadpoolController().select(user_api="blas")
