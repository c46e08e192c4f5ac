"""The convolutional image autoencoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.autoencoder import ACTIVATIONS
from recsys_ae.declaration import Sizes
from recsys_ae.errors import ConfigError
from recsys_ae.images.base import Shape
from recsys_ae.images.training import Activation, CorruptionName, ReconstructingModel
from recsys_ae.space import Range, Space

KERNEL = 3


class ConvolutionalNetwork(nn.Module):
    """Padded 3 x 3 convolutions with pooling between them, then convolutions with upsampling, and a last one to the pixels.

    Inputs and outputs are rows of pixels [B, D], codes [B, H], where H is channels[-1] times the number of remaining pixels.

    Args:
        shape: of an image; height and width are halved len(channels) - 1 times.
        channels: of the encoder's convolutions; the decoder mirrors them.
        activation, output: activation of all convolutions but the last, and of the last.
        generator: source of the initial weights (He et al. 2015); biases start at 0.
    """

    def __init__(
        self, shape: Shape, channels: Sequence[int], activation: str, output: str, generator: Generator | None
    ) -> None:
        super().__init__()
        self.shape = shape
        self._activation, self._output_activation = ACTIVATIONS.get(activation), ACTIVATIONS.get(output)
        self.sides = [shape[1:]]
        for _ in channels[1:]:
            height, width = self.sides[-1]
            self.sides.append((height // 2, width // 2))
        if min(self.sides[-1]) < 1:
            raise ConfigError(f"images of {shape[1]} x {shape[2]} pixels cannot be halved {len(channels) - 1} times")
        down = [shape[0], *channels]
        up = [channels[-1], *reversed(channels)]
        self.encoder = nn.ModuleList([_convolution(*pair, generator) for pair in pairwise(down)])
        self.decoder = nn.ModuleList([_convolution(*pair, generator) for pair in pairwise(up)])
        self.output = _convolution(channels[0], shape[0], generator)

    def encode(self, x: Tensor) -> Tensor:
        """Pixels [B, D] -> codes [B, H]."""
        maps = x.view(-1, *self.shape).contiguous(memory_format=torch.channels_last)
        for number, convolution in enumerate(self.encoder):
            if number:
                maps = functional.max_pool2d(maps, 2)
            maps = self._activation(convolution(maps))
        return maps.flatten(1)

    def decode(self, code: Tensor) -> Tensor:
        """Codes [B, H] -> [B, D]."""
        height, width = self.sides[-1]
        maps = code.view(len(code), -1, height, width).contiguous(memory_format=torch.channels_last)
        for number, convolution in enumerate(self.decoder):
            if number:
                maps = functional.interpolate(maps, size=self.sides[-1 - number])
            maps = self._activation(convolution(maps))
        return self._output_activation(self.output(maps).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def _convolution(inputs: int, outputs: int, generator: Generator | None) -> nn.Conv2d:
    device = torch.empty(0).device  # get_default_device of PyTorch 2.6 overlooks `with torch.device(...)`
    layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, KERNEL, padding=KERNEL // 2, device=device)
    std = (2 / (inputs * KERNEL**2)) ** 0.5
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * std)
        layer.bias.zero_()
    return layer


@dataclass
class ConvolutionalAutoencoder(ReconstructingModel):
    """Convolutional autoencoder whose code is a small image with many channels.

    The code is wider than the image, so corruption must keep the network from learning the identity.

    Attributes:
        channels: of the encoder's convolutions, with 2 x 2 max pooling between them; the decoder mirrors them.
        activation: of the hidden layers. The output is a sigmoid with the cross-entropy but linear with the squared error (so
            pixels may lie slightly outside [0, 1]), with which a sigmoid would get stuck at all black.
        Others: see `ReconstructingModel` and `TrainedModel`.
    """

    channels: Sizes = (32, 64, 128)
    activation: Activation = "relu"
    corruption: CorruptionName = "gaussian"
    noise: Annotated[float, Field(ge=0)] = 0.5
    space: ClassVar[Space] = {
        "channels": [[16, 32, 64], [32, 64, 128]],
        "noise": Range(low=0.1, high=1),
        "learning_rate": Range(low=0.0003, high=0.01, log=True),
    }

    def _network(self, shape: Shape, generator: Generator, classes: int | None = None) -> nn.Module:
        output = self._output_activation("sigmoid" if self.loss == "cross_entropy" else "identity")
        return ConvolutionalNetwork(shape, self.channels, self.activation, output, generator)
