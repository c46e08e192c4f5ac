"""RecVAE: a variational autoencoder with a composite prior, KL weights per user and alternating training."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.autoencoder import glorot_normal
from recsys_ae.core.axes import Axis
from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LossSum, multinomial
from recsys_ae.core.sparse import SparseRows, sampled_linear, sparse_linear
from recsys_ae.core.threads import by_rows
from recsys_ae.core.trainer import AlternatingObjective, Objective, Phase, parts_of
from recsys_ae.core.variational import sample
from recsys_ae.models.neural import SoftmaxRanker
from recsys_ae.space import Range, Space

BATCH_ROWS = 256  # encoded together
LAYERS = 5
EPSILON = 0.1  # of layer normalisation
SHARES = (3 / 20, 3 / 4, 1 / 10)  # mixture weights of the prior: standard normal, earlier posterior, wide normal
WIDE_LOG_VARIANCE = 10.0


class Encoder(nn.Module):
    """D -> mean and log variance of the code [B, K], by five densely connected, normalised layers of H units.

    Layer l is norm(swish(W_l h_{l-1} + b_l + h_1 + ... + h_{l-1})).
    """

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs"}

    def __init__(self, width: int, hidden: int, latent: int, generator: Generator | None) -> None:
        super().__init__()

        def weight(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(glorot_normal((rows, columns), generator))

        self.input_weight = weight(width, hidden)
        self.weights = nn.ParameterList([weight(hidden, hidden) for _ in range(LAYERS - 1)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(hidden)) for _ in range(LAYERS)])
        self.norms = nn.ModuleList([nn.LayerNorm(hidden, eps=EPSILON) for _ in range(LAYERS)])
        self.mean_weight, self.log_variance_weight = weight(latent, hidden), weight(latent, hidden)
        self.mean_bias, self.log_variance_bias = nn.Parameter(torch.zeros(latent)), nn.Parameter(torch.zeros(latent))

    def forward(self, x: SparseRows | Tensor) -> tuple[Tensor, Tensor]:
        layer = _normalised(by_rows(functional.silu, sparse_linear(x, self.input_weight, self.biases[0])), self.norms[0])
        total = layer
        for weight, bias, norm in zip(self.weights, self.biases[1:], self.norms[1:], strict=True):
            layer = _normalised(by_rows(functional.silu, functional.linear(layer, weight, bias) + total), norm)
            total = total + layer
        mean = functional.linear(layer, self.mean_weight, self.mean_bias)
        return mean, functional.linear(layer, self.log_variance_weight, self.log_variance_bias)


def _normalised(x: Tensor, norm: Any) -> Tensor:
    """`norm(x)`, but with gradients of its weight and bias that do not depend on the number of threads."""
    return functional.layer_norm(x, x.shape[1:], eps=EPSILON) * norm.weight + norm.bias


class Network(nn.Module):
    """The encoder and a linear decoder of its codes."""

    id_axes: Mapping[str, Axis] = {"output_weight": "outputs", "output_bias": "outputs"}

    def __init__(self, width: int, hidden: int, latent: int, generator: Generator | None) -> None:
        super().__init__()
        self.encoder = Encoder(width, hidden, latent, generator)
        self.output_weight = nn.Parameter(glorot_normal((width, latent), generator))
        self.output_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: SparseRows) -> Tensor:
        """Logits [B, D] of the mean code."""
        return sampled_linear(self.encoder(x)[0], self.output_weight, self.output_bias)


class InTraining(nn.Module):
    """The network in training, and the codes of all rows under the earlier encoder, which the prior needs.

    Args:
        network: the network to train; with `ema_decay`, a copy is trained instead, and this one becomes the average of its
            weights over the epochs (see `average`) and has no gradient.
        rows: all training rows.
    """

    earlier: Tensor
    epochs: Tensor
    id_axes: Mapping[str, Axis] = {}  # but those of the network

    def __init__(self, network: Network, rows: SparseRows, ema_decay: float = 0.0) -> None:
        super().__init__()
        self.ema_decay = ema_decay
        self.network = deepcopy(network) if ema_decay else network
        self.mean = network.requires_grad_(False) if ema_decay else None
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.register_buffer("earlier", torch.zeros(2, int(rows.row_ids.max()) + 1, network.output_weight.shape[1]))
        self.remember(rows)

    @torch.no_grad()
    def remember(self, rows: SparseRows) -> None:
        """Replace the earlier codes by those of the current encoder."""
        for part in parts_of(rows, BATCH_ROWS):
            part = part.to(self.earlier.device)
            self.earlier[:, part.row_ids] = torch.stack(self.network.encoder(part))

    @torch.no_grad()
    def average(self) -> None:
        """Update the average of the weights: uniform over the first 1 / (1 - ema_decay) epochs, then exponential."""
        self.epochs += 1
        if self.mean is not None:
            share = max(1 - self.ema_decay, 1 / int(self.epochs))
            for mean, weight in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(weight, share)


@dataclass(frozen=True)
class EncoderPhase(Objective[InTraining, SparseRows]):
    """Negative ELBO of each history given the history with dropout, as a function of the encoder's weights only.

    The likelihood is multinomial. The KL divergence from the prior is estimated from one sampled code, and has weight gamma * n
    for a history of n items.
    """

    dropout: float
    gamma: float
    separable: ClassVar[bool] = True

    def loss(self, module: InTraining, batch: SparseRows, generator: Generator) -> LossSum:
        network = module.network
        mean, log_variance = network.encoder(Masking(self.dropout)(batch, generator))
        code = sample(mean, log_variance, generator)
        logits = sampled_linear(code, network.output_weight.detach(), network.output_bias.detach())
        found = multinomial(logits, batch, overwrite=True)
        earlier = module.earlier[:, batch.row_ids]
        divergence = normal_log_density(code, mean, log_variance).sum(1) - composite_log_density(code, *earlier).sum(1)
        return LossSum(found.total + self.gamma * (batch.lengths * divergence).sum(), found.count)


class DecoderPhase(Objective[InTraining, SparseRows]):
    """Multinomial negative log-likelihood of each history given the whole history, as a function of the decoder's weights."""

    separable: ClassVar[bool] = True

    def loss(self, module: InTraining, batch: SparseRows, generator: Generator) -> LossSum:
        network = module.network
        mean, log_variance = module.earlier[:, batch.row_ids]  # of the encoder as it is since the phase before
        code = sample(mean, log_variance, generator)
        return multinomial(sampled_linear(code, network.output_weight, network.output_bias), batch, overwrite=True)


