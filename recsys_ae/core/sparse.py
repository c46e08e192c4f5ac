"""Batches of sparse rows, and the layers whose cost is proportional to their entries.

B rows in the batch, D columns, H units, nnz stored entries. A stored 0 is an observation.

Two layers have weights [D, H] for all columns: the first, x @ weight, and the last, code @ weight.T at the observed entries.
The gradient of both is a product S^T G of a sparse matrix with the pattern of a batch and a dense [B, H].

**Gradients of wide weights.** By default a layer computes S^T G as an ordinary gradient [D, H]. Inside `deferring(gradients)`,
opened by an optimiser, it appends S and G to the weight's `DeferredGradient` instead, so that columns without an entry in
the batch cost nothing. The gradient is then the sum of those terms and `weight.grad`, which holds all other uses.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from recsys_ae.core import devices
from recsys_ae.core.dense import dense_linear
from recsys_ae.core.kernels import layers as kernels
from recsys_ae.core.shares import Unit, drawn


@dataclass(frozen=True, eq=False, repr=False)
class SparseRows:
    """Rows of a sparse matrix in CSR form.

    Attributes:
        row_ids: int64 [B], the row's index in the matrix that it was selected from.
        indptr: int64 [B + 1]; the entries of row b are `columns[indptr[b]:indptr[b + 1]]`.
        columns: int64 [nnz].
        values: float32 [nnz].
        width: D.
    """

    row_ids: Tensor
    indptr: Tensor
    columns: Tensor
    values: Tensor
    width: int
    _csc_pattern: list[kernels.Columns] = field(default_factory=list)

    @classmethod
    def from_arrays(cls, indptr: object, columns: object, values: object, width: int) -> "SparseRows":
        """All rows of a matrix given by its CSR arrays (NumPy arrays or tensors)."""
        starts, at = as_tensor(indptr, torch.int64), as_tensor(columns, torch.int64)
        return cls(torch.arange(len(starts) - 1), starts, at, as_tensor(values, torch.float32), width)

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def lengths(self) -> Tensor:
        """int64 [B]: number of entries of each row."""
        return self.indptr.diff()

    def starts_of(self, unit: Unit) -> Tensor:
        """int64 [B + 1]: the first entry of each row, and the number of all."""
        assert unit == "entries"
        return self.indptr

    def row_of_entry(self) -> Tensor:
        """int64 [nnz]: the row of each entry, 0 to B - 1."""
        positions = torch.arange(len(self), device=self.indptr.device)
        return torch.repeat_interleave(positions, self.lengths, output_size=len(self.columns))

    def __getitem__(self, index: Tensor) -> "SparseRows":
        """The rows at `index` (int64 [b], positions in this batch), in that order."""
        indptr = functional.pad((self.indptr[index + 1] - self.indptr[index]).cumsum(0), (1, 0))
        if devices.uses_kernels(self.columns):
            columns, values = self.columns.new_empty(int(indptr[-1])), self.values.new_empty(int(indptr[-1]))
            arrays = (self.indptr, self.columns, self.values, index, indptr, columns, values)
            kernels.copy_rows(*(array.numpy() for array in arrays))
        else:
            shift = torch.repeat_interleave(self.indptr[index] - indptr[:-1], indptr.diff())
            entries = shift + torch.arange(len(shift), device=shift.device)
            columns, values = self.columns[entries], self.values[entries]
        return SparseRows(self.row_ids[index], indptr, columns, values, self.width)

    def to(self, device: torch.device) -> "SparseRows":
        """The same rows on a device."""
        if self.columns.device == device:
            return self
        row_ids, indptr, columns, values = (x.to(device) for x in (self.row_ids, self.indptr, self.columns, self.values))
        return SparseRows(row_ids, indptr, columns, values, self.width)

    def with_values(self, values: Tensor) -> "SparseRows":
        """The same pattern with other values [nnz]."""
        return SparseRows(self.row_ids, self.indptr, self.columns, values, self.width, self._csc_pattern)

    @property
    def pattern_id(self) -> tuple[int, int]:
        """Equal for rows derived from each other by `with_values`."""
        return id(self.indptr), id(self.columns)

    def csc_pattern(self) -> kernels.Columns:
        """The pattern in CSC form; computed once and shared by `with_values`."""
        if not self._csc_pattern:
            self._csc_pattern.append(kernels.by_column(self.indptr.numpy(), self.columns.numpy(), self.width))
        return self._csc_pattern[0]

    def csc_values(self, values: Tensor) -> Tensor:
        """Values [nnz] of the entries in the order of `csc_pattern`."""
        ordered = torch.empty_like(values)
        kernels.gather(values.numpy(), self.csc_pattern().entry, ordered.numpy())
        return ordered

    def dense(self) -> Tensor:
        """[B, D], with 0 at missing entries; for small matrices and tests."""
        block = self.values.new_zeros(len(self), self.width)
        block[self.row_of_entry(), self.columns] = self.values
        return block


def as_tensor(array: object, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of a type, by default that of the array, whose memory it shares if it can."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*not writable")  # mapped files are read-only, and no row is written to
        return torch.as_tensor(array, dtype=dtype)


def one_hot(columns: Tensor, width: int) -> SparseRows:
    """One row for each of `columns` (int64 [B]), with a 1 there; times a weight [D, H], the weight's rows."""
    starts = torch.arange(len(columns) + 1, device=columns.device)
    return SparseRows(columns, starts, columns, torch.ones(len(columns), device=columns.device), width)


