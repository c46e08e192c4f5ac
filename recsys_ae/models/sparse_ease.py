"""EASE for catalogues whose items are too many for a dense matrix: each item is explained by its nearest items only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from recsys_ae.core.linear import NeighbourRegressions
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import Fitted, Floats, Recommender, check_memory, fitted_state
from recsys_ae.models.factors import sparse_arrays, sparse_weighted_history, sparse_weights

WAY_OUT = (
    "use elsa or rp3beta, which do not keep co-occurrences, or train on fewer interactions per user: "
    "n of them make up to n^2 / 2 co-occurrences"
)


@dataclass
class SparseEASE:
    """Scores are x B, as those of `EASE`, where each column of B [M, M] is fitted with the item's nearest items only.

    Column j of EASE's B is the ridge regression of column j of X on all other columns. Here it is the ridge regression on
    the `neighbours` items S that have the largest cosine with j (ties go to the more popular one, then to the first; items
    that never occur together with j are left out): B_Sj = (G_SS + diag(l_S))^-1 G_Sj, G = X^T X, with the l of EASE. The two
    are the same where each pair of items occurs together and `neighbours` is at least M - 1. Values of interactions do not
    matter. Works for any user; an item without interactions has score 0.

    Source: Steck 2019, Markov Random Fields for Collaborative Filtering, the sparse approximation at its most exact, one
    item after the other (r = 0). Deviates: which items are near is decided by the cosine, not the correlation, and by their
    number, not by a threshold.

    Memory: 8 bytes per pair of items that occur together and 24 per weight. `fit` counts them first, says how much it is,
    and refuses if it is not there. Time: a pass over the pairs of each user's items, and K^3 / 6 multiplications and
    additions per item with K neighbours.

    Attributes:
        l2: regularisation, in interactions.
        dropout: p, see `EASE`. The two were chosen on a validation part of MovieLens 1M.
        neighbours: K, kept per item.
    """

    l2: Annotated[float, Field(gt=0)] = 100.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    neighbours: Annotated[int, Field(ge=1)] = 200
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
        regressions = NeighbourRegressions(ones(train.matrix), self.neighbours)
        what = f"sparse_ease on {train.n_items} items with {regressions.pairs / 1e6:.1f} million co-occurrences"
        check_memory(what, regressions.memory, regressions.seconds, WAY_OUT)
        popularity = np.bincount(train.matrix.indices, minlength=train.n_items).astype(np.float32)
        weights = regressions.solve(self.l2 + self.dropout / (1 - self.dropout) * popularity)
        self.fitted = Fitted.on(train, sparse_arrays(weights))
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return sparse_weighted_history(history.matrix[rows], fitted_state(self, history))

    def item_weights(self, rows: Rows) -> Floats:
        return np.asarray(sparse_weights(fitted_state(self))[rows].toarray())
