"""Batches of sparse rows, and the two layers that take advantage of them.

B rows in the batch, D columns, H units, nnz stored entries. A stored 0 is an observation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Rows of a sparse matrix in compressed form.

    Attributes:
        rows: int64 [B], the number each row has in the matrix it was taken from.
        indptr: int64 [B + 1]; the entries of row b are `columns[indptr[b]:indptr[b + 1]]`.
        columns: int64 [nnz].
        values: float32 [nnz].
        width: D.
    """

    rows: Tensor
    indptr: Tensor
    columns: Tensor
    values: Tensor
    width: int

    @classmethod
    def from_arrays(cls, indptr: object, columns: object, values: object, width: int) -> "SparseRows":
        """All rows of a matrix given by its CSR arrays (NumPy arrays or tensors)."""
        starts = torch.as_tensor(indptr, dtype=torch.int64)
        return cls(
            rows=torch.arange(len(starts) - 1),
            indptr=starts,
            columns=torch.as_tensor(columns, dtype=torch.int64),
            values=torch.as_tensor(values, dtype=torch.float32),
            width=width,
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Tensor:
        """int64 [B]: how many entries each row has."""
        return self.indptr.diff()

    def row_of_entry(self) -> Tensor:
        """int64 [nnz]: the place in this batch (0..B-1) of every entry's row."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.indptr.device), self.lengths)

    def take(self, index: Tensor) -> "SparseRows":
        """The rows at `index` (int64 [b], places in this batch), in that order."""
        lengths = self.lengths[index]
        indptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shift = torch.repeat_interleave(self.indptr[index] - indptr[:-1], lengths)
        entries = shift + torch.arange(len(shift), device=shift.device)
        return SparseRows(self.rows[index], indptr, self.columns[entries], self.values[entries], self.width)

    def with_values(self, values: Tensor) -> "SparseRows":
        """The same pattern with other values [nnz]."""
        return SparseRows(self.rows, self.indptr, self.columns, values, self.width)

    def dense(self) -> Tensor:
        """[B, D] with 0 where nothing is stored; for small matrices and tests."""
        block = self.values.new_zeros(len(self), self.width)
        block[self.row_of_entry(), self.columns] = self.values
        return block


def wide_input(x: SparseRows | Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias -> [B, H] for weight [D, H]; from sparse rows in O(nnz * H)."""
    if isinstance(x, Tensor):
        return x @ weight + bias
    summed = functional.embedding_bag(x.columns, weight, x.indptr[:-1], mode="sum", per_sample_weights=x.values)
    return summed + bias


def wide_output(code: Tensor, weight: Tensor, bias: Tensor, at: SparseRows | None = None) -> Tensor:
    """code @ weight.T + bias -> [B, D] for weight [D, H], or only its entries [nnz] at the pattern of `at`.

    The pattern's entries are read off a dense [B, D] block: for the batches and widths at hand a dense product is
    faster than gathering rows of `weight`.
    """
    block = torch.addmm(bias, code, weight.T)
    return block if at is None else block[at.row_of_entry(), at.columns]
