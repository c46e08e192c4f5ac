"""Batches of sparse rows, and the layers that cost what their entries cost.

B rows in the batch, D columns, H units, nnz stored entries. A stored 0 is an observation.

Two layers touch all columns: the first, x @ weight, and the last, code @ weight.T at the observed entries. Both weights are
[D, H], and the gradient of both is a product S^T G of a sparse matrix with the batch's pattern and a dense [B, H]. It is
either written out as an ordinary dense gradient, or, inside an optimiser that can use it, kept as that product
(`DeferredGradient`), so that columns without an entry in the batch cost nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from recsys_ae.core import kernels


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
    _csc_pattern: list[Any] = field(default_factory=list, repr=False)

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

    def __getitem__(self, index: Tensor) -> "SparseRows":
        """The rows at `index` (int64 [b], places in this batch), in that order."""
        indptr = functional.pad(self.lengths[index].cumsum(0), (1, 0))
        if self.columns.is_cuda:
            shift = torch.repeat_interleave(self.indptr[index] - indptr[:-1], indptr.diff())
            entries = shift + torch.arange(len(shift), device=shift.device)
            return SparseRows(self.rows[index], indptr, self.columns[entries], self.values[entries], self.width)
        columns, values = self.columns.new_empty(int(indptr[-1])), self.values.new_empty(int(indptr[-1]))
        arrays = (self.indptr, self.columns, self.values, index, indptr, columns, values)
        kernels.copy_rows(*(array.numpy() for array in arrays))
        return SparseRows(self.rows[index], indptr, columns, values, self.width)

    def with_values(self, values: Tensor) -> "SparseRows":
        """The same pattern with other values [nnz]."""
        return SparseRows(self.rows, self.indptr, self.columns, values, self.width, self._csc_pattern)

    def column_values(self, values: Tensor) -> Tensor:
        """Values [nnz] of the entries, brought into the order of `csc_pattern`."""
        ordered = torch.empty_like(values)
        kernels.gather(values.detach().contiguous().numpy(), self.csc_pattern()[1], ordered.numpy())
        return ordered

    def csc_pattern(self) -> Any:
        """The pattern column by column and the order of its entries, see `kernels.by_column`.

        Found once for all rows that share the pattern.
        """
        if not self._csc_pattern:
            self._csc_pattern.append(kernels.by_column(self.indptr.numpy(), self.columns.numpy(), self.width))
        return self._csc_pattern[0]

    def dense(self) -> Tensor:
        """[B, D] with 0 where nothing is stored; for small matrices and tests."""
        block = self.values.new_zeros(len(self), self.width)
        block[self.row_of_entry(), self.columns] = self.values
        return block


def one_hot(columns: Tensor, width: int) -> SparseRows:
    """For each of `columns` (int64 [B]), a row of that number with a 1 there; times a weight [D, H], these are its rows."""
    starts = torch.arange(len(columns) + 1, device=columns.device)
    return SparseRows(columns, starts, columns, torch.ones(len(columns), device=columns.device), width)


def with_negatives(rows: SparseRows, ratio: int, generator: Generator) -> tuple[SparseRows, Tensor]:
    """The entries of `rows`, and for each of them `ratio` columns drawn from all with equal chances.

    Returns:
        Rows with (1 + ratio) * nnz entries: 1 for an entry of `rows`, 0 for a drawn column; and a weight for each, which is 0
        where a drawn column is an entry of its row and therefore no negative, else 1.
    """
    draws = torch.randint(rows.width, (ratio * len(rows.columns),), generator=generator)
    n = (1 + ratio) * len(rows.columns)
    columns, targets, weights = torch.empty(n, dtype=torch.int64), torch.empty(n), torch.empty(n)
    arrays = [array.numpy() for array in (rows.indptr, rows.columns, draws)]
    kernels.with_draws(*arrays[:2], rows.width, arrays[2], ratio, *(array.numpy() for array in (columns, targets, weights)))
    return SparseRows(rows.rows, (1 + ratio) * rows.indptr, columns, targets, rows.width), weights


class DeferredGradient:
    """The gradient of a wide weight [D, H] as a sum of terms S^T G over one batch, plus shrinkage of the touched rows.

    While a weight has one in its attribute `deferred_gradient`, the layers below add to it and leave `weight.grad` alone.
    """

    def __init__(self) -> None:
        self.rows: SparseRows | None = None
        self.terms: list[tuple[Tensor, Tensor]] = []
        self.shrink: Tensor | None = None

    def add(self, rows: SparseRows, values: Tensor, factor: Tensor) -> None:
        """Add S^T G, where S has the pattern of `rows` and `values` [nnz], and G is `factor` [B, H]."""
        self._same_pattern(rows)
        self.terms.append((rows.column_values(values), factor.detach().contiguous()))

    def add_shrink(self, rows: SparseRows, strength: Tensor) -> None:
        """Add strength[c] * weight[c] for every entry of column c; strength [D]."""
        self._same_pattern(rows)
        self.shrink = strength

    @torch.no_grad()
    def dense(self, weight: Tensor) -> Tensor:
        """The gradient written out, [D, H]."""
        out = self.add_terms(torch.zeros_like(weight))
        return out if self.shrink is None else out.add_(self.shrink_of_rows()[:, None] * weight)

    def add_terms(self, gradient: Tensor) -> Tensor:
        """`gradient` [D, H], to which the terms, but not the shrinkage, have been added."""
        for values, factor in self.terms:
            assert self.rows is not None
            kernels.column_sums(*self.rows.csc_pattern()[0], values.numpy(), factor.numpy(), gradient.numpy())
        return gradient

    def shrink_of_rows(self) -> Tensor:
        """float32 [D]: by how much of itself each row shrinks."""
        assert self.shrink is not None
        assert self.rows is not None
        return self.shrink * torch.bincount(self.rows.columns, minlength=len(self.shrink))

    def _same_pattern(self, rows: SparseRows) -> None:
        if self.rows is not None and self.rows.columns is not rows.columns:
            raise RuntimeError("a row gradient is of one batch, but two patterns were added to it")
        self.rows = rows


def sparse_linear(x: SparseRows | Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias -> [B, H] for weight [D, H]; from sparse rows in O(nnz * H)."""
    if isinstance(x, Tensor):
        return x @ weight + bias
    if weight.is_cuda:
        return functional.embedding_bag(x.columns, weight, x.indptr[:-1], mode="sum", per_sample_weights=x.values) + bias
    product: Tensor = _RowsTimes.apply(weight, x)
    return product + bias


