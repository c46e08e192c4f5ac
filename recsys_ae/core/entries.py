"""Batches of single entries of a matrix, and what their rows and columns have in common."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from recsys_ae.core.sparse import SparseRows, one_hot, sparse_linear


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


def repeated(rows: Tensor, index: Tensor) -> Tensor:
    """rows[index] for rows [U, H] and index (int64 [n]) -> [n, H], with a gradient as fast as the selection."""
    return times(one_hot(index, len(rows)), rows)


def times(rows: SparseRows, weight: Tensor) -> Tensor:
    """rows [B, D] @ weight [D, H]."""
    return sparse_linear(rows, weight, weight.new_zeros(weight.shape[1]))


def sampled_rows(rows: SparseRows, index: Tensor, limit: int, generator: Generator) -> SparseRows:
    """The rows at `index` (int64 [b]); a row with more than `limit` entries becomes as many drawn from them, with replacement.

    Their values are scaled so that products with a weight keep their expected value.
    """
    starts = rows.indptr[index]
    lengths = rows.indptr[index + 1] - starts
    kept = lengths.clamp(max=limit)
    indptr = functional.pad(kept.cumsum(0), (1, 0))
    at = torch.repeat_interleave(torch.arange(len(index)), kept, output_size=int(indptr[-1]))
    place, of_row = torch.arange(len(at)) - indptr[at], lengths[at]
    drawn = (torch.rand(len(at), generator=generator, dtype=torch.float64) * of_row).long()
    entries = starts[at] + torch.where(of_row > limit, drawn, place)
    values = rows.values[entries] * (of_row / kept[at])
    return SparseRows(rows.row_ids[index], indptr, rows.columns[entries], values, rows.width)
