"""The state of fitted models as plain values: saving, loading and hashing.

A folder holds `model.json` (a description with the digests of the other files), `arrays.safetensors` (what was learned) and a
Parquet file per id map. Nothing in it is executed, and no file is read before its digest is verified.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import AfterValidator
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import recsys_ae
from recsys_ae.digests import digest_of, digest_of_file
from recsys_ae.errors import DataError, OutputError, quoted, similar_path
from recsys_ae.files import check_file, present, read_json, whole_folder, write_json
from recsys_ae.ids import IdMap
from recsys_ae.parquet import read_parquet, write_parquet

FORMAT = 1
DESCRIPTION, ARRAYS = "model.json", "arrays.safetensors"
REMEDY = "fit the model again, or restore a copy"


def _readable(found: int) -> int:
    if found != FORMAT:
        raise ValueError(f"the model has format {found}, but this version of recsys-ae reads only format {FORMAT}")
    return found


@dataclass(frozen=True)
class Description:
    """The content of `model.json`."""

    format: Annotated[int, AfterValidator(_readable)]
    kind: str  # of model: recommender, image model
    version: str  # of this package
    model: str  # registered name
    params: dict[str, Any]
    meta: dict[str, Any]
    model_digest: str  # of the whole state, see `Fitted.digest`
    files: dict[str, str]  # digest of each other file

    @classmethod
    def read(cls, folder: Path, remedy: str = REMEDY) -> "Description":
        """The description of the model in a folder; `DataError` unless all its files are as they were written."""
        check_model(folder)
        description = read_json(cls, folder / DESCRIPTION, remedy)
        for name, digest in description.files.items():
            _require(folder, name)
            check_file(folder / name, digest, remedy)
        return description


def saved_digest(folder: Path, remedy: str = REMEDY) -> str:
    """The digest of the model in a folder; `DataError` unless all its files are as they were written."""
    return Description.read(present(folder), remedy).model_digest


def check_model(folder: Path) -> None:
    """Raise `DataError` unless a folder holds a model; the message names up to three models below it, as a run writes them."""
    if not os.path.exists(folder):
        raise DataError(f"there is no model {folder}{similar_path(folder)}")
    if os.path.isdir(folder) and not (folder / DESCRIPTION).exists():
        below = [found.parent for pattern in ("*", "*/*") for found in sorted(folder.glob(f"{pattern}/{DESCRIPTION}"))]
        if below:
            more = ", ..." if len(below) > 3 else ""
            raise DataError(f"{folder} is not a model, but holds some; name one: {', '.join(map(str, below[:3]))}{more}")
    _require(folder, DESCRIPTION)


def _require(folder: Path, name: str) -> None:
    if not os.path.isfile(folder / name):  # False also for a name that is too long
        raise DataError(f"{folder} is not a complete model: {name} is missing")


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
        parts: list[Any] = [json.dumps([name, numbers, dict(self.meta)])]
        parts += [key + ids.digest for key, ids in sorted(self.ids.items())]
        for key, array in sorted(self.arrays.items()):
            parts += [f"{key}{array.dtype.str}{array.shape}", np.ascontiguousarray(array).data]
        return digest_of(parts)

    def save(self, folder: Path, name: str, params: Mapping[str, Any], kind: str = "recommender") -> None:
        """Write the state of the model `name` of a kind with its parameters to `folder`, which appears whole or not at all.

        Raises:
            OutputError: `folder` holds something that is not a model, or cannot be written; a number is not finite.
        """
        if not folder.name:
            raise OutputError("a model cannot replace the current folder; name a new one below it")
        if os.path.exists(folder) and not (folder / DESCRIPTION).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} exists and is not a model; choose another folder")
        if os.path.isdir(folder) and (others := [one.name for one in folder.iterdir() if one.is_dir()]):
            raise OutputError(f"{folder} also holds the folder {quoted(others[0])}, which would be lost; choose another")
        if problem := _not_finite(self.arrays):
            raise OutputError(f"cannot write {folder}: {problem}; fit the model again")
        with whole_folder(folder) as draft:
            try:
                save_file({key: np.ascontiguousarray(array) for key, array in self.arrays.items()}, draft / ARRAYS)
            except SafetensorError as error:
                raise OutputError(f"cannot write {folder}: {error}") from None
            (draft / ARRAYS).chmod(0o644)  # safetensors would make it readable for its owner only
            for key, ids in self.ids.items():
                table = pa.table({"id": ids.values})
                write_parquet(table.schema, [table], draft / f"{key}.parquet")
            files = {path.name: digest_of_file(path) for path in sorted(draft.iterdir())}
            about = FORMAT, kind, recsys_ae.__version__, name, dict(params), dict(self.meta), self.digest(name, params), files
            write_json(Description(*about), draft / DESCRIPTION)

    @classmethod
    def load(cls, folder: Path, kind: str = "recommender") -> tuple[str, dict[str, Any], "Fitted"]:
        """Name, parameters and state of the model in `folder`.

        Raises:
            DataError: there is no model, or it is damaged, of another kind or in another format.
        """
        folder = present(folder)
        described = Description.read(folder)
        if described.kind != kind:
            raise DataError(
                f"{folder} holds {quoted(described.model)}, which is a model of the kind {described.kind!r}, not {kind!r}"
            )
        try:
            arrays = load_file(folder / ARRAYS)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder / ARRAYS} is damaged: {error}; {REMEDY}") from None
        if problem := _not_finite(arrays):
            raise DataError(f"{folder / ARRAYS} is damaged: {problem}; {REMEDY}")
        tables = {name: folder / name for name in described.files if name != ARRAYS}
        ids = {name.removesuffix(".parquet"): _read_ids(path) for name, path in tables.items()}
        return described.model, described.params, cls(arrays, ids, described.meta)


def _not_finite(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The message about the first array with NaN or infinite floats; empty if there is none."""
    bad = [key for key, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    return f"{quoted(bad[0])} holds numbers that are not finite" if bad else ""


def _read_ids(path: Path) -> IdMap:
    table = read_parquet(path)
    if table.column_names != ["id"]:
        raise DataError(f"{path} is damaged: it must have a single column `id`; {REMEDY}")
    return IdMap(table["id"].to_pandas())
