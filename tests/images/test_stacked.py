"""Stacked autoencoders: layers, the network made of them, and fine-tuning."""

import numpy as np
import pytest
import torch
from image_builders import SIDE, digits, generator, make, other_labels, others, random_images, some, some_labels, with_network
from torch.nn import functional

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.trainer import Callback
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.images.metrics import EvaluationData, error_rate, error_rate_before, mse
from recsys_ae.images.stacked import Classifier, StackedAutoencoder, balanced, put_layer

FAST = {
    "hidden": (24, 12),
    "layer_epochs": 3,
    "epochs": 3,
    "batch_size": 20,
    "learning_rate": 0.01,
    "layer_learning_rate": 0.01,
}


def random_layer(inputs: int, outputs: int, *, tied: bool, **options: str) -> Autoencoder:
    """A layer with nonzero biases."""
    layer = Autoencoder(inputs, [outputs], tied=tied, generator=generator(inputs), **options)
    for bias in (layer.encoder_biases[0], layer.output_bias):
        torch.nn.init.normal_(bias, generator=generator(outputs))
    return layer


@pytest.mark.parametrize("tied", [False, True])
def test_the_network_is_its_layers_one_after_another(tied):
    """The last layer has a linear code, and each reconstructs with the activation of the one below."""
    sizes = [9, 7, 5, 3]
    network = Autoencoder(9, sizes[1:], activation="tanh", code_activation="identity", tied=tied, generator=generator())
    layers = [
        random_layer(9, 7, tied=tied, activation="tanh"),
        random_layer(7, 5, tied=tied, activation="tanh", output_activation="tanh"),
        random_layer(5, 3, tied=tied, activation="identity", output_activation="tanh"),
    ]
    for number, layer in enumerate(layers):
        put_layer(network, number, layer)
    x = torch.from_numpy(random_images(4, (1, 3, 3)))
    code = x
    for layer in layers:
        code = layer.encode(code)
    torch.testing.assert_close(network.encode(x), code)
    pixels = code
    for layer in reversed(layers):
        pixels = layer.decode(pixels)
    torch.testing.assert_close(network.decode(code), pixels)


class Keep(Callback):
    """Records the module of each stage."""

    def __init__(self) -> None:
        self.modules: dict[str, torch.nn.Module] = {}

    def on_end(self, training) -> None:
        self.modules[training.stage] = training.module


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("code_activation", [None, "identity"])
def test_without_fine_tuning_the_model_is_its_trained_layers(tied, code_activation):
    kept = Keep()
    params = {"activation": "relu", "code_activation": code_activation, "loss": "squared_error", "tied": tied}
    model = StackedAutoencoder(**FAST, fine_tune="none", **params)
    model.fit(some(), callbacks=[kept])
    first, second = kept.modules["layer-1"], kept.modules["layer-2"]
    x = torch.from_numpy(others())
    with torch.no_grad():
        code = second.encode(first.encode(x))
        np.testing.assert_allclose(model.encode(others()), code.numpy(), rtol=1e-4, atol=1e-5)
        pixels = first.decode(second.decode(code))
        np.testing.assert_allclose(model.reconstruct(others()), pixels.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [(24, 12), (24, 24), (64, 64), (24, 12, 24)])
def test_every_layer_learns_to_reconstruct_the_activations_below(sizes):
    """Better than the mean activation, also with layers of equal size or of the size of the images."""
    kept = Keep()
    more = {"hidden": sizes, "layer_epochs": 15, "fine_tune": "none", "loss": "squared_error", "activation": "tanh"}
    StackedAutoencoder(**{**FAST, **more}).fit(some(), callbacks=[kept])
    assert list(kept.modules) == [f"layer-{number}" for number in range(1, len(sizes) + 1)]
    below = torch.from_numpy(some())
    with torch.no_grad():
        for layer in kept.modules.values():
            assert len(layer.input_weight) == below.shape[1]
            error = (layer(below) - below).square().mean()
            assert error < 0.5 * below.var(0).mean()
            below = layer.encode(below)


def test_layers_can_be_trained_on_logits_of_sigmoids():
    """The cross-entropy of activations, which are between 0 and 1: the loss is that of the layer's own reconstruction."""
    kept = Keep()
    model = StackedAutoencoder(**FAST, fine_tune="none").fit(some(), callbacks=[kept])
    first, second = kept.modules["layer-1"], kept.modules["layer-2"]
    with torch.no_grad():
        below = first.encode(torch.from_numpy(some()))
        loss = functional.binary_cross_entropy_with_logits(second(below), below, reduction="sum") / 200
    assert loss == pytest.approx(model.fitted.histories["layer-2"][-1].loss, rel=0.05)


