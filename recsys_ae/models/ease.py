"""EASE: the linear item-item autoencoder in closed form, plain or denoising, dense or sparse."""

import logging
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array

from recsys_ae.core.linear import NeighbourRegressions, gram, invert
from recsys_ae.core.sparse import sparse_linear
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.limits import check_memory
from recsys_ae.models.base import FitContext, Floats, Recommender, checked_rows, fitted_on, fitted_state, item_counts
from recsys_ae.models.factors import SparseLinearModel
from recsys_ae.models.training import sparse_rows
from recsys_ae.space import Range, Space

logger = logging.getLogger(__name__)
OPERATIONS = 1e11  # per second on two cores, roughly: for the estimate of the time
DENSE_WAY_OUT = (
    "for that many items use sparse_ease, whose memory grows with the pairs of items that occur together, "
    "or elsa, whose memory grows with the items"
)
SPARSE_WAY_OUT = (
    "use elsa or rp3beta, which do not keep co-occurrences, or train on fewer interactions per user: "
    "n of them make up to n^2 / 2 co-occurrences"
)


@dataclass
class EASE(Recommender):
    """Linear item-item autoencoder in closed form: scores x B, with x [M] binary and a zero diagonal in B [M, M].

    B minimises the squared error of X B against X plus sum_ij l_i B_ij^2; the zero diagonal keeps an item from explaining
    itself. Works for any user; an item without interactions has score 0.

    Source: Steck 2019, equation 8, for `dropout: 0`, where l_i = l2 for all items. With dropout p it is the denoising
    autoencoder whose inputs are dropped with probability p and whose loss is over the dropped ones only (EDLAE, Steck 2020,
    with emphasis a = 1, b = 0): l_i = l2 + p / (1 - p) * (interactions of item i). `user_exponent` e is an addition: the row
    of a user with n interactions has weight c n^e, where c keeps the total weight equal to nnz. With e = 0 the most active
    users dominate the error.

    Memory: 6 M^2 bytes while fitting, 4 M^2 afterwards; time: about 0.7 M^3 multiply-adds. `fit` logs both, and raises an
    error before allocating anything if the memory is not available; `sparse_ease` needs less.

    Attributes:
        l2: regularisation, in interactions.
        dropout: p.
        user_exponent: e; 0 as published, -0.5 ranks better on MovieLens 1M.
    """

    l2: Annotated[float, Field(gt=0)] = 1000.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    user_exponent: float = 0.0
    space: ClassVar[Space] = {
        "l2": Range(low=10, high=10000, log=True),
        "dropout": Range(low=0, high=0.8),
        "user_exponent": Range(low=-1, high=0.5),
    }

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        m = train.n_items
        announce(f"ease on {m} items", 6 * m**2, inversion_seconds(m), DENSE_WAY_OUT)
        x = self._weighted(train)
        return fitted_on(train, {"weights": zero_diagonal(inverse_gram(x, self._ridge(x)))})

    def _weighted(self, train: Interactions) -> csr_array:
        """X, each row times the square root of its weight."""
        x = ones(train.matrix)
        if self.user_exponent:
            n = np.diff(x.indptr)
            row_weights = n.clip(min=1).astype(np.float64) ** self.user_exponent
            row_weights *= x.nnz / (row_weights * n).sum()
            x.data *= np.repeat(np.sqrt(row_weights), n).astype(np.float32)
        return x

    def _ridge(self, x: csr_array) -> Floats:
        """l [M], given the weighted X."""
        interactions = np.bincount(x.indices, x.data.astype(np.float64) ** 2, minlength=x.shape[1])
        return (self.l2 + self.dropout / (1 - self.dropout) * interactions).astype(np.float32)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        weights = torch.from_numpy(fitted_state(self, history).arrays["weights"])
        return sparse_linear(sparse_rows(ones(history.matrix[rows])), weights, torch.zeros(len(weights))).numpy()

    def item_weights(self, rows: Rows) -> Floats:
        return fitted_state(self).arrays["weights"][rows]


@dataclass
class SparseEASE(SparseLinearModel):
    """Sparse approximation of `EASE`: scores x B, with each column of B [M, M] fitted on the item's nearest items only.

    Column j of EASE's B is the ridge regression of column j of X on all other columns. Here it is the ridge regression on
    the `neighbours` items S with the largest cosine to j (ties go to the more popular item, then to the first; items that
    never co-occur with j are left out): B_Sj = (G_SS + diag(l_S))^-1 G_Sj, G = X^T X, with the l of EASE. The two are equal
    where all pairs of items co-occur and `neighbours` is at least M - 1. Values of interactions are ignored. Works for any
    user; an item without interactions has score 0.

    Source: Steck 2019, Markov Random Fields for Collaborative Filtering, the sparse approximation in its most exact form, one
    item at a time (r = 0). Deviates: neighbours are chosen by cosine, not correlation, and by number, not by a threshold.

    Memory: 8 bytes per pair of co-occurring items and 24 per weight. `fit` counts them first, logs the amount, and raises an
    error if it is not available. Time: one pass over the pairs of each user's items, and K^3 / 6 multiply-adds per item with
    K neighbours.

    Attributes:
        l2: regularisation, in interactions.
        dropout: p, see `EASE`. Both defaults were chosen on a validation part of MovieLens 1M.
        neighbours: K, weights kept per item.
    """

    l2: Annotated[float, Field(gt=0)] = 100.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    neighbours: Annotated[int, Field(ge=1)] = 200
    space: ClassVar[Space] = {
        "l2": Range(low=5, high=2000, log=True),
        "dropout": Range(low=0, high=0.8),
        "neighbours": Range(low=20, high=500, log=True),
    }

    def _weights(self, train: Interactions) -> csr_array:
        regressions = NeighbourRegressions(ones(train.matrix), self.neighbours)
        what = f"sparse_ease on {train.n_items} items with {regressions.pairs / 1e6:.1f} million co-occurrences"
        announce(what, regressions.memory, regressions.seconds, SPARSE_WAY_OUT)
        return regressions.solve(self.l2 + self.dropout / (1 - self.dropout) * item_counts(train))


def inverse_gram(x: csr_array, ridge: Floats) -> Floats:
    """(X^T X + diag(ridge))^-1 [M, M]"""
    inverse = gram(x)
    inverse[np.diag_indices(len(inverse))] += ridge
    invert(inverse)
    return inverse


def zero_diagonal(inverse: Floats) -> Floats:
    """B [M, M] of EASE from its P = (X^T X + diag(l))^-1, in the same memory: B_ij = -P_ij / P_jj, and 0 where i = j."""
    diagonal = np.diag_indices(len(inverse))
    weights = np.divide(inverse, -inverse[diagonal], out=inverse)
    weights[diagonal] = 0
    return weights


def inversion_seconds(m: int) -> float:
    """Rough time of one inversion [m, m]."""
    return 2 * 0.7 * m**3 / OPERATIONS


def announce(what: str, needed: int, seconds: float, way_out: str) -> None:
    """Log the memory and time that a fit will take; `ConfigError` if the memory is not free."""
    check_memory(what, needed, way_out)
    duration = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    logger.info("%s: %.1f GB of memory, about %s", what, needed / 1e9, duration)
