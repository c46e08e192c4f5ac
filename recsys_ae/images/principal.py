"""Principal component analysis as a linear autoencoder, in closed form."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from sklearn.decomposition import PCA
from torch import Generator, Tensor

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.errors import ConfigError
from recsys_ae.images.base import FittedImages, ImageContext, ImageModel, Shape, max_components, n_pixels
from recsys_ae.space import Range, Space


@dataclass
class PrincipalComponents(ImageModel):
    """Tied linear autoencoder whose weights are the leading principal components of the centred images, by scikit-learn.

    A baseline for the squared error: no linear autoencoder with a code of this size reconstructs better.

    Attributes:
        components: size of the code.
    """

    components: Annotated[int, Field(ge=1)] = 30
    space: ClassVar[Space] = {"components": Range(low=2, high=60, log=True)}

    def _fit(self, images: Tensor, shape: Shape, context: ImageContext) -> FittedImages:
        pixels = images.numpy()
        if self.components > max_components(pixels):
            raise ConfigError(f"{len(images)} images of {images.shape[1]} pixels have fewer than {self.components} components")
        found = PCA(self.components, svd_solver="covariance_eigh").fit(pixels)
        network = self._network(shape, Generator())
        mean, axes = (torch.from_numpy(array) for array in (found.mean_, found.components_))
        with torch.no_grad():
            network.input_weight.copy_(axes.T)
            network.encoder_biases[0].copy_(-axes @ mean)
            network.output_bias.copy_(mean)
        return FittedImages(network.eval(), shape)

    def _network(self, shape: Shape, generator: Generator, classes: int | None = None) -> Autoencoder:
        return Autoencoder(n_pixels(shape), [self.components], activation="identity", tied=True, generator=generator)