@pytest.mark.parametrize(
    ("params", "stages"),
    [
        ({}, ["layer-1", "layer-2", "tuning"]),
        ({"fine_tune": "none"}, ["layer-1", "layer-2"]),
        ({"fine_tune": "classes"}, ["layer-1", "layer-2", "head", "tuning"]),
        ({"layer_epochs": 0}, ["tuning"]),
        ({"layer_epochs": 0, "fine_tune": "classes"}, ["tuning"]),
        ({"hidden": (12,)}, ["layer-1", "tuning"]),
    ],
)
def test_stages(params, stages):
    model = StackedAutoencoder(**{**FAST, **params}).fit(some(), some_labels())
    assert list(model.fitted.histories) == stages
    assert all(len(model.fitted.histories[stage]) == 3 for stage in stages if stage != "head")


def test_fine_tuning_improves_the_reconstruction():
    model = StackedAutoencoder(**{**FAST, "epochs": 15}).fit(some())
    before = with_network(StackedAutoencoder(**FAST), model.fitted.before, SIDE)
    after, earlier = (mse(one, EvaluationData(some(), None, some())) for one in (model, before))
    assert after < 0.8 * earlier


def test_every_layer_has_its_own_noise():
    model = StackedAutoencoder(hidden=(9, 8, 7), corruption="masking", noise=0.1, layer_noise=(0.2, 0.3))
    rates = [model._layer(64, number, generator())[1].corruption.rate for number in range(3)]
    assert rates == [0.2, 0.3, 0.1]
    with pytest.raises(ConfigError, match="layer_noise needs one number per layer: 2, got 3"):
        StackedAutoencoder(hidden=(9, 8), corruption="masking", layer_noise=(0.1, 0.2, 0.3))
    with pytest.raises(ConfigError, match="masking rate must be at least 0 and less than 1"):
        StackedAutoencoder(hidden=(9, 8), corruption="masking", layer_noise=(0.1, 1.0))


def test_images_are_shown_as_corrupted_as_the_first_layer_sees_them():
    white = np.ones((500, 64), np.float32)
    model = StackedAutoencoder(corruption="masking", noise=0.1, layer_noise=(0.4, 0.2))
    assert (model.corrupt(white) == 0).mean() == pytest.approx(0.4, abs=0.02)


def test_sparsity_by_divergence_needs_sigmoids_in_all_layers():
    """Each layer has its own code, so another activation of the last layer does not help."""
    with pytest.raises(ConfigError, match="kl needs a code between 0 and 1"):
        StackedAutoencoder(activation="relu", code_activation="sigmoid", sparsity="kl", strength=1.0)


class TestClasses:
    def test_a_classifier_learns_digits(self):
        data = digits()
        params = {"hidden": (48, 32), "layer_epochs": 4, "epochs": 8, "batch_size": 50, "learning_rate": 0.01}
        model = StackedAutoencoder(**{**FAST, **params}, fine_tune="classes").fit(data.train, data.train_labels)
        judged = EvaluationData(data.test, data.test_labels, data.train)
        assert error_rate(model, judged) < 0.2
        assert error_rate_before(model, judged) < 0.5
        shares = model.classify(data.test)
        assert shares.shape == (359, 10)
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)

    def test_the_decoder_does_not_change(self):
        model = StackedAutoencoder(**FAST, fine_tune="classes", tune_weight_decay=0.1).fit(some(), some_labels())
        before, after = (network.body.state_dict() for network in (model.fitted.before, model.fitted.network))
        changed = {name.split(".")[0] for name, weight in after.items() if not torch.equal(weight, before[name])}
        assert changed == {"input_weight", "encoder_weights", "encoder_biases"}

    def test_labels_are_needed(self):
        with pytest.raises(ConfigError, match="fine_tune: classes needs images with classes"):
            StackedAutoencoder(**FAST, fine_tune="classes").fit(some())

    @pytest.mark.parametrize("labels", [some_labels()[:50], some_labels() - 1, some_labels()[:, None]])
    def test_labels_that_do_not_fit(self, labels):
        with pytest.raises(DataError, match="labels must be a whole number from 0 for each of 200 images"):
            StackedAutoencoder(**{**FAST, "layer_epochs": 0}, fine_tune="classes").fit(some(), labels)

    def test_more_labels_than_images(self):
        with pytest.raises(ConfigError, match="labels: 201 is more than the 200 images"):
            StackedAutoencoder(**{**FAST, "layer_epochs": 0}, fine_tune="classes", labels=201).fit(some(), some_labels())

    def test_only_the_labels_that_are_drawn_are_looked_at(self):
        """Without pretraining, unlabelled images have no influence."""
        drawn = balanced(some_labels(), 30, 5).numpy()
        params = {**FAST, "layer_epochs": 0, "fine_tune": "classes"}
        known = StackedAutoencoder(**params, labels=30).fit(some(), some_labels(), seed=5)
        alone = StackedAutoencoder(**params).fit(some()[drawn], some_labels()[drawn], seed=5)
        np.testing.assert_array_equal(known.classify(others()), alone.classify(others()))

    def test_classes_without_a_label_are_classes_all_the_same(self):
        """Three labels cannot cover ten classes, but the validation images do."""
        model = StackedAutoencoder(**FAST, fine_tune="classes", labels=3)
        model.fit(some(), some_labels(), valid=others(), valid_labels=other_labels())
        assert model.classify(others()).shape == (50, 10)

    def test_a_reconstruction_model_predicts_no_classes(self):
        with pytest.raises(ConfigError, match="does not classify; fit it with fine_tune: classes"):
            make("stacked-none").fit(some()).classify(others())

    def test_the_head_starts_with_equal_probabilities(self):
        module = Classifier(Autoencoder(9, [4, 2], generator=generator()), 3)
        shares = module(torch.from_numpy(random_images(5, (1, 3, 3)))).softmax(1)
        torch.testing.assert_close(shares, torch.full((5, 3), 1 / 3))


