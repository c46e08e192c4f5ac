"""Devices by name, and which implementation runs on them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from recsys_ae.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]


def device_named(name: Device, *, fallback: bool = False) -> torch.device:
    """The device called `name`; `auto` is the GPU if there is one.

    Without a GPU, `cuda` raises `ConfigError`, or is the CPU with `fallback`, as when a model trained on one scores elsewhere.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available and not fallback:
        raise ConfigError("device: cuda, but PyTorch finds no GPU here; use device: auto or cpu")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's parameters."""
    return next(module.parameters()).device


def uses_kernels(tensor: Tensor) -> bool:
    """Whether the compiled loops run on this tensor, rather than PyTorch's operations; tests replace this to run either."""
    return tensor.device.type == "cpu"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for matrix products in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Make convolutions on a GPU give the same bits each time, and disable TF32 (a 10-bit mantissa) for them.

    PyTorch otherwise uses both TF32 and algorithms that add in any order, after which the maximum of a pool may be another one.
    A program that has chosen a precision by PyTorch's newer switches, `fp32_precision`, keeps its choice.
    """
    cudnn = torch.backends.cudnn
    before = {"deterministic": cudnn.deterministic}
    with suppress(RuntimeError):  # the two kinds of switches for the precision exclude each other
        before["allow_tf32"] = cudnn.allow_tf32
    try:
        cudnn.deterministic = True
        if "allow_tf32" in before:
            cudnn.allow_tf32 = False
        yield
    finally:
        for name, value in before.items():
            setattr(cudnn, name, value)


class _Undrawn(TorchFunctionMode):
    """Random tensors have no numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func in (torch.rand, torch.randn):
            options.pop("generator", None)
            return torch.empty(*args, **options)
        return func(*args, **options)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within the block, new tensors have a shape but no data, and take no memory.

    PyTorch would load its compiler, 150 MB, for random tensors and for arithmetic on such tensors. So no numbers are drawn, and
    initial weights are scaled in place.
    """
    with torch.device("meta"), _Undrawn():
        yield
