"""Optimisers by name."""

from collections.abc import Iterable

import torch
from torch import nn

from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

OPTIMISERS = Registry("optimiser", {"adam": "torch.optim:Adam", "adamw": "torch.optim:AdamW", "sgd": "torch.optim:SGD"})


def make_optimiser(name: str, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """The optimiser called `name`, in PyTorch's fused implementation: one pass over each parameter per step."""
    if not learning_rate > 0:
        raise ConfigError(f"learning_rate must be positive, got {learning_rate}")
    optimiser: torch.optim.Optimizer = OPTIMISERS.get(name)(parameters, lr=learning_rate, fused=True)
    return optimiser
