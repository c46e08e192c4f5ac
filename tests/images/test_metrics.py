"""The metrics of image models against values computed by hand."""

import numpy as np
import pytest
import torch
from image_builders import SIDE, VARIANTS, make, other_labels, others, random_images, some, some_labels

from recsys_ae.images.base import BATCH_IMAGES, FittedImages, ImageModel
from recsys_ae.images.metrics import (
    IMAGE_METRICS,
    EvaluationData,
    corrupted_mse,
    cross_entropy,
    denoising_mse,
    error_rate,
    error_rate_before,
    first_loss,
    last_loss,
    mse,
    negative_elbo,
)
from recsys_ae.images.stacked import StackedAutoencoder

JUDGED = EvaluationData(others(), other_labels(), some())
DENOISING = {"dense-tied-masking", "stacked", "convolutional"}
ONE_LINEAR_LAYER = {"dense-linear", "pca"}
STAGES = {"stacked", "stacked-classes", "stacked-none"}
# The models that have a value of each metric; all have one of the others.
HAVE = {
    "denoising_mse": DENOISING,
    "corrupted_mse": DENOISING,
    "negative_elbo": {"variational", "variational-one-layer"},
    "error_rate": {"stacked-classes"},
    "error_rate_before": {"stacked-classes"},
    "principal_angle": ONE_LINEAR_LAYER,
    "first_loss": set(VARIANTS) - STAGES - {"pca"},
    "last_loss": set(VARIANTS) - STAGES - {"pca"},
}
FITTED: dict[str, ImageModel] = {}


def fitted(name: str) -> ImageModel:
    if name not in FITTED:
        FITTED[name] = make(name, **({} if name == "pca" else {"epochs": 2})).fit(some(), some_labels())
    return FITTED[name]


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"dense-wide-sparse"}))
def test_models_have_the_metrics_that_are_about_them(name):
    values = {metric: IMAGE_METRICS.get(metric)(fitted(name), JUDGED) for metric in IMAGE_METRICS}
    assert {metric for metric, value in values.items() if value is not None} == {
        metric for metric in IMAGE_METRICS if metric not in HAVE or name in HAVE[metric]
    }


class Half(ImageModel):
    """Reconstructs the left half of images, and is grey on the right; corrupts the first image only."""

    def _network(self, shape, generator, classes=None):
        raise NotImplementedError

    def _fit(self, images, labels=None, **_):
        raise NotImplementedError

    def reconstruct(self, images):
        return np.where(np.arange(images.shape[1]) < images.shape[1] // 2, images, np.float32(0.5))

    def corrupt(self, images, seed=0):
        return np.r_[np.ones_like(images[:1]), images[1:]]


@pytest.mark.parametrize("n", [3, BATCH_IMAGES + 3])
def test_errors_are_means_over_all_images_and_pixels(n):
    images = random_images(n, SIDE)
    on = EvaluationData(images, None, images)
    right = images[:, 32:].astype(np.float64)
    assert mse(Half(), on) == pytest.approx(np.square(right - 0.5).sum() / images.size, rel=1e-6)
    assert corrupted_mse(Half(), on) == pytest.approx(np.square(1 - images[0], dtype=np.float64).sum() / images.size, rel=1e-6)
    denoised = np.square(1 - images[0, :32], dtype=np.float64).sum() + np.square(right - 0.5).sum()
    assert denoising_mse(Half(), on) == pytest.approx(denoised / images.size, rel=1e-6)


@pytest.mark.parametrize("n", [3, BATCH_IMAGES + 3])
def test_the_cross_entropy_is_summed_over_pixels(n):
    images = random_images(n, SIDE).clip(0.01, 0.99)
    left = images[:, :32].astype(np.float64)
    entropy = -(left * np.log(left) + (1 - left) * np.log(1 - left)).sum(axis=1)
    expected = (entropy + 32 * np.log(2)).mean()
    assert cross_entropy(Half(), EvaluationData(images, None, images)) == pytest.approx(expected, rel=1e-6)


def test_a_confident_wrong_reconstruction_has_a_finite_cross_entropy():
    """Reconstructed pixels at and beyond 0 and 1, as linear models produce."""

    class Negative(Half):
        def reconstruct(self, images):
            return 2 - 3 * images

    images = np.eye(4, dtype=np.float32)
    value = cross_entropy(Negative(), EvaluationData(images, None, images))
    assert value == pytest.approx(-4 * np.log(1e-7), rel=0.05)


def test_the_noise_is_the_same_for_all_models_with_one_corruption():
    first, second = (make("dense-tied-masking", epochs=1, hidden=[size]).fit(some()) for size in (4, 9))
    assert corrupted_mse(first, JUDGED) == corrupted_mse(second, JUDGED) > 0
    assert denoising_mse(first, JUDGED) != denoising_mse(second, JUDGED)


def test_the_bound_is_that_of_the_model():
    model = fitted("variational")
    assert negative_elbo(model, JUDGED) == model.negative_elbo(others(), seed=12345)


def always(number: int) -> StackedAutoencoder:
    """A classifier that predicts the same class for every image, and another class before fine-tuning."""
    model = make("stacked-classes", epochs=1).fit(some(), some_labels())
    with torch.no_grad():
        model.fitted.network.head.weight.zero_()
        model.fitted.network.head.bias.copy_(torch.eye(10)[number])
    return model


def test_the_error_is_the_share_of_wrong_classes():
    model = always(3)
    assert error_rate(model, JUDGED) == np.mean([label != 3 for label in other_labels().tolist()])
    with torch.no_grad():
        guesses = model.fitted.before(torch.from_numpy(others())).argmax(1).tolist()
    wrong = sum(guess != label for guess, label in zip(guesses, other_labels().tolist(), strict=True))
    assert error_rate_before(model, JUDGED) == wrong / 50 < error_rate(model, JUDGED)


def test_without_classes_there_is_no_error():
    model = always(3)
    unlabelled = EvaluationData(others(), None, some())
    assert (error_rate(model, unlabelled), error_rate_before(model, unlabelled)) == (None, None)
    loaded = make("stacked-classes")
    loaded.fitted = FittedImages(model.fitted.network, SIDE, 10)
    assert error_rate(loaded, JUDGED) == error_rate(model, JUDGED)
    assert error_rate_before(loaded, JUDGED) is None


def test_losses_are_those_of_the_first_and_the_last_epoch():
    model = make("dense", epochs=5).fit(some())
    history = [epoch.loss for epoch in model.fitted.histories[""]]
    assert (first_loss(model, JUDGED), last_loss(model, JUDGED)) == (history[0], history[4])
    assert history[4] < history[0]
