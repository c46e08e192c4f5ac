"""Devices by name, and which implementation runs on them."""

from typing import Literal

import torch
from torch import Tensor, nn

from recsys_ae.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]


def device_named(name: Device, *, fallback: bool = False) -> torch.device:
    """The device called `name`; `auto` is the GPU if there is one.

    Args:
        fallback: whether the CPU replaces a GPU that is not there, as when a model trained on one scores elsewhere.

    Raises:
        ConfigError: `cuda`, and PyTorch finds no GPU.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available and not fallback:
        raise ConfigError("device: cuda, but PyTorch finds no GPU here; use device: auto or cpu")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's parameters."""
    return next(module.parameters()).device


def uses_kernels(tensor: Tensor) -> bool:
    """Whether the compiled loops run on this tensor; elsewhere PyTorch's operations do the same.

    This is the one place that decides, so that tests can run either implementation on the CPU.
    """
    return tensor.device.type == "cpu"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for matrix products in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))
