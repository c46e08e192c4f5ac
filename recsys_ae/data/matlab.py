"""Files of MATLAB v7.3, which are HDF5, with a matrix of ratings and masks of its training and test entries.

The files of the papers on geometric matrix completion (Monti et al. 2017). MATLAB stores matrices by columns, so a matrix
[users, items] is a dataset [items, users] of HDF5; a sparse one is a group with data, ir (rows) and jc (where columns begin).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.data.matrices import NUMBERS, Entries, expansion_limit, uncompressed
from recsys_ae.data.reading import EXPANSION, reading
from recsys_ae.errors import DataError, did_you_mean, quoted, reason
from recsys_ae.ids import Rows

HDF5 = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)  # what h5py raises for damaged files


def read_masked(path: Path, matrix: str, train_mask: str, test_mask: str) -> tuple[Entries, Entries]:
    """The ratings of the training and of the test entries; the names are those of variables in the file.

    A masked entry that the matrix does not store is a rating of 0.

    Raises:
        DataError: no such file or variable, matrices of different shapes, masks that hold other numbers than 0 and 1 or
            overlap, or a dense matrix of more than 200 times the size of the file and 256 MiB.
    """
    import h5py  # heavy

    with reading(path):
        try:
            if not h5py.is_hdf5(path):
                raise DataError("it is not a file of MATLAB v7.3; in MATLAB, save it with save(..., '-v7.3')")
            with h5py.File(path, "r", locking="best-effort") as file:
                found = {name: _stored(file, name, expansion_limit(path)) for name in (matrix, train_mask, test_mask)}
        except HDF5 as error:
            raise DataError(f"it is damaged: {reason(error)}") from None
        ratings, train, test = (found[name] for name in (matrix, train_mask, test_mask))
        for name, mask in found.items():
            if mask.shape != ratings.shape:
                shapes = f"{' x '.join(map(str, mask.shape))}, but {matrix} has {' x '.join(map(str, ratings.shape))}"
                raise DataError(f"{name} has {shapes} entries; all must be users x items")
        known, asked = _masked(train_mask, train), _masked(test_mask, test)
        if both := len(np.intersect1d(known, asked, assume_unique=True)):
            raise DataError(f"{both} entries are in {train_mask} and {test_mask}; masks must not overlap")
        return _picked(matrix, ratings, known), _picked(matrix, ratings, asked)


def _stored(file: Any, name: str, limit: int) -> Entries:
    """The entries of a variable that are not 0."""
    import h5py  # heavy

    if name not in file:
        raise DataError(f"it has no variable {quoted(name)}; {did_you_mean(name, file)}")
    node = _own(file, name)
    entries = _sparse(name, node, limit) if isinstance(node, h5py.Group) else _dense(name, _numbers(file, name, limit))
    if math.prod(entries.shape) >= 2**63:
        raise DataError(f"{name} has {entries.shape[0]} x {entries.shape[1]} entries, more than can be numbered")
    stored = entries.values != 0
    return Entries(entries.rows[stored], entries.columns[stored], entries.values[stored], entries.shape)


def _dense(name: str, stored: NDArray[Any]) -> Entries:
    if stored.ndim != 2:
        raise DataError(f"{name} has {stored.ndim} dimensions, expected a matrix")
    columns, rows = np.nonzero(stored)
    return Entries(rows, columns, stored[columns, rows], (stored.shape[1], stored.shape[0]))


def _sparse(name: str, group: Any, limit: int) -> Entries:
    if "jc" not in group:
        raise DataError(f"{name} is a structure, expected a matrix")
    size = group.attrs.get("MATLAB_sparse")
    if size is None or np.ndim(size) or not 0 < int(size) < 2**63:
        raise DataError(f"{name} does not say how many rows it has; in MATLAB, save it with save(..., '-v7.3')")
    starts = _numbers(group, "jc", limit)
    empty = "ir" not in group and "data" not in group  # what MATLAB leaves out if there are no entries
    rows, values = (np.zeros(0, np.int64) if empty else _numbers(group, part, limit) for part in ("ir", "data"))
    return uncompressed(starts, rows, values, (int(size), max(len(starts) - 1, 0)), by_columns=True)


def _own(group: Any, name: str) -> Any:
    """A member of a group in the file itself: links could lead to any file of this machine."""
    import h5py  # heavy

    node = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
    if node is None or (isinstance(node, h5py.Dataset) and (node.is_virtual or node.external)):
        raise DataError(f"{name} is stored in another file; save it in this one")
    return node


def _numbers(group: Any, name: str, limit: int) -> NDArray[Any]:
    """A dataset, after a look at its type and size."""
    dataset = _own(group, name)
    dtype = getattr(dataset, "dtype", None)
    if dtype is None or dtype.kind not in NUMBERS or dataset.shape is None:
        raise DataError(f"{name} holds {dtype or 'other variables'}, expected numbers")
    size = dtype.itemsize * max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
    if size > limit:
        raise DataError(f"{name} takes {size} bytes, over {EXPANSION} times the size of the file; save it as a sparse matrix")
    return np.asarray(dataset[()])


def _masked(name: str, mask: Entries) -> Rows:
    """The marked entries as numbers, row * number of columns + column, int64 [n], increasing."""
    if (other := mask.values != 1).any():
        at = int(other.argmax())
        raise DataError(f"{name} is {mask.values[at]} in row {mask.rows[at]}, column {mask.columns[at]}; masks hold 0 and 1")
    return _numbered(name, mask)[0]


def _numbered(name: str, entries: Entries) -> tuple[Rows, Rows]:
    """The numbers of all entries, int64 [nnz], increasing, and the positions that sort them."""
    keys = entries.rows * entries.shape[1] + entries.columns
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        raise DataError(f"it is damaged: {name} holds an entry twice")
    return keys, order


def _picked(name: str, ratings: Entries, keys: Rows) -> Entries:
    """The ratings of the entries with these numbers."""
    own, order = _numbered(name, ratings)
    values = np.zeros(len(keys))
    at = np.searchsorted(own, keys)
    stored = own[np.minimum(at, len(own) - 1)] == keys if len(own) else np.zeros(len(keys), bool)
    values[stored] = ratings.values[order][at[stored]]
    rows, columns = np.divmod(keys, ratings.shape[1])
    return Entries(rows, columns, values, ratings.shape)
