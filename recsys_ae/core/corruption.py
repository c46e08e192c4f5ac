"""Corruption of inputs, for denoising autoencoders (Vincent et al. 2008). Targets stay clean.

Sparse rows are corrupted at their stored entries only, and keep their pattern. Random numbers are drawn on the CPU, so a seed
means the same on every device.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Generator, Tensor

from recsys_ae.core.shares import Unit, drawn
from recsys_ae.core.sparse import SparseRows
from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

# Constructors with one argument, a rate or a standard deviation.
CORRUPTIONS = Registry(
    "corruption",
    {
        "masking": "recsys_ae.core.corruption:masking",
        "dropout": "recsys_ae.core.corruption:Masking",
        "gaussian": "recsys_ae.core.corruption:Gaussian",
        "salt_and_pepper": "recsys_ae.core.corruption:SaltAndPepper",
    },
)
X = TypeVar("X", SparseRows, Tensor)


class Corruption(ABC):
    """Corrupts each value independently."""

    def __call__(self, x: X, generator: Generator) -> X:
        """A corrupted copy of `x`."""
        if isinstance(x, Tensor):
            return self.corrupt(x, generator)
        return x.with_values(self.corrupt(x.values, generator, "entries"))

    @abstractmethod
    def corrupt(self, values: Tensor, generator: Generator, unit: Unit = "rows") -> Tensor:
        """A corrupted copy of values of any shape, whose first axis is that of the batch's `unit`."""


@dataclass(frozen=True)
class Masking(Corruption):
    """Each entry becomes 0 with probability `rate`; `rescale` divides the others by 1 - rate, keeping the expected value."""

    rate: float
    rescale: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigError(f"masking rate must be at least 0 and less than 1, got {self.rate}")

    def corrupt(self, values: Tensor, generator: Generator, unit: Unit = "rows") -> Tensor:
        kept = drawn(torch.rand, values.shape, generator, unit).to(values.device) >= self.rate
        return values * kept / (1 - self.rate if self.rescale else 1)


def masking(rate: float) -> Masking:
    """Masking as published, without rescaling."""
    return Masking(rate, rescale=False)


@dataclass(frozen=True)
class Gaussian(Corruption):
    """Adds normal noise of standard deviation `std` to each entry and clips the sum to `within`, if given."""

    std: float
    within: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ConfigError(f"the standard deviation of noise must not be negative, got {self.std}")

    def corrupt(self, values: Tensor, generator: Generator, unit: Unit = "rows") -> Tensor:
        noise = drawn(partial(torch.randn, dtype=values.dtype), values.shape, generator, unit).to(values.device)
        noisy = noise.mul_(self.std).add_(values)
        return noisy if self.within is None else noisy.clamp_(*self.within)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    """Each entry becomes 0 with probability `rate` / 2 and 1 with the same probability."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"the rate of salt and pepper must be between 0 and 1, got {self.rate}")

    def corrupt(self, values: Tensor, generator: Generator, unit: Unit = "rows") -> Tensor:
        draws = drawn(torch.rand, values.shape, generator, unit).to(values.device)
        return torch.where(draws < self.rate, (draws < self.rate / 2).to(values.dtype), values)
