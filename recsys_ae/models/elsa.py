"""ELSA: the linear item-item autoencoder of low rank, trained by gradient."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.losses import LossSum
from recsys_ae.core.sparse import SparseRows, wide_input
from recsys_ae.core.trainer import Batch
from recsys_ae.models.neural import NeuralRanker, hide


class Network(nn.Module):
    """x -> x A A^T - x, where A [D, K] has rows of length 1, so that the diagonal of A A^T - I is 0."""

    def __init__(self, width: int, factors: int, generator: Generator | None) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.randn(width, factors, generator=generator) * (2 / (width + factors)) ** 0.5)

    def directions(self) -> Tensor:
        """A"""
        return functional.normalize(self.input_weight, dim=1)

    def forward(self, x: SparseRows) -> Tensor:
        """Scores [B, D]."""
        directions = self.directions()
        scores = wide_input(x, directions, directions.new_zeros(directions.shape[1])) @ directions.T
        scores[x.row_of_entry(), x.columns] -= x.values
        return scores


@dataclass(frozen=True)
class Cosine:
    """1 - cosine of each row and its reconstruction, over all items, in the time of the entries.

    With z = x A and G = A^T A, the reconstruction y = z A^T - x has |y|^2 = z G z^T - 2 |z|^2 + |x|^2 and x y^T = |z|^2 - |x|^2,
    so that neither takes a row of D numbers.
    """

    dropout: float

    def loss(self, module: nn.Module, batch: Batch, generator: Generator) -> LossSum:
        assert isinstance(module, Network)
        assert isinstance(batch, SparseRows)
        A = module.directions()
        zero = A.new_zeros(A.shape[1])
        if not self.dropout:
            z = wide_input(batch, A, zero)
            squares = z.square().sum(1)
            n = batch.lengths
            length = ((z @ (A.T @ A)) * z).sum(1) - 2 * squares + n
            cosine = (squares - n) / (n * length.clamp(min=1e-6)).sqrt()
        else:
            kept = (torch.rand(batch.values.shape, generator=generator) >= self.dropout).float()
            s = batch.with_values(kept)
            z = wide_input(s, A, zero)
            zx = wide_input(batch, A, zero)
            ns = torch.zeros(len(batch)).index_add_(0, batch.row_of_entry(), kept)
            n = batch.lengths
            length = ((z @ (A.T @ A)) * z).sum(1) - 2 * z.square().sum(1) + ns
            cosine = ((zx * z).sum(1) - ns) / (n * length.clamp(min=1e-6)).sqrt()
        return LossSum((1 - cosine).sum(), cosine.new_tensor(len(batch)))

    def penalty(self, module: nn.Module, batch: Batch) -> Tensor:
        return torch.zeros(())


@dataclass
class ELSA(NeuralRanker):
    """doc"""

    factors: Annotated[int, Field(ge=1)] = 256
    dropout: float = 0.0

    def _network(self, width: int, generator: Generator | None) -> Network:
        return Network(width, self.factors, generator)

    def _objective(self) -> Cosine:
        return Cosine(self.dropout)
