"""Models whose scores are products: a vector per user [B, H] times a vector per item [M, H]."""

from collections.abc import Callable

import numpy as np

from recsys_ae.interactions import Interactions, Rows
from recsys_ae.models.base import BATCH_USERS, Fitted, Floats

BATCH_PAIRS = 16_384


def pair_products(user_side: Callable[[Rows], Floats], item_side: Floats, user_rows: Rows, item_rows: Rows) -> Floats:
    """The product of each pair (user_rows[n], item_rows[n]) -> float32 [n], without a block of users x items.

    Args:
        user_side: gives the vectors [B, H] of the users at B rows; it is asked for each user once, in batches.
        item_side: the vectors of all items [M, H].
    """
    users, place = np.unique(user_rows, return_inverse=True)
    order = np.argsort(place, kind="stable")
    sorted_place = place[order]
    result = np.empty(len(user_rows), np.float32)
    for start in range(0, len(users), BATCH_USERS):
        vectors = user_side(users[start : start + BATCH_USERS])
        first, last = np.searchsorted(sorted_place, [start, start + BATCH_USERS])
        for at in range(first, last, BATCH_PAIRS):
            pairs = order[at : min(at + BATCH_PAIRS, last)]
            result[pairs] = np.einsum("nh,nh->n", vectors[place[pairs] - start], item_side[item_rows[pairs]])
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
