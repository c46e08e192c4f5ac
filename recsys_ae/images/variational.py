"""The variational image autoencoder, which can generate images."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.trainer import Objective
from recsys_ae.core.variational import VariationalAutoencoder
from recsys_ae.declaration import Sizes, check_seed
from recsys_ae.images.base import Floats, Shape, fitted_images, n_pixels, rows_of
from recsys_ae.images.objectives import NegativeELBO
from recsys_ae.images.training import Activation, TrainedModel, mean_loss
from recsys_ae.space import Range, Space


@dataclass
class VariationalImages(TrainedModel):
    """Variational autoencoder with a Gaussian code and Bernoulli pixels; `encode` returns the mean code.

    Source: Kingma & Welling 2014, with the KL divergence from the standard normal prior in closed form.

    Attributes:
        hidden: sizes of the encoder's layers, the last being the code; the decoder mirrors them.
        activation: of the hidden layers.
        beta: weight of the divergence; 1 gives the evidence lower bound.
        Others: see `TrainedModel`.
    """

    hidden: Sizes = (500, 500, 20)
    activation: Activation = "elu"
    beta: Annotated[float, Field(ge=0)] = 1.0
    space: ClassVar[Space] = {
        "hidden": [[500, 20], [500, 500, 20], [500, 500, 50]],
        "beta": Range(low=0.2, high=5, log=True),
        "learning_rate": Range(low=0.0003, high=0.005, log=True),
    }

    def sample(self, n: int, seed: int = 0) -> Floats:
        """Images [n, D] decoded from codes drawn from the prior."""
        check_seed(seed)
        return self.decode(torch.randn(n, self.hidden[-1], generator=Generator().manual_seed(seed)).numpy())

    def walk(self, start: Floats, end: Floats, steps: int) -> Floats:
        """Images [steps, D] decoded from equally spaced codes between those of two images [D]."""
        first, last = self.encode(np.stack([start, end]))
        shares = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return self.decode((1 - shares) * first + shares * last)

    def negative_elbo(self, images: Floats, seed: int = 0) -> float:
        """Negative evidence lower bound of images [n, D], in nats per image, estimated from one sampled code each."""
        fitted = fitted_images(self)
        rows = rows_of(images, fitted.shape)
        return mean_loss(fitted.network, NegativeELBO(), torch.from_numpy(rows), seed)

    def _network(self, shape: Shape, generator: Generator, classes: int | None = None) -> nn.Module:
        return VariationalAutoencoder(n_pixels(shape), self.hidden, activation=self.activation, generator=generator)

    def _objective(self) -> Objective[Any, Any]:
        return NegativeELBO(self.beta)

    def _code(self, network: Any, images: Tensor) -> Tensor:
        return network.encode(images)[0]

    def _pixels(self, outputs: Tensor) -> Tensor:
        return torch.sigmoid(outputs)
