"""Item-item neighbourhoods, fitted by the library `implicit`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import Fitted, Floats, Recommender, fitted_state
from recsys_ae.models.factors import sparse_arrays, sparse_weighted_history, sparse_weights
from recsys_ae.models.implicit_adapter import fit_with_implicit


@dataclass
class ItemKNN:
    """An item's score is the sum of its similarities to the items of the user; each item has at most `neighbours`.

    Similarities are computed by `implicit` from who interacted with what, values do not matter: the cosine of the item
    vectors, plain or after weighting by TF-IDF or BM25. Works for any user; an item without interactions has score 0.

    Attributes:
        similarity: `cosine`, `tfidf` or `bm25`.
        neighbours: kept per item, itself included.
    """

    similarity: Literal["cosine", "tfidf", "bm25"] = "bm25"
    neighbours: Annotated[int, Field(ge=1)] = 100
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = False

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Any] = (),
        warm_start: Recommender | None = None,
    ) -> Self:
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

        kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
        model = fit_with_implicit(lambda: kinds[self.similarity](K=self.neighbours), ones(train.matrix))
        self.fitted = Fitted.on(train, sparse_arrays(model.similarity))
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return sparse_weighted_history(history.matrix[rows], fitted_state(self, history))

    def item_weights(self, rows: Rows) -> Floats:
        return np.asarray(sparse_weights(fitted_state(self))[rows].toarray())
