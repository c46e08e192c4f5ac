"""ELSA: the linear item-item autoencoder of low rank, trained by gradient."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.axes import Axis
from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LossSum
from recsys_ae.core.shares import whole_batch
from recsys_ae.core.sparse import SparseRows, one_hot, sparse_linear
from recsys_ae.core.trainer import Objective
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Floats, item_counts
from recsys_ae.models.neural import NeuralRanker
from recsys_ae.models.training import column_counts
from recsys_ae.space import Range, Space

SHAPES = 512  # items of a batch are padded to a multiple of this, because libraries compile code for each shape of product


class Network(nn.Module):
    """x -> x (A A^T - diag(A A^T)), where the rows of A [D, K] have length 1, or 0 for items without training data."""

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs"}

    def __init__(self, width: int, factors: int, generator: Generator | None) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.randn(width, factors, generator=generator).div_(factors**0.5))

    def directions(self, items: Tensor | None = None) -> Tensor:
        """A [D, K], or its rows for `items` (int64 [T]), whose gradients touch no other rows."""
        weight = self.input_weight
        return functional.normalize(weight if items is None else _times(one_hot(items, len(weight)), weight), dim=1)

    def encode(self, x: SparseRows) -> Tensor:
        """x A [B, K]"""
        return _times(x, self.directions())

    def forward(self, x: SparseRows) -> Tensor:
        """Scores [B, D]."""
        directions = self.directions()
        scores = _times(x, directions) @ directions.T
        scores[x.row_of_entry(), x.columns] -= x.values * directions.square().sum(1)[x.columns]
        return scores


@dataclass(frozen=True)
class Cosine(Objective[Network, SparseRows]):
    """1 - cosine of each binary row x and its reconstruction y from the entries s that dropout leaves, over all D columns.

    Computed from the T columns with entries in the batch, in O(B T K) for B rows. In |y|^2, the square at a column that the row
    lacks is divided by the chance that another row of the batch has it. So |y|^2 is unbiased over batches (except for a row
    alone in its batch, where all such columns are missing), and exact if the batch holds all rows.

    Attributes:
        dropout: share of x that s lacks.
        counts: float32 [D], how many of the `n_rows` training rows have each column.
        exponent, unit: a row with n entries has weight n^exponent / unit.
    """

    dropout: float
    counts: Tensor
    n_rows: int
    exponent: float = 0.0
    unit: float = 1.0
    separable: ClassVar[bool] = True  # given the columns of the whole batch

    def loss(self, module: Network, batch: SparseRows, generator: Generator) -> LossSum:
        batch = batch.with_values(torch.ones_like(batch.values))
        shown = Masking(self.dropout, rescale=False)(batch, generator) if self.dropout else batch
        product, squared_length = self.of_reconstructions(module, shown)
        cosine = product / (batch.lengths * squared_length.clamp(min=1e-6)).sqrt()
        weights = batch.lengths**self.exponent / self.unit
        return LossSum((weights * (1 - cosine)).sum(), weights.sum())

    def of_reconstructions(self, module: Network, shown: SparseRows) -> tuple[Tensor, Tensor]:
        """x y^T and |y|^2, [B] each; the pattern of `shown` is x, its values are s."""
        whole = whole_batch(shown)
        items = torch.unique(whole.columns)
        columns = torch.searchsorted(items, shown.columns)
        row = shown.row_of_entry()
        s = SparseRows(shown.row_ids, shown.indptr, columns, shown.values, len(items))
        directions = functional.pad(module.directions(items), (0, 0, 0, -len(items) % SHAPES))
        products = (_times(s, directions) @ directions.T).float()[:, : len(items)]
        own = products[row, columns] - s.values
        others = products.index_put((row, columns), own.new_zeros(()))
        chances = chance_of_others(self.counts.to(items.device)[items], len(whole), self.n_rows)
        sums = torch.zeros(len(s), 2, device=own.device).index_add(0, row, torch.stack([own, own.square()], 1))
        return sums[:, 0], sums[:, 1] + (others.square() * (1 / chances.clamp(min=1e-9))).sum(1)


def chance_of_others(counts: Tensor, batch: int, n_rows: int) -> Tensor:
    """float32 [T]: the chance that in a random batch with a row that lacks a column, another row has it; 0 in a batch of 1.

    Args:
        counts: float32 [T], how many of all `n_rows` rows have the column.
    """
    lacking, others = n_rows - 1 - counts.double(), min(batch, n_rows) - 1
    # Of all choices of the others, the share that lacks the column: C(lacking, others) / C(n_rows - 1, others).
    within = lacking >= others
    lacking = torch.where(within, lacking, others)
    log_share = torch.lgamma(lacking + 1) - torch.lgamma(lacking - others + 1)
    log_share -= math.lgamma(n_rows) - math.lgamma(n_rows - others)
    return torch.where(within, 1 - log_share.exp(), 1.0).float()


def _times(x: SparseRows, matrix: Tensor) -> Tensor:
    return sparse_linear(x, matrix, matrix.new_zeros(matrix.shape[1]))


@dataclass
class ELSA(NeuralRanker[Network]):
    """Low-rank linear autoencoder: scores x (A A^T - I), with x [M] binary and rows of length 1 in A [M, K].

    A linear autoencoder like `ease` with M K parameters instead of M^2, trained on batches that touch only their own items.
    Values of interactions are ignored. Works for any user; an item without interactions has score 0.

    Source: Vancura et al. 2022 (ELSA). Their loss is the squared distance between input and reconstruction, both scaled to
    length 1, which is 2 - 2 cosine; it is computed here without dense rows, see `Cosine`. Negative scores are kept, as in
    their equations. Deviations, by default: dropout of the inputs in training, and weights of the users.

    Attributes:
        factors: K.
        dropout: share of the inputs dropped in training; 0 as published.
        user_exponent: e; a user with n interactions has weight c n^e, where c makes the mean 1; 0 as published.
        Others: see `NeuralRanker`.
    """

    factors: Annotated[int, Field(ge=1)] = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    user_exponent: float = 0.5
    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    space: ClassVar[Space] = {
        "factors": Range(low=32, high=512, log=True),
        "dropout": Range(low=0, high=0.8),
        "user_exponent": Range(low=-0.5, high=1),
        "learning_rate": Range(low=0.002, high=0.05, log=True),
    }

    def item_weights(self, rows: Rows) -> Floats:
        vectors = self.item_vectors()
        directions = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        weights = directions[rows] @ directions.T
        weights[np.arange(len(rows)), rows] = 0
        return weights

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, self.factors, generator)

    @torch.no_grad()
    def _new_network(self, train: Interactions, generator: Generator, before: Fitted | None) -> Network:
        """With zeros for items that neither `train` nor `before` knows: random directions would give random scores."""
        network = super()._new_network(train, generator, before)
        drawn, weight = self._network(train.n_items, train.n_users, generator).input_weight, network.input_weight
        zero = weight.norm(dim=1) == 0  # items of `before` without training data
        weight[zero] = drawn[zero]
        known = torch.from_numpy(item_counts(train) > 0)
        if before is not None:
            known |= torch.from_numpy(before.ids["items"].find(train.items.values) >= 0) & ~zero
        weight[~known] = 0
        return network

    def _objective(self, rows: SparseRows) -> Cosine:
        unit = float((rows.lengths.float() ** self.user_exponent).mean())
        return Cosine(self.dropout, column_counts(rows), len(rows), self.user_exponent, unit)

    def _rows(self, fitted: Fitted, history: Interactions, rows: Rows) -> SparseRows:
        """Binary, not l2-normalised: the order of scores is the same, and scores are sums over the history."""
        seen = super()._rows(fitted, history, rows)
        return seen.with_values(torch.ones_like(seen.values))
