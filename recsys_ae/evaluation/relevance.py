"""Relevance of the pairs of the truth."""

import logging
from math import isfinite
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, quoted
from recsys_ae.interactions import Interactions

logger = logging.getLogger(__name__)


def relevant_pairs(truth: Interactions, relevant_at: float | None, left_out: NDArray[np.bool_]) -> Interactions:
    """The pairs of `truth` rated at least `relevant_at`, without those `left_out` [nnz]."""
    return truth.filter(~left_out & liked(truth.matrix.data, relevant_at))


def liked(ratings: NDArray[np.float32], relevant_at: float | None) -> NDArray[np.bool_]:
    """bool [n]: which ratings are at least `relevant_at`."""
    if relevant_at is None:
        return np.ones(len(ratings), bool)
    if not (isinstance(relevant_at, Real) and isfinite(relevant_at)):
        raise ConfigError(f"relevant_at must be a finite number, got {quoted(relevant_at)}")
    if len(ratings) and relevant_at > (highest := ratings.max()):
        logger.warning("nothing is relevant: relevant_at is %g, and the highest rating is %g", relevant_at, highest)
    return ratings >= relevant_at