def unit_pattern(x: SparseRows) -> SparseRows:
    """The pattern of each row, scaled to length 1."""
    return x.with_values(x.lengths.float().rsqrt()[x.row_of_entry()])


def with_negatives(rows: SparseRows, ratio: int, generator: Generator) -> tuple[SparseRows, Tensor]:
    """The entries of `rows`, each followed by `ratio` columns drawn uniformly from all.

    Returns:
        Rows with (1 + ratio) * nnz entries, of value 1 for an entry of `rows` and 0 for a drawn column; and the weight of each
        entry: 0 for a drawn column that is already an entry of its row, otherwise 1.
    """
    draws = drawn(partial(torch.randint, rows.width), (len(rows.columns), ratio), generator, "entries").to(rows.columns.device)
    if devices.uses_kernels(draws):
        n = (1 + ratio) * len(rows.columns)
        columns, targets, weights = torch.empty(n, dtype=torch.int64), torch.empty(n), torch.empty(n)
        arrays = [array.numpy() for array in (rows.indptr, rows.columns, draws.view(-1), columns, targets, weights)]
        kernels.with_draws(*arrays[:2], rows.width, arrays[2], ratio, *arrays[3:])
    else:
        first = rows.row_of_entry() * rows.width
        negative = ~torch.isin(first[:, None] + draws, first + rows.columns)
        columns = torch.cat([rows.columns[:, None], draws], 1).flatten()
        weights = functional.pad(negative.float(), (1, 0), value=1.0).flatten()
        targets = functional.pad(torch.zeros_like(negative, dtype=torch.float32), (1, 0), value=1.0).flatten()
    return SparseRows(rows.row_ids, (1 + ratio) * rows.indptr, columns, targets, rows.width), weights


class DeferredGradient:
    """The gradient of a weight [D, H] as a sum of products that are not computed yet.

    Attributes:
        products: (rows, values [nnz], factor [B, H]): S^T factor, where S has the pattern of `rows`.
        shrinkages: (rows, strength [D]): strength[c] * weight[c] for every entry of column c.
    """

    def __init__(self) -> None:
        self.products: list[tuple[SparseRows, Tensor, Tensor]] = []
        self.shrinkages: list[tuple[SparseRows, Tensor]] = []

    def __bool__(self) -> bool:
        return bool(self.products or self.shrinkages)

    def clear(self) -> None:
        self.products.clear()
        self.shrinkages.clear()

    def add_products(self, gradient: Tensor) -> Tensor:
        """Add the products to `gradient` [D, H], and return it."""
        for rows, values, factor in self.products:
            _add_transposed_product(rows, values, factor, gradient)
        return gradient

    def row_shrinkage(self, weight: Tensor) -> Tensor:
        """float32 [D]: the factor by which each row of the weight enters its own gradient."""
        total = weight.new_zeros(len(weight))
        for rows, strength in self.shrinkages:
            total += strength * torch.bincount(rows.columns, minlength=len(weight))
        return total


_deferred: ContextVar[Mapping[int, DeferredGradient]] = ContextVar("deferred", default={})  # noqa: B039 - never written to


@contextmanager
def deferring(gradients: Mapping[int, DeferredGradient]) -> Iterator[None]:
    """Make the layers below add to `gradients`, by `id` of the weight, instead of `weight.grad`."""
    token = _deferred.set(gradients)
    try:
        yield
    finally:
        _deferred.reset(token)


def deferred_gradients() -> list[DeferredGradient]:
    """The deferred gradients that layers currently add to."""
    return list(_deferred.get().values())


def deferred_gradient(weight: Tensor) -> DeferredGradient | None:
    """Where layers add the gradient of a weight, if it is deferred."""
    return _deferred.get().get(id(weight))


