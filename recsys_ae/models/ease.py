"""EASE: the linear item-item autoencoder in closed form, plain or denoising, dense or sparse."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar
from weakref import ref

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array

from recsys_ae.core.linear import CHUNK, NeighbourRegressions, gram, invert
from recsys_ae.core.sparse import sparse_linear
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import (
    FitContext,
    Floats,
    Recommender,
    checked_items,
    checked_rows,
    fitted_on,
    fitted_state,
    item_counts,
)
from recsys_ae.models.costs import announce
from recsys_ae.models.factors import SparseLinearModel, sparse_arrays
from recsys_ae.models.popularity_share import PopularityShare
from recsys_ae.models.training import sparse_rows
from recsys_ae.models.weighting import item_factors, weighted_rows
from recsys_ae.space import Range, Space

OPERATIONS = 1e11  # per second on two cores, roughly: for the estimate of the time
KEPT_BYTES = 2**28
DENSE_WAY_OUT = (
    "for that many items use sparse_ease, whose memory grows with the pairs of items that occur together, "
    "or elsa, whose memory grows with the items"
)
SPARSE_WAY_OUT = (
    "use elsa or rp3beta, which do not keep co-occurrences, raise `shared`, or train on fewer interactions per user: "
    "n of them make up to n^2 / 2 co-occurrences"
)


@dataclass
class DenseLinear(Recommender):
    """Scores x B + b, with x [M] binary and dense weights B [M, M] that regularised least squares give in closed form.

    Attributes:
        l2: regularisation, in interactions.
        dropout: p; inputs are dropped with probability p, and the loss is over the dropped ones only (see `EASE`).
        user_exponent: e; the row of a user with n interactions has weight c n^e, where c keeps the total weight equal to the
            number of interactions. With e = 0 the most active users dominate the error.
        item_exponent: a; scores of an item with n interactions are multiplied by (n / mean n)^a. Below 0, popular items are
            listed less often.
    """

    l2: Annotated[float, Field(gt=0)] = 500.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    user_exponent: float = -0.5
    item_exponent: float = -0.15
    space: ClassVar[Space] = {
        "l2": Range(low=10, high=10000, log=True),
        "dropout": Range(low=0, high=0.8),
        "user_exponent": Range(low=-1, high=0.5),
        "item_exponent": Range(low=-0.4, high=0.2),
    }

    def _ridge(self, x: csr_array) -> Floats:
        """l [M], given the weighted X [N, M]: l2 + p / (1 - p) * (weighted interactions of each item)."""
        interactions = np.bincount(x.indices, x.data.astype(np.float64) ** 2, minlength=x.shape[1])
        return (self.l2 + self.dropout / (1 - self.dropout) * interactions).astype(np.float32)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        arrays = fitted_state(self, history).arrays
        weights = torch.from_numpy(arrays["weights"])
        intercept = torch.from_numpy(arrays["intercept"]) if "intercept" in arrays else torch.zeros(len(weights))
        return sparse_linear(sparse_rows(ones(history.matrix[rows])), weights, intercept).numpy()

    def item_weights(self, rows: Rows) -> Floats:
        return fitted_state(self).arrays["weights"][checked_items(self, rows)]


@dataclass
class EASE(DenseLinear):
    """Linear item-item autoencoder in closed form: scores x B + b, with x [M] binary and B [M, M].

    B minimises the squared error of X B against X plus sum_ij l_i B_ij^2; a zero diagonal keeps an item from explaining
    itself. Works for any user; an item without interactions has score 0. With P = (X^T X + diag(l))^-1 the solution is
    B = I - P diag(v), where v_j = 1 / P_jj makes the diagonal 0. All parameters but the first below need this one inverse:

    - `dropout` p: inputs are dropped with probability p, and the loss is over the dropped ones only: l_i = l2 + p / (1 - p) *
      (interactions of item i). Source: Steck 2020, EDLAE, with emphasis a = 1, b = 0. With p = 0, Steck 2019, equation 8.
    - `user_exponent`, `item_exponent`: X^T X with weights of users, and scores with weights of items. Source: Park et al. 2025
      (DAN), with two deviations: rows of B are not scaled, which did not rank better, and dropout is kept.
    - `input_exponent` c, an addition: inputs, not targets, of a user with n interactions are scaled by n^-c in training, as if
      the sum of weights over a long history were partly a mean: B = P T - P diag(u), where P is of the scaled inputs, T is the
      product of these and the targets, and u makes the diagonal 0. Scores need no scaling, which would not change the order.
    - `intercept` s, an addition: an input of value s that all users have and that is never dropped, so b is its row of weights.
      Where items hardly occur together, the order becomes that of popularity.
    - `diagonal` d: the diagonal may reach d instead of 0, v_j = max(l_j, (1 - d) / P_jj). Source: Moon et al. 2023 (RLAE,
      RDLAE). For an item not in x, v_j only scales the score. With d = 1 the diagonal is free and v = l. Without exponents and
      dropout, this gives unseen items the order that EASE on X^T gives them, from other users instead of other items, because
      X^T (X X^T + l2)^-1 = (X^T X + l2)^-1 X^T. So d mixes item-side and user-side EASE, and works for any user.

    Memory: 6 M^2 bytes while fitting (10 M^2 with `input_exponent`), 4 M^2 afterwards; time: about 0.7 M^3 multiply-adds (1.7
    M^3). `fit` logs both, and raises an error before allocating anything if the memory is not available; `sparse_ease` needs
    less. Below 8,192 items, another 8 M^2 bytes keep the solution as long as the data are in use: a fit on the same data that
    differs in `item_exponent` or `diagonal` only (in a search, list these last) takes no inversion.

    Attributes:
        input_exponent: c, see above; 0 as published.
        intercept: s, see above; 0 as published.
        diagonal: d, see above; 0 as published.
        Others: see `DenseLinear`. With `dropout`, `user_exponent`, `item_exponent` and `intercept` 0 too, it is EASE as
            published in 2019.
    """

    user_exponent: float = -0.4
    input_exponent: float = 0.25
    intercept: Annotated[float, Field(ge=0)] = 1.0
    diagonal: Annotated[float, Field(ge=0, le=1)] = 0.0
    space: ClassVar[Space] = {
        **DenseLinear.space,
        "input_exponent": Range(low=0, high=0.6),
        "intercept": Range(low=0, high=3),
        "diagonal": Range(low=0, high=1),
    }

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        m = train.n_items
        size = (10 if self.input_exponent else 6) + (8 if 4 * m**2 <= KEPT_BYTES else 0)
        seconds = inversion_seconds(m) + (2 * m**3 / OPERATIONS if self.input_exponent else 0)
        announce(f"ease on {m} items", size * m**2, seconds, DENSE_WAY_OUT)
        weights = self._solution(train).weights(self.diagonal)
        weights[:, :m] *= item_factors(train, self.item_exponent)
        if not self.intercept:
            return fitted_on(train, {"weights": weights})
        return fitted_on(train, {"weights": weights[:m, :m].copy(), "intercept": np.float32(self.intercept) * weights[m, :m]})

    def _solution(self, train: Interactions) -> "Solution":
        """The equations solved, or what the last fit on the same data kept of the same equations."""
        about = (self.l2, self.dropout, self.user_exponent, self.input_exponent, self.intercept)
        if (kept := _kept.of(train, about)) is not None:
            return kept
        inputs = weighted_rows(train, self.user_exponent - 2 * self.input_exponent, self.intercept)
        ridge = self._ridge(inputs)
        if self.intercept:
            ridge[-1] = self.l2  # never dropped
        inverse, product = inverse_gram(inputs, ridge), None
        if self.input_exponent:
            product = gram(weighted_rows(train, self.user_exponent - self.input_exponent, self.intercept))
            multiply(inverse, product)
        return _kept.keep(train, about, Solution(inverse, ridge, product))


@dataclass(frozen=True)
class Solution:
    """What the weights of `EASE` are derived from: P [M, M], l [M], and P T [M, M] if the targets are scaled otherwise.

    Attributes:
        kept: whether it will be used again; if not, the weights take its memory.
    """

    inverse: Floats
    ridge: Floats
    product: Floats | None
    kept: bool = False

    def weights(self, bound: float) -> Floats:
        """B [M, M], whose diagonal is at most the bound."""
        if self.product is None:
            return bounded_diagonal(self.inverse.copy() if self.kept else self.inverse, self.ridge, bound)
        return bounded_product(self.inverse, self.product.copy() if self.kept else self.product, bound)


class Kept:
    """The last `Solution`, so that a search over parameters that only scale it need not invert again.

    It is forgotten with the data, and not kept at all if it takes more than `KEPT_BYTES`.
    """

    def __init__(self) -> None:
        self._last: tuple[ref[Interactions], tuple[float, ...], Solution] | None = None

    def of(self, train: Interactions, about: tuple[float, ...]) -> Solution | None:
        """The solution for these data (this very object) and parameters, if it is the last one."""
        last = self._last
        return last[2] if last is not None and last[0]() is train and last[1] == about else None

    def keep(self, train: Interactions, about: tuple[float, ...], solution: Solution) -> Solution:
        """The solution, kept if it is small."""
        if solution.inverse.nbytes > KEPT_BYTES:
            self._last = None
            return solution
        kept = replace(solution, kept=True)
        self._last = ref(train, self._forget), about, kept
        return kept

    def _forget(self, gone: "ref[Interactions]") -> None:
        if self._last is not None and self._last[0] is gone:
            self._last = None


_kept = Kept()


@dataclass
class SparseEASE(PopularityShare, SparseLinearModel):
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
        shared: items that fewer users have in common count as if none had both. 1 is exact; a few save most of the memory where
            there are tens of millions of interactions or more.
        popularity: see `PopularityShare`.
    """

    l2: Annotated[float, Field(gt=0)] = 100.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    neighbours: Annotated[int, Field(ge=1)] = 200
    shared: Annotated[int, Field(ge=1)] = 1
    space: ClassVar[Space] = {
        "l2": Range(low=5, high=2000, log=True),
        "dropout": Range(low=0, high=0.8),
        "neighbours": Range(low=20, high=500, log=True),
    }
    closed_form: ClassVar[bool] = True

    def _learn(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, sparse_arrays(self._weights(train)))

    def _learned_scores(self, history: Interactions, rows: Rows) -> Floats:
        return SparseLinearModel.scores(self, history, rows)

    def _weights(self, train: Interactions) -> csr_array:
        regressions = NeighbourRegressions(ones(train.matrix), self.neighbours, self.shared)
        what = f"sparse_ease on {train.n_items} items with {regressions.pairs:,} co-occurrences"
        announce(what, regressions.memory, regressions.seconds, SPARSE_WAY_OUT)
        return regressions.solve(self.l2 + self.dropout / (1 - self.dropout) * item_counts(train))


