"""Files of matrices as MATLAB and SciPy write them, made for tests."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.sparse import csc_array


def write_matlab(path: Path, **variables: Any) -> Path:
    """A file of MATLAB v7.3: arrays [rows, columns] and sparse matrices of SciPy, with the header that MATLAB writes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, np.ndarray):
                file.create_dataset(name, data=value.T, compression="gzip" if value.size else None)
                continue
            stored = csc_array(value)
            group = file.create_group(name)
            group.attrs["MATLAB_sparse"] = np.uint64(stored.shape[0])
            group["jc"] = stored.indptr.astype(np.uint64)
            if stored.nnz:
                group["ir"], group["data"] = stored.indices.astype(np.uint64), stored.data
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path