def sparse_linear(x: SparseRows | Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias -> [B, H] for weight [D, H]; from sparse rows in O(nnz * H)."""
    if isinstance(x, Tensor):
        return x @ weight + bias
    check_width(x, weight)
    product: Tensor = _SparseProduct.apply(weight, x)
    return product + bias


def times(rows: SparseRows, weight: Tensor) -> Tensor:
    """rows [B, D] @ weight [D, H]."""
    return sparse_linear(rows, weight, weight.new_zeros(weight.shape[1]))


def sampled_linear(code: Tensor, weight: Tensor, bias: Tensor, at: SparseRows | None = None) -> Tensor:
    """code @ weight.T + bias -> [B, D] for weight [D, H], or only its entries [nnz] at the pattern of `at`, in O(nnz * H)."""
    if at is None:
        return dense_linear(code, weight, bias)
    check_width(at, weight)
    return _SampledProduct.apply(code.float(), weight, bias, at)


def entry_l2(weight: Tensor, rows: SparseRows, strength: Tensor) -> Tensor:
    """Sum over the entries of `rows` of strength[c] / 2 * |weight[c]|^2, c being an entry's column; a scalar.

    With strength = l2 / (number of entries of each column in all rows), the batches of an epoch add up to l2 / 2 * |weight|^2
    over the columns with entries, and each batch touches only its own. While gradients are deferred, the value is 0.
    """
    check_width(rows, weight)
    check_width(rows, strength)
    return _EntryL2.apply(weight, rows, strength)


def check_width(rows: SparseRows, weight: Tensor) -> None:
    """Raise `ValueError` if a weight lacks rows for columns of `rows`."""
    if rows.width > len(weight):  # kernels do not check bounds
        raise ValueError(f"rows of {rows.width} columns need a weight with as many rows, got {len(weight)}")


class _SparseProduct(torch.autograd.Function):
    """S @ weight, S being sparse rows."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: SparseRows) -> Tensor:
        ctx.x, ctx.shape, ctx.deferred = x, weight.shape, deferred_gradient(weight)
        return _product(x, x.values, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        return weight_gradient(ctx, ctx.x, ctx.x.values, gradient), None


class _SampledProduct(torch.autograd.Function):
    """The entries of code @ weight.T + bias at a pattern."""

    @staticmethod
    def forward(ctx: Any, code: Tensor, weight: Tensor, bias: Tensor, at: SparseRows) -> Tensor:
        ctx.save_for_backward(code, weight)
        ctx.at, ctx.shape, ctx.deferred = at, weight.shape, deferred_gradient(weight)
        if not devices.uses_kernels(weight):
            return (code[at.row_of_entry()] * weight[at.columns]).sum(1) + bias[at.columns]
        out = torch.empty(len(at.columns))
        arrays = (tensor.detach().numpy() for tensor in (at.indptr, at.columns, code.contiguous(), weight, bias, out))
        kernels.products_at(*arrays)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None]:
        code, weight = ctx.saved_tensors
        of_code = _product(ctx.at, gradient, weight)
        of_bias = torch.bincount(ctx.at.columns, gradient, minlength=len(weight))
        return of_code, weight_gradient(ctx, ctx.at, gradient, code), of_bias, None


class _EntryL2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: SparseRows, strength: Tensor) -> Tensor:
        ctx.save_for_backward(weight, strength)
        ctx.rows, ctx.deferred = rows, deferred_gradient(weight)
        if ctx.deferred is not None:
            return weight.new_zeros(())
        count = torch.bincount(rows.columns, minlength=len(weight))
        return (strength * count * weight.square().sum(1)).sum() / 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        weight, strength = ctx.saved_tensors
        if ctx.deferred is not None:
            ctx.deferred.shrinkages.append((ctx.rows, gradient * strength))
            return None, None, None
        count = torch.bincount(ctx.rows.columns, minlength=len(weight))
        return (gradient * strength * count)[:, None] * weight, None, None


def _product(pattern: SparseRows, values: Tensor, weight: Tensor) -> Tensor:
    """S @ weight [B, H], S having a pattern and these values."""
    values = values.detach().contiguous()
    if not devices.uses_kernels(weight):
        starts = pattern.indptr[:-1]
        return functional.embedding_bag(pattern.columns, weight.detach(), starts, mode="sum", per_sample_weights=values)
    out = torch.empty(len(pattern), weight.shape[1])
    kernels.rows_times(*(tensor.detach().numpy() for tensor in (pattern.indptr, pattern.columns, values, weight, out)))
    return out


def _add_transposed_product(pattern: SparseRows, values: Tensor, factor: Tensor, out: Tensor) -> None:
    """out [D, H] += S^T factor [B, H], S having a pattern and these values."""
    if devices.uses_kernels(out):
        ordered = pattern.csc_values(values)
        kernels.add_transposed_product(pattern.csc_pattern(), ordered.numpy(), factor.numpy(), out.numpy())
    else:
        out.index_add_(0, pattern.columns, values[:, None] * factor[pattern.row_of_entry()])


def weight_gradient(ctx: Any, pattern: SparseRows, values: Tensor, factor: Tensor) -> Tensor | None:
    """S^T factor [D, H], or None after adding it to `ctx.deferred`; `ctx.shape` is that of the weight."""
    values, factor = values.detach().contiguous(), factor.detach().contiguous()
    if ctx.deferred is not None:
        ctx.deferred.products.append((pattern, values, factor))
        return None
    out = factor.new_zeros(ctx.shape)
    _add_transposed_product(pattern, values, factor, out)
    return out
