"""Dense products with a wide weight."""

from typing import Any

import torch
from torch import Tensor

from recsys_ae.core import devices

ALIGNED = 16  # float32 numbers in a cache line


def dense_linear(code: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """code [B, H] @ weight.T + bias -> [B, D] for weight [D, H]."""
    trained = torch.is_grad_enabled() and devices.uses_kernels(weight) and not torch.is_autocast_enabled("cpu")
    return _DenseProduct.apply(code, weight, bias) if trained else torch.addmm(bias, code, weight.T)


class _DenseProduct(torch.autograd.Function):
    """code @ weight.T + bias in rows of whole cache lines; MKL may take twice as long to fill others."""

    @staticmethod
    def forward(ctx: Any, code: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(code, weight)
        out = code.new_empty(len(code), len(weight) + -len(weight) % ALIGNED)[:, : len(weight)]
        return torch.addmm(bias, code, weight.T, out=out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (code, weight), wanted = ctx.saved_tensors, ctx.needs_input_grad
        products = gradient @ weight if wanted[0] else None, gradient.T @ code if wanted[1] else None
        return *products, gradient.sum(0) if wanted[2] else None
