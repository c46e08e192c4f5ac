"""Devices by name, and which implementation runs on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

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
    """Disable TF32 (a 10-bit mantissa), which PyTorch otherwise uses for float32 convolutions on a GPU."""
    cudnn: Any = torch.backends.cudnn
    # Before PyTorch 2.9 there is only the switch for the whole library, which later versions may refuse to read.
    settings, name, exact = (cudnn.conv, "fp32_precision", "ieee") if hasattr(cudnn, "conv") else (cudnn, "allow_tf32", False)
    before = getattr(settings, name)
    setattr(settings, name, exact)
    try:
        yield
    finally:
        setattr(settings, name, before)
