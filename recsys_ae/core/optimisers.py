"""Optimisers by name."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

from recsys_ae.core.row_adam import RowAdam
from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

OPTIMISERS = Registry(
    "optimiser",
    {
        "adam": "torch.optim:Adam",
        "adamw": "torch.optim:AdamW",
        "sgd": "torch.optim:SGD",
        "rprop": "torch.optim:Rprop",
        "lbfgs": "torch.optim:LBFGS",
    },
)
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"fused": True} for name in ("adam", "adamw", "sgd")},
    "lbfgs": {"max_iter": 4, "line_search_fn": "strong_wolfe"},
}
FULL_BATCH = {"rprop", "lbfgs"}  # their batch is all rows: they compare gradients of one function


def make_optimiser(name: str, module: nn.Module, learning_rate: float) -> "Optimiser":
    """The optimiser called `name` for the parameters of `module`.

    A module lists its wide weights in `wide_weights()`; of these, Adam updates only the rows that a batch touches.
    """
    if not learning_rate > 0:
        raise ConfigError(f"learning_rate must be positive, got {learning_rate}")
    wide = list(getattr(module, "wide_weights", list)())
    if name == "adam" and wide:
        return RowAdam(module.parameters(), wide, learning_rate)
    optimiser: Optimiser = OPTIMISERS.get(name)(module.parameters(), lr=learning_rate, **OPTIONS.get(name, {}))
    return optimiser


class Optimiser(Protocol):
    """The part of the interface of torch.optim that the trainer uses."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None: ...

    def step(self, closure: Callable[[], Any]) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...
