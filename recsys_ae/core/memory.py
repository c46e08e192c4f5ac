"""The memory that training takes."""

from collections.abc import Callable

from torch import nn

from recsys_ae.core.devices import shapes_only

IN_TRAINING = 16  # bytes per trained weight: float32 weight, gradient, and two moments of Adam


def training_memory(build: Callable[[], nn.Module]) -> int:
    """Bytes for training the weights of a module; `build` creates it, which allocates nothing here."""
    try:
        with shapes_only():
            return IN_TRAINING * sum(weight.numel() for weight in build().parameters())
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        return 2**63
