"""Building recommenders by name, saving and loading them."""

from pathlib import Path
from typing import Any

from recsys_ae.declaration import build, parameters
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.files import path_of
from recsys_ae.fitted import Fitted
from recsys_ae.models import MODELS
from recsys_ae.models.base import Recommender, fitted_state


def build_model(name: str, params: dict[str, Any] | None = None, where: str = "model") -> Recommender:
    """A new, unfitted recommender by name; `ConfigError` if its name or a parameter is unknown, or a value is invalid."""
    return build(MODELS.get(name), params or {}, f"{where} {name!r}")


def save_model(model: Recommender, folder: Path | str) -> None:
    """Write a fitted model to `folder`, which appears whole or not at all; replaces an older model there.

    Raises `NotFittedError`, or `OutputError` if `folder` holds something that is not a model or cannot be written.
    """
    fitted_state(model).save(path_of(folder), MODELS.name_of(model), parameters(model))


def load_model(folder: Path | str) -> Recommender:
    """The recommender saved in `folder`; `DataError` if there is none, or it is damaged or has another format."""
    name, params, fitted = Fitted.load(path_of(folder))
    try:
        model = build_model(name, params)
    except ConfigError as error:
        raise DataError(f"the model in {folder} cannot be loaded: {error}; fit it again") from None
    model.fitted = fitted
    return model


def model_digest(model: Recommender) -> str:
    """Content hash (32 hex digits) of a fitted model: name, parameters, ids and arrays."""
    return fitted_state(model).digest(MODELS.name_of(model), parameters(model))
