"""Optimisers by name, and Adam for weights of which a batch touches only some rows."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys_ae.core import devices
from recsys_ae.core.axes import wide_weights
from recsys_ae.core.kernels import adam as kernels
from recsys_ae.core.lean import LeanOptimiser
from recsys_ae.core.sparse import DeferredGradient, SparseRows, deferring
from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

CLASSES = {"recsys_ae.core.lean": ("Adam", "AdamW", "SGD"), "torch.optim": ("Rprop", "LBFGS")}
OPTIMISERS = Registry("optimiser", {name.lower(): f"{place}:{name}" for place, names in CLASSES.items() for name in names})
OPTIONS: dict[str, dict[str, Any]] = {"lbfgs": {"max_iter": 4, "line_search_fn": "strong_wolfe"}}
FULL_BATCH = {"rprop", "lbfgs"}  # their batch is all rows: they compare gradients of one function


class RowAdam(LeanOptimiser):
    """Adam (Kingma & Ba 2015) that updates only the rows of wide weights that have a gradient.

    Deviates from Adam for wide weights: as in torch.optim.SparseAdam, a row that a batch does not touch keeps its weights and
    both running averages, where Adam would keep moving it by momentum. Stationary points are the same.

    Gradients of wide weights are deferred (see `core.sparse`) only during `step(closure)`. With a gradient computed outside, a
    step is that of Adam. `wide` are those of `parameters` that `sparse_linear` and `sampled_linear` use.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], wide: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr)
        self.param_groups[0].update(betas=(0.9, 0.999), eps=1e-8)
        self._deferred = {id(weight): DeferredGradient() for weight in wide}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        super().zero_grad()
        for gradient in self._deferred.values():
            gradient.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad(), deferring(self._deferred):
                loss = closure()
        for number, weight in enumerate(self.parameters):
            deferred = self._deferred.get(id(weight), DeferredGradient())
            if weight.grad is None and not deferred:
                continue
            if number not in self.state:
                self.state[number] = {"step": 0, "mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
            state = self.state[number]
            state["step"] += 1
            update = _all_rows if weight.grad is not None else _touched_rows
            update(weight, deferred, kernels.Moments(weight, state["mean"], state["square"]), self._rates(state["step"]))
        return loss

    def _rates(self, step: int) -> kernels.Rates:
        group = self.param_groups[0]
        (beta1, beta2), numbers = group["betas"], (group["lr"], *group["betas"])
        return kernels.Rates(*map(np.float32, (*numbers, 1 - beta1**step, 1 - beta2**step, group["eps"])))


def _touched_rows(weight: Tensor, gradient: DeferredGradient, moments: kernels.Moments, rates: kernels.Rates) -> None:
    """Update the rows that a deferred gradient touches."""
    if devices.uses_kernels(weight):
        rows, values, factors = _as_one_pattern(gradient, weight)
        pattern = rows.csc_pattern()
        shrink = np.zeros(len(pattern.touched), np.float32)
        for own, strength in gradient.shrinkages:
            kernels.add_shrinkage(pattern, own.csc_pattern(), strength.numpy(), shrink)
        kernels.adam_columns(pattern, values.numpy(), factors.numpy(), shrink, _arrays(moments), rates)
        return
    patterns = [rows for rows, _, _ in gradient.products] + [rows for rows, _ in gradient.shrinkages]
    touched = torch.cat([rows.columns for rows in patterns]).unique()
    total = gradient.add_products(torch.zeros_like(weight)) + gradient.row_shrinkage(weight)[:, None] * weight
    part = kernels.Moments(*(tensor[touched] for tensor in moments))
    _torch_step(total[touched], part, rates)
    for tensor, changed in zip(moments, part, strict=True):
        tensor[touched] = changed


def _all_rows(weight: Tensor, more: DeferredGradient, moments: kernels.Moments, rates: kernels.Rates) -> None:
    """Update a whole weight from its ordinary gradient and any deferred `more`."""
    assert weight.grad is not None
    gradient = more.add_products(weight.grad.contiguous())
    if not devices.uses_kernels(weight):
        shrinkage = more.row_shrinkage(weight)[:, None] * weight if more.shrinkages else 0
        _torch_step(gradient + shrinkage, moments, rates)
        return
    rows = (weight.shape[0], -1) if weight.ndim > 1 else (1, -1)
    views = kernels.Moments(*(tensor.view(rows) for tensor in moments))
    shrink = more.row_shrinkage(weight) if more.shrinkages else weight.new_zeros(rows[0])
    kernels.adam_rows(gradient.view(rows).numpy(), shrink.numpy(), _arrays(views), rates)


def _as_one_pattern(gradient: DeferredGradient, weight: Tensor) -> tuple[SparseRows, Tensor, Tensor]:
    """Rows, values [n, nnz] and factors [n, B, H] whose products S_i^T G_i add up to those of `gradient`.

    Usually all products share a pattern. Otherwise rows are stacked: S_1^T G_1 + S_2^T G_2 = [S_1; S_2]^T [G_1; G_2]. A pattern
    that only shrinks has a product of 0.
    """
    products = list(gradient.products)
    patterns = {rows.pattern_id: rows for rows, _, _ in products}
    for rows, _ in gradient.shrinkages:
        if rows.pattern_id not in patterns:
            patterns[rows.pattern_id] = rows
            products.append((rows, torch.zeros_like(rows.values), weight.new_zeros(len(rows), weight.shape[1])))
    if len(patterns) == 1:
        (only,) = patterns.values()
        return only, _stack([only.csc_values(values) for _, values, _ in products]), _stack([factor for *_, factor in products])
    entries = torch.cat([values for _, values, _ in products])
    lengths = torch.cat([rows.lengths for rows, *_ in products])
    indptr = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    columns = torch.cat([rows.columns for rows, *_ in products])
    joined = SparseRows(torch.arange(len(lengths)), indptr, columns, entries, len(weight))
    return joined, joined.csc_values(entries)[None], torch.cat([factor for *_, factor in products])[None]


Optimiser = Optimizer | LeanOptimiser


def make_optimiser(name: str, module: nn.Module, learning_rate: float) -> Optimiser:
    """The optimiser called `name` for the parameters of `module`.

    Adam updates only the touched rows of wide weights, if the module itself declares `id_axes`; see `core.axes`.
    """
    if not learning_rate > 0:
        raise ConfigError(f"learning_rate must be positive, got {learning_rate}")
    if name == "adam" and hasattr(module, "id_axes"):
        return RowAdam(module.parameters(), wide_weights(module), learning_rate)
    return OPTIMISERS.get(name)(module.parameters(), lr=learning_rate, **OPTIONS.get(name, {}))


def check_decay(name: str, learning_rate_decay: float) -> None:
    """Raise `ConfigError` for a decay of the learning rate that the optimiser called `name` would ignore."""
    if name == "rprop" and learning_rate_decay != 1:
        raise ConfigError(
            "optimiser: rprop adapts its own step sizes and would ignore "
            f"learning_rate_decay: {learning_rate_decay:g}; set it to 1"
        )


def _stack(parts: list[Tensor]) -> Tensor:
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)  # one part is not copied


def _torch_step(gradient: Tensor, moments: kernels.Moments, rates: kernels.Rates) -> None:
    learning_rate, beta1, beta2, correction1, correction2, eps = map(float, rates)
    moments.mean.lerp_(gradient, 1 - beta1)
    moments.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    moments.weight.addcdiv_(moments.mean, (moments.square / correction2).sqrt_().add_(eps), value=-learning_rate / correction1)


def _arrays(moments: kernels.Moments) -> kernels.Moments:
    return kernels.Moments(*(tensor.numpy() for tensor in moments))
