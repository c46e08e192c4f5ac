"""The variational autoencoder of images: samples, interpolations and the ELBO."""

import numpy as np
import pytest
import torch
from image_builders import generator, make, others, some

from recsys_ae.errors import ConfigError
from recsys_ae.images.base import FittedImages
from recsys_ae.images.objectives import NegativeELBO
from recsys_ae.images.variational import VariationalImages

FITTED: dict[str, VariationalImages] = {}


@pytest.fixture(params=["variational", "variational-one-layer"])
def model(request):
    if request.param not in FITTED:
        FITTED[request.param] = make(request.param).fit(some())
    return FITTED[request.param]


def test_samples_are_images_and_the_seed_decides(model):
    drawn = model.sample(40, seed=3)
    assert drawn.shape == (40, 64)
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < drawn.max() <= 1
    np.testing.assert_array_equal(model.sample(40, seed=3), drawn)
    assert not np.array_equal(model.sample(40, seed=4), drawn)
    assert len(np.unique(drawn, axis=0)) == 40


def test_samples_are_decoded_from_standard_normal_codes(model):
    codes = torch.randn(5, 6, generator=generator(3)).numpy()
    np.testing.assert_array_equal(model.sample(5, seed=3), model.decode(codes))


def test_a_walk_goes_from_one_reconstruction_to_the_other(model):
    start, end = others()[0], others()[1]
    walk = model.walk(start, end, 7)
    assert walk.shape == (7, 64)
    np.testing.assert_allclose(walk[[0, -1]], model.reconstruct(others()[:2]), rtol=1e-4, atol=1e-5)
    middle = model.decode(model.encode(others()[:2]).mean(axis=0, keepdims=True))
    np.testing.assert_allclose(walk[[3]], middle, rtol=1e-4, atol=1e-5)


def test_the_code_is_the_mean_of_the_distribution(model):
    mean, log_variance = model.fitted.network.encode(torch.from_numpy(others()))
    np.testing.assert_allclose(model.encode(others()), mean.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert not np.allclose(mean.detach().numpy(), log_variance.detach().numpy())


def test_the_bound_is_per_image_and_the_seed_decides(model):
    total = NegativeELBO().loss(model.fitted.network, torch.from_numpy(others()), generator(3)).total
    assert model.negative_elbo(others(), seed=3) == pytest.approx(float(total.detach()) / 50, rel=1e-5)
    assert model.negative_elbo(others(), seed=3) == model.negative_elbo(others(), seed=3)
    assert model.negative_elbo(others(), seed=3) != model.negative_elbo(others(), seed=4)
    assert model.negative_elbo(some()) < 0.9 * 64 * np.log(2)


def test_a_lower_weight_of_the_divergence_reconstructs_better_but_the_bound_stays_the_bound():
    known = {"hidden": (24, 6), "epochs": 15, "batch_size": 20, "learning_rate": 0.02}
    free, held = (VariationalImages(**known, beta=beta).fit(some()) for beta in (0.0, 1.0))
    errors = [np.square(model.reconstruct(some()) - some()).mean() for model in (free, held)]
    assert errors[0] < errors[1]
    assert held.negative_elbo(some()) < free.negative_elbo(some())
    held.fitted = FittedImages(free.fitted.network, (1, 8, 8))
    assert held.negative_elbo(some()) == free.negative_elbo(some())


def test_unknown_activation():
    with pytest.raises(ConfigError, match="unknown activation 'elo'; did you mean 'elu'"):
        VariationalImages(activation="elo")
