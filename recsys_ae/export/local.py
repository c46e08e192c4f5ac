"""Parquet exports with manifests: top-N lists for all users, streamed in bounded memory, and vectors.

Users are processed in parts of fixed size. Each part is a file that depends only on the model, the history and the options;
an interrupted export continues after the last complete part. The manifest holds the digest of each part, which is verified
before the part is read.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

import recsys_ae
from recsys_ae.data.lists import read_lists
from recsys_ae.digests import digest_of, digest_of_file
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.evaluation.protocols.protocol import pairs_digest
from recsys_ae.files import (
    check_file,
    locked_folder,
    move,
    path_of,
    read_json,
    whole_file,
    whole_folder,
    write_json,
)
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import Recommender, check_counts, fitted_state
from recsys_ae.models.recommend import Cold, recommend_blocks, scorable
from recsys_ae.models.rules import Rules
from recsys_ae.models.storage import model_digest
from recsys_ae.parquet import read_parquet, write_parquet

PART_USERS = 65_536
MANIFEST, PLAN = "_manifest.json", "_plan.json"  # readers of Parquet folders skip names that begin with _ or .

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """The keys that all exports share."""

    model: str  # registered name
    model_digest: str  # hash of everything the model has learned
    data_digest: str  # hash of the data it was applied to
    rows: int
    versions: dict[str, str]
    files: dict[str, str] = field(default_factory=dict, kw_only=True)  # Parquet files in the order of the rows -> their digests

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest in a folder.

        Raises:
            DataError: it is missing, damaged or of another kind of export, or a file does not have its digest.
        """
        path, remedy = folder / MANIFEST, f"remove {folder} and export again"
        if not path.exists():
            raise DataError(f"{folder} is not a complete export: {MANIFEST} is missing")
        found = read_json(dict[str, Any], path, remedy)
        if ("what" in found) != (cls is VectorManifest):
            raise DataError(
                f"{folder} holds {found.get('what', 'lists')}, not {'vectors' if cls is VectorManifest else 'lists'}"
            )
        manifest = read_json(cls, path, remedy)
        if more := {part.name for part in folder.glob("*.parquet")} - manifest.files.keys():
            raise DataError(f"{folder / min(more)} is not in the manifest; {remedy}")
        for name, digest in manifest.files.items():
            check_file(folder / name, digest, remedy)
        return manifest


@dataclass(frozen=True)
class ListManifest(Manifest):
    """Top-k lists; `data_digest` is that of the history."""

    k: int
    filters: dict[str, Any]  # exclude_seen, policy `cold`, and what the rules hold, see `Rules.counts`
    n_users: int  # asked for
    n_items: int  # in the catalogue
    cold_users: int  # users the model cannot score
    users_without_items: int  # users with an empty list
    seen: str  # hash of the pairs of the history, or of what else counts as seen, see `content_digest`
    schema: dict[str, str]  # column -> Parquet type
    choice: str  # hash of the users asked for, the rules and what else counts as seen

    def same_request(self, other: "ListManifest") -> bool:
        """Whether both are from the same model, history and options; results are ignored."""
        unknown: dict[str, Any] = {"rows": 0, "users_without_items": 0, "versions": {}, "files": {}}
        return replace(self, **unknown) == replace(other, **unknown)


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
    """The inputs of an export, shared by all its parts."""

    model: Recommender
    history: Interactions
    rows: Rows
    k: int
    rules: Rules
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
        blocks = recommend_blocks(self.model, self.history, rows, self.k, rules=self.rules, **self.options)
        tables = (pa.Table.from_pandas(block.to_frame(), schema=self.schema, preserve_index=False) for block in blocks)
        with whole_file(path) as draft:
            write_parquet(self.schema, tables, draft)


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
    batch_users: int | None = None,
    seen: Interactions | None = None,
) -> ListManifest:
    """Write the best `k` items of every user to `folder`, in bounded memory: one block of scores.

    The folder gets `part-*.parquet` with the columns user_id, rank (from 1), item_id, score, ids in their own type, users in
    the order asked for; and `_manifest.json`. It appears when the export is complete; until then the parts are in
    `<folder>.partial`, from which the same call continues after an interruption. If `folder` already holds the result of the
    same call, its files are verified and nothing else happens. For the arguments see `recommend` and `recommend_blocks`.

    Raises:
        ColdUserError: there is a cold user, and `cold` is `error`.
        ConfigError: `k` or `batch_users` is below 1, or `users` contains an id twice.
        DataError: the export in `folder`, or the plan of the unfinished one, is damaged.
        OutputError: `folder` holds something else, another export is writing it, or the disk is full.
        UnknownIdError: `users` contains an id that is not in the history.
    """
    folder = path_of(folder)
    fitted_state(model, history)
    rows = np.arange(history.n_users) if users is None else history.users.rows(users)
    if len(np.unique(rows)) < len(rows):
        raise ConfigError("`users` contains an id twice; name each user once")
    options = {"exclude_seen": exclude_seen, "cold": cold, "batch_users": batch_users, "seen": seen}
    rules = Rules(history.items) if rules is None else rules
    rules.check(history.items)
    job = _Job(model, history, rows, k, rules, options)
    check_counts(k=k, batch_users=1 if batch_users is None else batch_users)
    known = scorable(model, history, rows, cold)
    filters = {"exclude_seen": exclude_seen, "cold": cold, **rules.counts}
    planned = _plan(job, filters, int((~known).sum()))
    if os.path.lexists(folder):  # a link that leads nowhere too; False for a name that is too long
        return _finished(folder, planned)
    partial = folder.with_name(folder.name + ".partial")
    with locked_folder(partial, f"another export is writing {folder}"):
        if folder.exists():  # another export has finished before this one got the lock
            return _finished(folder, planned)
        manifest = _fill(job, partial, planned)
        (partial / PLAN).unlink()
        move(partial, folder)
    (folder / ".lock").unlink(missing_ok=True)
    return manifest


