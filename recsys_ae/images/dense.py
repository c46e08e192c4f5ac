"""The fully connected image autoencoder; its parameters make it denoising, sparse, deep or linear."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Generator, nn

from recsys_ae.core.autoencoder import INITIALISERS, Autoencoder
from recsys_ae.declaration import OneOf, Sizes
from recsys_ae.errors import ConfigError
from recsys_ae.images.base import Shape, n_pixels
from recsys_ae.images.objectives import Penalty, Sparsity
from recsys_ae.images.training import Activation, Output, ReconstructingModel
from recsys_ae.space import Range, Space


@dataclass
class DenseAutoencoder(ReconstructingModel):
    """Autoencoder of fully connected layers.

    Source: Vincent et al. 2008 (tied weights, sigmoid, cross-entropy summed over pixels, masking); Ng 2011 (`sparsity: kl`);
    with `identity` everywhere and the squared error, the code spans the principal components (Baldi & Hornik 1989).

    Attributes:
        hidden: sizes of the encoder's layers, the last being the code; the decoder mirrors them.
        activation, code_activation, output: of the hidden layers; of the code, if different; of the output layer.
        tied: whether the decoder uses the encoder's weight matrices, transposed.
        initial: initialiser of the weights, see `core.autoencoder.INITIALISERS`; biases start at 0.
        weight_decay: per image, factor on half the sum of squared weights.
        sparsity, target, strength: sparsity penalty on the code, see `images.objectives.Penalty`.
        Others: see `ReconstructingModel` and `TrainedModel`.
    """

    hidden: Sizes = (500,)
    activation: Activation = "sigmoid"
    code_activation: Activation | None = None
    output: Output = "sigmoid"
    tied: bool = False
    initial: Annotated[str, OneOf("initialiser", INITIALISERS)] = "glorot_uniform"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    sparsity: Sparsity = "none"
    target: Annotated[float, Field(gt=0, lt=1)] = 0.05
    strength: Annotated[float, Field(ge=0)] = 0.0
    space: ClassVar[Space] = {
        "hidden": [[100], [250], [500]],
        "activation": ["sigmoid", "relu", "elu"],
        "batch_size": [32, 128, 512],
        "learning_rate": Range(low=0.0003, high=0.01, log=True),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._output_activation(self.output)
        if (self.sparsity != "none") != (self.strength > 0):
            raise ConfigError(f"sparsity: {self.sparsity} with strength: {self.strength:g} does nothing; give both, or neither")
        if self.sparsity == "kl" and (self.code_activation or self.activation) != "sigmoid":
            raise ConfigError("sparsity: kl needs a code between 0 and 1, so its activation must be sigmoid")

    def _network(self, shape: Shape, generator: Generator, classes: int | None = None) -> nn.Module:
        return self._autoencoder(shape, generator)

    def _autoencoder(self, shape: Shape, generator: Generator) -> Autoencoder:
        return Autoencoder(
            n_pixels(shape),
            self.hidden,
            activation=self.activation,
            code_activation=self.code_activation,
            output_activation=self._output_activation(self.output),
            tied=self.tied,
            initial=self.initial,
            generator=generator,
        )

    def _penalty(self) -> Penalty:
        return Penalty(self.weight_decay, self.sparsity, self.target, self.strength)
