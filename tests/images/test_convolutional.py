"""The convolutional autoencoder against PyTorch layers, also with odd image sizes."""

import numpy as np
import pytest
import torch
from image_builders import generator, random_images
from torch import nn

from recsys_ae.errors import ConfigError
from recsys_ae.images.convolutional import ConvolutionalAutoencoder, ConvolutionalNetwork


def test_matches_the_usual_network():
    """Same weights, same input: code, output and gradients of an nn.Sequential for images of 9 x 7 in colour."""
    ours = ConvolutionalNetwork((3, 9, 7), (4, 5, 6), "relu", "sigmoid", generator())
    encoder = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU()),
    )
    decoder = nn.Sequential(
        *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()),
        *(nn.Upsample((4, 3)), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU()),
        *(nn.Upsample((9, 7)), nn.Conv2d(5, 4, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(4, 3, 3, padding=1), nn.Sigmoid()),
    )
    theirs = [layer for layer in (*encoder, *decoder) if isinstance(layer, nn.Conv2d)]
    own = [*ours.encoder, *ours.decoder, ours.output]
    with torch.no_grad():
        for mine, other in zip(own, theirs, strict=True):
            nn.init.normal_(mine.bias, std=0.1, generator=generator())
            other.weight.copy_(mine.weight)
            other.bias.copy_(mine.bias)
    x = torch.from_numpy(random_images(4, (3, 9, 7)))
    code = encoder(x.view(4, 3, 9, 7))
    assert code.shape == (4, 6, 2, 1)
    torch.testing.assert_close(ours.encode(x), code.flatten(1))
    torch.testing.assert_close(ours(x), decoder(code).flatten(1))
    ours(x).square().sum().backward()
    decoder(code).square().sum().backward()
    for mine, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(mine.weight.grad, other.weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 8, 8), (3, 5, 11), (1, 4, 4)])
def test_images_of_any_sides_and_in_colour(shape):
    images = random_images(20, shape)
    model = ConvolutionalAutoencoder(channels=(3, 4, 5), epochs=1, batch_size=7, corruption="none", noise=0.0).fit(
        images, shape=shape
    )
    codes = model.encode(images)
    assert codes.shape == (20, 5 * (shape[1] // 4) * (shape[2] // 4))
    assert model.decode(codes).shape == images.shape


@pytest.mark.parametrize(("shape", "times"), [((1, 3, 8), 2), ((1, 8, 1), 1), ((3, 8, 8), 4)])
def test_images_that_are_too_small_are_refused(shape, times):
    model = ConvolutionalAutoencoder(channels=(4,) * (times + 1))
    sides = f"{shape[1]} x {shape[2]}"
    with pytest.raises(ConfigError, match=f"images of {sides} pixels cannot be halved {times} times"):
        model.fit(random_images(5, shape), shape=shape)


def test_weights_start_with_the_variance_of_he():
    network = ConvolutionalNetwork((1, 8, 8), (32, 64), "relu", "identity", generator())
    for layer, inputs in ((network.encoder[1], 32), (network.decoder[0], 64)):
        assert layer.weight.std().item() == pytest.approx((2 / (9 * inputs)) ** 0.5, rel=0.03)
        assert not layer.bias.any()


def test_unknown_activation():
    with pytest.raises(ConfigError, match="unknown activation 'rely'; did you mean 'relu'"):
        ConvolutionalAutoencoder(activation="rely")


def test_the_squared_error_learns_from_images_that_are_mostly_black():
    """One white block of four pixels per image: a sigmoid saturates at all black, which is a bad reconstruction."""
    places = np.random.default_rng(0).integers(0, 15, (400, 2))
    images = np.zeros((400, 1, 16, 16), np.float32)
    for image, (row, column) in zip(images[:, 0], places, strict=True):
        image[row : row + 2, column : column + 2] = 1
    flat = images.reshape(400, -1)
    model = ConvolutionalAutoencoder(
        channels=(8, 16, 16), loss="squared_error", corruption="none", noise=0.0, epochs=12, batch_size=20
    ).fit(flat, shape=(1, 16, 16))
    assert np.square(model.reconstruct(flat) - flat).mean() < 0.2 * np.square(flat).mean()
