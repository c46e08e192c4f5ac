"""Vectors, such as the codes of images, as one Parquet file with a manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys_ae.export.manifest import VectorManifest
from recsys_ae.files import whole_folder


def export_vectors(columns: Mapping[str, NDArray[Any]], vectors: NDArray[Any], folder: Path, manifest: VectorManifest) -> None:
    """Write `vectors` [n, H], with the `columns` [n] that identify them, to a folder that appears whole or not at all."""
    flat = pa.array(vectors.astype("float32").ravel())
    table = pa.table({**columns, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    with whole_folder(folder) as draft:
        pq.write_table(table, draft / "part-00000.parquet", compression="zstd")
        manifest.write(draft)
