"""Exports as Parquet, each with a manifest: top-N lists for all users, streamed on one machine, and vectors.

Users are processed in parts of fixed size. Each part is one file, which depends only on the model, the history and the
options; an interrupted export continues after the last complete part.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

import recsys_ae
from recsys_ae.data.lists import read_lists
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.files import locked_folder, read_json, whole_file, whole_folder, write_json
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import BATCH_USERS, Recommender
from recsys_ae.models.recommend import Cold, allowed_items, check_scorable, recommend_blocks, scorable
from recsys_ae.models.storage import model_digest

PART_USERS = 65_536
MANIFEST, PLAN = "manifest.json", "plan.json"


@dataclass(frozen=True)
class Manifest:
    """The keys that all exports share."""

    model: str  # registered name
    model_digest: str  # hash of everything the model has learned
    data_digest: str  # hash of the data it was applied to
    rows: int
    versions: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest in a folder; `DataError` if it is damaged, or missing because the export is not complete."""
        if not (folder / MANIFEST).exists():
            raise DataError(f"{folder} holds no {MANIFEST}: not a complete export")
        return read_json(cls, folder / MANIFEST)


@dataclass(frozen=True)
class ListManifest(Manifest):
    """Top-k lists; `data_digest` is that of the history."""

    k: int
    filters: dict[str, Any]  # exclude_seen, numbers of candidates and excluded items (None: no such filter), policy `cold`
    n_users: int  # asked for
    n_items: int  # in the catalogue
    cold_users: int  # users the model cannot score
    users_without_items: int  # users with an empty list
    files: list[str]  # Parquet files in the order of the users
    schema: dict[str, str]  # column -> Parquet type


