"""Corruption of inputs, for denoising autoencoders (Vincent et al. 2008). Targets stay clean.

Sparse rows are corrupted at their stored entries only, and keep their pattern.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from recsys_ae.core.sparse import SparseRows
from recsys_ae.errors import ConfigError


class Corruption(Protocol):
    def __call__(self, x: SparseRows | Tensor, generator: Generator) -> SparseRows | Tensor:
        """A corrupted copy of `x`."""


@dataclass(frozen=True)
class Masking:
    """Each entry becomes 0 with probability `rate`; with `rescale` the others are divided by 1 - rate.

    Rescaling keeps the expected input of the first layer, so that nothing has to change when no entry is masked.
    """

    rate: float
    rescale: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigError(f"masking rate must be at least 0 and less than 1, got {self.rate}")

    def __call__(self, x: SparseRows | Tensor, generator: Generator) -> SparseRows | Tensor:
        values = x if isinstance(x, Tensor) else x.values
        kept = torch.rand(values.shape, generator=generator, device=values.device) >= self.rate
        masked = values * kept / (1 - self.rate if self.rescale else 1)
        return masked if isinstance(x, Tensor) else x.with_values(masked)


@dataclass(frozen=True)
class Gaussian:
    """Normal noise of standard deviation `std` is added to each entry."""

    std: float

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ConfigError(f"the standard deviation of noise must not be negative, got {self.std}")

    def __call__(self, x: SparseRows | Tensor, generator: Generator) -> SparseRows | Tensor:
        values = x if isinstance(x, Tensor) else x.values
        noise = torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype)
        noisy = values + self.std * noise
        return noisy if isinstance(x, Tensor) else x.with_values(noisy)
