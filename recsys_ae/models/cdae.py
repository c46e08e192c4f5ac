"""CDAE: the denoising autoencoder with a node for each user, trained on sampled outputs."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LOSSES, LossSum
from recsys_ae.core.sparse import SparseRows, wide_input, wide_output, with_negatives
from recsys_ae.core.trainer import Batch
from recsys_ae.models.neural import NeuralRanker

MAPPINGS = {"identity": lambda x: x, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
LOSS = {"square": "squared_error", "logistic": "cross_entropy"}


class Network(nn.Module):
    def __init__(self, width: int, n_users: int, hidden: int, mapping: str, generator: Generator | None) -> None:
        super().__init__()

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * (2 / sum(shape)) ** 0.5)

        self.input_weight, self.output_weight = weight(width, hidden), weight(width, hidden)
        self.user_weight = weight(n_users, hidden)
        self.input_bias, self.output_bias = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.zeros(width))
        self.mapping = MAPPINGS[mapping]

    def wide_weights(self) -> list[nn.Parameter]:
        return [self.input_weight, self.output_weight, self.user_weight]

    def encode(self, x: SparseRows, users: SparseRows) -> Tensor:
        return self.mapping(wide_input(x, self.input_weight, self.input_bias) + wide_input(users, self.user_weight, torch.zeros(self.user_weight.shape[1])))

    def forward(self, x, at=None):
        users = SparseRows(x.rows, torch.arange(len(x) + 1), x.rows.clone(), torch.ones(len(x)), len(self.user_weight))
        return wide_output(self.encode(x, users), self.output_weight, self.output_bias, at)


@dataclass(frozen=True)
class Sampled:
    dropout: float
    loss_name: str
    negatives: int

    def loss(self, module: nn.Module, batch: Batch, generator: Generator) -> LossSum:
        at, weights = with_negatives(batch, self.negatives, generator)
        shown = Masking(self.dropout)(batch, generator)
        return LOSSES.get(LOSS[self.loss_name])(module(shown, at), at.values, weights)

    def penalty(self, module: nn.Module, batch: Batch) -> Tensor:
        return torch.zeros(())
