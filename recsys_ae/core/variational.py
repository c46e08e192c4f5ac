"""The variational autoencoder that ratings and images share (Kingma & Welling 2014)."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder
from recsys_ae.core.sparse import SparseRows, sparse_linear


class VariationalAutoencoder(nn.Module):
    """D -> hidden[0] -> ... -> hidden[-2] -> normal distribution of hidden[-1] codes -> hidden[-2] -> ... -> D logits.

    The outer part is an `Autoencoder` of the sizes hidden[:-1]; within it, mean and log variance of the code are linear maps
    of its code, and what it decodes is the activation of a linear map of the sampled code. With one size, mean, log variance
    and logits are linear maps of the input and of the sampled code.

    Args:
        width, activation, generator: as for `Autoencoder`; weights start by Glorot's rule, biases at 0.
        hidden: at least one size, the last being that of the code.
    """

    def __init__(
        self, width: int, hidden: Sequence[int], *, activation: str = "tanh", generator: Generator | None = None
    ) -> None:
        super().__init__()
        *outer, code = hidden
        self._shallow = not outer
        linear = "identity" if self._shallow else activation
        self.body = Autoencoder(width, outer or [code], activation=linear, generator=generator)
        self._activation = ACTIVATIONS.get(activation)

        def weight(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * (2 / (rows + columns)) ** 0.5)

        self.log_variance_bias = nn.Parameter(torch.zeros(code))
        if self._shallow:
            self.input_weight = weight(width, code)  # for the log variance; that for the mean is the body's
            return
        self.mean_weight, self.log_variance_weight = weight(code, outer[-1]), weight(code, outer[-1])
        self.mean_bias = nn.Parameter(torch.zeros(code))
        self.decoder_weight, self.decoder_bias = weight(outer[-1], code), nn.Parameter(torch.zeros(outer[-1]))

    def encode(self, x: SparseRows | Tensor) -> tuple[Tensor, Tensor]:
        """[B, D] -> mean and log variance of the code, [B, K] each."""
        hidden = self.body.encode(x)
        if self._shallow:
            return hidden, sparse_linear(x, self.input_weight, self.log_variance_bias)
        mean = functional.linear(hidden, self.mean_weight, self.mean_bias)
        return mean, functional.linear(hidden, self.log_variance_weight, self.log_variance_bias)

    def decode(self, code: Tensor, at: SparseRows | None = None) -> Tensor:
        """Code [B, K] -> logits [B, D], or only those [nnz] at the pattern of `at`."""
        if self._shallow:
            return self.body.decode(code, at)
        return self.body.decode(self._activation(functional.linear(code, self.decoder_weight, self.decoder_bias)), at)

    def forward(self, x: SparseRows | Tensor) -> Tensor:
        """Logits [B, D] of the mean code."""
        return self.decode(self.encode(x)[0])

    def wide_weights(self) -> list[nn.Parameter]:
        """The weight matrices [D, hidden[0]] of the first and the last layer."""
        return [*self.body.wide_weights(), *([self.input_weight] if self._shallow else [])]

    def inner_weights(self) -> list[nn.Parameter]:
        """The weight matrices of all other layers."""
        own = [] if self._shallow else [self.mean_weight, self.log_variance_weight, self.decoder_weight]
        return [*self.body.inner_weights(), *own]


def sample(mean: Tensor, log_variance: Tensor, generator: Generator) -> Tensor:
    """A code [B, K] drawn from each normal distribution, differentiable in its parameters."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + noise * (log_variance / 2).exp()


def kl_from_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence [B] in nats of each distribution from the standard normal one."""
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
