"""Sparse attributes of columns, and the layer that multiplies them at the observed entries of a batch only.

B rows in the batch, D columns, A attributes, S networks, nnz stored entries.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recsys_ae.core import devices
from recsys_ae.core.kernels import layers as kernels
from recsys_ae.core.sparse import SparseRows


def attribute_products(tables: Tensor, attributes: SparseRows, at: SparseRows) -> Tensor:
    """tables [S, B, A] . attributes [D, A] at the pattern of `at` -> [S, nnz].

    The cost is the number of attributes of the columns of stored entries, not of all columns; it grows much more slowly than
    S. `attributes` get no gradient.
    """
    if at.width > len(attributes) or attributes.width != tables.shape[2]:  # kernels do not check bounds
        raise ValueError(f"{at.width} columns need attributes [{at.width}, {tables.shape[2]}], got {len(attributes)} rows")
    product: Tensor = _AttributeProducts.apply(tables, attributes, at)
    return product


class _AttributeProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tables: Tensor, attributes: SparseRows, at: SparseRows) -> Tensor:
        ctx.attributes, ctx.at, ctx.shape = attributes, at, tables.shape
        if not devices.uses_kernels(tables):
            dense = functional.embedding_bag(
                attributes.columns,
                tables.detach().flatten(0, 1).T.contiguous(),
                attributes.indptr[:-1],
                mode="sum",
                per_sample_weights=attributes.values,
            )  # [D, S * B]
            return dense.view(-1, *tables.shape[:2])[at.columns, :, at.row_of_entry()].T.contiguous()
        out = torch.empty(len(tables), len(at.columns))
        kernels.attribute_products(*_pattern(at), tables.detach().contiguous().numpy(), _arrays(attributes), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        attributes, at = ctx.attributes, ctx.at
        if devices.uses_kernels(gradient):
            out = torch.empty(ctx.shape)
            kernels.attribute_gradients(*_pattern(at), gradient.contiguous().numpy(), _arrays(attributes), out.numpy())
            return out, None, None
        dense = gradient.new_zeros(len(attributes), *ctx.shape[:2])
        dense[at.columns, :, at.row_of_entry()] = gradient.T
        terms = attributes.values[:, None] * dense.flatten(1)[attributes.row_of_entry()]
        out = gradient.new_zeros(ctx.shape[2], terms.shape[1]).index_add_(0, attributes.columns, terms)
        return out.T.reshape(ctx.shape), None, None


def _pattern(rows: SparseRows) -> tuple[Any, Any]:
    return rows.indptr.numpy(), rows.columns.numpy()


def _arrays(rows: SparseRows) -> tuple[Any, Any, Any]:
    return rows.indptr.numpy(), rows.columns.numpy(), rows.values.numpy()