class TestBalanced:
    @pytest.mark.parametrize("n", [7, 10, 100, 123])
    def test_classes_are_of_the_same_number_as_far_as_possible(self, n):
        drawn = balanced(digits().train_labels, n, 0).numpy()
        assert len(set(drawn)) == len(drawn) == n
        counts = np.bincount(digits().train_labels[drawn], minlength=10)
        assert np.ptp(counts) == (0 if n % 10 == 0 else 1)

    def test_a_rare_class_is_taken_whole(self):
        labels = np.array([0] * 50 + [1] * 3 + [2] * 50)
        drawn = balanced(labels, 23, 0).numpy()
        assert np.bincount(labels[drawn]).tolist() == [10, 3, 10]

    def test_all_labels_are_used_if_there_are_no_more(self):
        assert sorted(balanced(some_labels(), 200, 0).tolist()) == list(range(200))

    def test_the_seed_decides(self):
        first, again, other = (balanced(some_labels(), 50, seed).tolist() for seed in (1, 1, 2))
        assert first == again
        assert set(first) != set(other)


def fit_nothing(**given):
    """Records the stages that start although the labels are invalid."""
    stages = []

    class Stages(Callback):
        def on_start(self, training):
            stages.append(training.stage)

    model = StackedAutoencoder(hidden=(6, 4), layer_epochs=1, epochs=1, fine_tune="classes", labels=given.pop("known", None))
    with pytest.raises((ConfigError, DataError)) as error:
        model.fit(some(), callbacks=[Stages()], **given)
    assert stages == []
    return str(error.value)


def test_labels_are_looked_at_before_anything_is_trained():
    assert "needs images with classes" in fit_nothing()
    assert "labels: 500 is more than the 200 images" in fit_nothing(labels=some_labels(), known=500)
    assert "for each of 200 images" in fit_nothing(labels=some_labels()[:9])
    watched = {"labels": some_labels(), "valid": others()}
    assert "for each of 50 images" in fit_nothing(**watched, valid_labels=other_labels()[:9])
    assert "for each of 50 images" in fit_nothing(**watched, valid_labels=other_labels() - 1)
    assert "for each of 50 images, got float32" in fit_nothing(**watched, valid_labels=other_labels().astype(np.float32))


def test_labels_of_any_whole_numbers_will_do():
    model = StackedAutoencoder(hidden=(6, 4), layer_epochs=1, epochs=1, fine_tune="classes")
    small = {"labels": some_labels().astype(np.int32), "valid": others(), "valid_labels": other_labels().astype(np.uint8)}
    assert model.fit(some(), **small).classify(others()).shape == (50, 10)


def test_settings_of_fine_tuning_do_not_change_the_softmax_layer():
    params = {"hidden": (6, 4), "layer_epochs": 1, "epochs": 1, "fine_tune": "classes"}
    heads = [
        StackedAutoencoder(**params, learning_rate_decay=decay).fit(some(), some_labels()).fitted.before.head
        for decay in (1.0, 0.5)
    ]
    torch.testing.assert_close(heads[0].weight, heads[1].weight, rtol=0, atol=0)


def test_noise_of_activations_is_clipped_where_they_are():
    rows = np.full((40, 64), 0.5, np.float32)
    for activation, clipped in (("sigmoid", True), ("tanh", False)):
        model = StackedAutoencoder(hidden=(6, 4), activation=activation, corruption="gaussian", noise=1.0)
        _, objective = model._layer(6, 1, generator())
        noisy = objective.corruption(torch.from_numpy(rows), generator())
        assert (noisy.min() >= 0) == clipped


def test_a_model_with_nothing_to_learn_is_refused():
    with pytest.raises(ConfigError, match="there is nothing to learn"):
        StackedAutoencoder(layer_epochs=0, fine_tune="none")
