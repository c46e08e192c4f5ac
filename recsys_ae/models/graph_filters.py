"""Filters of the item graph: a history is a signal on the items, and its low frequencies are the scores."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebinterpolate
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import svds
from torch import Tensor

from recsys_ae.core.sparse import SparseRows, times
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import (
    BLOCK_SCORES,
    ROW_MULTIPLE,
    FitContext,
    Floats,
    Recommender,
    checked_items,
    checked_rows,
    fitted_on,
    fitted_state,
    item_counts,
)
from recsys_ae.models.popularity_share import ScoreFunction, chosen_share, popularity_of
from recsys_ae.models.training import sparse_rows
from recsys_ae.space import Range, Space

NEGLIGIBLE = 1e-5  # singular values below this share of the largest are 0 but for rounding


class Graph(NamedTuple):
    """R and its transpose, as rows."""

    forward: SparseRows
    back: SparseRows

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "Graph":
        """The graph in what a `GraphFilter` has learned."""
        shape = len(arrays["indptr"]) - 1, len(arrays["popularity"])
        r = csr_array((arrays["values"], arrays["columns"], arrays["indptr"]), shape=shape)
        return cls(sparse_rows(r), sparse_rows(r.T.tocsr()))

    def step(self, signal: Tensor) -> Tensor:
        """R'R times signals [M, B]."""
        return times(self.back, times(self.forward, signal))


