"""Optimisers by name."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from recsys_ae.core.row_adam import RowAdam
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
FULL_BATCH = {"rprop", "lbfgs"}  # their batch is all rows: they compare gradients of one function


def make_optimiser(name: str, module: nn.Module, learning_rate: float) -> "Optimiser":
    """The optimiser called `name` for the parameters of `module`.

    A module lists its wide weights in `wide_weights()`; of these, Adam updates only the rows that a batch touches.
    """
    if not learning_rate > 0:
        raise ConfigError(f"learning_rate must be positive, got {learning_rate}")
    optimiser: Optimiser = OPTIMISERS.get(name)(module, learning_rate)
    return optimiser


def adam(module: nn.Module, learning_rate: float) -> "Optimiser":
    wide = list(getattr(module, "wide_weights", list)())
    if wide:
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
    """The part of the interface of torch.optim that the trainer uses."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None: ...

    def step(self, closure: Callable[[], Any]) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...
