"""Limits of memory and arithmetic: checks, and one translation of what numerical libraries raise when they meet one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError
from torch import nn

from recsys_ae.errors import ConfigError, TrainingError, reason

IN_TRAINING = 16  # bytes per weight trained by gradient: itself, its gradient, and two averages of Adam
CGROUP = Path("/sys/fs/cgroup")  # the limits of a container
# How libraries say that an array is too large, where it is no MemoryError.
TOO_LARGE = (
    *("can't allocate memory", "out of memory", "not enough memory", "is too big", "size calculation overflowed"),
    *("maximum allowed dimension", "negative dimensions are not allowed"),
)
UNSOLVABLE = (np.linalg.LinAlgError, torch.linalg.LinAlgError, ArpackError)  # type: ignore[attr-defined]


def available_memory() -> int | None:
    """Bytes that this process can still allocate, None where the system does not say (Linux does)."""
    free: list[int] = []
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with suppress(OSError, ValueError):  # the limit may be "max"
        free.append(int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text()))
    return min(free, default=None)


def check_memory(what: str, needed: int, way_out: str) -> None:
    """Raise `ConfigError` if less than the `needed` bytes are free; the message ends with the `way_out`."""
    free = available_memory()
    if free is not None and needed > free:
        raise ConfigError(f"{what} needs {needed / 1e9:.3g} GB of memory, and {free / 1e9:.3g} GB are free; {way_out}")


def training_memory(build: Callable[[], nn.Module]) -> int:
    """Bytes that training needs for the weights of a module; `build` makes it on the meta device, which allocates nothing."""
    try:
        with torch.device("meta"):
            return IN_TRAINING * sum(weight.numel() for weight in build().parameters())
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        return 2**63


@contextmanager
def limits(what: str, way_out: str) -> Iterator[None]:
    """Report that memory runs out, or that equations have no solution in floating point, in a sentence about `what`.

    Within, numpy's floating-point warnings are off: results are checked as a whole, see `check_finite`.

    Raises:
        ConfigError: too little memory.
        TrainingError: equations without a solution; one from within is repeated with `what` and `way_out`.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
    except TrainingError as error:
        raise TrainingError(f"{what}: {error}; {way_out}") from None
    except UNSOLVABLE as error:
        raise TrainingError(f"{what}: the equations cannot be solved ({reason(error, 100)}); {way_out}") from None
    except (MemoryError, RuntimeError, ValueError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in TOO_LARGE):
            raise
        free = available_memory()
        left = "" if free is None else f", {free / 1e9:.3g} GB are free"
        raise ConfigError(f"{what} needs more memory than there is{left} ({reason(error, 120)}); {way_out}") from None


def check_finite(what: str, arrays: Mapping[str, NDArray[Any]], way_out: str) -> None:
    """Raise `TrainingError` if a float in one of the `arrays` is NaN or infinite."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(f"{what}: {name} is not finite; {way_out}")
