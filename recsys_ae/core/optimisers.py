"""Optimisers by name."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recsys_ae.core import kernels
from recsys_ae.core.sparse import DeferredGradient
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


def make_optimiser(name: str, module: nn.Module, learning_rate: float) -> "Optimiser":
    """The optimiser called `name` for the parameters of `module`.

    A module with wide weights says which in `wide_weights()`; Adam on the CPU updates only the rows of those that a batch
    touches.
    """
    if not learning_rate > 0:
        raise ConfigError(f"learning_rate must be positive, got {learning_rate}")
    optimiser: Optimiser = OPTIMISERS.get(name)(module, learning_rate)
    return optimiser


def adam(module: nn.Module, learning_rate: float) -> "Optimiser":
    wide = list(getattr(module, "wide_weights", list)())
    if wide and not wide[0].is_cuda:
        return RowAdam(module.parameters(), wide, learning_rate)
    return torch.optim.Adam(module.parameters(), lr=learning_rate, fused=True)


def adamw(module: nn.Module, learning_rate: float) -> "Optimiser":
    return torch.optim.AdamW(module.parameters(), lr=learning_rate, fused=True)


def sgd(module: nn.Module, learning_rate: float) -> "Optimiser":
    return torch.optim.SGD(module.parameters(), lr=learning_rate, fused=True)


def rprop(module: nn.Module, learning_rate: float) -> "Optimiser":
    return torch.optim.Rprop(module.parameters(), lr=learning_rate)


def lbfgs(module: nn.Module, learning_rate: float) -> "Optimiser":
    return torch.optim.LBFGS(module.parameters(), lr=learning_rate, max_iter=4, line_search_fn="strong_wolfe")


class Optimiser(Protocol):
    """What the trainer asks of an optimiser; those of torch.optim are such."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None: ...

    def step(self, closure: Callable[[], Any]) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class RowAdam:
    """Adam (Kingma & Ba 2015) that updates only the rows of wide weights that have a gradient.

    Deviates from Adam for wide weights: a row that a batch does not touch keeps its weights and both running averages,
    as in torch.optim.SparseAdam, where Adam would go on moving it by its momentum. Where all rows are touched in each
    step, the two are the same; the points at which they stand still are always the same.

    It is no torch.optim.Optimizer, because making one of those imports a compiler: a second and 150 MB.

    Args:
        parameters: everything to optimise.
        wide: those of them whose gradients come as a `DeferredGradient`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], wide: list[nn.Parameter], lr: float) -> None:
        self._parameters = list(parameters)
        self.param_groups: list[dict[str, Any]] = [{"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8}]
        self._state: dict[int, dict[str, Any]] = {}
        self._wide = {id(weight) for weight in wide}

    def zero_grad(self) -> None:
        """Forget the gradients; from here to `step`, wide weights collect theirs by rows."""
        for weight in self._parameters:
            weight.grad = None
            if id(weight) in self._wide:
                weight.deferred_gradient = DeferredGradient()  # type: ignore[attr-defined]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[0]
        for number, weight in enumerate(self._parameters):
            by_rows = weight.__dict__.pop("deferred_gradient", None)
            if weight.grad is None and (by_rows is None or by_rows.rows is None):
                continue
            if number not in self._state:
                self._state[number] = {"step": 0, "mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
            state = self._state[number]
            state["step"] += 1
            if weight.grad is None:
                _step_rows(weight, by_rows, state, group)
            else:
                _step_dense(weight, by_rows or DeferredGradient(), state, group)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """`state`: by number of the parameter, its steps and running averages; `param_groups`, as in torch."""
        return {"state": self._state, "param_groups": self.param_groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._state = {number: dict(state) for number, state in state_dict["state"].items()}


def _numbers(state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
    """Learning rate, decay rates of the averages, 1 - rate^step of each, epsilon, as the kernels take them."""
    corrections = [1 - beta ** state["step"] for beta in group["betas"]]
    betas = np.array(group["betas"], np.float32)
    return np.float32(group["lr"]), betas, np.array(corrections, np.float32), np.float32(group["eps"])


def _step_rows(weight: Tensor, gradient: DeferredGradient, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Of the rows that the gradient touches."""
    assert gradient.rows is not None
    shrink = weight.new_zeros(len(weight)) if gradient.shrink is None else gradient.shrink
    terms = [*gradient.terms, (weight.new_empty(0), weight.new_empty(0, 0))][:2]
    kernels.adam_columns(
        *gradient.rows.csc_pattern()[0],
        *(array.numpy() for term in terms for array in term),
        shrink.numpy(),
        *(array.numpy() for array in (weight, state["mean"], state["square"])),
        *_numbers(state, group),
    )


def _step_dense(weight: nn.Parameter, more: DeferredGradient, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Of a whole weight, which has an ordinary gradient and perhaps `more` by rows."""
    assert weight.grad is not None
    rows = (weight.shape[0], -1) if weight.ndim > 1 else (1, -1)
    shrink = more.shrink_of_rows() if more.shrink is not None else weight.new_zeros(rows[0])
    gradient = more.add_terms(weight.grad.contiguous())
    arrays = (array.view(rows).numpy() for array in (weight, state["mean"], state["square"]))
    kernels.adam_rows(gradient.view(rows).numpy(), shrink.numpy(), *arrays, *_numbers(state, group))