@dataclass(frozen=True)
class VectorManifest(Manifest):
    """Vectors of `width` numbers; `what` describes them."""

    what: str
    width: int


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries that do its arithmetic."""
    return {"recsys-ae": recsys_ae.__version__, **{name: version(name) for name in ("numpy", "pyarrow", "scipy", "torch")}}


@dataclass(frozen=True)
class _Job:
    """What all parts of an export have in common."""

    model: Recommender
    history: Interactions
    rows: Rows
    k: int
    allowed: NDArray[np.bool_] | None
    options: dict[str, Any]

    @property
    def schema(self) -> pa.Schema:
        users, items = (pa.int64() if ids.kind == "int" else pa.string() for ids in (self.history.users, self.history.items))
        return pa.schema([("user_id", users), ("rank", pa.int32()), ("item_id", items), ("score", pa.float32())])

    def parts(self) -> Iterator[tuple[str, Rows]]:
        """Name and user rows of each part."""
        for number, start in enumerate(range(0, max(len(self.rows), 1), PART_USERS)):
            yield f"part-{number:05d}.parquet", self.rows[start : start + PART_USERS]

    def write_part(self, path: Path, rows: Rows) -> None:
        """Write one part, whole or not at all."""
        blocks = recommend_blocks(self.model, self.history, rows, self.k, allowed=self.allowed, **self.options)
        with whole_file(path) as draft, pq.ParquetWriter(draft, self.schema, compression="zstd") as writer:
            for block in blocks:
                writer.write_table(pa.Table.from_pandas(block.to_frame(), schema=self.schema, preserve_index=False))


def export_recommendations(
    model: Recommender,
    history: Interactions,
    folder: Path | str,
    k: int,
    *,
    users: ArrayLike | None = None,
    exclude_seen: bool = True,
    candidates: ArrayLike | None = None,
    exclude: ArrayLike | None = None,
    cold: Cold = "popular",
    batch_users: int = BATCH_USERS,
    seen: Interactions | None = None,
) -> ListManifest:
    """Write the best `k` items of every user to `folder`, in bounded memory: one block of `batch_users` x items.

    The folder gets `part-*.parquet` with the columns user_id, rank (from 1), item_id, score, ids in their own type, users in
    the order asked for; and `manifest.json`. It appears when the export is complete; until then the parts are in
    `<folder>.partial`, from which the same call continues after an interruption. For the arguments see
    `recommend` and `recommend_blocks`.

    Raises:
        ColdUserError: there is a cold user, and `cold` is `error`.
        ConfigError: `k` or `batch_users` is below 1, or `users` contains an id twice.
        OutputError: `folder` exists, another export is writing it, or the disk is full.
        UnknownIdError: `users`, `candidates` or `exclude` contains an id that is not in the history.
    """
    folder = Path(folder)
    _check_free(folder)
    rows = np.arange(history.n_users) if users is None else history.users.rows(users)
    if len(np.unique(rows)) < len(rows):
        raise ConfigError("users has an id twice; each user gets one list")
    options = {"exclude_seen": exclude_seen, "cold": cold, "batch_users": batch_users, "seen": seen}
    job = _Job(model, history, rows, k, allowed_items(history.items, candidates, exclude), options)
    if k < 1 or batch_users < 1:
        raise ConfigError(f"k and batch_users must be at least 1, got {k} and {batch_users}")
    known = scorable(model, history, rows)
    if cold == "error":
        check_scorable(known, history, rows)
    n_candidates, n_excluded = (None if ids is None else len(np.atleast_1d(ids)) for ids in (candidates, exclude))
    filters = {"exclude_seen": exclude_seen, "candidates": n_candidates, "excluded": n_excluded, "cold": cold}
    partial = folder.with_name(folder.name + ".partial")
    with locked_folder(partial, f"another export is writing {folder}"):
        _check_free(folder)  # another export may have finished before this one got the lock
        manifest = _fill(job, partial, filters, int((~known).sum()))
        (partial / PLAN).unlink()
        os.replace(partial, folder)
    (folder / ".lock").unlink(missing_ok=True)
    return manifest


def read_recommendations(path: Path | str) -> tuple[pd.DataFrame, int]:
    """Read lists from a folder with a manifest, or from a single file; see `data.lists.read_lists`.

    Returns:
        The columns user_id, rank, item_id and, of a folder, any others; and the length of the lists: k of the manifest, or the
        highest rank.

    Raises:
        DataError: there is nothing, an export is incomplete, columns are missing, or a file cannot be read.
    """
    path, length = Path(path), 0
    try:
        if path.is_dir():
            manifest = ListManifest.read(path)
            frame = pa.concat_tables([pq.read_table(path / name) for name in manifest.files]).to_pandas()
            length = manifest.k
        elif path.is_file():
            frame = read_lists(path)
        else:
            raise DataError(f"there are no recommendations at {path}")
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise DataError(f"cannot read recommendations from {path}: {error}") from None
    for column in ("user_id", "rank", "item_id"):
        if column not in frame.columns:
            raise DataError(f"{path} has no column {column!r}; its columns are {', '.join(map(str, frame.columns))}")
    if not len(frame):
        raise DataError(f"{path} holds no recommendations")
    return frame, length or int(frame["rank"].max())


def export_vectors(columns: Mapping[str, NDArray[Any]], vectors: NDArray[Any], folder: Path, manifest: VectorManifest) -> None:
    """Write `vectors` [n, H], with the `columns` [n] that identify them, to a folder that appears whole or not at all."""
    flat = pa.array(vectors.astype("float32").ravel())
    table = pa.table({**columns, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    with whole_folder(folder) as draft:
        pq.write_table(table, draft / "part-00000.parquet", compression="zstd")
        write_json(manifest, draft / MANIFEST)


def _check_free(folder: Path) -> None:
    if folder.exists():
        raise OutputError(f"{folder} is already there; choose another folder or remove it first")


def _fill(job: _Job, partial: Path, filters: dict[str, Any], cold_users: int) -> ListManifest:
    """Write the parts that are missing, then the manifest; parts of an export with another plan are removed first."""
    planned = ListManifest(
        model=MODELS.name_of(job.model),
        model_digest=model_digest(job.model),
        data_digest=job.history.digest,
        k=job.k,
        filters=filters,
        n_users=len(job.rows),
        cold_users=cold_users,
        n_items=job.history.n_items,
        rows=0,
        users_without_items=0,
        files=[name for name, _ in job.parts()],
        schema={name: str(job.schema.field(name).type) for name in job.schema.names},
        versions=versions(),
    )
    choice = job.rows.tobytes() + (b"" if job.allowed is None else job.allowed.tobytes())
    plan = {**asdict(planned), "users_and_items": blake2b(choice, digest_size=16).hexdigest()}
    if not (partial / PLAN).exists() or read_json(dict[str, Any], partial / PLAN) != plan:
        for old in [*partial.glob("part-*"), *partial.glob("*.json")]:
            old.unlink()
        write_json(plan, partial / PLAN)
    written, served = 0, 0
    for name, rows in job.parts():
        if not (partial / name).exists():
            job.write_part(partial / name, rows)
        users = pq.read_table(partial / name, columns=["user_id"])["user_id"]
        written, served = written + len(users), served + len(users.unique())
    manifest = replace(planned, rows=written, users_without_items=len(job.rows) - served)
    write_json(manifest, partial / MANIFEST)
    return manifest