def read_recommendations(path: Path | str) -> tuple[pd.DataFrame, int]:
    """Read lists from a folder with a manifest, or from a single file; see `data.lists.read_lists`.

    Returns:
        The columns user_id, rank, item_id and, of a folder, any others; and the length of the lists: k of the manifest, or the
        highest rank.

    Raises:
        DataError: there is nothing, an export is incomplete or damaged, columns are missing, or a file cannot be read.
    """
    path = path_of(path)
    if not os.path.exists(path):  # False also for a name that is too long
        raise DataError(f"there is no file or folder {path} with recommendations")
    if not path.is_dir():
        frame = read_lists(path)
        return frame, int(frame["rank"].max())
    manifest = ListManifest.read(path)
    frame = pa.concat_tables([read_parquet(path / name) for name in manifest.files]).to_pandas()
    if not len(frame):
        raise DataError(f"{path} holds no recommendations")
    return frame, manifest.k


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
        manifest = replace(about, files={part.name: digest_of_file(part)})
        write_json(manifest, draft / MANIFEST)
    return manifest


def _finished(folder: Path, planned: ListManifest) -> ListManifest:
    """The manifest of the finished export in `folder`; raises unless it is the planned one and intact."""
    if not (folder / MANIFEST).exists():
        raise OutputError(f"{folder} already exists; choose another folder or remove it first")
    manifest = ListManifest.read(folder)
    if not manifest.same_request(planned):
        raise OutputError(f"{folder} already holds an export of other inputs; choose another folder or remove it first")
    logger.info("%s is already complete: nothing to do", folder)
    return manifest


def _plan(job: _Job, filters: dict[str, Any], cold_users: int) -> ListManifest:
    """The manifest as far as it is known before the export."""
    seen = job.options["seen"]
    choice = [job.rows.tobytes(), job.rules.digest, "" if seen is None else seen.digest]
    return ListManifest(
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
        seen=pairs_digest(job.history if seen is None else seen),
        schema={name: str(job.schema.field(name).type) for name in job.schema.names},
        choice=digest_of(choice),
        versions=versions(),
    )


def _fill(job: _Job, partial: Path, planned: ListManifest) -> ListManifest:
    """Write the parts that are missing or damaged, then the manifest.

    The plan is the manifest with the digests of the parts so far. Parts that it does not list, and all parts if it is for other
    inputs or versions, are removed first.
    """
    files: dict[str, str] = {}
    if (partial / PLAN).exists():
        earlier = read_json(ListManifest, partial / PLAN, "delete it to start the export again")
        files = earlier.files if replace(earlier, files={}) == planned else {}
    for old in [*partial.glob("part-*"), *partial.glob(MANIFEST)]:
        if old.name not in files:
            old.unlink()
    written, served = 0, 0
    for name, rows in job.parts():
        part = partial / name
        if name not in files or not part.exists() or digest_of_file(part) != files[name]:
            if name in files:
                logger.warning("%s is missing or damaged; writing it again", part)
            job.write_part(part, rows)
            files[name] = digest_of_file(part)
            write_json(replace(planned, files=files), partial / PLAN)
        users = read_parquet(part, ["user_id"])["user_id"]
        written, served = written + len(users), served + len(users.unique())
    manifest = replace(planned, files=files, rows=written, users_without_items=len(job.rows) - served)
    write_json(manifest, partial / MANIFEST)
    return manifest
