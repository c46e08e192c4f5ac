"""Mult-DAE and Mult-VAE: autoencoders of binary histories with a multinomial likelihood."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder
from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LossSum, multinomial
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.variational import VariationalAutoencoder, kl_from_standard_normal, sample
from recsys_ae.declaration import OneOf, Sizes
from recsys_ae.models.neural import SoftmaxRanker
from recsys_ae.models.training import Penalty, autoencoder_l2
from recsys_ae.space import Range, Space


@dataclass(frozen=True)
class Denoising:
    """Multinomial negative log-likelihood of each history given the history with dropout."""

    dropout: float
    penalty: Penalty
    separable: ClassVar[bool] = True

    def loss(self, module: nn.Module, batch: SparseRows, generator: Generator) -> LossSum:
        return multinomial(module(Masking(self.dropout)(batch, generator)), batch, overwrite=True)


@dataclass(frozen=True)
class Variational:
    """Negative ELBO with the same likelihood, the KL divergence from a standard normal prior weighted by beta.

    `beta` rises linearly from 0 to its final value over the first `anneal` batches, which the module counts.
    """

    dropout: float
    beta: float
    anneal: int
    penalty: Penalty
    separable: ClassVar[bool] = True

    def loss(self, module: "CountingVAE", batch: SparseRows, generator: Generator) -> LossSum:
        mean, log_variance = module.encode(Masking(self.dropout)(batch, generator))
        found = multinomial(module.decode(sample(mean, log_variance, generator)), batch, overwrite=True)
        module.batches += 1
        beta = self.beta * min(1.0, float(module.batches) / max(self.anneal, 1))
        return LossSum(found.total + beta * kl_from_standard_normal(mean, log_variance).sum(), found.count)


class CountingVAE(VariationalAutoencoder):
    """Counts its training batches in a buffer, so that checkpoints include the count."""

    batches: Tensor

    def __init__(self, width: int, hidden: Sequence[int], activation: str, generator: Generator | None) -> None:
        super().__init__(width, hidden, activation=activation, generator=generator)
        self.register_buffer("batches", torch.zeros(1, dtype=torch.int64))


@dataclass
class MultDAE(SoftmaxRanker[Autoencoder]):
    """Denoising autoencoder with a softmax over all items.

    Source: Liang et al. 2018, sections 2.1 to 2.3 and 4.3: l2-normalised inputs with dropout 0.5, log softmax output, L2.
    Values of interactions are ignored. Works for any user; all users without a history get the same list.

    Attributes:
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        l2: an epoch adds l2 / 2 * (sum of the squared weights, without biases) per user.
        activation: of the hidden layers.
        Others: see `SoftmaxRanker`.
    """

    hidden: Sizes = (200,)
    l2: Annotated[float, Field(ge=0)] = 0.01
    activation: Annotated[str, OneOf("activation", ACTIVATIONS)] = "tanh"
    space: ClassVar[Space] = {
        "hidden": [[200], [600], [600, 200]],
        "l2": Range(low=0.0001, high=1, log=True),
        "dropout": Range(low=0.1, high=0.8),
        "learning_rate": Range(low=0.0003, high=0.005, log=True),
        "item_exponent": Range(low=-0.2, high=0.4),
    }

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Autoencoder:
        return Autoencoder(n_items, self.hidden, activation=self.activation, generator=generator)

    def _objective(self, rows: SparseRows) -> Denoising:
        return Denoising(self.dropout, autoencoder_l2(len(rows) * self.l2, rows))


@dataclass
class MultVAE(SoftmaxRanker[CountingVAE]):
    """Variational autoencoder with a softmax over all items.

    Source: Liang et al. 2018 (Mult-VAE^PR): `multdae` with normally distributed codes, whose KL divergence from the prior is
    weighted by `beta`. Scores are decoded from the mean code. For their search of beta during annealing, use a long `anneal`
    with validation data: the weights kept are those of the best epoch, trained with the beta of that epoch.

    Attributes:
        hidden: sizes of the encoder's layers, the last being the code; the decoder mirrors them. A single wide layer (the
            default) ranked better on MovieLens 1M than deeper encoders.
        beta: final weight of the KL divergence.
        anneal: batches over which it rises from 0.
        l2: as for `multdae`; 0 as published.
        activation: of the hidden layers.
        Others: see `SoftmaxRanker`.
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
    space: ClassVar[Space] = {
        "hidden": [[200], [600], [600, 200]],
        "beta": Range(low=0, high=1),
        "dropout": Range(low=0.1, high=0.8),
        "learning_rate": Range(low=0.0005, high=0.005, log=True),
        "item_exponent": Range(low=-0.2, high=0.4),
    }

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> CountingVAE:
        return CountingVAE(n_items, self.hidden, self.activation, generator)

    def _objective(self, rows: SparseRows) -> Variational:
        return Variational(self.dropout, self.beta, self.anneal, autoencoder_l2(len(rows) * self.l2, rows))

    def _code(self, network: CountingVAE, rows: SparseRows) -> Tensor:
        return network.encode(rows)[0]
