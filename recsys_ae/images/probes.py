"""Inspection of fitted image models: filters, the strongest inputs of a unit, the subspace spanned by a decoder."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.variational import VariationalAutoencoder
from recsys_ae.errors import ConfigError
from recsys_ae.images.base import Floats, ImageModel, fitted_images, max_components
from recsys_ae.images.convolutional import ConvolutionalNetwork
from recsys_ae.images.stacked import Classifier


def body(model: ImageModel) -> Autoencoder | None:
    """The fully connected autoencoder in a model's network, None if it has other layers."""
    network = fitted_images(model).network
    inner = network.body if isinstance(network, Classifier | VariationalAutoencoder) else network
    return inner if isinstance(inner, Autoencoder) else None


def n_layers(model: ImageModel) -> int:
    """Number of encoder layers that `filters` accepts."""
    inner = body(model)
    if inner is None:
        return int(isinstance(fitted_images(model).network, ConvolutionalNetwork))
    return 1 + len(inner.encoder_weights)


def filters(model: ImageModel, layer: int = 1) -> Floats:
    """Filters [units, channels, height, width] of an encoder layer (from 1), unscaled; `ConfigError` if there is no such layer.

    Filters of the first layer are its weights, and those of a higher unit the weighted sum of the filters below (Lee et al.
    2009). Of a convolutional network only the kernels of the first layer are available.
    """
    if not 1 <= layer <= n_layers(model):
        raise ConfigError(f"layer must be from 1 to {n_layers(model)}, got {layer}")
    fitted, inner = fitted_images(model), body(model)
    if inner is None:
        assert isinstance(fitted.network, ConvolutionalNetwork)
        return _array(fitted.network.encoder[0].weight)
    seen = _array(inner.input_weight).T
    for weight in list(inner.encoder_weights)[: layer - 1]:
        seen = _array(weight) @ seen
    return seen.reshape(-1, *fitted.shape)


def strongest_inputs(codes: Floats, units: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """int64 [len(units), n]: for each unit the n images, of those with codes [images, H], that activate it most, in order."""
    return np.argsort(-codes[:, units], axis=0, kind="stable")[:n].T


def angle_to_components(model: ImageModel, images: Floats) -> float | None:
    """Largest principal angle, in degrees, between the span of a linear decoder and as many principal components of the images.

    None if the decoder is not a single linear layer, or there are fewer components.
    """
    inner = body(model)
    if inner is None or len(inner.decoder_biases) or isinstance(fitted_images(model).network, VariationalAutoencoder):
        return None
    some = torch.linspace(-2, 2, 5)
    if not torch.equal(model._pixels(inner._output_activation(some)), some):
        return None
    spanned = _array(inner.input_weight if inner.tied else inner.output_weight)
    if spanned.shape[1] > max_components(images):
        return None
    axes = PCA(spanned.shape[1], svd_solver="covariance_eigh").fit(images).components_
    return float(np.rad2deg(subspace_angles(spanned.astype(np.float64), axes.T.astype(np.float64)).max()))


def _array(weight: Any) -> Floats:
    return weight.detach().numpy()