@dataclass
class GraphFilter(Recommender):
    """Scores are a filter of the normalised item graph R'R, with R = D_u^-1/2 X D_i^-1/2 and the degrees D in the binary X.

    The matrix [M, M] of the graph is never formed: the learned state is R, as sparse as the training data, and the leading
    right singular vectors V [M, K] of R, whose products with a history are an ideal low pass. Works for any user; an item
    without interactions has score 0.

    Memory: 28 bytes per interaction, of which 20 are for scoring and not saved, and 4 M K for V.

    Attributes:
        factors: K, at most the rank of R.
        ideal_weight: weight of the ideal low pass.
        popularity: p; an item i of the history adds p (R'R)_ii q_j to the score of every item j, where q_j is the number of
            users of j over that of the most popular item. 0 as published. None chooses it in `fit`, see `popularity_share`.
    """

    factors: Annotated[int, Field(ge=1)] = 256
    ideal_weight: Annotated[float, Field(ge=0)] = 0.3
    popularity: Annotated[float, Field(ge=0)] | None = None
    space: ClassVar[Space] = {"factors": Range(low=32, high=512, log=True), "ideal_weight": Range(low=0, high=1)}

    def _memory(self, n_users: int, n_items: int) -> int:
        return 4 * n_items * min(self.factors, n_users, n_items)

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        x = ones(train.matrix)
        share = chosen_share(train, self._scorer) if self.popularity is None else self.popularity
        learned = self._learn(x)
        learned["towards_popular"] *= np.float32(share)
        return fitted_on(train, learned)

    def _learn(self, x: csr_array) -> dict[str, NDArray[Any]]:
        """What is learned from the binary X [N, M]: R, V, and the diagonal of R'R."""
        r = normalised(x[np.diff(x.indptr) > 0])
        graph = {"indptr": r.indptr.astype(np.int64), "columns": r.indices.astype(np.int32), "values": r.data}
        diagonal = np.bincount(r.indices, r.data.astype(np.float64) ** 2, r.shape[1]).astype(np.float32)
        return {**graph, "directions": leading_directions(r, self.factors), "towards_popular": diagonal}

    def _scorer(self, train: Interactions) -> ScoreFunction:
        x = ones(train.matrix)
        learned = {**self._learn(x), "popularity": item_counts(train)}
        graph = Graph.of(learned)
        return lambda rows: (self._filtered(learned, graph, x[rows]), x[rows] @ learned["towards_popular"])

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        fitted_state(self, history)
        return self._scored(ones(history.matrix[rows]))

    def item_weights(self, rows: Rows) -> Floats:
        rows, n_items = checked_items(self, rows), len(fitted_state(self).ids["items"])
        single = np.ones(len(rows), np.float32), rows, np.arange(len(rows) + 1)
        return self._scored(csr_array(single, shape=(len(rows), n_items)))

    def _scored(self, histories: csr_array) -> Floats:
        arrays, graph = fitted_state(self).arrays, self.derived(lambda fitted: Graph.of(fitted.arrays))
        towards_popular = (histories @ arrays["towards_popular"])[:, None] * popularity_of(arrays["popularity"])
        return np.asarray(self._filtered(arrays, graph, histories) + towards_popular, np.float32)

    def _filtered(self, arrays: Mapping[str, NDArray[Any]], graph: "Graph", histories: csr_array) -> Floats:
        """The filtered histories [B, M], of a few at a time: each needs a number for every training user and every item."""
        degrees = torch.from_numpy(arrays["popularity"]).clamp(min=1)[:, None]
        directions = torch.from_numpy(arrays["directions"])
        known = torch.from_numpy(arrays["popularity"] > 0)[:, None]

        def ideal(y: Tensor) -> Tensor:
            return directions @ (directions.T @ y)

        step = max(ROW_MULTIPLE, BLOCK_SCORES // max(len(graph.forward), len(graph.back)) // ROW_MULTIPLE * ROW_MULTIPLE)
        found = np.empty(histories.shape, np.float32)
        for start in range(0, len(found), step):
            signal = torch.from_numpy(histories[start : start + step].toarray().T.copy()) * known
            found[start : start + step] = self._filter(signal, degrees, graph.step, ideal).mul_(known).numpy().T
        return found

    @abstractmethod
    def _filter(
        self, signal: Tensor, degrees: Tensor, step: Callable[[Tensor], Tensor], ideal: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The filtered signals [M, B].

        Args:
            signal: histories, float32 [M, B].
            degrees: number of interactions of each item, at least 1, [M, 1].
            step: multiplies signals by R'R.
            ideal: multiplies signals by V V'.
        """


@dataclass
class GFCF(GraphFilter):
    """A linear low pass and an ideal one: x (R'R + w D_i^-1/2 V V' D_i^1/2), see `GraphFilter`.

    Source: Shen et al. 2021 (GF-CF), with 256 singular vectors and w = 0.3.

    Attributes:
        factors, ideal_weight, popularity: K, w and p, see `GraphFilter`.
    """

    def _filter(
        self, signal: Tensor, degrees: Tensor, step: Callable[[Tensor], Tensor], ideal: Callable[[Tensor], Tensor]
    ) -> Tensor:
        root = degrees.sqrt()
        return step(signal) + self.ideal_weight * root * ideal(signal / root)


@dataclass
class ChebyCF(GraphFilter):
    """A polynomial of the graph and an ideal low pass: x D_i^-b (h(L) + w V V') D_i^b, see `GraphFilter`.

    L = I - 2 R'R has eigenvalues l from -1 (low frequencies) to 1, and h interpolates the plateau (1 - sign(l) |l|^p) / 2 at
    the Chebyshev points by a polynomial of degree `order`, which is evaluated by the recurrence of Chebyshev polynomials.

    Source: Kim et al. 2025 (ChebyCF). Deviation: their code takes the plateau at other points (the extrema) than those at which
    it interpolates, and rounds it to three digits.

    Attributes:
        order: degree of the polynomial.
        flatness: p.
        degree_exponent: b.
        factors, ideal_weight, popularity: K, w and p, see `GraphFilter`.
    """

    factors: Annotated[int, Field(ge=1)] = 512
    ideal_weight: Annotated[float, Field(ge=0)] = 0.2
    order: Annotated[int, Field(ge=1, le=64)] = 8
    flatness: Annotated[float, Field(gt=0)] = 1.5
    degree_exponent: Annotated[float, Field(ge=-2, le=2)] = 0.4
    space: ClassVar[Space] = {
        **GraphFilter.space,
        "order": Range(low=2, high=12),
        "flatness": Range(low=0.5, high=20, log=True),
        "degree_exponent": Range(low=0, high=0.6),
    }

    def _filter(
        self, signal: Tensor, degrees: Tensor, step: Callable[[Tensor], Tensor], ideal: Callable[[Tensor], Tensor]
    ) -> Tensor:
        scale = degrees**self.degree_exponent
        before, signal = torch.zeros_like(signal), signal / scale
        found, current = self.ideal_weight * ideal(signal), signal
        for degree, coefficient in enumerate(self.coefficients()):
            found += float(coefficient) * current
            if degree < self.order:
                moved = current - 2 * step(current)
                before, current = current, moved if degree == 0 else 2 * moved - before
        return found * scale

    def coefficients(self) -> NDArray[np.float64]:
        """Those of the Chebyshev polynomials of degree 0 to `order`, float64 [order + 1]."""

        def plateau(at: Any) -> Any:
            return (1 - np.sign(at) * np.abs(at) ** self.flatness) / 2

        return np.asarray(chebinterpolate(plateau, self.order))


def normalised(x: csr_array) -> csr_array:
    """R [N, M] of a binary X: each entry divided by the roots of the degrees of its user and its item."""
    of_user, of_item = (np.maximum(x.sum(axis=axis), 1.0) ** -0.5 for axis in (1, 0))
    return csr_array((diags_array(of_user) @ x @ diags_array(of_item)).astype(np.float32))


def leading_directions(r: csr_array, k: int) -> Floats:
    """The right singular vectors of R [N, M] with the k largest singular values that are not 0, float32 [M, at most k]."""
    small = min(r.shape)
    if small > 2 * k:
        start = np.random.default_rng(0).normal(size=small)  # whatever it is, the result is the same up to signs and rounding
        _, values, right = svds(r.astype(np.float64), k, v0=start)
        kept = values > NEGLIGIBLE * values.max()
        return np.ascontiguousarray(right[kept].T, np.float32)
    by_items = r.shape[1] <= r.shape[0]
    square = (r.T @ r if by_items else r @ r.T).toarray().astype(np.float64)
    values, vectors = np.linalg.eigh(square)
    values, vectors = np.sqrt(values[-k:].clip(min=0)), vectors[:, -k:]
    kept = values > NEGLIGIBLE * values.max()
    directions = vectors[:, kept] if by_items else r.T @ vectors[:, kept] / values[kept]
    return np.ascontiguousarray(directions, np.float32)
