"""Probes of image models, against planted weights."""

import numpy as np
import pytest
import torch
from image_builders import LINEAR, make, random_images, some, some_labels, with_network

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.errors import ConfigError
from recsys_ae.images.dense import DenseAutoencoder
from recsys_ae.images.principal import PrincipalComponents
from recsys_ae.images.probes import angle_to_components, body, filters, n_layers, strongest_inputs


def planted(shape: tuple[int, int, int], *weights: object, tied: bool = True) -> DenseAutoencoder:
    """A linear autoencoder whose encoder has these weights, [D, H] and then [H', H] for each further layer."""
    first, *inner = (torch.as_tensor(weight, dtype=torch.float32) for weight in weights)
    sizes = [first.shape[1], *(len(weight) for weight in inner)]
    network = Autoencoder(len(first), sizes, activation="identity", tied=tied)
    with torch.no_grad():
        network.input_weight.copy_(first)
        for own, weight in zip(network.encoder_weights, inner, strict=True):
            own.copy_(weight)
    return with_network(DenseAutoencoder(hidden=tuple(sizes), **LINEAR, tied=tied), network, shape)


def test_filters_of_the_first_layer_are_its_weights_as_images():
    weight = np.arange(36).reshape(12, 3)
    found = filters(planted((3, 2, 2), weight))
    assert found.shape == (3, 3, 2, 2)
    for unit in range(3):
        np.testing.assert_array_equal(found[unit], weight[:, unit].reshape(3, 2, 2))


def test_filters_further_up_are_weighted_sums_of_those_below():
    weight = np.arange(12).reshape(4, 3)
    second, third = np.array([[1, 0, -1], [2, 1, 0]]), np.array([[1, 10]])
    model = planted((1, 2, 2), weight, second, third)
    assert n_layers(model) == 3
    first = filters(model, 1)
    np.testing.assert_array_equal(filters(model, 2), [first[0] - first[2], 2 * first[0] + first[1]])
    np.testing.assert_array_equal(filters(model, 3), [21 * first[0] + 10 * first[1] - first[2]])
    for layer in (0, 4):
        with pytest.raises(ConfigError, match=f"layer must be from 1 to 3, got {layer}"):
            filters(model, layer)


@pytest.mark.parametrize(
    ("name", "layers", "units"),
    [
        ("dense-deep", 2, 20),
        ("stacked-classes", 2, 24),
        ("variational", 1, 24),
        ("variational-one-layer", 1, 6),
        ("pca", 1, 5),
    ],
)
def test_every_dense_network_shows_its_filters(name, layers, units):
    epochs = {} if name == "pca" else {"epochs": 1}
    model = make(name, **epochs).fit(some(), some_labels())
    assert n_layers(model) == layers
    assert filters(model).shape == (units, 1, 8, 8)
    np.testing.assert_array_equal(filters(model)[2].ravel(), body(model).input_weight.detach()[:, 2])


def test_kernels_of_a_convolutional_network_are_its_filters():
    model = make("convolutional", epochs=1).fit(random_images(10, (3, 8, 8)), shape=(3, 8, 8))
    assert (n_layers(model), body(model)) == (1, None)
    np.testing.assert_array_equal(filters(model), model.fitted.network.encoder[0].weight.detach())
    assert filters(model).shape == (4, 3, 3, 3)


def test_strongest_inputs_come_first():
    codes = np.array([[0, 5, 1], [3, 5, 0], [2, 9, 0], [1, 4, 0]], np.float32)
    found = strongest_inputs(codes, np.array([1, 0]), 3)
    assert found.tolist() == [[2, 0, 1], [1, 2, 3]]
    assert strongest_inputs(codes, np.array([2]), 9).tolist() == [[0, 1, 2, 3]]


def in_space(n: int = 500) -> np.ndarray:
    """float32 [n, 3] with the axes of space as principal components, in that order."""
    points = np.random.default_rng(2).normal(size=(n, 3))
    points = np.linalg.qr(points - points.mean(axis=0))[0] * [3, 2, 1]
    return ((points - points.min()) / np.ptp(points)).astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 30, 90])
@pytest.mark.parametrize("tied", [False, True])
def test_the_angle_between_planes(degrees, tied):
    """A plane through the first axis, rotated about it; its basis is not orthonormal."""
    second = [0, np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))]
    weight = np.array([[2, 0, 0], second]).T @ np.array([[1, 1], [0.5, -2]])
    model = planted((1, 1, 3), weight if tied else np.ones((3, 2)), tied=tied)
    if not tied:
        with torch.no_grad():
            model.fitted.network.output_weight.copy_(torch.from_numpy(weight))
    assert angle_to_components(model, in_space()) == pytest.approx(degrees, abs=0.01)


def test_principal_components_are_at_an_angle_of_0():
    model = PrincipalComponents(components=10).fit(some())
    assert angle_to_components(model, some()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", ["dense", "dense-deep", "convolutional", "variational", "variational-one-layer"])
def test_other_decoders_have_no_angle(name):
    """Decoders with several layers or with a sigmoid are not linear."""
    assert angle_to_components(make(name, epochs=1).fit(some()), some()) is None


def test_a_code_as_wide_as_the_images_spans_everything():
    """There are no more components than pixels."""
    for size in (3, 5):
        value = angle_to_components(planted((1, 1, 3), np.random.default_rng(0).random((3, size))), in_space())
        assert value is None or value == pytest.approx(0, abs=1e-3)
