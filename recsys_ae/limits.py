"""Checks of memory and arithmetic, and translation of the errors that numerical libraries raise at their limits.

PyTorch is not imported, because models that do without it would need three times the memory.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, TrainingError, reason

CGROUP = Path("/sys/fs/cgroup")  # the limits of a container
# Messages about arrays that are too large, in errors other than MemoryError.
TOO_LARGE = (
    *("can't allocate memory", "out of memory", "not enough memory", "is too big", "size calculation overflowed"),
    *("maximum allowed dimension", "negative dimensions are not allowed"),
)


def available_memory() -> int | None:
    """Bytes that this process can still allocate; None if unknown, as on systems other than Linux."""
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
        raise ConfigError(f"{what} needs {needed / 1e9:.3g} GB of memory, but only {free / 1e9:.3g} GB are free; {way_out}")


@contextmanager
def limits(what: str, way_out: str) -> Iterator[None]:
    """Translate errors about memory and unsolvable equations into a sentence about `what`.

    numpy's floating-point warnings are off inside, because results are checked as a whole, see `check_finite`.

    Raises:
        ConfigError: too little memory.
        TrainingError: unsolvable equations; a `TrainingError` raised inside gets `what` and `way_out` added.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
    except TrainingError as error:
        raise TrainingError(f"{what}: {error}; {way_out}") from None
    except _unsolvable() as error:
        raise TrainingError(f"{what}: the equations cannot be solved ({reason(error, 100)}); {way_out}") from None
    except (MemoryError, RuntimeError, ValueError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in TOO_LARGE):
            raise
        free = available_memory()
        left = "" if free is None else f" ({free / 1e9:.3g} GB free)"
        raise ConfigError(f"{what} needs more memory than there is{left}: {reason(error, 120)}; {way_out}") from None


def check_finite(what: str, arrays: Mapping[str, NDArray[Any]], way_out: str) -> None:
    """Raise `TrainingError` if a float in one of the `arrays` is NaN or infinite."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(f"{what}: {name} is not finite; {way_out}")


def _unsolvable() -> tuple[type[Exception], ...]:
    """The errors that libraries raise for equations that cannot be solved."""
    loaded = (sys.modules.get(name) for name in ("torch.linalg", "scipy.sparse.linalg"))
    errors = (getattr(module, name, None) for module, name in zip(loaded, ("LinAlgError", "ArpackError"), strict=True))
    return np.linalg.LinAlgError, *(error for error in errors if error is not None)
