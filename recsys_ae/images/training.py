"""Base classes of image models trained by gradient descent."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import ACTIVATIONS
from recsys_ae.core.corruption import CORRUPTIONS, Corruption, Gaussian
from recsys_ae.core.devices import Device, device_of
from recsys_ae.core.losses import LOSSES
from recsys_ae.core.memory import training_memory
from recsys_ae.core.optimisers import OPTIMISERS, check_decay
from recsys_ae.core.trainer import Batch, Objective, Precision, TrainConfig, fit, parts_of
from recsys_ae.declaration import OneOf
from recsys_ae.errors import ConfigError
from recsys_ae.images.base import BATCH_IMAGES, FittedImages, ImageContext, ImageModel, Shape
from recsys_ae.images.objectives import Penalty, Reconstruction

CorruptionName = Annotated[str, OneOf("corruption", ["none", *CORRUPTIONS])]
LossName = Annotated[str, OneOf("loss", LOSSES)]
Output = Literal["sigmoid", "identity"]
Activation = Annotated[str, OneOf("activation", ACTIVATIONS)]


@dataclass
class TrainedModel(ImageModel):
    """An image model trained by gradient descent.

    Attributes:
        epochs, batch_size, optimiser, learning_rate, learning_rate_decay, patience, precision, device: see
            `core.trainer.TrainConfig`. Batches are of images, the loss is their mean, and an epoch of `lbfgs` has at most four
            iterations.
    """

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimiser: Annotated[str, OneOf("optimiser", OPTIMISERS)] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 0
    precision: Precision = "float32"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decay(self.optimiser, self.learning_rate_decay)

    @abstractmethod
    def _objective(self) -> Objective[Any, Any]:
        """The objective of training."""

    def _memory(self, shape: Shape) -> int:
        return training_memory(lambda: self._network(shape, Generator()))

    def _fit(self, images: Tensor, shape: Shape, context: ImageContext) -> FittedImages:
        network = self._network(shape, Generator().manual_seed(context.seed))
        self._train(network, self._objective(), images, context.valid, context)
        return FittedImages(network, shape, histories=context.histories)

    def _train(
        self,
        network: nn.Module,
        objective: Objective[Any, Any],
        rows: Batch,
        valid: Batch | None,
        context: ImageContext,
        stage: str = "",
        **config: Any,
    ) -> None:
        """Train with the model's parameters, some replaced by `config`, and note the history in `context`."""
        settings = TrainConfig.of(self, **{"seed": context.seed, "reduction": "mean", **config})
        value = None if valid is None else partial(mean_loss, network, objective, valid, context.seed)
        history = fit(network, objective, rows, settings, valid=value, callbacks=context.callbacks, stage=stage)
        context.histories[stage] = history


@dataclass
class ReconstructingModel(TrainedModel):
    """A trained model that reconstructs possibly corrupted images.

    Attributes:
        loss: summed over pixels; `squared_error` without a factor 1/2.
        corruption, noise: of the training images, with its rate or standard deviation. `masking` sets pixels to 0, `dropout`
            also scales up the others, `salt_and_pepper` sets them to 0 or 1, `gaussian` is clipped to [0, 1].
        Others: see `TrainedModel`.
    """

    loss: LossName = "cross_entropy"
    corruption: CorruptionName = "none"
    noise: Annotated[float, Field(ge=0)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_corruption("corruption", self.corruption, self._noises())

    def _noises(self) -> dict[str, float]:
        """All noise levels by parameter name."""
        return {"noise": self.noise}

    def _objective(self) -> Objective[Any, Any]:
        return Reconstruction(LOSSES.get(self.loss), self._corruption(), self._penalty())

    def _penalty(self) -> Penalty:
        return Penalty()

    def _corruption(self) -> Corruption | None:
        return make_corruption(self.corruption, self.noise)

    def _output_activation(self, output: Output) -> str:
        """Activation of the last layer; the cross-entropy takes logits."""
        if self.loss == "cross_entropy" and output != "sigmoid":
            raise ConfigError(f"loss: cross_entropy needs output: sigmoid, which gives probabilities, got {output}")
        return "identity" if self.loss == "cross_entropy" else output

    def _pixels(self, outputs: Tensor) -> Tensor:
        return torch.sigmoid(outputs) if self.loss == "cross_entropy" else outputs


def check_corruption(parameter: str, name: CorruptionName, noises: dict[str, float]) -> None:
    """Raise `ConfigError` for impossible noise levels, a corruption without noise, or noise without a corruption."""
    for noise in noises.values():
        make_corruption(name, noise)
    places = " or ".join(noises)
    if name != "none" and not any(noises.values()):
        raise ConfigError(f"{parameter}: {name} corrupts nothing without a number; give {places}")
    if name == "none" and any(noises.values()):
        raise ConfigError(f"{places} does nothing without {parameter}; give one, or set {places} to 0")


def make_corruption(name: CorruptionName, noise: float, within: tuple[float, float] | None = (0.0, 1.0)) -> Corruption | None:
    """The corruption called `name`, None for `none`; inputs with Gaussian noise are clipped to `within`."""
    if name == "none":
        return None
    if name == "gaussian":
        return Gaussian(noise, within)
    return CORRUPTIONS.get(name)(noise)


def mean_loss(network: nn.Module, objective: Objective[Any, Any], rows: Batch, seed: int) -> float:
    """Mean loss over the rows; the seed decides how they are corrupted."""
    generator = Generator().manual_seed(seed)
    with torch.no_grad():
        device = device_of(network)
        found = [objective.loss(network, batch.to(device), generator) for batch in parts_of(rows, BATCH_IMAGES)]
    return sum(float(part.total) for part in found) / sum(float(part.count) for part in found)
