"""Models whose scores are products: a vector per user [B, H] times a vector per item [M, H]."""

from collections.abc import Callable

import numpy as np

from recsys_ae.interactions import Rows
from recsys_ae.models.base import BATCH_USERS, Floats

BATCH_PAIRS = 16_384


def pair_products(user_side: Callable[[Rows], Floats], item_side: Floats, user_rows: Rows, item_rows: Rows) -> Floats:
    """The product of each pair (user_rows[n], item_rows[n]) -> float32 [n], without a block of users x items.

    Args:
        user_side: gives the vectors [B, H] of the users at B rows; it is asked for each user once, in batches.
        item_side: the vectors of all items [M, H].
    """
    users, place = np.unique(user_rows, return_inverse=True)
    order = np.argsort(place, kind="stable")
    result = np.empty(len(user_rows), np.float32)
    for start in range(0, len(users), BATCH_USERS):
        vectors = user_side(users[start : start + BATCH_USERS])
        first, last = np.searchsorted(place[order], [start, start + BATCH_USERS])
        for at in range(first, last, BATCH_PAIRS):
            pairs = order[at : min(at + BATCH_PAIRS, last)]
            result[pairs] = np.einsum("nh,nh->n", vectors[place[pairs] - start], item_side[item_rows[pairs]])
    return result
