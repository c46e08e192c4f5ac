"""ELSA: the linear item-item autoencoder of low rank, trained by gradient."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LossSum
from recsys_ae.core.sparse import SparseRows, wide_input
from recsys_ae.core.trainer import Batch
from recsys_ae.interactions import Interactions, Rows
from recsys_ae.models.base import Fitted, Floats
from recsys_ae.models.neural import NeuralRanker


class Network(nn.Module):
    """x -> x A A^T - x, where the rows of A [D, K] have length 1, so that the diagonal of A A^T - I is 0."""

    def __init__(self, width: int, factors: int, generator: Generator | None) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.randn(width, factors, generator=generator) * (2 / (width + factors)) ** 0.5)

    def directions(self) -> Tensor:
        """A"""
        return functional.normalize(self.input_weight, dim=1)

    def encode(self, x: SparseRows) -> Tensor:
        """x A [B, K]"""
        return _times(x, self.directions())

    def forward(self, x: SparseRows) -> Tensor:
        """Scores [B, D]."""
        directions = self.directions()
        scores = _times(x, directions) @ directions.T
        scores[x.row_of_entry(), x.columns] -= x.values
        return scores


@dataclass(frozen=True)
class Cosine:
    """1 - the cosine between each row x and its reconstruction y from some of its entries s, over all D columns.

    Neither takes a row of D numbers: with z = s A and G = A^T A [K, K], y = z A^T - s has |y|^2 = z G z^T - 2 |z|^2 + |s|^2 and
    x y^T = (x A) z^T - x s^T, so that a batch costs O(nnz K + D K^2).

    A row with n entries counts n^exponent / `unit` times.
    """

    dropout: float
    exponent: float = 0.0
    unit: float = 1.0

    def loss(self, module: nn.Module, batch: Batch, generator: Generator) -> LossSum:
        assert isinstance(module, Network)
        assert isinstance(batch, SparseRows)
        directions = module.directions()
        batch = batch.with_values(torch.ones_like(batch.values))
        shown = Masking(self.dropout, rescale=False)(batch, generator) if self.dropout else batch
        assert isinstance(shown, SparseRows)
        z = _times(shown, directions)
        whole = z if shown is batch else _times(batch, directions)
        size, size_shown = batch.lengths, _row_sums(shown)
        squared_length = ((z @ (directions.T @ directions)) * z).sum(1) - 2 * z.square().sum(1) + size_shown
        product = (whole * z).sum(1) - size_shown
        cosine = product / (size * squared_length.clamp(min=1e-6)).sqrt()
        counts = size**self.exponent / self.unit
        return LossSum((counts * (1 - cosine)).sum(), counts.sum())

    def penalty(self, module: nn.Module, batch: Batch) -> Tensor:
        return torch.zeros(())


def _times(x: SparseRows, matrix: Tensor) -> Tensor:
    return wide_input(x, matrix, matrix.new_zeros(matrix.shape[1]))


def _row_sums(x: SparseRows) -> Tensor:
    """float32 [B]"""
    return x.values.new_zeros(len(x)).index_add_(0, x.row_of_entry(), x.values)


@dataclass
class ELSA(NeuralRanker):
    """Scores are x (A A^T - I), x [M] being 1 where the user interacted with an item, and A [M, K] having rows of length 1.

    A linear autoencoder like `ease`, in memory for M K numbers instead of M^2 and in time that grows with the interactions.
    Works for any user; values of interactions do not matter; an item without interactions has scores near 0.

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
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    item_vectors_at: ClassVar[str] = "module.input_weight"

    def item_weights(self, rows: Rows) -> Floats:
        vectors = self.item_vectors()
        directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        weights = directions[rows] @ directions.T
        weights[np.arange(len(rows)), rows] -= 1
        return weights

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, self.factors, generator)

    def _objective(self, network: nn.Module, rows: SparseRows) -> Cosine:
        unit = float((rows.lengths.float() ** self.user_exponent).mean())
        return Cosine(self.dropout, self.user_exponent, unit)

    def _rows(self, fitted: Fitted, history: Interactions, rows: Rows) -> SparseRows:
        """With 1 for each item: a length of 1 would change no order, but scores would not be sums over the history."""
        shown = super()._rows(fitted, history, rows)
        return shown.with_values(torch.ones_like(shown.values))
