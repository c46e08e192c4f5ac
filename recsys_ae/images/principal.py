"""Principal component analysis as a linear autoencoder, in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import torch
from pydantic import Field
from sklearn.decomposition import PCA
from torch import Generator

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.trainer import Callback
from recsys_ae.errors import ConfigError
from recsys_ae.images.base import FittedImages, Floats, ImageModel, Labels, Shape, max_components, n_pixels, validate_shape


@dataclass
class PrincipalComponents(ImageModel):
    """Baseline for the squared error: no linear autoencoder with a code of this size reconstructs better.

    A tied linear autoencoder whose weights are the leading principal components of the centred images, by scikit-learn.

    Attributes:
        components: size of the code.
    """

    components: Annotated[int, Field(ge=1)] = 30

    def fit(
        self,
        images: Floats,
        labels: Labels | None = None,
        *,
        shape: Shape | None = None,
        valid: Floats | None = None,
        valid_labels: Labels | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        shape = validate_shape(images, shape)
        if self.components > max_components(images):
            raise ConfigError(f"{len(images)} images of {images.shape[1]} pixels have fewer than {self.components} components")
        found = PCA(self.components, svd_solver="covariance_eigh").fit(images)
        network = self._network(shape, Generator())
        mean, axes = (torch.from_numpy(array) for array in (found.mean_, found.components_))
        with torch.no_grad():
            network.input_weight.copy_(axes.T)
            network.encoder_biases[0].copy_(-axes @ mean)
            network.output_bias.copy_(mean)
        self.fitted = FittedImages(network.eval(), shape)
        return self

    def _network(self, shape: Shape, generator: Generator, classes: int | None = None) -> Autoencoder:
        return Autoencoder(n_pixels(shape), [self.components], activation="identity", tied=True, generator=generator)
