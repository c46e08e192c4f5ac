"""Vectors, such as the codes of images, as one Parquet file with a manifest."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import recsys_ae
from recsys_ae.export.manifest import read_manifest, write_manifest
from recsys_ae.files import whole_folder

FILE = "part-00000.parquet"


@dataclass(frozen=True)
class VectorManifest:
    """Attributes:
    what: what the vectors are of.
    model, model_digest: registered name of the model, and hash of what it has learned.
    data_digest: hash of what was encoded.
    rows, width: number and length of the vectors.
    """

    what: str
    model: str
    model_digest: str
    data_digest: str
    rows: int = 0
    width: int = 0
    files: list[str] = field(default_factory=lambda: [FILE])
    schema: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "VectorManifest":
        return read_manifest(cls, folder)


def export_vectors(
    columns: Mapping[str, NDArray[Any]], vectors: NDArray[Any], folder: Path, about: VectorManifest
) -> VectorManifest:
    """Write `vectors` [n, H], beside columns [n] that say what they are of, to a folder that appears whole or not at all.

    Returns:
        The manifest in it: `about` with the counts.
    """
    flat = pa.array(vectors.astype("float32").ravel())
    table = pa.table({**columns, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    done = replace(
        about,
        rows=len(vectors),
        width=vectors.shape[1],
        schema={column.name: str(column.type) for column in table.schema},
        versions={"recsys-ae": recsys_ae.__version__, **{name: version(name) for name in ("numpy", "pyarrow", "torch")}},
    )
    with whole_folder(folder) as draft:
        pq.write_table(table, draft / FILE, compression="zstd")
        write_manifest(asdict(done), draft)
    return done
