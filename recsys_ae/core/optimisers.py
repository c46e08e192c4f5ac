"""Optimisers by name."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from recsys_ae.core.axes import wide_weights
from recsys_ae.core.row_adam import RowAdam
from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

CLASSES = ("Adam", "AdamW", "SGD", "Rprop", "LBFGS")
OPTIMISERS = Registry("optimiser", {name.lower(): f"torch.optim:{name}" for name in CLASSES})
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"fused": True} for name in ("adam", "adamw", "sgd")},
    "lbfgs": {"max_iter": 4, "line_search_fn": "strong_wolfe"},
}
FULL_BATCH = {"rprop", "lbfgs"}  # their batch is all rows: they compare gradients of one function
Optimiser = Optimizer | RowAdam


def make_optimiser(name: str, module: nn.Module, learning_rate: float) -> Optimiser:
    """The optimiser called `name` for the parameters of `module`.

    Adam updates only the touched rows of wide weights, if the module itself declares `id_axes`; see `core.axes`.
    """
    if not learning_rate > 0:
        raise ConfigError(f"learning_rate must be positive, got {learning_rate}")
    if name == "adam" and hasattr(module, "id_axes"):
        return RowAdam(module.parameters(), wide_weights(module), learning_rate)
    optimiser: Optimiser = OPTIMISERS.get(name)(module.parameters(), lr=learning_rate, **OPTIONS.get(name, {}))
    return optimiser