def sampled_linear(code: Tensor, weight: Tensor, bias: Tensor, at: SparseRows | None = None) -> Tensor:
    """code @ weight.T + bias -> [B, D] for weight [D, H], or only its entries [nnz] at the pattern of `at`, in O(nnz * H)."""
    if at is None:
        return torch.addmm(bias, code, weight.T)
    if weight.is_cuda:
        return (code[at.row_of_entry()] * weight[at.columns]).sum(1) + bias[at.columns]
    entries: Tensor = _ProductsAt.apply(code, weight, bias, at)
    return entries


def entry_l2(weight: Tensor, rows: SparseRows, strength: Tensor) -> Tensor:
    """Sum over the entries of `rows` of strength[c] / 2 * |weight[c]|^2, c being an entry's column; a scalar.

    With strength = l2 / (number of entries of each column in all rows), the batches of an epoch add up to
    l2 / 2 * |weight|^2 over the columns that have entries, and each batch touches only its own columns. While the weight
    collects its gradient by rows, only the gradient is computed, and the value is 0.
    """
    if weight.is_cuda:
        squares = weight.square().sum(1)
        return (strength * squares)[rows.columns].sum() / 2
    scalar: Tensor = _EntryL2.apply(weight, rows, strength)
    return scalar


class _RowsTimes(torch.autograd.Function):
    """S @ weight, S being sparse rows."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: SparseRows) -> Tensor:
        ctx.x, ctx.shape, ctx.deferred_gradient = x, weight.shape, getattr(weight, "deferred_gradient", None)
        return _rows_times(x, x.values, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        return _weight_gradient(ctx, ctx.x, ctx.x.values, gradient), None


class _ProductsAt(torch.autograd.Function):
    """The entries of code @ weight.T + bias at a pattern."""

    @staticmethod
    def forward(ctx: Any, code: Tensor, weight: Tensor, bias: Tensor, at: SparseRows) -> Tensor:
        ctx.save_for_backward(code, weight)
        ctx.at, ctx.shape, ctx.deferred_gradient = at, weight.shape, getattr(weight, "deferred_gradient", None)
        out = torch.empty(len(at.columns))
        arrays = (tensor.detach().numpy() for tensor in (at.indptr, at.columns, code.contiguous(), weight, bias, out))
        kernels.products_at(*arrays)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None]:
        code, weight = ctx.saved_tensors
        of_code = _rows_times(ctx.at, gradient.contiguous(), weight)
        of_bias = torch.bincount(ctx.at.columns, gradient, minlength=len(weight))
        return of_code, _weight_gradient(ctx, ctx.at, gradient, code), of_bias, None


class _EntryL2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: SparseRows, strength: Tensor) -> Tensor:
        ctx.save_for_backward(weight, strength)
        ctx.rows, ctx.deferred_gradient = rows, getattr(weight, "deferred_gradient", None)
        if ctx.deferred_gradient is not None:  # an optimiser that keeps gradients by rows never looks at the value
            return weight.new_zeros(())
        touched, starts, _ = (torch.from_numpy(array) for array in rows.csc_pattern()[0])
        squares = weight[touched].square().sum(1)
        return (strength[touched] * starts.diff() * squares).sum() / 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        weight, strength = ctx.saved_tensors
        if ctx.deferred_gradient is not None:
            ctx.deferred_gradient.add_shrink(ctx.rows, gradient * strength)
            return None, None, None
        count = torch.bincount(ctx.rows.columns, minlength=len(weight))
        return (gradient * strength * count)[:, None] * weight, None, None


def _rows_times(pattern: SparseRows, values: Tensor, weight: Tensor) -> Tensor:
    out = torch.empty(len(pattern), weight.shape[1])
    arrays = (tensor.detach().numpy() for tensor in (pattern.indptr, pattern.columns, values, weight, out))
    kernels.rows_times(*arrays)
    return out


def _weight_gradient(ctx: Any, pattern: SparseRows, values: Tensor, factor: Tensor) -> Tensor | None:
    """S^T G: handed to the weight's `DeferredGradient` if it has one, else written out [D, H]."""
    if ctx.deferred_gradient is not None:
        ctx.deferred_gradient.add(pattern, values, factor)
        return None
    out = torch.zeros(ctx.shape)
    ordered = pattern.column_values(values)
    kernels.column_sums(*pattern.csc_pattern()[0], ordered.numpy(), factor.detach().contiguous().numpy(), out.numpy())
    return out
