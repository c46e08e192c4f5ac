"""The losses of image models against NumPy, scikit-learn and torch.distributions."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from image_builders import generator, random_images
from sklearn.metrics import log_loss
from torch.distributions import Bernoulli, Normal, kl_divergence

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.losses import cross_entropy, squared_error
from recsys_ae.core.variational import VariationalAutoencoder
from recsys_ae.images.objectives import Classification, LabelledBatch, NegativeELBO, Penalty, Reconstruction
from recsys_ae.images.stacked import Classifier

IMAGES = torch.from_numpy(random_images(5, (1, 3, 3)))


def network(tied: bool = False, hidden: tuple[int, ...] = (4, 2)) -> Autoencoder:
    module = Autoencoder(9, hidden, tied=tied, generator=generator())
    for bias in (*module.encoder_biases, *module.decoder_biases, module.output_bias):
        torch.nn.init.constant_(bias, 0.3)
    return module


def squares(*weights: torch.Tensor) -> float:
    return sum(float(np.square(weight.detach().numpy()).sum()) for weight in weights)


def test_reconstruction_is_summed_over_pixels_and_counts_images():
    module = network().requires_grad_(False)
    found = Reconstruction(squared_error).loss(module, IMAGES, generator())
    assert float(found.total) == pytest.approx(np.square((module(IMAGES) - IMAGES).numpy()).sum(), rel=1e-5)
    assert found.count == 5
    found = Reconstruction(cross_entropy).loss(module, IMAGES, generator())
    pixels = torch.sigmoid(module(IMAGES)).numpy()
    manual = -(IMAGES.numpy() * np.log(pixels) + (1 - IMAGES.numpy()) * np.log(1 - pixels)).sum()
    assert float(found.total) == pytest.approx(manual, rel=1e-5)


def test_the_target_is_the_clean_image():
    def blacken(x, generator):
        return torch.zeros_like(x)

    module = network()
    found = Reconstruction(squared_error, blacken).loss(module, IMAGES, generator())
    expected = (module(torch.zeros(5, 9)) - IMAGES).square().sum()
    torch.testing.assert_close(found.total, expected)


@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_sparsity_counts_for_each_image(sparsity):
    module = network()
    plain = Reconstruction(squared_error).loss(module, IMAGES, generator()).total
    penalties = Penalty(sparsity=sparsity, target=0.2, strength=3.0)
    found = Reconstruction(squared_error, penalties=penalties).loss(module, IMAGES, generator()).total
    code = module.encode(IMAGES).detach().numpy()
    mean = code.mean(axis=0)
    divergence = (0.2 * np.log(0.2 / mean) + 0.8 * np.log(0.8 / (1 - mean))).sum()
    expected = 5 * 3 * divergence if sparsity == "kl" else 3 * np.abs(code).sum()
    assert float((found - plain).detach()) == pytest.approx(expected, rel=1e-4)


def test_weight_decay_counts_a_tied_matrix_once_and_no_bias():
    decay = Penalty(weight_decay=0.6)
    tied, untied = network(tied=True), network()
    assert float(decay.of_weights(tied).detach()) == pytest.approx(
        0.3 * squares(tied.input_weight, *tied.encoder_weights), rel=1e-5
    )
    four = (untied.input_weight, *untied.encoder_weights, *untied.decoder_weights, untied.output_weight)
    assert float(decay.of_weights(untied).detach()) == pytest.approx(0.3 * squares(*four), rel=1e-5)
    assert Penalty().of_weights(untied) == 0


def test_weight_decay_of_a_classifier_is_of_what_is_trained():
    classifier = Classifier(network(), 3)
    torch.nn.init.normal_(classifier.head.weight, generator=generator())
    trained = (classifier.body.input_weight, *classifier.body.encoder_weights, classifier.head.weight)
    decay = float(Penalty(weight_decay=0.6).of_weights(classifier).detach())
    assert decay == pytest.approx(0.3 * squares(*trained), rel=1e-5)


@pytest.mark.parametrize(
    "objective", [Reconstruction(squared_error, penalties=Penalty(0.6)), Classification(penalties=Penalty(0.6))]
)
def test_the_penalty_of_a_batch_is_for_each_of_its_images(objective):
    module = network()
    once = Penalty(0.6).of_weights(module)
    torch.testing.assert_close(objective.penalty(module, IMAGES), 5 * once)
    torch.testing.assert_close(objective.penalty(module, IMAGES[:2]), 2 * once)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_negative_bound_is_that_of_the_distributions(beta):
    module = VariationalAutoencoder(9, (4, 2), generator=generator())
    found = NegativeELBO(beta).loss(module, IMAGES, generator(3))
    mean, log_variance = module.encode(IMAGES)
    code = mean + (log_variance / 2).exp() * torch.randn(5, 2, generator=generator(3))
    likelihood = Bernoulli(logits=module.decode(code), validate_args=False).log_prob(IMAGES).sum()
    divergence = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(found.total, -likelihood + beta * divergence)
    assert found.count == 5
    assert NegativeELBO().penalty(module, IMAGES) == 0


@dataclass
class Fixed(torch.nn.Module):
    """Gives these logits for any images."""

    logits: torch.Tensor

    def __post_init__(self) -> None:
        super().__init__()

    def forward(self, x):
        return self.logits


def test_classification_is_the_log_loss_of_scikit_learn():
    logits = torch.randn(5, 3, generator=generator())
    labels = torch.tensor([2, 0, 1, 1, 2])
    found = Classification().loss(Fixed(logits), LabelledBatch(IMAGES, labels), generator())
    expected = log_loss(labels.numpy(), logits.softmax(1).numpy(), normalize=False, labels=[0, 1, 2])
    assert float(found.total) == pytest.approx(expected, rel=1e-5)
    assert found.count == 5


def test_a_classifier_sees_corrupted_images():
    module = Classifier(network(), 3)
    torch.nn.init.normal_(module.head.weight, generator=generator())
    labels = torch.tensor([2, 0, 1, 1, 2])

    def blacken(x, generator):
        return torch.zeros_like(x)

    found = Classification(blacken).loss(module, LabelledBatch(IMAGES, labels), generator()).total
    expected = Classification().loss(module, LabelledBatch(torch.zeros(5, 9), labels), generator()).total
    torch.testing.assert_close(found, expected)
    assert found != Classification().loss(module, LabelledBatch(IMAGES, labels), generator()).total
