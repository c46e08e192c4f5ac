"""Models whose scores are products: of a vector per user [B, H] and one per item [M, H], or of a history and item weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.core.sparse import SparseRows, sparse_linear
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import BATCH_USERS, Fitted, Floats

BATCH_PAIRS = 16_384


def pair_products(user_factors: Callable[[Rows], Floats], item_factors: Floats, user_rows: Rows, item_rows: Rows) -> Floats:
    """The product of each pair (user_rows[n], item_rows[n]) -> float32 [n], without a block of users x items.

    Args:
        user_factors: gives the vectors [B, H] of the users at B rows; it is asked for each user once, in batches.
        item_factors: the vectors of all items [M, H].
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
    """int64 [B]: the training row of each user at `rows` of the history, -1 for those without training ratings."""
    if fitted.users is None:
        raise ValueError("this model keeps nothing about its training users")
    same = history.users is fitted.users
    found = rows if same else fitted.users.find(history.users.values[rows])
    return np.where((found >= 0) & fitted.arrays["trained_users"][found], found, -1)


def ridge(inputs: Floats, targets: Floats, strength: float) -> Floats:
    """The w [K] that minimises |inputs [n, K] . w - targets [n]|^2 + strength * |w|^2, in min(n, K) unknowns; 0 for n = 0."""
    strength = strength + 1e-6  # so that there is one solution even without regularisation
    n, k = inputs.shape
    if n < k:
        gram = inputs @ inputs.T
        gram[np.diag_indices(n)] += strength
        return np.asarray(inputs.T @ np.linalg.solve(gram, targets))
    gram = inputs.T @ inputs
    gram[np.diag_indices(k)] += strength
    return np.asarray(np.linalg.solve(gram, inputs.T @ targets))


def weighted_history(history: csr_array, weights: Floats) -> Floats:
    """Scores [B, M] of histories [B, M], each interaction counting 1, under item-item weights [M, M]."""
    seen = ones(history)
    x = SparseRows.from_arrays(seen.indptr, seen.indices, seen.data, len(weights))
    table = torch.from_numpy(weights)
    return sparse_linear(x, table, table.new_zeros(table.shape[1])).numpy()


def strongest(weights: Floats, k: int) -> csr_array:
    """The `k` largest positive weights of each row [B, M], the rest 0."""
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
    arrays, m = fitted.arrays, len(fitted.items)
    return csr_array((arrays["weights"], arrays["columns"], arrays["indptr"]), shape=(m, m))


def sparse_weighted_history(history: csr_array, fitted: Fitted) -> Floats:
    """Scores [B, M] of histories [B, M], each interaction counting 1, under the sparse weights among the fitted arrays."""
    return np.asarray((ones(history) @ sparse_weights(fitted)).toarray(), np.float32)
