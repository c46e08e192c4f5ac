"""Sparse matrices of ratings in files: `.npz` of SciPy, and `.mat` of MATLAB v7.3. Rows are users, columns items.

Their users and items are numbered from 0, in the order of rows and columns.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.lib import format as npy
from numpy.typing import NDArray

from recsys_ae.data.archives import UNPACKING
from recsys_ae.data.reading import EXPANSION, FREE_EXPANSION, reading
from recsys_ae.errors import DataError, quoted, reason
from recsys_ae.events import LARGEST_RATING
from recsys_ae.ids import Rows

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
NUMBERS = "biuf"  # kinds of NumPy types


class Entries(NamedTuple):
    """The stored entries of a matrix of `shape`: rows, columns and values, arrays [nnz]."""

    rows: Rows
    columns: Rows
    values: NDArray[Any]
    shape: tuple[int, int]

    def frame(self) -> pd.DataFrame:
        """The entries as columns user_id, item_id and rating; `DataError` for an impossible rating."""
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(self.values.astype(np.float64)) <= LARGEST_RATING)
        if bad.any():
            at = int(bad.argmax())
            wanted = f"ratings must be finite and at most {LARGEST_RATING:g} in size"
            raise DataError(
                f"the rating of user {self.rows[at]} and item {self.columns[at]} is {self.values[at]}, but {wanted}"
            )
        ratings = self.values.astype(np.float32)
        return pd.DataFrame({"user_id": self.rows, "item_id": self.columns, "rating": ratings}, copy=False)


def read_npz(path: Path) -> Entries:
    """The entries of a matrix that `scipy.sparse.save_npz` has written: csr, csc or coo; stored zeros are entries.

    Nothing is unpickled. Files that expand more than 200-fold and beyond 256 MiB are refused.

    Raises:
        DataError: no such file, or not such a matrix.
    """
    with reading(path):
        try:
            with zipfile.ZipFile(path) as archive:
                announced = sum(member.file_size for member in archive.infolist())
                if announced > expansion_limit(path):
                    raise DataError(f"it expands to {announced} bytes, over {EXPANSION} times its size; save it uncompressed")
                kind = _array(archive, "format").tobytes().replace(b"\0", b"").decode("ascii", "replace")
                if kind not in ("csr", "csc", "coo"):
                    raise DataError(f"it holds a matrix of format {quoted(kind)}; save it as csr, csc or coo")
                names = ("shape", *(("row", "col") if kind == "coo" else ("indptr", "indices")), "data")
                shape, one, other, data = (_array(archive, name) for name in names)
        except zipfile.BadZipFile as error:
            raise DataError(f"it is not a complete npz file: {reason(error)}") from None
        except UNPACKING as error:
            raise DataError(f"it cannot be unpacked: {reason(error)}") from None
        sizes = _sizes(shape)
        if kind == "coo":
            return _checked(Entries(_rows("row", one), _rows("col", other), _values(data), sizes))
        return from_compressed(one, other, data, sizes, by_columns=kind == "csc")


def from_compressed(
    indptr: NDArray[Any], indices: NDArray[Any], data: NDArray[Any], shape: tuple[int, int], *, by_columns: bool
) -> Entries:
    """The entries of a matrix in compressed rows or columns; `DataError` if its arrays do not fit together."""
    starts, minor, major = _rows("indptr", indptr), _rows("indices", indices), shape[by_columns]
    if len(starts) != major + 1 or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] != len(minor):
        axis = "column" if by_columns else "row"
        raise DataError(f"it is damaged: indptr does not say where each of {major} {axis}s begins among {len(minor)} entries")
    whole = np.repeat(np.arange(major), np.diff(starts))
    rows, columns = (minor, whole) if by_columns else (whole, minor)
    return _checked(Entries(rows, columns, _values(data), shape))


def _checked(found: Entries) -> Entries:
    """These entries; `DataError` if one is outside the matrix, or their arrays have different lengths."""
    lengths = [len(part) for part in found[:3]]
    if len(set(lengths)) > 1:
        raise DataError(f"it is damaged: it has {lengths[0]} rows, {lengths[1]} columns and {lengths[2]} values of entries")
    for name, places, size in zip(("row", "column"), found[:2], found.shape, strict=True):
        outside = (places < 0) | (places >= size)
        if outside.any():
            raise DataError(f"it is damaged: an entry is in {name} {places[outside.argmax()]}, but there are {size} {name}s")
    return found


def expansion_limit(path: Path) -> int:
    """The bytes to which a compressed file may expand."""
    return max(FREE_EXPANSION, EXPANSION * path.stat().st_size)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """A member as an array; its size is checked before any of its values is used."""
    try:
        content = archive.read(f"{name}.npy")
    except KeyError:
        raise DataError(f"it lacks {name}; write it with scipy.sparse.save_npz") from None
    stream = io.BytesIO(content)
    try:
        shape, by_columns, dtype = HEADERS[npy.read_magic(stream)](stream)
    except Exception as error:  # numpy evaluates the header as Python literals
        raise DataError(f"{name} is not an array of NumPy: {reason(error)}") from None
    if dtype.kind not in NUMBERS + "SU":
        raise DataError(f"{name} holds {dtype}, expected numbers; objects are never unpickled")
    values = content[stream.tell() :]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(values) or not dtype.itemsize:
        raise DataError(f"it is damaged: {name} announces {quoted(shape)} values of {dtype}, but holds {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if by_columns else "C")


def _sizes(shape: NDArray[Any]) -> tuple[int, int]:
    """The shape of a matrix."""
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or not all(0 < int(size) < 2**63 for size in shape):
        raise DataError(f"its shape is {quoted(shape.tolist())}, expected the numbers of users and items")
    return int(shape[0]), int(shape[1])


def _rows(name: str, places: NDArray[Any]) -> Rows:
    if places.ndim != 1 or places.dtype.kind not in "iu":
        raise DataError(f"{name} holds {places.ndim}-dimensional {places.dtype}, expected a list of integers")
    return places.astype(np.int64)


def _values(data: NDArray[Any]) -> NDArray[Any]:
    if data.ndim != 1 or data.dtype.kind not in NUMBERS:
        raise DataError(f"data holds {data.ndim}-dimensional {data.dtype}, expected a list of numbers")
    return data
