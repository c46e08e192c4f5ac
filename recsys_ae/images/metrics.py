"""Metrics of image models, all of which are better when lower; None where a model has nothing to do with one.

Each is a function of a fitted model and of what it is to be judged on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from recsys_ae.images.base import BATCH_IMAGES, Floats, ImageModel, Labels, fitted_images, in_batches
from recsys_ae.images.probes import angle_to_components
from recsys_ae.images.stacked import Classifier, StackedAutoencoder
from recsys_ae.images.variational import VariationalImages
from recsys_ae.registry import Registry

IMAGE_METRICS = Registry(
    "image metric",
    {
        "mse": "recsys_ae.images.metrics:mse",
        "cross_entropy": "recsys_ae.images.metrics:cross_entropy",
        "denoising_mse": "recsys_ae.images.metrics:denoising_mse",
        "corrupted_mse": "recsys_ae.images.metrics:corrupted_mse",
        "negative_elbo": "recsys_ae.images.metrics:negative_elbo",
        "error_rate": "recsys_ae.images.metrics:error_rate",
        "error_rate_before": "recsys_ae.images.metrics:error_rate_before",
        "principal_angle": "recsys_ae.images.metrics:principal_angle",
        "first_loss": "recsys_ae.images.metrics:first_loss",
        "last_loss": "recsys_ae.images.metrics:last_loss",
    },
)
NOISE_SEED = 12345


@dataclass(frozen=True)
class EvaluationData:
    """Images float32 [n, D], their classes int64 [n] or None, and the images that were trained on."""

    images: Floats
    labels: Labels | None
    train: Floats


def mse(model: ImageModel, on: EvaluationData) -> float:
    """Mean over images and pixels of the squared error of the reconstruction."""
    return _mse(model.reconstruct, on.images, on.images)


def denoising_mse(model: ImageModel, on: EvaluationData) -> float | None:
    """The same for images reconstructed from a corrupted copy, the model's own corruption being drawn once for all."""
    corrupted = model.corrupt(on.images, NOISE_SEED)
    return None if corrupted is on.images else _mse(model.reconstruct, corrupted, on.images)


def corrupted_mse(model: ImageModel, on: EvaluationData) -> float | None:
    """The same for those corrupted copies themselves: what leaving them alone would give."""
    corrupted = model.corrupt(on.images, NOISE_SEED)
    return None if corrupted is on.images else _mse(lambda images: images, corrupted, on.images)


def cross_entropy(model: ImageModel, on: EvaluationData) -> float:
    """Nats per image: mean over images of the sum over pixels of -x log y - (1 - x) log(1 - y), y the reconstruction of x.

    Reconstructions are brought between 1e-7 and 1 - 1e-7.
    """
    total = 0.0
    for part in torch.from_numpy(on.images).split(BATCH_IMAGES):
        pixels = torch.from_numpy(model.reconstruct(part.numpy())).clamp(1e-7, 1 - 1e-7)
        total += float(functional.binary_cross_entropy(pixels, part, reduction="sum"))
    return total / len(on.images)


def negative_elbo(model: ImageModel, on: EvaluationData) -> float | None:
    """Minus the evidence lower bound of a variational autoencoder in nats per image, estimated from one code for each."""
    return model.negative_elbo(on.images, NOISE_SEED) if isinstance(model, VariationalImages) else None


def error_rate(model: ImageModel, on: EvaluationData) -> float | None:
    """Share of the images that a classifier takes for another class."""
    if on.labels is None or not isinstance(model, StackedAutoencoder) or fitted_images(model).classes is None:
        return None
    return float(np.mean(model.classify(on.images).argmax(axis=1) != on.labels))


def error_rate_before(model: ImageModel, on: EvaluationData) -> float | None:
    """The same before fine-tuning, with the softmax layer trained alone; a model that was loaded does not remember."""
    before = fitted_images(model).before
    if on.labels is None or not isinstance(before, Classifier):
        return None
    return float(np.mean(in_batches(before, on.images).argmax(axis=1) != on.labels))


def principal_angle(model: ImageModel, on: EvaluationData) -> float | None:
    """The largest angle, in degrees, between what a linear decoder spans and the training images' principal components."""
    return angle_to_components(model, on.train)


def first_loss(model: ImageModel, _: EvaluationData) -> float | None:
    """Mean training loss of an image in the first epoch, met while learning; of a model that is trained once."""
    history = fitted_images(model).histories.get("")
    return history[0].loss if history else None


def last_loss(model: ImageModel, _: EvaluationData) -> float | None:
    """The same of the last epoch."""
    history = fitted_images(model).histories.get("")
    return history[-1].loss if history else None


def _mse(function: Callable[[Floats], Floats], inputs: Floats, targets: Floats) -> float:
    total = 0.0
    for start in range(0, len(inputs), BATCH_IMAGES):
        part = slice(start, start + BATCH_IMAGES)
        total += float(np.square(function(inputs[part]) - targets[part], dtype=np.float64).sum())
    return total / targets.size
