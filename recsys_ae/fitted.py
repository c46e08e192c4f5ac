"""The state of fitted models as plain values, and how it is saved, loaded and hashed.

A folder holds `model.json` (a description), `arrays.safetensors` (what was learned) and one Parquet file per id map. Nothing
in it is executed when it is read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import recsys_ae
from recsys_ae.errors import DataError, OutputError
from recsys_ae.files import whole_folder
from recsys_ae.ids import IdMap

FORMAT = 1
DESCRIPTION, ARRAYS = "model.json", "arrays.safetensors"


@dataclass(frozen=True, repr=False)
class Fitted:
    """The state of a fitted model."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # everything that was learned, by name
    ids: Mapping[str, IdMap] = field(default_factory=dict)  # external ids of the rows of arrays, such as "items"
    meta: Mapping[str, Any] = field(default_factory=dict)  # whatever else is needed to use the model, as JSON values

    def __repr__(self) -> str:
        return f"Fitted({', '.join(sorted(self.arrays))})"

    def digest(self, name: str, params: Mapping[str, Any]) -> str:
        """Content hash (32 hex digits) of the state, the model's name and its parameters."""
        numbers = {key: float(value) if type(value) is int else value for key, value in params.items()}
        digest = blake2b(json.dumps([name, numbers, dict(self.meta)]).encode(), digest_size=16)
        for key, ids in sorted(self.ids.items()):
            digest.update((key + ids.digest).encode())
        for key, array in sorted(self.arrays.items()):
            digest.update(f"{key}{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, folder: Path, name: str, params: Mapping[str, Any]) -> None:
        """Write the state of the model `name` with its parameters to `folder`, which appears whole or not at all.

        Raises:
            OutputError: `folder` holds something that is not a model, or cannot be written.
        """
        if folder.exists() and not (folder / DESCRIPTION).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} holds something that is not a model; choose another folder")
        description = {
            "format": FORMAT,
            "version": recsys_ae.__version__,
            "model": name,
            "params": params,
            "meta": self.meta,
            "ids": sorted(self.ids),
            "digest": self.digest(name, params),
        }
        with whole_folder(folder) as draft:
            (draft / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
            try:
                save_file({key: np.ascontiguousarray(array) for key, array in self.arrays.items()}, draft / ARRAYS)
            except SafetensorError as error:
                raise OutputError(f"cannot write {folder}: {error}") from None
            (draft / ARRAYS).chmod(0o644)  # safetensors would make it readable for its owner only
            for key, ids in self.ids.items():
                pq.write_table(pa.table({"id": ids.values}), draft / f"{key}.parquet")

    @classmethod
    def load(cls, folder: Path) -> tuple[str, dict[str, Any], "Fitted"]:
        """Name, parameters and state of the model in `folder`.

        Raises:
            DataError: there is no model, or it is damaged or has another format.
        """

        def file(name: str) -> Path:
            if not (folder / name).is_file():
                raise DataError(f"there is no complete model in {folder}: {name} is missing")
            return folder / name

        try:
            described = json.loads(file(DESCRIPTION).read_text(encoding="utf-8"))
            if described["format"] != FORMAT:
                raise DataError(f"the model in {folder} has format {described['format']}, this version reads {FORMAT}")
            ids = {key: IdMap(pq.read_table(file(f"{key}.parquet"))["id"].to_pandas()) for key in described["ids"]}
            fitted = cls(load_file(file(ARRAYS)), ids, described["meta"])
            found = fitted.digest(described["model"], described["params"])
        except (OSError, KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
            raise DataError(f"the model in {folder} is damaged: {error}") from None
        if found != described.get("digest"):
            raise DataError(f"the model in {folder} is damaged: its content does not have the digest in {DESCRIPTION}")
        return described["model"], described["params"], fitted
