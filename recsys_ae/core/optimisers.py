"""Optimisers by name."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recsys_ae.core import kernels
from recsys_ae.core.sparse import RowGradient
from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

OPTIMISERS = Registry(
    "optimiser",
    {
        "adam": "recsys_ae.core.optimisers:adam",
        "adamw": "recsys_ae.core.optimisers:adamw",
        "sgd": "recsys_ae.core.optimisers:sgd",
        "rprop": "recsys_ae.core.optimisers:rprop",
        "lbfgs": "recsys_ae.core.optimisers:lbfgs",
    },
)
FULL_BATCH = {"rprop", "lbfgs"}  # for these a batch is all rows: they compare gradients of one and the same function


def make_optimiser(name: str, module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The optimiser called `name` for the parameters of `module`.

    A module with wide weights says which in `wide_weights()`; Adam on the CPU updates only the rows of those that a batch
    touches.
    """
    if not learning_rate > 0:
        raise ConfigError(f"learning_rate must be positive, got {learning_rate}")
    optimiser: torch.optim.Optimizer = OPTIMISERS.get(name)(module, learning_rate)
    return optimiser


def adam(module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    wide = list(getattr(module, "wide_weights", list)())
    if wide and not wide[0].is_cuda:
        return RowAdam(module.parameters(), wide, learning_rate)
    return torch.optim.Adam(module.parameters(), lr=learning_rate, fused=True)


def adamw(module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=learning_rate, fused=True)


def sgd(module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=learning_rate, fused=True)


def rprop(module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Rprop(module.parameters(), lr=learning_rate)


def lbfgs(module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(module.parameters(), lr=learning_rate, max_iter=4, line_search_fn="strong_wolfe")


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) that updates only the rows of wide weights that have a gradient.

    Deviates from Adam for wide weights: a row that a batch does not touch keeps its weights and both running averages,
    as in torch.optim.SparseAdam, where Adam would go on moving it by its momentum. Where all rows are touched in each
    step, the two are the same; the points at which they stand still are always the same.

    Args:
        parameters: everything to optimise.
        wide: those of them whose gradients come as a `RowGradient`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], wide: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8})
        self._wide = {id(weight) for weight in wide}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; from here to `step`, wide weights collect theirs by rows."""
        super().zero_grad(set_to_none)
        for weight in self.param_groups[0]["params"]:
            if id(weight) in self._wide:
                weight.row_gradient = RowGradient()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[0]
        for weight in group["params"]:
            by_rows = weight.__dict__.pop("row_gradient", None)
            if weight.grad is None and (by_rows is None or by_rows.rows is None):
                continue
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
            state["step"] += 1
            if weight.grad is None:
                _step_rows(weight, by_rows, state, group)
            else:
                _step_dense(weight, weight.grad if by_rows is None else weight.grad + by_rows.dense(weight), state, group)
        return loss


def _numbers(state: dict[str, Tensor], group: dict[str, Any]) -> tuple[Any, ...]:
    """Learning rate, decay rates of the averages, 1 - rate^step of each, epsilon, as the kernels take them."""
    corrections = [1 - beta ** int(state["step"]) for beta in group["betas"]]
    betas = np.array(group["betas"], np.float32)
    return np.float32(group["lr"]), betas, np.array(corrections, np.float32), np.float32(group["eps"])


def _step_rows(weight: Tensor, gradient: RowGradient, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    assert gradient.rows is not None
    shrink = weight.new_zeros(len(weight)) if gradient.shrink is None else gradient.shrink
    terms = [*gradient.terms, (weight.new_empty(0), weight.new_empty(0, 0))][:2]
    kernels.adam_columns(
        *gradient.rows.columnwise()[0],
        *(array.numpy() for term in terms for array in term),
        shrink.numpy(),
        *(array.numpy() for array in (weight, state["exp_avg"], state["exp_avg_sq"])),
        *_numbers(state, group),
    )


def _step_dense(weight: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    arrays = (gradient.contiguous(), weight, state["exp_avg"], state["exp_avg_sq"])
    kernels.adam(*(array.view(-1).numpy() for array in arrays), *_numbers(state, group))
