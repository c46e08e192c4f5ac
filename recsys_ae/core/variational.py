"""The variational autoencoder that sparse matrices and images share (Kingma & Welling 2014)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder, glorot_normal
from recsys_ae.core.axes import Axis
from recsys_ae.core.shares import drawn
from recsys_ae.core.sparse import SparseRows, sparse_linear
from recsys_ae.core.threads import by_rows


class VariationalAutoencoder(nn.Module):
    """D -> hidden[0] -> ... -> hidden[-2] -> normal distribution of hidden[-1] codes -> hidden[-2] -> ... -> E logits.

    The outer part is an `Autoencoder` with the sizes hidden[:-1]: mean and log variance are linear maps of its code, and it
    decodes the activation of a linear map of the sampled code. With a single size, mean and log variance are linear maps of
    the input, and the logits of the code. Arguments are those of `Autoencoder`; initial weights are `glorot_normal`.
    """

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs"}

    def __init__(
        self,
        in_width: int,
        hidden: Sequence[int],
        *,
        out_width: int | None = None,
        activation: str = "tanh",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        *outer, code = hidden
        self._shallow = not outer
        linear = "identity" if self._shallow else activation
        self.body = Autoencoder(in_width, outer or [code], out_width=out_width, activation=linear, generator=generator)
        self._activation = ACTIVATIONS.get(activation)

        def weight(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(glorot_normal((rows, columns), generator))

        self.log_variance_bias = nn.Parameter(torch.zeros(code))
        if self._shallow:
            self.input_weight = weight(in_width, code)  # of the log variance; that of the mean belongs to the body
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
        """Code [B, K] -> logits [B, E], or only those [nnz] at the pattern of `at`."""
        if self._shallow:
            return self.body.decode(code, at)
        hidden = functional.linear(code, self.decoder_weight, self.decoder_bias)
        return self.body.decode(by_rows(self._activation, hidden), at)

    def forward(self, x: SparseRows | Tensor) -> Tensor:
        """Logits [B, E] of the mean code."""
        return self.decode(self.encode(x)[0])


def sample(mean: Tensor, log_variance: Tensor, generator: Generator) -> Tensor:
    """A code [B, K] drawn from each normal distribution by reparameterisation."""
    noise = drawn(torch.randn, mean.shape, generator).to(mean.device)  # the same numbers on every device
    return mean + noise * (log_variance / 2).exp()


def kl_from_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence [B], in nats, from the standard normal."""
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
