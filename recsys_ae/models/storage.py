"""Saving and loading models: parameters and ids in plain formats, nothing that could run code.

A folder holds `model.json` (what it is), `arrays.safetensors` (what was learned), `items.parquet` and, if the model
keeps something about its training users, `users.parquet`.
"""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import recsys_ae
from recsys_ae.declaration import build, parameters
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.files import whole_folder
from recsys_ae.ids import IdMap
from recsys_ae.models import MODELS
from recsys_ae.models.base import Fitted, Recommender, fitted_state

FORMAT = 1


def build_model(name: str, params: dict[str, Any] | None = None, where: str = "model") -> Recommender:
    """A model that is not fitted yet.

    Raises:
        ConfigError: unknown model or parameter (with a suggestion), or a value of a wrong type.
    """
    model: Recommender = build(MODELS.get(name), params or {}, f"{where} {name!r}")
    return model


def save_model(model: Recommender, folder: Path | str) -> None:
    """Write a fitted model to `folder`, which appears whole or not at all; an older model there is replaced.

    Raises:
        NotFittedError: the model is not fitted.
        OutputError: `folder` holds something else than a model, or cannot be written.
    """
    fitted = fitted_state(model)
    folder = Path(folder)
    if folder.exists() and not (folder / "model.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} holds something else than a model; choose another folder")
    description = {
        "format": FORMAT,
        "version": recsys_ae.__version__,
        "model": MODELS.name_of(model),
        "params": parameters(model),
        "scale": fitted.scale,
        "user_ids": fitted.user_ids,
        "digest": model_digest(model),
    }
    with whole_folder(folder) as draft:
        (draft / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        arrays = {name: np.ascontiguousarray(array) for name, array in fitted.arrays.items()}
        try:
            save_file(arrays, draft / "arrays.safetensors")
        except SafetensorError as error:
            raise OutputError(f"cannot write {folder}: {error}") from None
        (draft / "arrays.safetensors").chmod(0o644)  # readable like the other files, whatever its writer prefers
        for name, ids in (("items", fitted.items), ("users", fitted.users)):
            if ids is not None:
                pq.write_table(pa.table({"id": ids.values}), draft / f"{name}.parquet")


def load_model(folder: Path | str) -> Recommender:
    """The model that `save_model` wrote to `folder`; the training data is not needed.

    Raises:
        DataError: there is no model, or one that is damaged or of a later format.
    """
    folder = Path(folder)
    for name in ("model.json", "arrays.safetensors", "items.parquet"):
        if not (folder / name).is_file():
            raise DataError(f"there is no complete model in {folder}: {name} is missing")
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise DataError(f"the model in {folder} has format {description['format']}, this version reads {FORMAT}")
        model = build_model(description["model"], description["params"])
        scale = description["scale"]
        users = folder / "users.parquet"
        model.fitted = Fitted(
            items=_read_ids(folder / "items.parquet"),
            users=_read_ids(users) if users.exists() else None,
            scale=None if scale is None else (float(scale[0]), float(scale[1])),
            user_ids=description["user_ids"],
            arrays=load_file(folder / "arrays.safetensors"),
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError, ConfigError) as error:
        raise DataError(f"the model in {folder} is damaged: {error}") from None
    if model_digest(model) != description.get("digest"):
        raise DataError(f"the model in {folder} is damaged: its content does not have the digest that model.json names")
    return model


def model_digest(model: Recommender) -> str:
    """Content hash (32 hex digits) of parameters, ids and everything learned."""
    fitted = fitted_state(model)
    numbers = {key: float(value) if isinstance(value, int) else value for key, value in parameters(model).items()}
    described = [MODELS.name_of(model), numbers, fitted.scale, fitted.user_ids]
    digest = blake2b(json.dumps(described).encode(), digest_size=16)
    for ids in (fitted.items, fitted.users):
        digest.update(b"" if ids is None else ids.digest.encode())
    for name, array in sorted(fitted.arrays.items()):
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read_ids(path: Path) -> IdMap:
    return IdMap(pq.read_table(path)["id"].to_pandas())
