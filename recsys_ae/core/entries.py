"""Batches of single entries of a matrix; selection and sampling of rows."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from recsys_ae.core.kernels import entries as kernels
from recsys_ae.core.sparse import SparseRows, one_hot, times


@dataclass(frozen=True, eq=False, repr=False)
class Entries:
    """Stored entries of a matrix.

    Attributes:
        row, column: int64 [n].
        value: float32 [n].
    """

    row: Tensor
    column: Tensor
    value: Tensor

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Tensor) -> "Entries":
        return Entries(self.row[index], self.column[index], self.value[index])

    def to(self, device: torch.device) -> "Entries":
        """The same entries on a device."""
        return Entries(self.row.to(device), self.column.to(device), self.value.to(device))


def rows_at(rows: Tensor, index: Tensor) -> Tensor:
    """rows[index] for rows [U, H] and index (int64 [n]) -> [n, H], whose gradient costs as little as the selection."""
    return times(one_hot(index, len(rows)), rows)


def sampled_rows(rows: SparseRows, index: Tensor, limit: int, generator: Generator) -> SparseRows:
    """The rows at `index` (int64 [b]); of a row with more than `limit` entries, that many are drawn with replacement.

    The values of drawn entries are scaled so that products with a weight keep their expected value.
    """
    lengths = rows.indptr[index + 1] - rows.indptr[index]
    indptr = functional.pad(lengths.clamp(max=limit).cumsum(0), (1, 0))
    total = int(indptr[-1])
    draws, columns, values = torch.rand(total, generator=generator), torch.empty(total, dtype=torch.int64), torch.empty(total)
    arrays = (rows.indptr, rows.columns, rows.values, index, indptr, draws, columns, values)
    kernels.sample_rows(*(array.numpy() for array in arrays))
    return SparseRows(rows.row_ids[index], indptr, columns, values, rows.width)
