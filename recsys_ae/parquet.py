"""Parquet files written by this package, with page checksums that are verified on reading."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


def write_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write arrays of one dimension, of numbers or of text (object holding str), each as a column with one list."""
    columns = {}
    for name, values in arrays.items():
        flat = pa.array(values, pa.large_string() if values.dtype == object else None)
        columns[name] = pa.LargeListArray.from_arrays(pa.array([0, len(flat)], pa.int64()), flat)
    table = pa.table(columns)
    write_parquet(table.schema, [table], path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The inverse of `write_arrays`; `DataError` if the file cannot be read."""
    table = read_parquet(path)
    lists = {name: table[name].combine_chunks() for name in table.column_names}
    return {name: values.flatten().to_numpy(zero_copy_only=False, writable=True) for name, values in lists.items()}
