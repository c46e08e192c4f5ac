"""Dense autoencoders against principal components and a plain PyTorch loop, and the effects of penalties."""

import numpy as np
import pytest
import torch
from image_builders import LINEAR, SIDE, generator, other_labels, others, random_images, some
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch.nn import functional

from recsys_ae.errors import ConfigError, TrainingError
from recsys_ae.images.dense import DenseAutoencoder
from recsys_ae.images.metrics import EvaluationData, cross_entropy


def near_a_plane() -> np.ndarray:
    """float32 [300, 3]: points near a plane in space, within the unit cube."""
    rng = np.random.default_rng(4)
    flat = rng.normal(size=(300, 2)) * [2, 1] @ np.array([[2.0, 1.0, 0.5], [-1.0, 1.0, 1.0]])
    points = flat + 0.5 * rng.normal(size=(300, 3))
    return ((points - points.min()) / np.ptp(points)).astype(np.float32)


@pytest.mark.parametrize("tied", [False, True])
def test_a_linear_one_finds_the_principal_plane(tied):
    points = near_a_plane()
    model = DenseAutoencoder(hidden=(2,), **LINEAR, tied=tied, optimiser="lbfgs", learning_rate=1.0, epochs=60)
    model.fit(points, shape=(1, 1, 3))
    found = PCA(2).fit(points)
    network = model.fitted.network
    weight = network.input_weight if tied else network.output_weight
    assert np.rad2deg(subspace_angles(weight.detach().numpy(), found.components_.T)).max() < 0.2
    best = np.square(found.inverse_transform(found.transform(points)) - points).mean()
    assert np.square(model.reconstruct(points) - points).mean() == pytest.approx(best, rel=1e-3)


def test_gradient_descent_takes_the_steps_of_a_plain_loop():
    """Tied weights, sigmoids, cross-entropy summed over pixels: the mean over a batch, also over the last and smaller one."""
    images, size = some()[:40], 15
    model = DenseAutoencoder(
        hidden=(6,), tied=True, initial="sigmoid_uniform", optimiser="sgd", learning_rate=0.1, epochs=4, batch_size=size
    )
    start = model._network(SIDE, generator(7))
    shared = (start.input_weight, start.encoder_biases[0], start.output_bias)
    weight, code_bias, bias = (parameter.detach().clone().requires_grad_() for parameter in shared)
    x, order, losses = torch.from_numpy(images), generator(7), []
    for _ in range(4):
        total = 0.0
        for batch in torch.randperm(40, generator=order).split(size):
            code = torch.sigmoid(functional.linear(x[batch], weight.T, code_bias))
            pixels = torch.sigmoid(functional.linear(code, weight, bias))
            loss = functional.binary_cross_entropy(pixels, x[batch], reduction="none").sum(1).mean()
            for parameter, gradient in zip(
                (weight, code_bias, bias), torch.autograd.grad(loss, (weight, code_bias, bias)), strict=True
            ):
                parameter.data -= 0.1 * gradient
            total += loss.item() * len(batch)
        losses.append(total / 40)
    model.fit(images, seed=7)
    network = model.fitted.network
    torch.testing.assert_close(network.input_weight, weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.encoder_biases[0], code_bias, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.output_bias, bias, rtol=1e-4, atol=1e-5)
    assert [epoch.loss for epoch in model.fitted.histories[""]] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "output", "expected"),
    [
        ("cross_entropy", "sigmoid", torch.sigmoid),
        ("squared_error", "sigmoid", torch.sigmoid),
        ("squared_error", "identity", lambda sums: sums),
    ],
)
def test_pixels_are_the_output_of_the_last_layer(loss, output, expected):
    model = DenseAutoencoder(hidden=(6,), loss=loss, output=output, epochs=2).fit(some())
    network, codes = model.fitted.network, model.encode(some())
    sums = codes @ network.output_weight.detach().numpy().T + network.output_bias.detach().numpy()
    np.testing.assert_allclose(model.decode(codes), expected(torch.from_numpy(sums)).numpy(), rtol=1e-4, atol=1e-5)


def activations(**params: object) -> np.ndarray:
    """float32 [200, 20]"""
    known = {"hidden": (20,), "epochs": 40, "batch_size": 50, "learning_rate": 0.02}
    return DenseAutoencoder(**{**known, **params}).fit(some()).encode(some())


def test_the_kl_penalty_brings_mean_activations_to_the_target():
    free = activations()
    for target in (0.05, 0.2):
        held = activations(sparsity="kl", target=target, strength=50.0).mean(axis=0)
        assert np.abs(held - target).max() < 0.03
    assert np.abs(free.mean(axis=0) - 0.2).max() > 0.2


