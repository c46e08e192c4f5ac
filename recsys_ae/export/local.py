"""Top-N lists for all users as Parquet, streamed on one machine.

Users are worked through in parts of fixed size. Each part is one file, which depends only on the model, the history and
the options; an export that was interrupted goes on after the last complete part.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, NDArray

import recsys_ae
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.export.manifest import MANIFEST, Manifest
from recsys_ae.files import whole_file
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import BATCH_USERS, Recommender
from recsys_ae.models.recommend import Cold, allowed_items, check_scorable, recommend_blocks, scorable
from recsys_ae.models.storage import model_digest

PART_USERS = 65_536
PLAN = "plan.json"


@dataclass(frozen=True)
class _Job:
    """One export: what every part of it has in common."""

    model: Recommender
    history: Interactions
    rows: Rows
    k: int
    exclude_seen: bool
    allowed: NDArray[np.bool_] | None
    cold: Cold
    batch_users: int
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        columns = [
            ("user_id", _id_type(self.history.users)),
            ("rank", pa.int32()),
            ("item_id", _id_type(self.history.items)),
            ("score", pa.float32()),
        ]
        object.__setattr__(self, "schema", pa.schema(columns))

    def parts(self) -> Iterator[tuple[str, Rows]]:
        """Name and user rows of each part."""
        for number, start in enumerate(range(0, max(len(self.rows), 1), PART_USERS)):
            yield f"part-{number:05d}.parquet", self.rows[start : start + PART_USERS]

    def write_part(self, path: Path, rows: Rows) -> None:
        """One part, whole or not at all."""
        blocks = recommend_blocks(
            self.model,
            self.history,
            rows,
            self.k,
            exclude_seen=self.exclude_seen,
            allowed=self.allowed,
            cold=self.cold,
            batch_users=self.batch_users,
        )
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
) -> Manifest:
    """Write the best `k` items of every user to `folder`, in bounded memory: one block of `batch_users` x items.

    The folder gets `part-*.parquet` with the columns user_id, rank (from 1), item_id, score, ids in their own type, users
    in the order asked for; and `manifest.json`. It appears when everything is written; until then the parts are in
    `<folder>.partial`, from which the same call continues after an interruption.

    Args: see `models.base.recommend`.

    Raises:
        ColdUserError: there is a cold user, and `cold` is `error`.
        OutputError: `folder` exists, another export is writing it, or the disk is full.
        UnknownIdError: a user or item that is not in the history.
    """
    folder = Path(folder)
    if folder.exists():
        raise OutputError(f"{folder} is already there; choose another folder or remove it first")
    rows = np.arange(history.n_users) if users is None else history.users.rows(users)
    if len(np.unique(rows)) < len(rows):
        raise ConfigError("a user is asked for twice; each user has one list")
    allowed = allowed_items(history.items, candidates, exclude)
    job = _Job(model, history, rows, k, exclude_seen, allowed, cold, batch_users)
    if k < 1 or batch_users < 1:
        raise ConfigError(f"k and batch_users must be at least 1, got {k} and {batch_users}")
    known = scorable(model, history, rows)
    if cold == "error":
        check_scorable(known, history, rows)
    partial = folder.with_name(folder.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial / ".lock", timeout=0):
            if folder.exists():  # another export finished between the first look and the lock
                raise OutputError(f"{folder} is already there; choose another folder or remove it first")
            manifest = _fill(job, partial, _filters(exclude_seen, candidates, exclude, cold), int((~known).sum()))
            (partial / PLAN).unlink()
            os.replace(partial, folder)
        (folder / ".lock").unlink(missing_ok=True)
    except Timeout:
        raise OutputError(f"another export is writing {folder}") from None
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}; what is done stays in {partial}") from error
    return manifest


def read_recommendations(path: Path | str) -> tuple[pd.DataFrame, int]:
    """Recommendations in a folder with a manifest, or in a single Parquet or CSV file, and how long their lists are.

    Returns:
        Columns user_id, rank, item_id (and others, if there are); k of the manifest, or the highest rank in the file.

    Raises:
        DataError: nothing there, an incomplete export, missing columns, a file that cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            manifest = Manifest.read(path)
            frame = pa.concat_tables([pq.read_table(path / name) for name in manifest.files]).to_pandas()
            length = manifest.k
        elif path.is_file():
            frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
            length = 0
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


def _fill(job: _Job, partial: Path, filters: dict[str, Any], cold_users: int) -> Manifest:
    """Write the parts that are not there yet, then the manifest."""
    manifest = Manifest(
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
        versions={"recsys-ae": recsys_ae.__version__, **{name: version(name) for name in ("numpy", "pyarrow", "torch")}},
    )
    _start_or_continue(partial, manifest, job)
    written, served = 0, 0
    for name, rows in job.parts():
        if not (partial / name).exists():
            job.write_part(partial / name, rows)
        written += pq.read_metadata(partial / name).num_rows
        served += len(pq.read_table(partial / name, columns=["user_id"])["user_id"].unique())
    done = replace(manifest, rows=written, users_without_items=len(job.rows) - served)
    done.write(partial)
    return done


def _start_or_continue(partial: Path, manifest: Manifest, job: _Job) -> None:
    """Leave the parts in `partial` if they belong to this very export, else remove them."""
    choice = blake2b(job.rows.tobytes(), digest_size=16)
    choice.update(b"" if job.allowed is None else job.allowed.tobytes())
    for litter in partial.glob(".*.draft"):  # of a process that did not live to remove it
        litter.unlink()
    plan = json.dumps({**asdict(manifest), "users_and_items": choice.hexdigest()}, indent=2)
    path = partial / PLAN
    if path.exists() and path.read_text(encoding="utf-8") == plan:
        return
    for old in partial.iterdir():
        if old.name.startswith("part-") or old.name in (PLAN, MANIFEST):
            old.unlink()
    with whole_file(path) as draft:
        draft.write_text(plan, encoding="utf-8")


def _filters(exclude_seen: bool, candidates: ArrayLike | None, exclude: ArrayLike | None, cold: Cold) -> dict[str, Any]:
    return {
        "exclude_seen": exclude_seen,
        "candidates": None if candidates is None else len(np.atleast_1d(candidates)),
        "excluded": None if exclude is None else len(np.atleast_1d(exclude)),
        "cold": cold,
    }


def _id_type(ids: IdMap) -> pa.DataType:
    return pa.int64() if ids.kind == "int" else pa.string()
