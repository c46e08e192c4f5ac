"""Selection of rows of a sparse matrix, without their values or with sampling of the entries of long rows."""

from typing import Any

from numba import prange

from recsys_ae.core.kernels.compiled import compiled


@compiled(parallel=True)
def sample_rows(
    indptr: Any, columns: Any, values: Any, index: Any, new_indptr: Any, draws: Any, new_columns: Any, new_values: Any
) -> None:
    """Copy the entries of row index[b] to row b, which has new_indptr[b + 1] - new_indptr[b] of them.

    If these are fewer, they are drawn with replacement, by `draws` (float32 from 0 to 1, one for each new entry), and their
    values are multiplied by the old number of entries over the new one.
    """
    for b in prange(len(index)):
        start, n = indptr[index[b]], indptr[index[b] + 1] - indptr[index[b]]
        first, kept = new_indptr[b], new_indptr[b + 1] - new_indptr[b]
        for k in range(kept):
            place = k if kept == n else min(int(draws[first + k] * n), n - 1)
            new_columns[first + k] = columns[start + place]
            new_values[first + k] = values[start + place] * n / kept


@compiled(parallel=True)
def copy_columns(first: Any, columns: Any, new_indptr: Any, new_columns: Any) -> None:
    """Copy the columns from first[b] on to row b, which begins at new_indptr[b]."""
    for b in prange(len(first)):
        start, new, n = first[b], new_indptr[b], new_indptr[b + 1] - new_indptr[b]
        for k in range(n):
            new_columns[new + k] = columns[start + k]
