"""EASE for catalogues too large for a dense matrix: each item is regressed on its nearest items only."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from scipy.sparse import csr_array

from recsys_ae.core.linear import NeighbourRegressions
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import item_counts
from recsys_ae.models.factors import SparseLinearModel
from recsys_ae.models.memory import check_memory

WAY_OUT = (
    "use elsa or rp3beta, which do not keep co-occurrences, or train on fewer interactions per user: "
    "n of them make up to n^2 / 2 co-occurrences"
)


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

    def _weights(self, train: Interactions) -> csr_array:
        regressions = NeighbourRegressions(ones(train.matrix), self.neighbours)
        what = f"sparse_ease on {train.n_items} items with {regressions.pairs / 1e6:.1f} million co-occurrences"
        check_memory(what, regressions.memory, regressions.seconds, WAY_OUT)
        return regressions.solve(self.l2 + self.dropout / (1 - self.dropout) * item_counts(train))
