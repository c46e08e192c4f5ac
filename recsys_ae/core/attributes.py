"""Sparse attributes of columns, and the layer that multiplies them at the observed entries of a batch only.

B rows in the batch, D columns with A attributes each, H units, nnz stored entries.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recsys_ae.core import devices
from recsys_ae.core.kernels import layers as kernels
from recsys_ae.core.sparse import SparseRows


def attribute_products(table: Tensor, attributes: SparseRows, at: SparseRows) -> Tensor:
    """table [B, A] . attributes [D, A] at the pattern of `at` -> [nnz].

    The cost is the number of attributes of the columns of stored entries, not of all columns. `attributes` get no gradient.
    """
    if at.width > len(attributes) or attributes.width != table.shape[1]:  # kernels do not check bounds
        raise ValueError(f"{at.width} columns need attributes [{at.width}, {table.shape[1]}], got {len(attributes)} rows")
    product: Tensor = _AttributeProducts.apply(table, attributes, at)
    return product


class _AttributeProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, attributes: SparseRows, at: SparseRows) -> Tensor:
        ctx.attributes, ctx.at, ctx.shape = attributes, at, table.shape
        if not devices.uses_kernels(table):
            dense = functional.embedding_bag(
                attributes.columns,
                table.detach().T.contiguous(),
                attributes.indptr[:-1],
                mode="sum",
                per_sample_weights=attributes.values,
            )  # [D, B]
            return dense[at.columns, at.row_of_entry()]
        out = torch.empty(len(at.columns))
        kernels.attribute_products(*_pattern(at), table.detach().contiguous().numpy(), _arrays(attributes), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        attributes, at = ctx.attributes, ctx.at
        out = gradient.new_zeros(ctx.shape)
        if devices.uses_kernels(gradient):
            kernels.add_attributes(*_pattern(at), gradient.contiguous().numpy(), _arrays(attributes), out.numpy())
            return out, None, None
        dense = gradient.new_zeros(len(attributes), ctx.shape[0]).index_put_((at.columns, at.row_of_entry()), gradient)
        terms = attributes.values[:, None] * dense[attributes.row_of_entry()]
        return out.T.contiguous().index_add_(0, attributes.columns, terms).T, None, None


def _pattern(rows: SparseRows) -> tuple[Any, Any]:
    return rows.indptr.numpy(), rows.columns.numpy()


def _arrays(rows: SparseRows) -> tuple[Any, Any, Any]:
    return rows.indptr.numpy(), rows.columns.numpy(), rows.values.numpy()
