"""Training rows that stay where they are stored, for example in files mapped into memory, until a batch selects them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recsys_ae.core.kernels import entries as kernels
from recsys_ae.core.sparse import SparseRows, as_tensor


class UnitRows(SparseRows):
    """The pattern of a matrix, of which rows are selected as `SparseRows` scaled to length 1.

    Nothing of the size of the entries is copied: `columns` has the type of the matrix, int32 or int64, and `values` is a single
    1, expanded.
    """

    @classmethod
    def of_pattern(cls, indptr: Any, columns: Any, width: int) -> "UnitRows":
        """The rows with entries of a pattern given by its CSR arrays, which are not copied; `row_ids` are their numbers."""
        starts, stored = as_tensor(indptr, torch.int64), as_tensor(columns)
        row_ids = torch.nonzero(starts.diff())[:, 0]
        return cls(row_ids, torch.cat([starts[row_ids], starts[-1:]]), stored, torch.ones(1).expand(len(stored)), width)

    def __getitem__(self, index: Tensor) -> SparseRows:
        """The rows at `index` (int64 [b], positions in these rows), in that order."""
        first = self.indptr[index]
        lengths = self.indptr[index + 1] - first
        indptr = functional.pad(lengths.cumsum(0), (1, 0))
        columns = torch.empty(int(indptr[-1]), dtype=torch.int64)
        kernels.copy_columns(first.numpy(), self.columns.numpy(), indptr.numpy(), columns.numpy())
        values = torch.repeat_interleave(1 / lengths.clamp(min=1).float().sqrt(), lengths, output_size=len(columns))
        return SparseRows(self.row_ids[index], indptr, columns, values, self.width)
