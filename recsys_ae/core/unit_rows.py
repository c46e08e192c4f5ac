"""Rows scaled to length 1, in one pass over a matrix in each direction."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recsys_ae.core import devices
from recsys_ae.core.kernels import layers as kernels

SMALLEST = np.float32(1e-12)  # shorter rows are divided by this


def unit_rows(matrix: Tensor) -> Tensor:
    """The rows of a float32 matrix [T, K] divided by their lengths, as `functional.normalize` does."""
    if not devices.uses_kernels(matrix):
        return functional.normalize(matrix, dim=1, eps=float(SMALLEST))
    units: Tensor = _UnitRows.apply(matrix)
    return units


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        units, lengths = torch.empty_like(matrix), matrix.new_empty(len(matrix))
        kernels.unit_rows(matrix.detach().numpy(), SMALLEST, units.numpy(), lengths.numpy())
        ctx.save_for_backward(units, lengths)
        return units

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        units, lengths = ctx.saved_tensors
        out = torch.empty_like(units)
        arrays = (tensor.numpy() for tensor in (gradient.contiguous(), units.detach(), lengths))
        kernels.unit_rows_gradient(*arrays, SMALLEST, out.numpy())
        return out
