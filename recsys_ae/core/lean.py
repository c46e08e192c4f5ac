"""Adam, AdamW and SGD by PyTorch's fused updates.

In place of the classes of torch.optim, because constructing one of those imports a compiler: seconds and 150 MB.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

State = dict[str, Any]


class LeanOptimiser(ABC):
    """An optimiser with the parts of torch.optim.Optimizer that training needs, and the same names in its state."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        self.parameters = list(parameters)
        self.param_groups: list[dict[str, Any]] = [{"lr": lr}]
        self.state: dict[int, State] = {}  # by position of the parameter

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for weight in self.parameters:
            weight.grad = None

    @abstractmethod
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; `closure` clears the gradients, computes the loss, calls `backward` and returns the loss."""

    def state_dict(self) -> dict[str, Any]:
        """`state`: by position of the parameter; `param_groups` as in torch."""
        return {"state": self.state, "param_groups": self.param_groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the result of `state_dict`."""
        self.state = {
            number: {key: x.to(self.parameters[number].device) if isinstance(x, Tensor) else x for key, x in state.items()}
            for number, state in state_dict["state"].items()
        }


class _Fused(LeanOptimiser):
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = [number for number, weight in enumerate(self.parameters) if weight.grad is not None]
        weights = [self.parameters[number] for number in moved]
        self._update(list[Tensor](weights), [weight.grad for weight in weights if weight.grad is not None], moved)
        return loss

    @abstractmethod
    def _update(self, weights: list[Tensor], gradients: list[Tensor], numbers: list[int]) -> None:
        """Change weights, which are the parameters with these numbers."""


class SGD(_Fused):
    """Plain stochastic gradient descent."""

    def _update(self, weights: list[Tensor], gradients: list[Tensor], numbers: list[int]) -> None:
        unused: dict[str, Any] = {"weight_decay": 0, "momentum": 0, "dampening": 0, "nesterov": False, "maximize": False}
        sgd(weights, gradients, [None] * len(weights), fused=True, lr=self.param_groups[0]["lr"], **unused)


class Adam(_Fused):
    """Adam (Kingma & Ba 2015)."""

    _function: Callable[..., None] = staticmethod(adam)
    _decay = 0.0

    def _update(self, weights: list[Tensor], gradients: list[Tensor], numbers: list[int]) -> None:
        for number, weight in zip(numbers, weights, strict=True):
            if number not in self.state:
                means = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
                self.state[number] = {"step": torch.zeros((), dtype=torch.float32, device=weight.device), **means}
        moments = [[self.state[number][key] for number in numbers] for key in ("exp_avg", "exp_avg_sq")]
        self._function(
            weights,
            gradients,
            *moments,
            [],
            [self.state[number]["step"] for number in numbers],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.param_groups[0]["lr"],
            weight_decay=self._decay,
            eps=1e-8,
            maximize=False,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), of 0.01 as in PyTorch."""

    _function = staticmethod(adamw)
    _decay = 0.01
