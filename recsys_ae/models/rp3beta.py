"""RP3beta: random walks of three steps on the user-item graph."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array, diags_array, vstack

from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.factors import SparseLinearModel
from recsys_ae.space import Range, Space

BLOCK = 512


@dataclass
class RP3Beta(SparseLinearModel):
    """Random-walk neighbourhood model that discounts popular items.

    With transition probabilities P_iu = 1 / degree(i) and P_uj = 1 / degree(u), each to the power alpha, the weight from item
    i to item j is the sum over users u of P_iu P_uj, divided by popularity(j)^beta; each item keeps its `neighbours` largest
    weights. Values of interactions are ignored. Works for any user; an item without interactions has score 0.

    Source: Cooper et al. 2014 (P3alpha) for `beta: 0`, Paudel et al. 2016 (RP3beta). Deviates: the first step is left out,
    because it is the same for all items of a user and does not change the order.

    Attributes:
        alpha, beta: see above. A `beta` of 0.6 is better if most items have many users; if most have few, it recommends
            hardly anything else.
        neighbours: weights kept per item.
    """

    alpha: Annotated[float, Field(gt=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 0.3
    neighbours: Annotated[int, Field(ge=1)] = 200
    space: ClassVar[Space] = {
        "alpha": Range(low=0.3, high=2),
        "beta": Range(low=0, high=1),
        "neighbours": Range(low=20, high=500, log=True),
    }

    def _weights(self, train: Interactions) -> csr_array:
        seen = ones(train.matrix)
        of_user, of_item = (np.maximum(seen.sum(axis=axis), 1).astype(np.float32) for axis in (1, 0))
        to_item = diags_array(of_user**-self.alpha) @ seen
        to_user = (diags_array(of_item**-self.alpha) @ seen.T.tocsr()).tocsr()
        rescale = of_item**-self.beta
        k = min(self.neighbours, train.n_items)
        blocks = []
        for first in range(0, train.n_items, BLOCK):
            weights = (to_user[first : first + BLOCK] @ to_item).toarray() * rescale
            weights[np.arange(len(weights)), first + np.arange(len(weights))] = 0
            columns = np.sort(np.argpartition(-weights, k - 1, axis=1)[:, :k], axis=1)
            kept = np.take_along_axis(weights, columns, axis=1)
            indptr = np.r_[0, np.cumsum((kept > 0).sum(axis=1))]
            blocks.append(csr_array((kept[kept > 0], columns[kept > 0], indptr), shape=weights.shape))
        return vstack(blocks)
