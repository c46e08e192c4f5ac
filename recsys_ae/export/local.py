"""Exports to a folder, and reading them: top-k lists of all users in bounded memory, and vectors."""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from recsys_ae.data.layouts import Place
from recsys_ae.data.lists import read_lists
from recsys_ae.data.tables import IdTypes
from recsys_ae.digests import digest_of_file
from recsys_ae.errors import DataError, OtherInputsError, OutputError, similar_path
from recsys_ae.export.executors import check_installed
from recsys_ae.export.manifest import MANIFEST, ListManifest, Part, VectorManifest
from recsys_ae.export.parts import WHOLE, Engine, complete_parts, one_by_one
from recsys_ae.export.provenance import Sources
from recsys_ae.export.reading import ExportedLists
from recsys_ae.export.request import PART_USERS, ListRequest
from recsys_ae.export.writing import Titles, Writing
from recsys_ae.files import beside, locked_folder, move, path_of, whole_folder, write_json
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender
from recsys_ae.models.recommend import Cold
from recsys_ae.models.rules import Rules
from recsys_ae.parquet import write_parquet

EngineName = Literal["local", "spark"]
M = TypeVar("M")

logger = logging.getLogger(__name__)


def export_recommendations(
    model: Recommender,
    history: Interactions,
    folder: Path | str,
    k: int,
    *,
    users: ArrayLike | None = None,
    exclude_seen: bool = True,
    rules: Rules | None = None,
    cold: Cold = "popular",
    part_users: int = PART_USERS,
    batch_users: int | None = None,
    seen: Interactions | None = None,
    writing: Writing | None = None,
    titles: Titles | None = None,
    sources: Sources | None = None,
    engine: EngineName = "local",
) -> ListManifest:
    """Write the best `k` items of every user to `folder`, in bounded memory: a block of scores and a part of the lists.

    The folder gets `part-*.parquet` with the columns user_id, rank (from 1), item_id, score, ids in their own type, users in
    the order asked for; and `_manifest.json`. It appears when the export is complete; until then the parts are in
    `<folder>.partial`, from which the same call continues after an interruption. If `folder` already holds the result of the
    same call, its files are verified and nothing else happens.

    Args:
        part_users: users per part; a kill loses at most the work on one. Neither this nor `batch_users` changes a list.
        sources: where the arguments come from, for the manifest.
        engine: `local` makes the lists in this process, `spark` in the executors of Spark, which must have `folder` mounted.
            The session is the active one, or else a new one with the settings of the environment.
        others: see `recommend` and `recommend_blocks`.

    Raises:
        ColdUserError: there is a cold user, and `cold` is `error`.
        ConfigError: `k`, `part_users` or `batch_users` is below 1, `users` contains an id twice, or PySpark is not installed.
        DataError: the export in `folder` is damaged, the rules are about other items, or `seen` has other users or items.
        OutputError: `folder` holds something else, another export is writing it, or the disk is full.
        UnknownIdError: `users` contains an id that is not in the history.
    """
    options: dict[str, Any] = {"users": users, "exclude_seen": exclude_seen, "rules": rules}
    options |= {"cold": cold, "part_users": part_users, "batch_users": batch_users, "seen": seen, "sources": sources}
    options |= {"writing": writing, "titles": titles}
    makes_parts = engine_of(engine)
    return export_request(ListRequest.of(model, history, k, **options), path_of(folder), makes_parts)


def read_recommendations(
    path: Path | str,
    *,
    ids: IdTypes | None = None,
    own_names: Mapping[str, Place | None] = MappingProxyType({}),
    encoding: str | None = None,
) -> tuple[pd.DataFrame, int]:
    """Read lists from a folder with a manifest, or from a single file; see `data.lists.read_lists`.

    Args:
        ids, own_names: declared id types, {"user": "int" | "str", "item": ...}, and names that the columns user_id and item_id
            of a single file may have, {"user": "customer", "item": ...}.
        encoding: of a single file of text that is not UTF-8.

    Returns:
        The columns user_id, rank, item_id and, of a folder, any others; and the length of the lists: k of the manifest, or the
        highest rank.

    Raises:
        DataError: there is no such file or folder, an export is incomplete or damaged, columns are missing, or a file cannot be
            read.
    """
    path = path_of(path)
    if not os.path.exists(path):  # False also for a name that is too long
        raise DataError(f"there is no file or folder {path} with recommendations{similar_path(path)}")
    if not path.is_dir():
        frame = read_lists(path, ids, own_names, encoding)
        return frame, int(frame["rank"].max())
    lists = ExportedLists.of(path)
    return pa.concat_tables([lists.table(name) for name in lists]).to_pandas(), lists.manifest.k


