"""Item-item neighbourhoods, fitted by the library `implicit`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from scipy.sparse import csr_array

from recsys_ae.interactions import Interactions
from recsys_ae.models.factors import SparseLinearModel
from recsys_ae.models.implicit_adapter import fit_with_implicit


@dataclass
class ItemKNN(SparseLinearModel):
    """Item-based nearest neighbours: an item's score is the sum of its similarities to the items of the user.

    Similarities are computed by `implicit` from binary interactions: the cosine of the item vectors, plain or weighted by
    TF-IDF or BM25. Works for any user; an item without interactions has score 0.

    Attributes:
        similarity: `cosine`, `tfidf` or `bm25`.
        neighbours: similarities kept per item, that to itself included.
    """

    similarity: Literal["cosine", "tfidf", "bm25"] = "bm25"
    neighbours: Annotated[int, Field(ge=1)] = 100

    def _weights(self, train: Interactions) -> csr_array:
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

        kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
        return fit_with_implicit(kinds[self.similarity], train, K=self.neighbours).similarity
