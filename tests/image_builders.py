"""Small images with known answers, and parameters that make each image model fast on them."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.trainer import Callback
from recsys_ae.data.cards import read_card
from recsys_ae.data.images import Images, load_images
from recsys_ae.images.base import FittedImages, ImageModel
from recsys_ae.images.storage import build_image_model

SIDE = (1, 8, 8)


@cache
def digits() -> Images:
    """The embedded digits: 1438 + 359 images of 8 x 8."""
    return load_images(*read_card("digits"))


def some() -> np.ndarray:
    """float32 [200, 64]"""
    return digits().train[:200]


def some_labels() -> np.ndarray:
    """int64 [200]"""
    return digits().train_labels[:200]


def others() -> np.ndarray:
    """float32 [50, 64], disjoint from `some`."""
    return digits().train[200:250]


def other_labels() -> np.ndarray:
    """int64 [50]"""
    return digits().train_labels[200:250]


def random_images(n: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """float32 [n, D]: random pixels."""
    return np.random.default_rng(seed).random((n, int(np.prod(shape))), dtype=np.float32)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def with_network(model: ImageModel, network: Autoencoder, shape: tuple[int, int, int]) -> ImageModel:
    """The model with this fitted state."""
    model.fitted = FittedImages(network.eval(), shape)
    return model


# Parameters under which each model is quick on `some`, and learns it.
SMALL = {
    "dense": {"hidden": [16], "epochs": 12, "batch_size": 20, "learning_rate": 0.02},
    "stacked": {
        "hidden": [24, 12],
        "epochs": 5,
        "batch_size": 20,
        "learning_rate": 0.003,
        "layer_epochs": 8,
        "layer_learning_rate": 0.02,
    },
    "convolutional": {"channels": [4, 8], "epochs": 8, "batch_size": 50, "learning_rate": 0.01, "noise": 0.2},
    "variational": {"hidden": [24, 6], "epochs": 15, "batch_size": 20, "learning_rate": 0.02},
    "pca": {"components": 5},
}
LINEAR = {"activation": "identity", "output": "identity", "loss": "squared_error"}
VARIANTS = {
    "dense": ("dense", SMALL["dense"]),
    "dense-tied-masking": ("dense", {**SMALL["dense"], "tied": True, "corruption": "masking", "noise": 0.3}),
    "dense-linear": ("dense", {**SMALL["dense"], **LINEAR, "hidden": [5]}),
    "dense-deep": ("dense", {**SMALL["dense"], "hidden": [20, 8], "activation": "elu", "code_activation": "identity"}),
    "dense-wide-sparse": ("dense", {**SMALL["dense"], "hidden": [100], "sparsity": "kl", "target": 0.1, "strength": 0.5}),
    "dense-whole-batches": ("dense", {**SMALL["dense"], "optimiser": "lbfgs", "learning_rate": 1.0, "epochs": 6}),
    "stacked": ("stacked", {**SMALL["stacked"], "corruption": "masking", "noise": 0.2}),
    "stacked-classes": ("stacked", {**SMALL["stacked"], "fine_tune": "classes"}),
    "stacked-none": ("stacked", {**SMALL["stacked"], "fine_tune": "none", "tied": True}),
    "convolutional": ("convolutional", SMALL["convolutional"]),
    "variational": ("variational", SMALL["variational"]),
    "variational-one-layer": ("variational", {**SMALL["variational"], "hidden": [6]}),
    "pca": ("pca", SMALL["pca"]),
}


def make(name: str, **changes: object) -> ImageModel:
    """A variant that is not fitted."""
    kind, params = VARIANTS[name]
    return build_image_model(kind, {**params, **changes})


FITTED: dict[str, object] = {}
CLOSED_FORM = ["pca"]
TRAINED = [name for name in VARIANTS if name not in CLOSED_FORM]


def fit(name: str, seed: int = 0, *callbacks: Callback):
    known = {"labels": some_labels(), "valid": others(), "valid_labels": other_labels()}
    return make(name).fit(some(), **known, seed=seed, callbacks=callbacks)


def weights(model) -> dict[str, torch.Tensor]:
    """The weights of the network, and of the one before fine-tuning if there is one."""
    found = dict(model.fitted.network.state_dict())
    before = {} if model.fitted.before is None else model.fitted.before.state_dict()
    return found | {f"before.{name}": weight for name, weight in before.items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(torch.equal(weight, second[name]) for name, weight in first.items())


def own(n: int, classes: int = 1) -> dict[str, str]:
    """A dataset of grey images, n in the folder of each class."""
    rng = np.random.default_rng(0)
    for number in range(n * classes):
        path = Path(f"pictures/{number // n}/{number % n}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 6), np.uint8)).save(path)
    return {"name": "own", "kind": "image-folder", "folder": "pictures"}