def export_vectors(
    columns: Mapping[str, NDArray[Any]], vectors: NDArray[Any], folder: Path, about: VectorManifest
) -> VectorManifest:
    """Write `vectors` [n, H], with the `columns` [n] that identify them, to a folder that appears whole or not at all.

    Replaces an older export there. Returns the manifest, which is `about` with the digest of the file.
    """
    flat = pa.array(vectors.astype("float32").ravel())
    table = pa.table({**columns, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    with whole_folder(folder) as draft:
        part = draft / "part-00000.parquet"
        write_parquet(table.schema, [table], part)
        manifest = replace(about, files={part.name: Part(digest_of_file(part), table.num_rows)})
        write_json(manifest, draft / MANIFEST)
    return manifest


def export_request(request: ListRequest, folder: Path, engine: Engine = one_by_one) -> ListManifest:
    """Write the lists of a request to `folder`; see `export_recommendations`."""

    def fill(work_folder: Path) -> ListManifest:
        return with_parts(request.planned, complete_parts(request, work_folder, WHOLE, engine))

    return prepared(folder, lambda: finished(folder, request.planned), fill, MANIFEST)


def engine_of(name: EngineName) -> Engine:
    """An engine by its name, see `export_recommendations`; `ConfigError` if it is not installed."""
    if name == "local":
        return one_by_one
    check_installed()
    from recsys_ae.export.spark import on_spark

    return on_spark


def prepared(folder: Path, present: Callable[[], M], fill: Callable[[Path], M], name: str) -> M:
    """Fill a folder beside its place, where the same call continues after an interruption; then move it there.

    Args:
        present: returns the manifest of `folder` if that exists already, or raises.
        fill: fills the folder `lists` in the folder that it is given, and returns the manifest.
        name: file name of the manifest.
    """
    work_folder = beside(folder, ".partial")
    if os.path.lexists(folder) and not work_folder.exists():  # also dangling links; False if the name is too long
        return present()
    with locked_folder(work_folder, f"another export is writing {folder}"):
        if os.path.lexists(folder):  # another export finished before this one got the lock, or was killed at the end
            manifest = present()
        else:
            manifest = fill(work_folder)
            write_json(manifest, work_folder / "lists" / name)
            move(work_folder / "lists", folder)
        shutil.rmtree(work_folder, ignore_errors=True)
    return manifest


def with_parts(planned: ListManifest, parts: dict[str, Part]) -> ListManifest:
    """The manifest of an export that now has all its parts."""
    rows, served = sum(part.rows for part in parts.values()), sum(part.users for part in parts.values())
    results: dict[str, Any] = {"files": parts, "rows": rows, "users_without_items": planned.n_users - served}
    return replace(planned, **results, made=planned.made.finish())


def check_place(folder: Path) -> None:
    """Raise `OutputError` if a folder for lists holds something else."""
    if os.path.lexists(folder) and not os.path.exists(folder / MANIFEST):
        raise OutputError(f"{folder} already exists; choose another folder or remove it first")


def finished(folder: Path, planned: ListManifest) -> ListManifest:
    """The manifest of the finished export in `folder`; raises unless it is the planned one and intact."""
    check_place(folder)
    manifest = ListManifest.read(folder)
    if differences := manifest.differences(planned):
        raise OtherInputsError(
            f"{folder} already holds lists made from other inputs ({', '.join(differences)}); choose another folder or remove "
            "it first"
        )
    logger.info("%s is already complete: nothing to do", folder)
    return manifest
