"""Metrics of image models: functions of a fitted model and data; lower is better, None where they do not apply."""

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

RECONSTRUCTION = ("mse", "cross_entropy", "denoising_mse", "corrupted_mse")
OTHER = ("negative_elbo", "error_rate", "error_rate_before", "principal_angle", "first_loss", "last_loss")
IMAGE_METRICS = Registry("image metric", {name: f"{__name__}:{name}" for name in RECONSTRUCTION + OTHER})
NOISE_SEED = 12345


@dataclass(frozen=True, repr=False)
class EvaluationData:
    """Images float32 [n, D], their classes int64 [n] or None, and the training images."""

    images: Floats
    labels: Labels | None
    train: Floats


def mse(model: ImageModel, on: EvaluationData) -> float:
    """Mean squared error of the reconstruction, over images and pixels."""
    return _mse(model.reconstruct, on.images, on.images)


def denoising_mse(model: ImageModel, on: EvaluationData) -> float | None:
    """Mean squared error of images reconstructed from copies with the model's own corruption, under a fixed seed."""
    corrupted = model.corrupt(on.images, NOISE_SEED)
    return None if corrupted is on.images else _mse(model.reconstruct, corrupted, on.images)


def corrupted_mse(model: ImageModel, on: EvaluationData) -> float | None:
    """Mean squared error of those corrupted copies: what the identity would give."""
    corrupted = model.corrupt(on.images, NOISE_SEED)
    return None if corrupted is on.images else _mse(lambda images: images, corrupted, on.images)


def cross_entropy(model: ImageModel, on: EvaluationData) -> float:
    """Nats per image, summed over pixels: -x log y - (1 - x) log(1 - y), y the reconstruction clamped to [1e-7, 1 - 1e-7]."""
    total = 0.0
    for part in torch.from_numpy(on.images).split(BATCH_IMAGES):
        pixels = torch.from_numpy(model.reconstruct(part.numpy())).clamp(1e-7, 1 - 1e-7)
        total += float(functional.binary_cross_entropy(pixels, part, reduction="sum"))
    return total / len(on.images)


def negative_elbo(model: ImageModel, on: EvaluationData) -> float | None:
    """`negative_elbo` of a variational autoencoder, in nats per image."""
    return model.negative_elbo(on.images, NOISE_SEED) if isinstance(model, VariationalImages) else None


def error_rate(model: ImageModel, on: EvaluationData) -> float | None:
    """Share of misclassified images."""
    if on.labels is None or not isinstance(model, StackedAutoencoder) or fitted_images(model).classes is None:
        return None
    return float(np.mean(model.classify(on.images).argmax(axis=1) != on.labels))


def error_rate_before(model: ImageModel, on: EvaluationData) -> float | None:
    """Error rate before fine-tuning, with only the softmax layer trained; not known of a loaded model."""
    before = fitted_images(model).before
    if on.labels is None or not isinstance(before, Classifier):
        return None
    return float(np.mean(in_batches(before, on.images).argmax(axis=1) != on.labels))


def principal_angle(model: ImageModel, on: EvaluationData) -> float | None:
    """Largest angle, in degrees, between a linear decoder's span and the principal components of the training images."""
    return angle_to_components(model, on.train)


def first_loss(model: ImageModel, _: EvaluationData) -> float | None:
    """Mean training loss per image during the first epoch, if training has a single stage."""
    history = fitted_images(model).histories.get("")
    return history[0].loss if history else None


def last_loss(model: ImageModel, _: EvaluationData) -> float | None:
    """Mean training loss per image during the last epoch, if training has a single stage."""
    history = fitted_images(model).histories.get("")
    return history[-1].loss if history else None


def _mse(function: Callable[[Floats], Floats], inputs: Floats, targets: Floats) -> float:
    total = 0.0
    for start in range(0, len(inputs), BATCH_IMAGES):
        part = slice(start, start + BATCH_IMAGES)
        total += float(np.square(function(inputs[part]) - targets[part], dtype=np.float64).sum())
    return total / targets.size
