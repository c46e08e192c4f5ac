"""Scores that are products: of user factors [B, H] and item factors [M, H], or of a history and item-item weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.core.sparse import SparseRows, sparse_linear
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import BATCH_USERS, Floats, items_of

BATCH_PAIRS = 16_384


def pair_products(user_factors: Callable[[Rows], Floats], item_factors: Floats, user_rows: Rows, item_rows: Rows) -> Floats:
    """Dot products of the pairs (user_rows[n], item_rows[n]) -> float32 [n], without a users x items block.

    Args:
        user_factors: maps B user rows to their factors [B, H]; called once for each user, in batches.
        item_factors: factors of all items [M, H].
    """
    users, place = np.unique(user_rows, return_inverse=True)
    order = np.argsort(place, kind="stable")
    sorted_place = place[order]
    result = np.empty(len(user_rows), np.float32)
    for start in range(0, len(users), BATCH_USERS):
        vectors = user_factors(users[start : start + BATCH_USERS])
        first, last = np.searchsorted(sorted_place, [start, start + BATCH_USERS])
        for at in range(first, last, BATCH_PAIRS):
            pairs = order[at : min(at + BATCH_PAIRS, last)]
            result[pairs] = np.einsum("nh,nh->n", vectors[place[pairs] - start], item_factors[item_rows[pairs]])
    return result


def trained_rows(fitted: Fitted, history: Interactions, rows: Rows) -> Rows:
    """int64 [B]: training row of each user at `rows` of the history, -1 for users without training ratings."""
    users = fitted.ids["users"]
    found = rows if history.users is users else users.find(history.users.values[rows])
    return np.where((found >= 0) & fitted.arrays["trained_users"][found], found, -1)


def ridge(inputs: Floats, targets: Floats, strength: float) -> Floats:
    """The w [K] that minimises |inputs [n, K] . w - targets [n]|^2 + strength * |w|^2, in min(n, K) unknowns; 0 for n = 0."""
    strength = strength + 1e-6  # makes the solution unique even without regularisation
    n, k = inputs.shape
    if n < k:
        gram = inputs @ inputs.T
        gram[np.diag_indices(n)] += strength
        return np.asarray(inputs.T @ np.linalg.solve(gram, targets))
    gram = inputs.T @ inputs
    gram[np.diag_indices(k)] += strength
    return np.asarray(np.linalg.solve(gram, inputs.T @ targets))


def weighted_history(history: csr_array, weights: Floats) -> Floats:
    """Scores [B, M] of binary histories [B, M] under item-item weights [M, M]."""
    seen = ones(history)
    x = SparseRows.from_arrays(seen.indptr, seen.indices, seen.data, len(weights))
    table = torch.from_numpy(weights)
    return sparse_linear(x, table, table.new_zeros(table.shape[1])).numpy()


def strongest(weights: Floats, k: int) -> csr_array:
    """The `k` largest positive weights of each row [B, M]."""
    k = min(k, weights.shape[1])
    columns = np.sort(np.argpartition(-weights, k - 1, axis=1)[:, :k], axis=1)
    kept = np.take_along_axis(weights, columns, axis=1)
    positive = kept > 0
    indptr = np.r_[0, np.cumsum(positive.sum(axis=1))]
    return csr_array((kept[positive], columns[positive], indptr), shape=weights.shape)


def sparse_arrays(weights: csr_array) -> dict[str, NDArray[Any]]:
    """Sparse item-item weights as arrays of `Fitted`."""
    return {
        "indptr": weights.indptr.astype(np.int64),
        "columns": weights.indices.astype(np.int32),
        "weights": weights.data.astype(np.float32),
    }


def sparse_weights(fitted: Fitted) -> csr_array:
    """The item-item weights [M, M] among the fitted arrays."""
    arrays, m = fitted.arrays, len(items_of(fitted))
    return csr_array((arrays["weights"], arrays["columns"], arrays["indptr"]), shape=(m, m))


def sparse_weighted_history(history: csr_array, fitted: Fitted) -> Floats:
    """Scores [B, M] of binary histories [B, M] under the sparse weights among the fitted arrays."""
    return np.asarray((ones(history) @ sparse_weights(fitted)).toarray(), np.float32)