def normal_log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of each entry of x under its normal distribution."""
    return -(math.log(2 * math.pi) + log_variance + (x - mean).square() / log_variance.exp()) / 2


def composite_log_density(code: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of each entry under the prior: standard normal, earlier posterior and wide normal, weighted by `SHARES`."""
    square, constant = code.square(), math.log(2 * math.pi)
    wide = -(square * math.exp(-WIDE_LOG_VARIANCE) + constant + WIDE_LOG_VARIANCE) / 2
    densities = [-(square + constant) / 2, normal_log_density(code, mean, log_variance), wide]
    return torch.stack([density + math.log(share) for density, share in zip(densities, SHARES, strict=True)]).logsumexp(0)


@dataclass
class RecVAE(SoftmaxRanker[Network]):
    """Variational autoencoder whose prior includes the posterior of the previous epoch.

    Source: Shenbin et al. 2020: composite prior, KL weight proportional to the length of the history, and alternating training
    of encoder and decoder, the latter without dropout. Scores are decoded from the mean code. Works for any user; all users
    without a history get the same list. Deviations: weights are averaged over epochs, which improves ranking more than
    learning rate decay does; and the defaults are better on MovieLens 1M than the published values (latent 200, dropout 0.5,
    learning rate 0.0005).

    Attributes:
        hidden, latent: units in each of the encoder's five layers; size of the code.
        gamma: weight of the KL divergence per item of the history.
        encoder_passes: passes over all users in each epoch, with dropout; the decoder has one pass.
        ema_decay: decay of the average of the weights over epochs, which is used for scores and validation (Polyak &
            Juditsky 1992): uniform over the first 1 / (1 - ema_decay) epochs, then exponential. 0 uses the weights
            themselves, without the memory for a second network.
        Others: see `SoftmaxRanker`.
    """

    hidden: Annotated[int, Field(ge=1)] = 600
    latent: Annotated[int, Field(ge=1)] = 600
    gamma: Annotated[float, Field(ge=0)] = 0.005
    encoder_passes: Annotated[int, Field(ge=1)] = 3
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.6
    space: ClassVar[Space] = {
        "hidden": Range(low=200, high=1000, log=True),
        "latent": Range(low=100, high=800, log=True),
        "gamma": Range(low=0.001, high=0.02, log=True),
        "dropout": Range(low=0.2, high=0.8),
        "learning_rate": Range(low=0.0003, high=0.003, log=True),
        "item_exponent": Range(low=-0.2, high=0.4),
    }

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, self.hidden, self.latent, generator)

    def _in_training(self, network: Network, rows: SparseRows) -> InTraining:
        return InTraining(network, rows, self.ema_decay)

    def _objective(self, rows: SparseRows) -> AlternatingObjective[InTraining, SparseRows]:
        encoder = Phase(EncoderPhase(self.dropout, self.gamma), self.encoder_passes, partial(InTraining.remember, rows=rows))
        return AlternatingObjective([encoder, Phase(DecoderPhase(), after=InTraining.average)])

    def _code(self, network: Network, rows: SparseRows) -> Tensor:
        return network.encoder(rows)[0]
