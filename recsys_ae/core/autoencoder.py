"""The autoencoder that sparse matrices and images share."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.axes import Axis
from recsys_ae.core.losses import LossSum, squared_error
from recsys_ae.core.sampled_error import squared_error_at
from recsys_ae.core.sparse import SparseRows, sampled_linear, sparse_linear
from recsys_ae.core.threads import by_rows
from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

ACTIVATIONS = Registry(
    "activation",
    {
        "identity": "recsys_ae.core.autoencoder:identity",
        "sigmoid": "torch:sigmoid",
        "centred_sigmoid": "recsys_ae.core.autoencoder:centred_sigmoid",
        "tanh": "torch:tanh",
        "relu": "torch:relu",
        "elu": "torch.nn.functional:elu",
        "selu": "torch:selu",
    },
)
INITIALISERS = Registry(
    "initialiser", {name: f"{__name__}:{name}" for name in ("glorot_normal", "glorot_uniform", "sigmoid_uniform")}
)


def identity(x: Tensor) -> Tensor:
    return x


def centred_sigmoid(x: Tensor) -> Tensor:
    """sigmoid(x) - 1/2: a unit that nothing drives adds nothing to the next layer."""
    return torch.sigmoid(x) - 0.5


def glorot_normal(shape: tuple[int, int], generator: Generator | None) -> Tensor:
    """Normal with variance 2 / (fan in + fan out) (Glorot & Bengio 2010)."""
    return torch.randn(*shape, generator=generator).mul_((2 / sum(shape)) ** 0.5)


def glorot_uniform(shape: tuple[int, int], generator: Generator | None) -> Tensor:
    """Uniform within +-sqrt(6 / (fan in + fan out)), which has the same variance."""
    return torch.rand(*shape, generator=generator).mul_(2).sub_(1).mul_((6 / sum(shape)) ** 0.5)


def sigmoid_uniform(shape: tuple[int, int], generator: Generator | None) -> Tensor:
    """Four times `glorot_uniform`, for sigmoid layers (slope at most 1/4)."""
    return glorot_uniform(shape, generator).mul_(4)


class Autoencoder(nn.Module):
    """D -> hidden[0] -> ... -> hidden[-1] -> ... -> hidden[0] -> E.

    The outer weight matrices are stored [D, hidden[0]] and [E, hidden[0]], one row per column of the input and of the output,
    so that a sparse batch touches only the rows of its columns. Inner layers are ordinary linear maps, mirrored in the decoder.

    Args:
        in_width: D.
        hidden: sizes of the encoder's layers, the last being the code.
        out_width: E; D if None.
        activation, code_activation, output_activation: after the hidden layers, the code (`activation` if None) and the output.
        tied: whether the decoder uses the transposed weight matrices of the encoder; biases are never shared.
        initial: name of an initialiser, or the standard deviation of normally distributed weights.
        generator: source of the initial weights; biases start at 0.

    Raises:
        ConfigError: a size is not positive, or `tied` with different widths.
    """

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs", "output_weight": "outputs", "output_bias": "outputs"}

    def __init__(
        self,
        in_width: int,
        hidden: Sequence[int],
        *,
        out_width: int | None = None,
        activation: str = "sigmoid",
        code_activation: str | None = None,
        output_activation: str = "identity",
        tied: bool = False,
        initial: str | float = "glorot_normal",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise ConfigError(f"hidden sizes must be positive whole numbers, got {list(hidden)}")
        out_width = in_width if out_width is None else out_width
        if tied and out_width != in_width:
            raise ConfigError(f"tied weights need equal widths, got {in_width} input and {out_width} output columns")
        self.tied = tied
        self._activation = ACTIVATIONS.get(activation)
        self._code_activation = ACTIVATIONS.get(code_activation or activation)
        self._output_activation = ACTIVATIONS.get(output_activation)

        def weight(*shape: int) -> nn.Parameter:
            if isinstance(initial, str):
                return nn.Parameter(INITIALISERS.get(initial)(shape, generator))
            return nn.Parameter(torch.randn(*shape, generator=generator).mul_(initial))

        inner = list(zip(hidden[1:], hidden[:-1], strict=True))  # (fan out, fan in) of each inner encoder layer
        self.input_weight = weight(in_width, hidden[0])
        self.encoder_weights = nn.ParameterList([weight(*shape) for shape in inner])
        self.encoder_biases = nn.ParameterList([nn.Parameter(torch.zeros(size)) for size in hidden])
        if not tied:
            self.decoder_weights = nn.ParameterList([weight(*shape) for shape in inner])
            self.output_weight = weight(out_width, hidden[0])
        self.decoder_biases = nn.ParameterList([nn.Parameter(torch.zeros(size)) for size in hidden[:-1]])
        self.output_bias = nn.Parameter(torch.zeros(out_width))

    def encode(self, x: SparseRows | Tensor) -> Tensor:
        """[B, D] -> code [B, hidden[-1]]."""
        code = sparse_linear(x, self.input_weight, self.encoder_biases[0])
        for weight, bias in zip(self.encoder_weights, self.encoder_biases[1:], strict=True):
            code = functional.linear(by_rows(self._activation, code), weight, bias)
        return by_rows(self._code_activation, code)

    def last_hidden(self, code: Tensor) -> Tensor:
        """Code [B, hidden[-1]] -> input of the output layer [B, hidden[0]]."""
        weights = self.encoder_weights if self.tied else self.decoder_weights
        for weight, bias in zip(reversed(weights), reversed(self.decoder_biases), strict=True):
            code = by_rows(self._activation, functional.linear(code, weight.T, bias))
        return code

    def decode(self, code: Tensor, at: SparseRows | None = None) -> Tensor:
        """Code [B, hidden[-1]] -> [B, E], or only the entries [nnz] at the pattern of `at`."""
        weight = self.input_weight if self.tied else self.output_weight
        return self._output_activation(sampled_linear(self.last_hidden(code), weight, self.output_bias, at))

    def squared_error(self, x: SparseRows, at: SparseRows) -> LossSum:
        """Squared error of the outputs for `x` at the pattern of `at`, whose values are the targets."""
        if self._output_activation is not identity:
            return squared_error(self(x, at), at.values)
        weight = self.input_weight if self.tied else self.output_weight
        return squared_error_at(self.last_hidden(self.encode(x)), weight, self.output_bias, at)

    def forward(self, x: SparseRows | Tensor, at: SparseRows | None = None) -> Tensor:
        return self.decode(self.encode(x), at)
