"""Interactions in a folder of arrays, which are mapped into memory when it is opened instead of being read.

The folder holds `interactions.json` (a description with the digests of the other files), a Parquet file per id map and a file
in NumPy's format per array.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import AfterValidator
from scipy.sparse import csr_array

from recsys_ae.digests import digest_of_file
from recsys_ae.errors import DataError, OutputError, reason
from recsys_ae.events import Duplicates, Events
from recsys_ae.features import FeatureTable
from recsys_ae.files import check_file, path_of, present, read_json, whole_folder, write_json
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions, check_interactions
from recsys_ae.parquet import read_parquet, write_parquet

FORMAT = 1
DESCRIPTION, REMEDY = "interactions.json", "save the interactions again, or restore a copy"
PARTS, ALIGNED, SIDES = ("indptr", "indices", "data"), ("times", "order"), ("users", "items")
FEATURES = ("user_features", "item_features")


def _readable(found: int) -> int:
    if found != FORMAT:
        raise ValueError(f"the interactions have format {found}, but this version of recsys-ae reads only format {FORMAT}")
    return found


@dataclass(frozen=True)
class Description:
    """The content of `interactions.json`."""

    format: Annotated[int, AfterValidator(_readable)]
    scale: tuple[float, float] | None
    duplicates: Duplicates
    features: dict[str, list[dict[str, Any]]]  # by the name of the table, see `FeatureTable.to_arrays`
    files: dict[str, str]  # digest of each other file


def save_interactions(data: Interactions, folder: Path | str) -> None:
    """Write interactions to `folder`, which appears whole or not at all; replaces older interactions there.

    Raises:
        DataError: not `Interactions`.
        OutputError: `folder` holds something else, or cannot be written.
    """
    check_interactions(data, "data")
    folder = path_of(folder)
    if not folder.name or (os.path.exists(folder) and not (folder / DESCRIPTION).is_file() and _holds_something(folder)):
        raise OutputError(f"{folder} exists and does not hold interactions; choose another folder")
    arrays: dict[str, NDArray[Any] | None] = {part: getattr(data.matrix, part) for part in PARTS}
    arrays |= {name: getattr(data, name) for name in ALIGNED}
    if data.events is not None:
        arrays |= {f"events.{column.name}": getattr(data.events, column.name) for column in fields(Events)}
    features: dict[str, list[dict[str, Any]]] = {}
    for name in FEATURES:
        if (table := getattr(data, name)) is not None:
            own, features[name] = table.to_arrays(f"{name}.")
            arrays |= own
    with whole_folder(folder) as draft:
        for name, array in arrays.items():
            if array is not None:
                np.save(draft / f"{name}.npy", array)
        for side in SIDES:
            ids = pa.table({"id": getattr(data, side).values})
            write_parquet(ids.schema, [ids], draft / f"{side}.parquet")
        files = {path.name: digest_of_file(path) for path in sorted(draft.iterdir())}
        write_json(Description(FORMAT, data.scale, data.duplicates, features, files), draft / DESCRIPTION)


def open_interactions(folder: Path | str, *, verify: bool = False) -> Interactions:
    """The interactions in `folder`, whose arrays stay in their files and are mapped into memory, read-only.

    The rankers trained on batches of users (`elsa`, `cdae`, `multvae` and others) read only the rows of a batch, so that the
    interactions may be larger than the memory; other models copy what they need. The files must not change while in use.

    Args:
        verify: also compare every array with its digest, which takes another pass over the files. Ids and the description are
            always verified, and it is always checked that rows, columns and ratings are possible.

    Raises:
        DataError: there are no interactions, or they are damaged or in another format.
    """
    folder = present(path_of(folder))
    if not os.path.isfile(folder / DESCRIPTION):
        raise DataError(f"{folder} holds no interactions: {DESCRIPTION} is missing")
    about = read_json(Description, folder / DESCRIPTION, REMEDY)
    arrays: dict[str, NDArray[Any]] = {}
    for name, digest in about.files.items():
        if verify or not name.endswith(".npy"):
            check_file(folder / name, digest, REMEDY)
        if name.endswith(".npy"):
            arrays[name.removesuffix(".npy")] = _mapped(folder / name)
    try:
        users, items = (IdMap(read_parquet(folder / f"{side}.parquet")["id"].to_pandas()) for side in SIDES)
        matrix = csr_array(tuple(arrays[part] for part in ("data", "indices", "indptr")), shape=(len(users), len(items)))
        log = None
        if "events.users" in arrays:
            log = Events(**{column.name: arrays.get(f"events.{column.name}") for column in fields(Events)})  # type: ignore[arg-type]
            log.check(len(users), len(items))
        tables: dict[str, Any] = {
            name: FeatureTable.from_arrays(users if name == "user_features" else items, arrays, one, f"{name}.")
            for name, one in about.features.items()
        }
        aligned: dict[str, Any] = {name: arrays.get(name) for name in ALIGNED}
        return Interactions(
            matrix, users, items, scale=about.scale, events=log, duplicates=about.duplicates, **aligned, **tables, merged=True
        )
    except (DataError, KeyError, ValueError) as error:
        raise DataError(f"{folder} is damaged: {reason(error)}; {REMEDY}") from None


def _mapped(path: Path) -> NDArray[Any]:
    """The array in a file, mapped into memory, read-only."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is missing or damaged: {reason(error)}; {REMEDY}") from None


def _holds_something(folder: Path) -> bool:
    return not folder.is_dir() or any(folder.iterdir())
