"""Corruption of inputs, for denoising autoencoders (Vincent et al. 2008). Targets stay clean.

Sparse rows are corrupted at their stored entries only, and keep their pattern. Random numbers are drawn on the CPU, so that a
seed means the same on every device.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Generator, Tensor

from recsys_ae.core.sparse import SparseRows
from recsys_ae.errors import ConfigError
from recsys_ae.registry import Registry

# Constructors from one number, a rate or a standard deviation.
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


class Corruption(Protocol):
    def __call__(self, x: X, generator: Generator) -> X:
        """A corrupted copy of `x`."""


@dataclass(frozen=True)
class Masking:
    """Each entry becomes 0 with probability `rate`; with `rescale` the others are divided by 1 - rate.

    Rescaling keeps the expected value of the input, so that the network can be used without masking as it is.
    """

    rate: float
    rescale: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigError(f"masking rate must be at least 0 and less than 1, got {self.rate}")

    def __call__(self, x: X, generator: Generator) -> X:
        values = x if isinstance(x, Tensor) else x.values
        kept = torch.rand(values.shape, generator=generator).to(values.device) >= self.rate
        masked = values * kept / (1 - self.rate if self.rescale else 1)
        return masked if isinstance(x, Tensor) else x.with_values(masked)


def masking(rate: float) -> Masking:
    """Masking as published, without rescaling."""
    return Masking(rate, rescale=False)


@dataclass(frozen=True)
class Gaussian:
    """Adds normal noise of standard deviation `std` to each entry and clips the sum to `within`, if given."""

    std: float
    within: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ConfigError(f"the standard deviation of noise must not be negative, got {self.std}")

    def __call__(self, x: X, generator: Generator) -> X:
        values = x if isinstance(x, Tensor) else x.values
        noise = torch.randn(values.shape, generator=generator, dtype=values.dtype).to(values.device)
        noisy = noise.mul_(self.std).add_(values)
        if self.within is not None:
            noisy.clamp_(*self.within)
        return noisy if isinstance(x, Tensor) else x.with_values(noisy)


@dataclass(frozen=True)
class SaltAndPepper:
    """Each entry becomes 0 with probability `rate` / 2 and 1 with the same probability."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"the rate of salt and pepper must be between 0 and 1, got {self.rate}")

    def __call__(self, x: X, generator: Generator) -> X:
        values = x if isinstance(x, Tensor) else x.values
        drawn = torch.rand(values.shape, generator=generator).to(values.device)
        spoilt = torch.where(drawn < self.rate, (drawn < self.rate / 2).to(values.dtype), values)
        return spoilt if isinstance(x, Tensor) else x.with_values(spoilt)
