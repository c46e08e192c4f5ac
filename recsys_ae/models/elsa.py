"""ELSA: the linear item-item autoencoder of low rank, trained by gradient."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.axes import Axis
from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LossSum
from recsys_ae.core.sparse import SparseRows, one_hot, sparse_linear
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Floats
from recsys_ae.models.neural import NeuralRanker
from recsys_ae.models.training import column_counts

SHAPES = 512  # items of a batch are rounded up to a multiple of this: for each shape of product, compiled code is kept


class Network(nn.Module):
    """x -> x (A A^T - diag(A A^T)), where the rows of A [D, K] have length 1, or 0 for an item that nothing is known about."""

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs"}

    def __init__(self, width: int, factors: int, generator: Generator | None) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.randn(width, factors, generator=generator) / factors**0.5)

    def directions(self) -> Tensor:
        """A"""
        return functional.normalize(self.input_weight, dim=1)

    def directions_of(self, items: Tensor) -> Tensor:
        """The rows of A for `items` (int64 [T]), whose gradients touch no other rows."""
        rows = _times(one_hot(items, len(self.input_weight)), self.input_weight)
        return functional.normalize(rows, dim=1)

    def encode(self, x: SparseRows) -> Tensor:
        """x A [B, K]"""
        return _times(x, self.directions())

    def forward(self, x: SparseRows) -> Tensor:
        """Scores [B, D]."""
        directions = self.directions()
        scores = _times(x, directions) @ directions.T
        scores[x.row_of_entry(), x.columns] -= x.values * directions.square().sum(1)[x.columns]
        return scores

    def wide_weights(self) -> list[nn.Parameter]:
        return [self.input_weight]


@dataclass(frozen=True)
class Cosine:
    """1 - the cosine between each row x and its reconstruction y from some of its entries s, over all D columns.

    Of the D columns only the T with an entry in the batch are looked at. Those of x itself count once. Any other is met in
    this batch with a chance, that of some other row of the batch having it, by which its part of |y|^2 is divided: so
    |y|^2 is right on average over batches, and exact where the batch is all rows; a row alone in its batch meets no others.
    A batch of B rows costs O(B T K).

    Attributes:
        dropout: share of x that s lacks.
        counts: float32 [D], how many of the `n_rows` training rows have each column.
        exponent, unit: a row with n entries counts n^exponent / unit times.
    """

    dropout: float
    counts: Tensor
    n_rows: int
    exponent: float = 0.0
    unit: float = 1.0

    def loss(self, module: Network, batch: SparseRows, generator: Generator) -> LossSum:
        batch = batch.with_values(torch.ones_like(batch.values))
        shown = Masking(self.dropout, rescale=False)(batch, generator) if self.dropout else batch
        product, squared_length = self.of_reconstructions(module, shown)
        cosine = product / (batch.lengths * squared_length.clamp(min=1e-6)).sqrt()
        counts = batch.lengths**self.exponent / self.unit
        return LossSum((counts * (1 - cosine)).sum(), counts.sum())

    def of_reconstructions(self, module: Network, shown: SparseRows) -> tuple[Tensor, Tensor]:
        """x y^T and |y|^2, [B] each; the pattern of `shown` is x, its values are s."""
        items, columns = torch.unique(shown.columns, return_inverse=True)
        row = shown.row_of_entry()
        s = SparseRows(shown.row_ids, shown.indptr, columns, shown.values, len(items))
        directions = functional.pad(module.directions_of(items), (0, 0, 0, -len(items) % SHAPES))
        products = (_times(s, directions) @ directions.T).float()[:, : len(items)]
        own = products[row, columns] - s.values
        others = products.index_put((row, columns), own.new_zeros(()))
        counts = self.counts.to(items.device)[items]
        times = 1 / chance_of_others(counts, len(s), self.n_rows).clamp(min=1e-9)  # a row alone meets no others
        sums = torch.zeros(len(s), 2, device=own.device).index_add(0, row, torch.stack([own, own.square()], 1))
        return sums[:, 0], sums[:, 1] + (others.square() * times).sum(1)

    def penalty(self, module: Network, batch: SparseRows) -> Tensor:
        return torch.zeros(())


def chance_of_others(counts: Tensor, batch: int, n_rows: int) -> Tensor:
    """float32 [T]: the chance that in a batch with one row that lacks a column, some of its other rows have it.

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
    """Scores are x (A A^T - I), x [M] being 1 where the user interacted with an item, and A [M, K] having rows of length 1.

    A linear autoencoder like `ease`, in memory for M K numbers instead of M^2, in which a batch touches its own items only.
    Works for any user; values of interactions do not matter; an item that was never interacted with has score 0.

    Source: Vancura et al. 2022 (ELSA), whose loss is that of whole rows, both brought to length 1, which is 2 - 2 cosine. It
    is computed here without ever writing out a row, see `Cosine`; negative scores are kept, as in their equations.
    Deviates by default: a share of the inputs is hidden in training, and users do not all count the same.

    Attributes:
        factors: K.
        dropout: share of the inputs hidden in training; 0 as published.
        user_exponent: e, the row of a user with n interactions counts c n^e times, c making the mean 1; 0 as published.
        Others: see `NeuralRanker`.
    """

    factors: Annotated[int, Field(ge=1)] = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    user_exponent: float = 0.5
    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95

    def item_weights(self, rows: Rows) -> Floats:
        vectors = self.item_vectors()
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        directions = vectors / np.maximum(lengths, 1e-12)
        weights = directions[rows] @ directions.T
        weights[np.arange(len(rows)), rows] = 0
        return weights

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, self.factors, generator)

    @torch.no_grad()
    def _new_network(self, train: Interactions, generator: Generator, before: Fitted | None) -> Network:
        """With zeros for items that neither `train` nor `before` knows: directions at random would recommend at random."""
        network = super()._new_network(train, generator, before)
        drawn, weight = self._network(train.n_items, train.n_users, generator).input_weight, network.input_weight
        zero = weight.norm(dim=1) == 0  # those that `before` has, but does not know
        weight[zero] = drawn[zero]
        known = torch.from_numpy(np.bincount(train.matrix.indices, minlength=train.n_items) > 0)
        if before is not None:
            known |= torch.from_numpy(before.ids["items"].find(train.items.values) >= 0) & ~zero
        weight[~known] = 0
        return network

    def _objective(self, network: Network, rows: SparseRows) -> Cosine:
        unit = float((rows.lengths.float() ** self.user_exponent).mean())
        return Cosine(self.dropout, column_counts(rows), len(rows), self.user_exponent, unit)

    def _rows(self, fitted: Fitted, history: Interactions, rows: Rows) -> SparseRows:
        """With 1 for each item: a length of 1 would change no order, but scores would not be sums over the history."""
        shown = super()._rows(fitted, history, rows)
        return shown.with_values(torch.ones_like(shown.values))