def inverse_gram(x: csr_array, ridge: Floats) -> Floats:
    """(X^T X + diag(ridge))^-1 [M, M]"""
    inverse = gram(x)
    inverse[np.diag_indices(len(inverse))] += ridge
    invert(inverse)
    return inverse


def bounded_diagonal(inverse: Floats, ridge: Floats, bound: float = 0.0) -> Floats:
    """B [M, M] of EASE from its P = (X^T X + diag(l))^-1, in its memory: I - P diag(v), v_j = max(l_j, (1 - bound) / P_jj).

    So B_jj is 1 - P_jj l_j, that of the ridge regression, but at most the bound.
    """
    at = np.diag_indices(len(inverse))
    factors = np.maximum(ridge, np.float32(1 - bound) / inverse[at])
    diagonal = 1 - inverse[at] * factors
    weights = np.multiply(inverse, -factors, out=inverse)
    weights[at] = diagonal if bound else 0
    return weights


def multiply(left: Floats, right: Floats) -> None:
    """Replace `right` [M, M] by left [M, M] @ right, in chunks of columns."""
    solve = torch.from_numpy(left)
    for start in range(0, len(right), CHUNK):
        part = slice(start, start + CHUNK)
        right[:, part] = solve @ torch.from_numpy(right[:, part])


def bounded_product(inverse: Floats, product: Floats, bound: float) -> Floats:
    """B [M, M] = P T - P diag(u) from P and P T, in the memory of P T; u_j = max(0, ((P T)_jj - bound) / P_jj)."""
    for start in range(0, len(product), CHUNK):
        part = slice(start, start + CHUNK)
        own, scale = np.diagonal(product[part, part]), np.diagonal(inverse[part, part])
        product[:, part] -= inverse[:, part] * np.maximum(0, (own - np.float32(bound)) / scale)
    if not bound:
        np.fill_diagonal(product, 0)
    return product


def inversion_seconds(m: int) -> float:
    """Rough time of one inversion [m, m]."""
    return 2 * 0.7 * m**3 / OPERATIONS
