"""RecVAE: the variational autoencoder with a composite prior, weights of the divergence per user, and alternating training."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.axes import Axis
from recsys_ae.core.losses import LossSum, multinomial
from recsys_ae.core.sparse import SparseRows, sampled_linear, sparse_linear
from recsys_ae.core.trainer import AlternatingObjective, Phase, parts_of
from recsys_ae.core.variational import sample
from recsys_ae.models.neural import NeuralRanker, dropout_entries

BATCH_ROWS = 256  # encoded together
LAYERS = 5
EPSILON = 0.1  # of the normalisation of layers
SHARES = (3 / 20, 3 / 4, 1 / 10)  # of the standard normal, the earlier posterior and the wide normal distribution in the prior
WIDE_LOG_VARIANCE = 10.0


class Encoder(nn.Module):
    """D -> mean and log variance of the code [B, K]: five densely connected layers of H units, each normalised.

    Layer l is norm(swish(W_l h_{l-1} + b_l + h_1 + ... + h_{l-1})).
    """

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs"}

    def __init__(self, width: int, hidden: int, latent: int, generator: Generator | None) -> None:
        super().__init__()

        def weight(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * (2 / (rows + columns)) ** 0.5)

        self.input_weight = weight(width, hidden)
        self.weights = nn.ParameterList([weight(hidden, hidden) for _ in range(LAYERS - 1)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(hidden)) for _ in range(LAYERS)])
        self.norms = nn.ModuleList([nn.LayerNorm(hidden, eps=EPSILON) for _ in range(LAYERS)])
        self.mean_weight, self.log_variance_weight = weight(latent, hidden), weight(latent, hidden)
        self.mean_bias, self.log_variance_bias = nn.Parameter(torch.zeros(latent)), nn.Parameter(torch.zeros(latent))

    def forward(self, x: SparseRows | Tensor) -> tuple[Tensor, Tensor]:
        layer = _normalised(functional.silu(sparse_linear(x, self.input_weight, self.biases[0])), self.norms[0])
        total = layer
        for weight, bias, norm in zip(self.weights, self.biases[1:], self.norms[1:], strict=True):
            layer = _normalised(functional.silu(functional.linear(layer, weight, bias) + total), norm)
            total = total + layer
        mean = functional.linear(layer, self.mean_weight, self.mean_bias)
        return mean, functional.linear(layer, self.log_variance_weight, self.log_variance_bias)


def _normalised(x: Tensor, norm: Any) -> Tensor:
    """As `norm(x)`, except that the gradients of its weight and bias do not depend on the number of threads."""
    plain = functional.layer_norm(x, x.shape[1:], eps=EPSILON)
    scaled: Tensor = plain * norm.weight + norm.bias
    return scaled


class Network(nn.Module):
    """The encoder and a linear decoder of its codes."""

    id_axes: Mapping[str, Axis] = {"output_weight": "outputs", "output_bias": "outputs"}

    def __init__(self, width: int, hidden: int, latent: int, generator: Generator | None) -> None:
        super().__init__()
        self.encoder = Encoder(width, hidden, latent, generator)
        std = (2 / (width + latent)) ** 0.5
        self.output_weight = nn.Parameter(torch.randn(width, latent, generator=generator) * std)
        self.output_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: SparseRows) -> Tensor:
        """Logits [B, D] of the mean code."""
        return sampled_linear(self.encoder(x)[0], self.output_weight, self.output_bias)


class InTraining(nn.Module):
    """What learns, and the codes of all rows as its encoder made them when the decoder was last trained.

    The earlier encoder is only ever asked for these, so it need not be kept.

    Args:
        network: where it starts. It learns itself; or with `ema_decay`, a copy does, and this one becomes its mean over the
            epochs (see `average`) and has no gradient.
        rows: all that will be trained on.
    """

    earlier: Tensor
    epochs: Tensor

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
        """From now on, the earlier codes are those of the present encoder."""
        for part in parts_of(rows, BATCH_ROWS):
            part = part.to(self.earlier.device)
            self.earlier[:, part.row_ids] = torch.stack(self.network.encoder(part))

    @torch.no_grad()
    def average(self) -> None:
        """Count the present weights into the mean. Until there are 1 / (1 - ema_decay) epochs, all count the same."""
        self.epochs += 1
        if self.mean is not None:
            share = max(1 - self.ema_decay, 1 / int(self.epochs))
            for mean, weight in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(weight, share)

    def wide_weights(self) -> list[nn.Parameter]:
        return [self.network.encoder.input_weight, self.network.output_weight]


@dataclass(frozen=True)
class EncoderPhase:
    """The multinomial loss of each user's items given some of them, plus gamma * n times the divergence from the prior.

    n is the user's number of items; the divergence is estimated from one sampled code. The decoder stays as it is.
    """

    dropout: float
    gamma: float

    def loss(self, module: InTraining, batch: SparseRows, generator: Generator) -> LossSum:
        network = module.network
        mean, log_variance = network.encoder(dropout_entries(batch, self.dropout, generator))
        code = sample(mean, log_variance, generator)
        found = multinomial(sampled_linear(code, network.output_weight.detach(), network.output_bias.detach()), batch)
        earlier = module.earlier[:, batch.row_ids]
        divergence = normal_log_density(code, mean, log_variance).sum(1) - composite_log_density(code, *earlier).sum(1)
        return LossSum(found.total + self.gamma * (batch.lengths * divergence).sum(), found.count)

    def penalty(self, module: InTraining, batch: SparseRows) -> Tensor:
        return torch.zeros(())


@dataclass(frozen=True)
class DecoderPhase:
    """The multinomial loss of each user's items given all of them. The encoder stays as it is."""

    def loss(self, module: InTraining, batch: SparseRows, generator: Generator) -> LossSum:
        network = module.network
        with torch.no_grad():
            mean, log_variance = network.encoder(batch)
            code = sample(mean, log_variance, generator)
        return multinomial(sampled_linear(code, network.output_weight, network.output_bias), batch)

    def penalty(self, module: InTraining, batch: SparseRows) -> Tensor:
        return torch.zeros(())


