"""How every registered image model is trained: seeds, threads, and interruptions."""

import numpy as np
import pytest
import torch
from image_builders import (
    CLOSED_FORM,
    FITTED,
    TRAINED,
    VARIANTS,
    fit,
    generator,
    make,
    other_labels,
    others,
    same,
    some,
    some_labels,
    weights,
)

from recsys_ae.core.checkpoint import Checkpoint
from recsys_ae.core.trainer import Callback
from recsys_ae.images.storage import load_image_model, save_image_model

IN_BATCHES = [name for name in TRAINED if not name.startswith("stacked") and name != "dense-whole-batches"]
# The weights of these may depend on the number of threads.
ROUNDING = "at the ends of a thread's share, torch.sigmoid and softplus round the last digit differently"
THREADS_MATTER = {
    "dense": ROUNDING,
    "stacked": ROUNDING,
    "variational": ROUNDING,
    "convolutional": "oneDNN sums the gradients of a convolution in one part per thread",
}
# Wide enough for threads to share, and odd: a thread's share then ends in the middle of a vector instruction.
WIDE = {
    "dense": {"hidden": [301], "epochs": 2, "batch_size": 199},
    "stacked": {"hidden": [301, 12], "layer_epochs": 1, "epochs": 1, "batch_size": 199},
    "convolutional": {"epochs": 2},
    "variational": {"hidden": [301, 6], "epochs": 2, "batch_size": 199},
    "pca": {},
}
# Of each model that is trained in stages, those in which it is interrupted; of the others, the only one.
STAGES = {
    "stacked": ["layer-1", "layer-2", "tuning"],
    "stacked-classes": ["layer-2", "head", "tuning"],
    "stacked-none": ["layer-1", "layer-2"],
}
INTERRUPTIONS = [(name, stage) for name in TRAINED for stage in STAGES.get(name, [""])]


def test_fitting_again_gives_the_same_model_and_leaves_the_images_alone(name, model):
    images, labels = some().copy(), some_labels().copy()
    known = {"valid": others(), "valid_labels": other_labels()}
    again = make(name).fit(images, labels, **known, seed=0)
    np.testing.assert_array_equal(images, some())
    np.testing.assert_array_equal(labels, some_labels())
    assert same(weights(model), weights(again))


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_the_seed_changes_nothing_in_closed_form(name, model):
    assert same(weights(model), weights(fit(name, 1)))


def barely_trained(name: str, seed: int):
    """A model whose training hardly changes its weights."""
    own = [key for key in ("layer_epochs", "layer_learning_rate") if key in VARIANTS[name][1]]
    barely = {"epochs": 1, "learning_rate": 1e-6, **{key: {"layer_epochs": 1}.get(key, 1e-6) for key in own}}
    return make(name, **barely).fit(some(), some_labels(), seed=seed)


@pytest.mark.parametrize("name", TRAINED)
def test_the_seed_draws_the_initial_weights(name):
    first, second = (weights(barely_trained(name, seed)) for seed in (0, 1))
    drawn = [key for key in first if first[key].ndim > 1]
    assert drawn
    for key in drawn:
        assert (first[key] - second[key]).abs().mean() > 1e-3, key


class Seeds(Callback):
    """Records the seed of each stage."""

    def __init__(self) -> None:
        self.of_stage: dict[str, int] = {}

    def on_start(self, training) -> None:
        self.of_stage[training.stage] = training.config.seed


@pytest.mark.parametrize("name", TRAINED)
def test_every_stage_is_trained_with_the_seed(name):
    """It determines the order of images and the corruption."""
    seeds = Seeds()
    model = make(name, epochs=1).fit(some(), some_labels(), seed=7, callbacks=[seeds])
    assert seeds.of_stage == dict.fromkeys(model.fitted.histories, 7)


@pytest.mark.parametrize("name", IN_BATCHES)
def test_the_seed_decides_the_course_of_training(name, monkeypatch):
    """With the same initial weights, because the network is drawn with a fixed seed."""
    kind = type(make(name))
    network = kind._network
    monkeypatch.setattr(kind, "_network", lambda self, shape, _, *more: network(self, shape, generator(3), *more))
    first, second = (weights(make(name, epochs=1).fit(some(), some_labels(), seed=seed)) for seed in (0, 1))
    assert not same(first, second)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_number_of_threads_does_not_matter(name, two_threads):
    models = []
    for threads in (1, 2):
        two_threads(threads)
        models.append(make(name, **WIDE.get(VARIANTS[name][0], {})).fit(some(), some_labels(), seed=0))
    if VARIANTS[name][0] in THREADS_MATTER:
        one, two = (model.reconstruct(others()) for model in models)
        assert np.abs(one - two).mean() < 0.02 * one.std()
    else:
        assert same(*map(weights, models))


class Stop(Callback):
    """Simulates a crash after the second epoch of a stage."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_epoch(self, training) -> None:
        if (training.stage, len(training.history)) == (self.stage, 2):
            raise KeyboardInterrupt


class Started(Callback):
    """Records how many epochs are done when each stage starts."""

    def __init__(self) -> None:
        self.lengths: dict[str, int] = {}

    def on_start(self, training) -> None:
        self.lengths[training.stage] = len(training.history)


@pytest.mark.parametrize(("name", "stage"), INTERRUPTIONS)
def test_interrupted_training_continues_exactly(tmp_path, name, stage):
    whole = FITTED.setdefault(name, fit(name))
    with pytest.raises(KeyboardInterrupt):
        fit(name, 0, Checkpoint(tmp_path / "checkpoint"), Stop(stage))
    started = Started()
    continued = fit(name, 0, Checkpoint(tmp_path / "checkpoint"), started)
    stages = list(whole.fitted.histories)
    assert list(started.lengths) == stages
    for place, (other, length) in enumerate(started.lengths.items()):
        if place < stages.index(stage):
            assert length == len(whole.fitted.histories[other])
        else:
            assert length in ((1, 2) if other == stage else (0,))
    assert same(weights(continued), weights(whole))
    for other, history in whole.fitted.histories.items():
        again = continued.fitted.histories[other]
        assert [(one.number, one.loss, one.valid) for one in again] == [(one.number, one.loss, one.valid) for one in history]


def test_loading_and_fitting_do_not_touch_the_global_random_state(name, tmp_path):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model = make(name)
    model.fit(some(), some_labels())
    save_image_model(model, tmp_path / "model")
    load_image_model(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
