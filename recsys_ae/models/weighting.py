"""Weights of users in a loss, and of items in scores, by their numbers of interactions: the same in all models."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import Floats, item_counts


def user_weights(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    """c n^exponent for users with n interactions (at least 1), float64 [N]; c makes the mean over interactions 1.

    Args:
        counts: n, int64 [N].
    """
    weights = counts.clip(min=1).astype(np.float64) ** exponent
    return np.asarray(weights * (counts.sum() / max((weights * counts).sum(), 1e-300)))


def weighted_rows(train: Interactions, exponent: float, constant: float = 0.0) -> csr_array:
    """The binary X [N, M], each row times the square root of its user's weight, so that X^T X is weighted.

    Args:
        constant: if not 0, a last column has this value for every user with interactions, times the same square root.
    """
    x = ones(train.matrix)
    n = np.diff(x.indptr)
    scale = np.sqrt(user_weights(n, exponent)).astype(np.float32)
    x.data *= np.repeat(scale, n)
    if not constant:
        return x
    column = csr_array((np.float32(constant) * scale * (n > 0))[:, None])
    return csr_array(hstack([x, column], format="csr"))


def item_factors(train: Interactions, exponent: float) -> Floats:
    """(n / mean of all n)^exponent for items with n interactions, float32 [M]; n counts as at least 1."""
    counts = item_counts(train).clip(min=1)
    return np.asarray((counts / counts.mean()) ** np.float32(exponent), np.float32)
