"""Item-item neighbourhoods, fitted by the library `implicit`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import FitContext, Floats, Recommender, fitted_on, fitted_state
from recsys_ae.models.factors import sparse_arrays, sparse_weighted_history, sparse_weights
from recsys_ae.models.implicit_adapter import fit_with_implicit


@dataclass
class ItemKNN(Recommender):
    """Item-based nearest neighbours: an item's score is the sum of its similarities to the items of the user.

    Similarities are computed by `implicit` from binary interactions: the cosine of the item vectors, plain or weighted by
    TF-IDF or BM25. Works for any user; an item without interactions has score 0.

    Attributes:
        similarity: `cosine`, `tfidf` or `bm25`.
        neighbours: similarities kept per item, that to itself included.
    """

    similarity: Literal["cosine", "tfidf", "bm25"] = "bm25"
    neighbours: Annotated[int, Field(ge=1)] = 100

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

        kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
        model = fit_with_implicit(lambda: kinds[self.similarity](K=self.neighbours), ones(train.matrix))
        return fitted_on(train, sparse_arrays(model.similarity))

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return sparse_weighted_history(history.matrix[rows], fitted_state(self, history))

    def item_weights(self, rows: Rows) -> Floats:
        return np.asarray(sparse_weights(fitted_state(self))[rows].toarray())
