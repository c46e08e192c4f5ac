"""Figures of unusual models and data; the usual ones are tested in `test_image_task`."""

from dataclasses import replace

import torch
from image_builders import SIDE, digits, generator, make, some, with_network

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.experiment.images import figures_of
from recsys_ae.images.dense import DenseAutoencoder


def test_codes_that_are_all_the_same():
    """As with dead units; t-SNE would crash the process."""
    network = Autoencoder(64, [4], activation="relu", generator=generator())
    with torch.no_grad():
        network.encoder_biases[0].fill_(-1000)
    figures = figures_of(with_network(DenseAutoencoder(hidden=(4,)), network, SIDE), digits())
    assert figures["codes"]().axes[0].collections


def test_a_single_image_has_no_walk():
    images = replace(digits(), test=digits().test[:1], test_labels=digits().test_labels[:1])
    names = set(figures_of(make("variational").fit(some()), images))
    assert "walks" not in names
    assert "samples" in names
