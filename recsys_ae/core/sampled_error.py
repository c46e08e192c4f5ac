"""The squared error of the last layer at the entries of sparse rows, with its gradients, in one pass over the weight."""

from typing import Any

import torch
from torch import Tensor

from recsys_ae.core import devices
from recsys_ae.core.kernels import layers as kernels
from recsys_ae.core.losses import LossSum, squared_error
from recsys_ae.core.sparse import SparseRows, check_width, deferred_gradient, sampled_linear, weight_gradient


def squared_error_at(code: Tensor, weight: Tensor, bias: Tensor, at: SparseRows, weights: Tensor | None = None) -> LossSum:
    """`squared_error` of code [B, H] @ weight.T + bias at the pattern of `at`, whose values are the targets.

    Args:
        weight, bias: [D, H] and [D].
        weights: of the entries [nnz]; None means 1.
    """
    check_width(at, weight)
    if not devices.uses_kernels(weight):
        return squared_error(sampled_linear(code, weight, bias, at), at.values, weights)
    weights = torch.ones_like(at.values) if weights is None else weights
    return LossSum(_SquaredErrorAt.apply(code.float(), weight, bias, at, weights), weights.sum())


class _SquaredErrorAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, code: Tensor, weight: Tensor, bias: Tensor, at: SparseRows, weights: Tensor) -> Tensor:
        errors, squares, of_code = torch.empty_like(at.values), code.new_empty(len(code)), torch.empty_like(code)
        arrays = (
            tensor.detach().contiguous().numpy() for tensor in (at.indptr, at.columns, code, weight, bias, at.values, weights)
        )
        kernels.errors_at(*arrays, tuple(tensor.numpy() for tensor in (errors, squares, of_code)))
        ctx.save_for_backward(code, errors, of_code)
        ctx.at, ctx.shape, ctx.deferred = at, weight.shape, deferred_gradient(weight)
        return squares.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        code, errors, of_code = ctx.saved_tensors
        of_entries = 2 * gradient * errors
        of_bias = torch.bincount(ctx.at.columns, of_entries, minlength=ctx.shape[0])
        return 2 * gradient * of_code, weight_gradient(ctx, ctx.at, of_entries, code), of_bias, None, None
