"""Building image models by name, saving and loading them."""

from pathlib import Path
from typing import Any

import torch
from torch import Generator

from recsys_ae.core.checkpoint import check_weights
from recsys_ae.core.devices import shapes_only
from recsys_ae.declaration import build, parameters
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.files import path_of
from recsys_ae.fitted import Fitted
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.images.base import FittedImages, ImageModel, fitted_images


def build_image_model(name: str, params: dict[str, Any] | None = None, where: str = "image model") -> Any:
    """A new, unfitted `ImageModel` by name; `ConfigError` if its name or a parameter is unknown, or a value is invalid."""
    return build(IMAGE_MODELS.get(name), params or {}, f"{where} {name!r}")


def save_image_model(model: ImageModel, folder: Path | str) -> None:
    """Write a fitted model to `folder`, which appears whole or not at all; replaces an older model there.

    Raises `NotFittedError`, or `OutputError` if `folder` holds something that is not a model or cannot be written.
    """
    image_state(model).save(path_of(folder), IMAGE_MODELS.name_of(model), parameters(model), IMAGE_MODELS.kind)


def load_image_model(folder: Path | str) -> Any:
    """The `ImageModel` saved in `folder`; `DataError` if there is none, or it is damaged or has another format."""
    name, params, fitted = Fitted.load(path_of(folder), IMAGE_MODELS.kind)
    try:
        model = build_image_model(name, params)
        channels, height, width = fitted.meta["shape"]
        shape, classes = (channels, height, width), fitted.meta["classes"]
        with shapes_only():  # nothing is allocated before they are compared
            network = model._network(shape, Generator(), classes)
        # cloned, because sums may differ in the last digit with another memory alignment than PyTorch's
        weights = {key: torch.from_numpy(array).clone() for key, array in fitted.arrays.items()}
        check_weights(weights, network.state_dict())
        network.load_state_dict(weights, assign=True)
    except (ConfigError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"the image model in {folder} cannot be loaded: {error}; fit it again") from None
    model.fitted = FittedImages(network.eval(), shape, classes)
    return model


def image_state(model: ImageModel) -> Fitted:
    """The state of a fitted image model as plain arrays."""
    fitted = fitted_images(model)
    arrays = {name: weight.cpu().numpy() for name, weight in fitted.network.state_dict().items()}
    return Fitted(arrays, meta={"shape": list(fitted.shape), "classes": fitted.classes})


def image_model_digest(model: ImageModel) -> str:
    """Content hash (32 hex digits) of a fitted model: name, parameters and weights."""
    return image_state(model).digest(IMAGE_MODELS.name_of(model), parameters(model))
