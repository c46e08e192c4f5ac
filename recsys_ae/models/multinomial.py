"""Autoencoders of what a user interacted with, under a multinomial likelihood: Mult-DAE and Mult-VAE."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder
from recsys_ae.core.losses import LossSum, multinomial
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.variational import VariationalAutoencoder, kl_from_standard_normal, sample
from recsys_ae.declaration import OneOf, Sizes
from recsys_ae.models.neural import NeuralRanker, dropout_entries
from recsys_ae.models.training import autoencoder_l2


@dataclass(frozen=True)
class Denoising:
    """The multinomial loss of each user's items given some of them, plus a batch's part of the penalty of an epoch."""

    dropout: float
    penalise: Callable[[SparseRows], Tensor]

    def loss(self, module: nn.Module, batch: SparseRows, generator: Generator) -> LossSum:
        return multinomial(module(dropout_entries(batch, self.dropout, generator)), batch)

    def penalty(self, module: nn.Module, batch: SparseRows) -> Tensor:
        return self.penalise(batch)


@dataclass(frozen=True)
class Variational:
    """That loss for a sampled code, plus beta times the divergence of the code's distribution from the standard normal one.

    `beta` rises in equal steps from 0 to its final value over the first `anneal` batches; the module counts them.
    """

    dropout: float
    beta: float
    anneal: int
    penalise: Callable[[SparseRows], Tensor]

    def loss(self, module: "CountingVAE", batch: SparseRows, generator: Generator) -> LossSum:
        mean, log_variance = module.encode(dropout_entries(batch, self.dropout, generator))
        found = multinomial(module.decode(sample(mean, log_variance, generator)), batch)
        module.batches += 1
        beta = self.beta * min(1.0, float(module.batches) / max(self.anneal, 1))
        return LossSum(found.total + beta * kl_from_standard_normal(mean, log_variance).sum(), found.count)

    def penalty(self, module: "CountingVAE", batch: SparseRows) -> Tensor:
        return self.penalise(batch)


class CountingVAE(VariationalAutoencoder):
    """Knows how many batches it was trained on, also after a checkpoint."""

    batches: Tensor

    def __init__(self, width: int, hidden: Sequence[int], activation: str, generator: Generator | None) -> None:
        super().__init__(width, hidden, activation=activation, generator=generator)
        self.register_buffer("batches", torch.zeros(1, dtype=torch.int64))


@dataclass
class MultDAE(NeuralRanker[Autoencoder]):
    """Denoising autoencoder whose output is a distribution over all items.

    Source: Liang et al. 2018, section 2.1 to 2.3 and 4.3: unit input rows of which half are hidden, log softmax output, L2.
    Values of interactions do not matter. Works for any user; one without history gets the same list as all such users.

    Attributes:
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        l2: an epoch adds l2 / 2 * (sum of the squared weights, biases apart) for each user.
        activation: of the hidden layers.
        Others: see `NeuralRanker`.
    """

    hidden: Sizes = (200,)
    l2: Annotated[float, Field(ge=0)] = 0.01
    activation: Annotated[str, OneOf("activation", ACTIVATIONS)] = "tanh"

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Autoencoder:
        return Autoencoder(n_items, self.hidden, activation=self.activation, generator=generator)

    def _objective(self, network: Autoencoder, rows: SparseRows) -> Denoising:
        return Denoising(self.dropout, autoencoder_l2(network, len(rows) * self.l2, rows))


@dataclass
class MultVAE(NeuralRanker[CountingVAE]):
    """Variational autoencoder whose output is a distribution over all items.

    Source: Liang et al. 2018 (Mult-VAE^PR): as `multdae`, with a normal distribution of codes whose divergence from the
    prior counts `beta` times. Scores are of the mean code. Their search for beta along the annealing is a long `anneal` with
    validation data: the weights that are kept are those of the best epoch, and so of its beta.

    Attributes:
        hidden: sizes of the encoder's layers, the last being the code; the decoder mirrors them. One wide layer, the default,
            does better on MovieLens 1M than several did.
        beta: final weight of the divergence.
        anneal: batches over which it rises from 0.
        l2: as for `multdae`; 0 as published.
        activation: of the hidden layers.
        Others: see `NeuralRanker`.
    """

    hidden: Sizes = (600,)
    beta: Annotated[float, Field(ge=0)] = 0.3
    anneal: Annotated[int, Field(ge=0)] = 1000
    l2: Annotated[float, Field(ge=0)] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.97
    activation: Annotated[str, OneOf("activation", ACTIVATIONS)] = "tanh"

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> CountingVAE:
        return CountingVAE(n_items, self.hidden, self.activation, generator)

    def _objective(self, network: CountingVAE, rows: SparseRows) -> Variational:
        return Variational(self.dropout, self.beta, self.anneal, autoencoder_l2(network, len(rows) * self.l2, rows))

    def _code(self, network: CountingVAE, rows: SparseRows) -> Tensor:
        return network.encode(rows)[0]
