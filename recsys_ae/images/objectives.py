"""Objectives of image models. Losses are summed over the pixels of an image and averaged over images."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.corruption import Corruption
from recsys_ae.core.losses import Loss, LossSum, kl_sparsity, l1_sparsity
from recsys_ae.core.trainer import Objective
from recsys_ae.core.variational import VariationalAutoencoder, kl_from_standard_normal, sample

Sparsity = Literal["none", "kl", "l1"]


@dataclass(frozen=True, eq=False, repr=False)
class LabelledBatch:
    """Dense rows x [B, D] and the class of each, int64 [B]."""

    x: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> "LabelledBatch":
        return LabelledBatch(self.x[index], self.labels[index])

    def to(self, device: torch.device) -> "LabelledBatch":
        return LabelledBatch(self.x.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Penalty:
    """Regularisation, per image of a batch.

    Attributes:
        weight_decay: factor on half the sum of squared weights, without biases.
        sparsity, target, strength: `kl`: strength times the KL divergence from `target` of the units' mean activations over the
            batch (full batches: each part of 2048 rows); `l1`: strength times the sum of absolute activations.
    """

    weight_decay: float = 0.0
    sparsity: Sparsity = "none"
    target: float = 0.05
    strength: float = 0.0

    def of_code(self, code: Tensor) -> Tensor:
        """The sparsity penalty, a scalar."""
        if self.sparsity == "kl":
            return self.strength * kl_sparsity(code, self.target)
        if self.sparsity == "l1":
            return self.strength * l1_sparsity(code)
        return code.new_zeros(())

    def of_weights(self, module: nn.Module) -> Tensor:
        """The weight decay, a scalar; a shared matrix counts once."""
        if not self.weight_decay:
            return torch.zeros(())
        squares = [weight.square().sum() for weight in module.parameters() if weight.ndim > 1 and weight.requires_grad]
        return self.weight_decay / 2 * torch.stack(squares).sum()


@dataclass(frozen=True)
class Reconstruction:
    """Loss of images reconstructed from corrupted copies, plus the sparsity penalty; `penalty` is weight decay."""

    loss_of: Loss
    corruption: Corruption | None = None
    penalties: Penalty = Penalty()

    @property
    def separable(self) -> bool:
        return self.penalties.sparsity != "kl"  # of the units' means over a batch

    def loss(self, module: nn.Module, batch: Tensor, generator: Generator) -> LossSum:
        shown = batch if self.corruption is None else self.corruption(batch, generator)
        code: Tensor = module.encode(shown)  # type: ignore[operator]
        found = self.loss_of(module.decode(code).float(), batch, None)  # type: ignore[operator]
        return LossSum(found.total + len(batch) * self.penalties.of_code(code), torch.tensor(len(batch)))

    def penalty(self, module: nn.Module, batch: Tensor) -> Tensor:
        return len(batch) * self.penalties.of_weights(module)


@dataclass(frozen=True)
class NegativeELBO(Objective[VariationalAutoencoder, Tensor]):
    """Negative evidence lower bound (Kingma & Welling 2014, equation 10); grey pixels are Bernoulli means.

    Cross-entropy of the images decoded from one sampled code, plus `beta` times the KL divergence from the prior.
    """

    beta: float = 1.0
    separable: ClassVar[bool] = True

    def loss(self, module: VariationalAutoencoder, batch: Tensor, generator: Generator) -> LossSum:
        mean, log_variance = (part.float() for part in module.encode(batch))
        logits = module.decode(sample(mean, log_variance, generator)).float()
        surprise = functional.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
        divergence = kl_from_standard_normal(mean, log_variance).sum()
        return LossSum(surprise + self.beta * divergence, torch.tensor(len(batch)))


@dataclass(frozen=True)
class Classification:
    """Cross-entropy of the classes, in nats, of possibly corrupted images; `penalty` is weight decay."""

    corruption: Corruption | None = None
    penalties: Penalty = Penalty()
    separable: ClassVar[bool] = True

    def loss(self, module: nn.Module, batch: LabelledBatch, generator: Generator) -> LossSum:
        logits: Tensor = module(batch.x if self.corruption is None else self.corruption(batch.x, generator))
        return LossSum(functional.cross_entropy(logits.float(), batch.labels, reduction="sum"), torch.tensor(len(batch)))

    def penalty(self, module: nn.Module, batch: LabelledBatch) -> Tensor:
        return len(batch) * self.penalties.of_weights(module)
