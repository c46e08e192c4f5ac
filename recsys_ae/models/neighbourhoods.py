"""Item-based neighbourhoods: similarities of items by their users, with as much popularity as the data call for."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array, diags_array, vstack

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import FitContext, Floats, checked_items, checked_rows, fitted_on, fitted_state
from recsys_ae.models.factors import SparseLinearModel, sparse_arrays
from recsys_ae.models.popularity_share import ScoreFunction, chosen_share, popularity_of
from recsys_ae.space import Range, Space

BLOCK = 512  # items whose similarities to all others are in memory at a time
SMALLEST_WEIGHT = 1e-6  # TF-IDF weight of a user; that of users with nearly all items would be 0
BM25_K1, BM25_B = 1.2, 0.75


@dataclass
class Neighbourhood(SparseLinearModel):
    """Scores x (W + p m q^T): similarities W [M, M], and the popularity q of the scored item for every item of the history.

    W_ij is the similarity of the items i and j times n / (n + shrinkage), where n users have both: what few have in common is
    mostly chance. Each item keeps its `neighbours` largest. q_j is the number of users of j over that of the most popular
    item, m_i the largest similarity of i before it is shrunk (1 if there is none), and p = `popularity`. Values of interactions
    are ignored. Works for any user; an item without interactions has score 0.

    By default p is chosen in `fit`, see `popularity_share`, so that the order is nearly that of popularity where the data are
    too thin for anything else.

    Attributes:
        neighbours: similarities kept per item.
        shrinkage: in users, see above; 0 as published.
        popularity: p; 0 as published. None chooses it.
    """

    neighbours: Annotated[int, Field(ge=1)] = 100
    shrinkage: Annotated[float, Field(ge=0)] = 5.0
    popularity: Annotated[float, Field(ge=0)] | None = None
    space: ClassVar[Space] = {
        "neighbours": Range(low=10, high=500, log=True),
        "shrinkage": Range(low=0, high=50),
    }

    of_itself: ClassVar[bool] = False  # whether an item of the history adds to its own score

    @abstractmethod
    def _similarities(self, x: csr_array) -> tuple[csr_array, csr_array]:
        """L [M, N] and R [N, M], whose product is the similarities for the binary X [N, M]."""

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        x = ones(train.matrix)
        share = chosen_share(train, self._scorer) if self.popularity is None else self.popularity
        weights, largest = self._learn(x)
        return fitted_on(train, {**sparse_arrays(weights), "towards_popular": np.float32(share) * largest})

    def _weights(self, train: Interactions) -> csr_array:
        return self._learn(ones(train.matrix))[0]

    def _learn(self, x: csr_array) -> tuple[csr_array, Floats]:
        """W [M, M] and m [M], for the binary X [N, M]."""
        left, right = self._similarities(x)
        users_of = x.T.tocsr()
        n_items = x.shape[1]
        k, blocks, largest = min(self.neighbours, n_items), [], np.empty(n_items, np.float32)
        for first in range(0, n_items, BLOCK):
            block = slice(first, first + BLOCK)
            weights = np.asarray((left[block] @ right).toarray(), np.float32)
            own = np.arange(len(weights)), first + np.arange(len(weights))
            itself = weights[own]
            weights[own] = 0
            largest[block] = weights.max(axis=1)
            if self.of_itself:
                weights[own] = itself
            if self.shrinkage:
                both = (users_of[block] @ x).toarray()
                weights *= both / (both + np.float32(self.shrinkage))
            blocks.append(_largest(weights, k))
        return csr_array(vstack(blocks)), np.where(largest > 0, largest, np.float32(1))

    def _scorer(self, train: Interactions) -> ScoreFunction:
        x = ones(train.matrix)
        weights, largest = self._learn(x)
        return lambda rows: ((x[rows] @ weights).toarray(), x[rows] @ largest)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        scores = super().scores(history, rows)
        arrays = fitted_state(self).arrays
        scores += (ones(history.matrix[rows]) @ arrays["towards_popular"])[:, None] * popularity_of(arrays["popularity"])
        return scores

    def item_weights(self, rows: Rows) -> Floats:
        rows, arrays = checked_items(self, rows), fitted_state(self).arrays
        weights = super().item_weights(rows)
        weights += arrays["towards_popular"][rows, None] * popularity_of(arrays["popularity"])
        return weights


@dataclass
class ItemKNN(Neighbourhood):
    """Item-based nearest neighbours, see `Neighbourhood`: the similarity is a cosine or product of item vectors.

    Attributes:
        similarity: `cosine` of the binary vectors, of vectors weighted by `tfidf` (users with many items count less), or the
            product of vectors weighted by `bm25`, with k1 = 1.2 and b = 0.75.
        Others: see `Neighbourhood`; `neighbours` includes the item itself.
    """

    similarity: Literal["cosine", "tfidf", "bm25"] = "tfidf"
    of_itself: ClassVar[bool] = True
    space: ClassVar[Space] = {**Neighbourhood.space, "similarity": ["cosine", "tfidf", "bm25"]}

    def _similarities(self, x: csr_array) -> tuple[csr_array, csr_array]:
        n_users, n_items = x.shape
        of_user, of_item = np.diff(x.indptr).astype(np.float64), np.asarray(x.sum(axis=0), np.float64)
        if self.similarity == "bm25":
            rarity = np.log(n_items) - np.log1p(of_user)
            length = 1 - BM25_B + BM25_B * of_item / of_item.mean()
            scaled = diags_array(rarity) @ x @ diags_array((BM25_K1 + 1) / (BM25_K1 * length + 1))
        else:
            rarity = np.ones(n_users)
            if self.similarity == "tfidf":
                rarity = np.maximum(np.log(n_items / (1 + of_user)), SMALLEST_WEIGHT)
            weighted = diags_array(rarity) @ x
            norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=0)))
            scaled = weighted @ diags_array(1 / np.where(norms > 0, norms, 1))
        return csr_array(scaled.T.tocsr()), csr_array(scaled.tocsr())


@dataclass
class RP3Beta(Neighbourhood):
    """Random walks of three steps on the user-item graph, which discount popular items, see `Neighbourhood`.

    With transition probabilities P_iu = 1 / degree(i) and P_uj = 1 / degree(u), each to the power alpha, the similarity of item
    i to item j is the sum over users u of P_iu P_uj, divided by popularity(j)^beta; that to itself is 0.

    Source: Cooper et al. 2014 (P3alpha) for `beta: 0`, Paudel et al. 2016 (RP3beta). Deviates: the first step is left out,
    because it is the same for all items of a user and does not change the order.

    Attributes:
        alpha, beta: see above.
        Others: see `Neighbourhood`.
    """

    neighbours: Annotated[int, Field(ge=1)] = 200
    alpha: Annotated[float, Field(gt=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 0.3
    space: ClassVar[Space] = {**Neighbourhood.space, "alpha": Range(low=0.3, high=2), "beta": Range(low=0, high=1)}

    def _similarities(self, x: csr_array) -> tuple[csr_array, csr_array]:
        of_user, of_item = (np.maximum(x.sum(axis=axis), 1).astype(np.float64) for axis in (1, 0))
        to_item = diags_array(of_user**-self.alpha) @ x @ diags_array(of_item**-self.beta)
        return csr_array((diags_array(of_item**-self.alpha) @ x.T).tocsr()), csr_array(to_item.tocsr())


def _largest(weights: Floats, k: int) -> csr_array:
    """The k largest positive entries of each row of [B, M]."""
    columns = np.sort(np.argpartition(-weights, k - 1, axis=1)[:, :k], axis=1)
    kept = np.take_along_axis(weights, columns, axis=1)
    return csr_array((kept[kept > 0], columns[kept > 0], np.r_[0, np.cumsum((kept > 0).sum(axis=1))]), shape=weights.shape)