def normal_log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of each entry of x under a normal distribution of its own."""
    return -(math.log(2 * math.pi) + log_variance + (x - mean).square() / log_variance.exp()) / 2


def composite_log_density(code: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of each entry under the prior: a standard normal, an earlier posterior and a wide normal distribution, in `SHARES`."""
    square, constant = code.square(), math.log(2 * math.pi)
    densities = [
        -(square + constant) / 2,
        normal_log_density(code, mean, log_variance),
        -(square * math.exp(-WIDE_LOG_VARIANCE) + constant + WIDE_LOG_VARIANCE) / 2,
    ]
    return torch.stack([density + math.log(share) for density, share in zip(densities, SHARES, strict=True)]).logsumexp(0)


@dataclass
class RecVAE(NeuralRanker[Network]):
    """Variational autoencoder whose prior remembers the codes of the epoch before.

    Source: Shenbin et al. 2020: composite prior, weight of the divergence proportional to the length of the history,
    encoder and decoder trained in turns, the latter from whole histories. Scores are of the mean code. Works for any
    user; one without history gets the same list as all such users. Deviations: weights are averaged over epochs, which brings
    more than a falling learning rate; and the defaults do better on MovieLens 1M than the published ones (a code of 200, half
    of the inputs hidden, learning rate 0.0005).

    Attributes:
        hidden, latent: units in each of the encoder's five layers; size of the code.
        gamma: weight of the divergence for each item of the history.
        encoder_passes: over all users in each epoch, with inputs hidden; the decoder has one, with whole rows.
        ema_decay: scores and validation are of the mean of the weights over epochs: of all alike for the first
            1 / (1 - ema_decay), then each counts so many times as much as the one after it (Polyak & Juditsky 1992, with a
            memory). 0 takes the weights as they are, and saves the memory of a second network.
        Others: see `NeuralRanker`.
    """

    hidden: Annotated[int, Field(ge=1)] = 600
    latent: Annotated[int, Field(ge=1)] = 600
    gamma: Annotated[float, Field(ge=0)] = 0.005
    encoder_passes: Annotated[int, Field(ge=1)] = 3
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.6

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, self.hidden, self.latent, generator)

    def _in_training(self, network: Network, rows: SparseRows) -> InTraining:
        return InTraining(network, rows, self.ema_decay)

    def _objective(self, network: Network, rows: SparseRows) -> AlternatingObjective[InTraining, SparseRows]:
        def remember(module: InTraining) -> None:
            module.remember(rows)

        def average(module: InTraining) -> None:
            module.average()

        encoder = Phase(EncoderPhase(self.dropout, self.gamma), self.encoder_passes, after=remember)
        return AlternatingObjective([encoder, Phase(DecoderPhase(), after=average)])

    def _code(self, network: Network, rows: SparseRows) -> Tensor:
        mean: Tensor = network.encoder(rows)[0]
        return mean
