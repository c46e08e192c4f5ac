"""Losses as functions (prediction, target, weight) -> (sum, count).

All three tensors have the same shape, dense [B, D] or flat [nnz]. The weight is that of each entry; None means 1 everywhere,
and saves a pass over memory. Sum and count are returned separately, because a mean of batch means is not the mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recsys_ae.core.sparse import SparseRows
from recsys_ae.registry import Registry

LOSSES = Registry("loss", {name: f"{__name__}:{name}" for name in ("squared_error", "cross_entropy")})
TINY = torch.finfo(torch.float32).tiny  # smaller probabilities are replaced by this one, 87 nats


@dataclass(frozen=True)
class LossSum:
    """`total`: scalar, the weighted sum; `count`: scalar, the sum of the weights."""

    total: Tensor
    count: Tensor


Loss = Callable[[Tensor, Tensor, Tensor | None], LossSum]


def squared_error(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> LossSum:
    """Sum of w * (p - t)^2."""
    if weight is None:
        return LossSum(functional.mse_loss(prediction, target, reduction="sum"), target.new_tensor(target.numel()))
    return LossSum((weight * (prediction - target).square()).sum(), weight.sum())


def cross_entropy(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> LossSum:
    """Sum of -w * (t * log s + (1 - t) * log(1 - s)) in nats, where s = sigmoid(p); predictions are logits."""
    total = functional.binary_cross_entropy_with_logits(prediction, target, weight, reduction="sum")
    return LossSum(total, target.new_tensor(target.numel()) if weight is None else weight.sum())


def kl_sparsity(code: Tensor, target: float) -> Tensor:
    """KL divergence, in nats, of each unit's mean activation from `target`, summed over units; a scalar.

    Means over the batch are Bernoulli parameters (Ng 2011), so the code [B, H] must lie between 0 and 1.
    """
    mean = code.float().mean(0).clamp(1e-6, 1 - 1e-6)
    return (target * (target / mean).log() + (1 - target) * ((1 - target) / (1 - mean)).log()).sum()


def l1_sparsity(code: Tensor) -> Tensor:
    """Sum of absolute activations per row of the code [B, H], averaged over rows; a scalar."""
    return code.float().abs().sum() / max(len(code), 1)


def multinomial(logits: Tensor, rows: SparseRows, *, overwrite: bool = False) -> LossSum:
    """Negative log-likelihood, in nats, of the entries of `rows` under the softmax of each row of logits [B, D].

    With `overwrite`, the loss uses the memory of float32 logits, which are lost.
    """
    total: Tensor = _Multinomial.apply(logits, rows, overwrite)
    return LossSum(total, total.new_tensor(len(rows.columns)))


class _Multinomial(torch.autograd.Function):
    """Keeps a single block [B, D] beside the logits, or none: the softmax, which becomes the gradient in place."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: SparseRows, overwrite: bool) -> Tensor:
        ctx.dtype, ctx.rows = logits.dtype, rows
        if overwrite and logits.dtype == torch.float32:
            ctx.shares = torch.softmax(logits, 1, out=logits)
        else:
            ctx.shares = torch.softmax(logits, 1, dtype=torch.float32)
        return -ctx.shares[rows.row_of_entry(), rows.columns].clamp(min=TINY).log().sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        shares, rows, row = ctx.shares, ctx.rows, ctx.rows.row_of_entry()
        shares[row, rows.columns] -= (1 / rows.lengths)[row]
        return shares.mul_((rows.lengths * gradient)[:, None]).to(ctx.dtype), None, None
