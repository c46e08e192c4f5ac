"""Saving and loading image models: parameters as JSON, weights as safetensors, nothing that could run code."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator

import recsys_ae
from recsys_ae.core.checkpoint import weights_digest
from recsys_ae.declaration import build, parameters
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.files import whole_folder
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.images.base import FittedImages, ImageModel, fitted_images

FORMAT = 1
DESCRIPTION, WEIGHTS = "image-model.json", "weights.safetensors"


def build_image_model(name: str, params: dict[str, Any] | None = None, where: str = "image model") -> Any:
    """An `ImageModel` that is not fitted yet.

    Raises:
        ConfigError: unknown model or parameter (with a suggestion), or a value of a wrong type.
    """
    return build(IMAGE_MODELS.get(name), params or {}, f"{where} {name!r}")


def save_image_model(model: ImageModel, folder: Path | str) -> None:
    """Write a fitted model to `folder`, which appears whole or not at all; an older image model there is replaced.

    Raises:
        NotFittedError: the model is not fitted.
        OutputError: `folder` holds something else, or cannot be written.
    """
    fitted, folder = fitted_images(model), Path(folder)
    if folder.exists() and not (folder / DESCRIPTION).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} holds something else than an image model; choose another folder")
    weights = {name: weight.contiguous() for name, weight in fitted.network.state_dict().items()}
    description = {
        "format": FORMAT,
        "version": recsys_ae.__version__,
        "model": IMAGE_MODELS.name_of(model),
        "params": parameters(model),
        "shape": fitted.shape,
        "classes": fitted.classes,
        "digest": weights_digest(weights),
    }
    with whole_folder(folder) as draft:
        (draft / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        try:
            save_file(weights, draft / WEIGHTS)
        except SafetensorError as error:
            raise OutputError(f"cannot write {folder}: {error}") from None


def load_image_model(folder: Path | str) -> Any:
    """The `ImageModel` that `save_image_model` wrote to `folder`.

    Raises:
        DataError: there is no image model, or one that is damaged or of a later format.
    """
    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise DataError(f"there is no complete image model in {folder}: {name} is missing")
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise DataError(f"the image model in {folder} has format {description['format']}, this version reads {FORMAT}")
        model = build_image_model(description["model"], description["params"])
        channels, height, width = description["shape"]
        network = model._network((channels, height, width), Generator(), description["classes"])
        weights = load_file(folder / WEIGHTS)
        if weights_digest(weights) != description["digest"]:
            raise DataError(f"the image model in {folder} is damaged: its weights do not have the digest that it names")
        network.load_state_dict(weights)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, ConfigError) as error:
        raise DataError(f"the image model in {folder} is damaged: {error}") from None
    model.fitted = FittedImages(network.eval(), (channels, height, width), description["classes"])
    return model