def test_the_l1_penalty_lets_few_units_be_active():
    free = activations(activation="relu")
    held = activations(activation="relu", sparsity="l1", strength=1.0)
    assert 0 < (held > 0).mean() < 0.5 * (free > 0).mean()


def test_weight_decay_keeps_weights_small():
    def squares(**params: object) -> float:
        known = {"hidden": (6,), "epochs": 20, "batch_size": 50, "learning_rate": 0.02}
        return float(DenseAutoencoder(**known, **params).fit(some()).fitted.network.input_weight.detach().square().sum())

    assert squares(weight_decay=1.0) < 0.5 * squares()


def test_the_weights_of_the_best_epoch_are_kept():
    model = DenseAutoencoder(hidden=(30,), epochs=60, batch_size=5, learning_rate=0.05, patience=2)
    model.fit(some()[:30], valid=others())
    values = [epoch.valid for epoch in model.fitted.histories[""]]
    assert np.argmin(values) == len(values) - 3 < 57
    assert cross_entropy(model, EvaluationData(others(), other_labels(), some())) == pytest.approx(min(values), rel=1e-5)


def test_validation_corrupts_in_the_same_way_every_time():
    """With a learning rate near zero the validation loss is constant, although the images are corrupted."""
    model = DenseAutoencoder(hidden=(6,), corruption="masking", noise=0.5, learning_rate=1e-9, epochs=3)
    first, *more = (epoch.valid for epoch in model.fit(some(), valid=others()).fitted.histories[""])
    assert more == pytest.approx([first] * 2, rel=1e-6)


@pytest.mark.parametrize("name", ["masking", "dropout", "gaussian", "salt_and_pepper"])
def test_corrupted_images_stay_within_black_and_white(name):
    """Except with dropout, which scales pixels up."""
    images = random_images(50, SIDE)
    model = DenseAutoencoder(corruption=name, noise=0.4)
    corrupted = model.corrupt(images, seed=3)
    assert corrupted.dtype == np.float32
    assert corrupted.min() >= 0
    assert (corrupted.max() > 1) == (name == "dropout")
    assert not np.array_equal(corrupted, images)
    np.testing.assert_array_equal(model.corrupt(images, seed=3), corrupted)
    assert not np.array_equal(model.corrupt(images, seed=4), corrupted)
    np.testing.assert_array_equal(images, random_images(50, SIDE))
    assert DenseAutoencoder().corrupt(images) is images


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sparsity": "kl", "strength": 1.0, "activation": "relu"}, "kl needs a code between 0 and 1"),
        ({"sparsity": "kl", "strength": 1.0, "code_activation": "identity"}, "kl needs a code between 0 and 1"),
        ({"output": "identity"}, "cross_entropy needs output: sigmoid, which gives probabilities, got identity"),
        ({"activation": "sigmod"}, "unknown activation 'sigmod'; did you mean 'sigmoid'"),
        ({"code_activation": "linear"}, "unknown activation 'linear'"),
        ({"initial": "glorot"}, "unknown initialiser 'glorot'"),
        ({"optimiser": "adm"}, "unknown optimiser 'adm'"),
        ({"corruption": "masking", "noise": 1.0}, "masking rate must be at least 0 and less than 1"),
        ({"corruption": "salt_and_pepper", "noise": 1.5}, "must be between 0 and 1"),
    ],
)
def test_parameters_that_do_not_go_together(params, message):
    with pytest.raises(ConfigError, match=message):
        DenseAutoencoder(**params)


def test_a_sigmoid_code_may_be_sparse_whatever_the_other_layers_are():
    assert (
        DenseAutoencoder(hidden=(9, 4), activation="relu", code_activation="sigmoid", sparsity="kl", strength=1.0).sparsity
        == "kl"
    )


def test_diverging_training_is_an_error():
    with pytest.raises(TrainingError, match="try a lower learning_rate"):
        DenseAutoencoder(hidden=(6,), **LINEAR, optimiser="sgd", learning_rate=1e3, epochs=20).fit(some())


def test_layers_are_mirrored():
    model = DenseAutoencoder(hidden=(9, 4), activation="tanh", code_activation="identity", epochs=1).fit(some())
    network = model.fitted.network
    x = torch.from_numpy(others())

    hidden = torch.tanh(functional.linear(x, network.input_weight.T, network.encoder_biases[0]))
    code = functional.linear(hidden, network.encoder_weights[0], network.encoder_biases[1])
    np.testing.assert_allclose(model.encode(others()), code.detach().numpy(), rtol=1e-4, atol=1e-5)
    hidden = torch.tanh(functional.linear(code, network.decoder_weights[0].T, network.decoder_biases[0]))
    pixels = torch.sigmoid(functional.linear(hidden, network.output_weight, network.output_bias))
    np.testing.assert_allclose(model.reconstruct(others()), pixels.detach().numpy(), rtol=1e-4, atol=1e-5)
