"""Parquet files written by this package, with page checksums that are verified on reading."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ae.errors import DataError, reason


def write_parquet(schema: pa.Schema, tables: Iterable[pa.Table], path: Path) -> None:
    """Write tables of one schema, one after the other, to a file."""
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a file, or some of its columns; `DataError` if it cannot be read."""
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"cannot read {path} as Parquet: {reason(error)}") from None
