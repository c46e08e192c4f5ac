"""Stacked autoencoders: pretrained layer by layer, unrolled, and fine-tuned as an autoencoder or a classifier."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.corruption import Corruption
from recsys_ae.core.losses import LOSSES
from recsys_ae.core.optimisers import OPTIMISERS
from recsys_ae.core.trainer import Objective
from recsys_ae.declaration import OneOf, Sizes, as_sizes
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.images.base import (
    FittedImages,
    Floats,
    ImageContext,
    Labels,
    Shape,
    by_parts,
    fitted_images,
    in_batches,
    rows_of,
)
from recsys_ae.images.dense import DenseAutoencoder
from recsys_ae.images.objectives import Classification, LabelledBatch, Penalty, Reconstruction
from recsys_ae.images.training import CorruptionName, check_corruption, make_corruption
from recsys_ae.space import Range, Space

LAYER = {"learning_rate_decay": 1.0, "patience": 0}  # these parameters apply to fine-tuning only
HEAD = {"optimiser": "lbfgs", "learning_rate": 1.0, "epochs": 50, "precision": "float32", **LAYER}


def as_numbers(value: Any) -> Any:
    """Noise levels of the layers as a tuple; a single number is that of the first layer."""
    return (value,) if isinstance(value, int | float) else as_sizes(value)


Noise = Annotated[float, Field(ge=0)]
Noises = Annotated[tuple[Noise, ...], BeforeValidator(as_numbers, json_schema_input_type=Noise | list[Noise])]


class Classifier(nn.Module):
    """An encoder and a linear map from its code to class logits; only weights shared with it are trained in the decoder."""

    def __init__(self, body: Autoencoder, classes: int) -> None:
        super().__init__()
        self.body = body
        bias = body.encoder_biases[-1]
        self.head = nn.utils.skip_init(nn.Linear, len(bias), classes, device=bias.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        body.requires_grad_(False)
        for weight in (body.input_weight, *body.encoder_weights, *body.encoder_biases):
            weight.requires_grad_(True)

    def encode(self, x: Tensor) -> Tensor:
        return self.body.encode(x)

    def decode(self, code: Tensor) -> Tensor:
        return self.body.decode(code)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> logits [B, classes]."""
        return self.head(self.encode(x))


@dataclass
class StackedAutoencoder(DenseAutoencoder):
    """Autoencoder with greedy layer-wise pretraining: each layer first learns to reconstruct the output of the layer below.

    Source: Bengio et al. 2007; Vincent et al. 2010 (denoising layers); Ng 2011 (sparse layers). The parameters of
    `DenseAutoencoder` apply to each layer; layers above the first reconstruct activations, so their outputs have the
    activation of the hidden layers. All layers are then unrolled into one network, which is fine-tuned.

    Attributes:
        fine_tune: for `reconstruction`, for `classes` (after training a softmax layer on the code), or `none`.
        layer_epochs, layer_optimiser, layer_learning_rate: of pretraining; with 0 epochs there is none.
        layer_noise: noise level of each layer's inputs; `noise` for layers without one.
        tune_corruption, tune_noise, tune_weight_decay: in fine-tuning. Without weight decay, a softmax layer on a wide code may
            separate all training images, and its weights then grow without limit.
        labels: number of labelled images, drawn with balanced classes; all if None. Pretraining uses all images.
        Others: see `DenseAutoencoder`; epochs, learning rate and optimiser apply to fine-tuning.
    """

    hidden: Sizes = (500, 500)
    fine_tune: Literal["reconstruction", "classes", "none"] = "reconstruction"
    layer_epochs: Annotated[int, Field(ge=0)] = 10
    layer_optimiser: Annotated[str, OneOf("optimiser", OPTIMISERS)] = "adam"
    layer_learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    layer_noise: Noises = ()
    tune_corruption: CorruptionName = "none"
    tune_noise: Annotated[float, Field(ge=0)] = 0.0
    tune_weight_decay: Annotated[float, Field(ge=0)] = 0.0
    labels: Annotated[int, Field(ge=1)] | None = None
    space: ClassVar[Space] = {
        "hidden": [[250, 250], [500, 500], [500, 250]],
        "layer_learning_rate": Range(low=0.0003, high=0.01, log=True),
        "learning_rate": Range(low=0.0003, high=0.01, log=True),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity == "kl" and self.activation != "sigmoid" and len(self.hidden) > 1:
            raise ConfigError("sparsity: kl needs a code between 0 and 1 in every layer, so their activation must be sigmoid")
        if len(self.layer_noise) > len(self.hidden):
            raise ConfigError(f"layer_noise needs one number per layer: {len(self.hidden)}, got {len(self.layer_noise)}")
        check_corruption("tune_corruption", self.tune_corruption, {"tune_noise": self.tune_noise})
        if not self.layer_epochs and self.fine_tune == "none":
            raise ConfigError("with layer_epochs: 0 and fine_tune: none there is nothing to learn; change one of them")

    def _noises(self) -> dict[str, float]:
        return {"noise": self.noise, "layer_noise": max(self.layer_noise, default=0.0)}

    def _fit(self, images: Tensor, shape: Shape, context: ImageContext) -> FittedImages:
        generator = Generator().manual_seed(context.seed)
        body = self._autoencoder(shape, generator)
        labelled = self._labelled(images, context) if self.fine_tune == "classes" else None
        if self.layer_epochs:
            self._pretrain(body, images, generator, context)
        corruption, penalty = make_corruption(self.tune_corruption, self.tune_noise), Penalty(self.tune_weight_decay)
        if self.fine_tune == "reconstruction":
            before, objective = deepcopy(body), Reconstruction(LOSSES.get(self.loss), corruption, penalty)
            self._train(body, objective, images, context.valid, context, "tuning")
            return FittedImages(body.eval(), shape, None, context.histories, before)
        if labelled is None:
            return FittedImages(body.eval(), shape, None, context.histories)
        known, valid, classes = labelled
        network = Classifier(body, classes)
        if self.layer_epochs:  # on random layers, a softmax layer trained alone would be a worse start
            code = LabelledBatch(by_parts(body.encode, known.x), known.labels)
            self._train(network.head, Classification(penalties=penalty), code, None, context, "head", **HEAD)
        pretrained = deepcopy(network)
        self._train(network, Classification(corruption, penalty), known, valid, context, "tuning")
        return FittedImages(network.eval(), shape, classes, context.histories, pretrained)

    def classify(self, images: Floats) -> Floats:
        """Class probabilities [n, classes] of images [n, D]; `ConfigError` if the model was not fine-tuned for classes."""
        fitted = fitted_images(self)
        network = fitted.network
        if not isinstance(network, Classifier):
            raise ConfigError("this model does not classify; fit it with fine_tune: classes")
        return in_batches(lambda batch: network(batch).softmax(1), rows_of(images, fitted.shape))

    def _network(self, shape: Shape, generator: Generator, classes: int | None = None) -> nn.Module:
        body = self._autoencoder(shape, generator)
        return body if classes is None else Classifier(body, classes)

    def _pretrain(self, network: Autoencoder, rows: Tensor, generator: Generator, context: ImageContext) -> None:
        """Train each layer on the activations of the one below, and copy its weights into the network."""
        valid = context.valid
        config = {"epochs": self.layer_epochs, "optimiser": self.layer_optimiser, "learning_rate": self.layer_learning_rate}
        for number in range(len(self.hidden)):
            layer, objective = self._layer(rows.shape[1], number, generator)
            self._train(layer, objective, rows, valid, context, f"layer-{number + 1}", **config, **LAYER)
            put_layer(network, number, layer)
            if number < len(self.hidden) - 1:
                rows = by_parts(layer.encode, rows)
                valid = None if valid is None else by_parts(layer.encode, valid)

    def _layer(self, width: int, number: int, generator: Generator) -> tuple[Autoencoder, Objective[Any, Any]]:
        sizes = self.hidden
        loss, output = self.loss, self._output_activation(self.output)
        if number:  # it reconstructs activations
            loss = self.loss if self.activation == "sigmoid" else "squared_error"
            output = "identity" if loss == "cross_entropy" else self.activation
        layer = Autoencoder(
            width,
            [sizes[number]],
            activation=(self.code_activation or self.activation) if number == len(sizes) - 1 else self.activation,
            output_activation=output,
            tied=self.tied,
            initial=self.initial,
            generator=generator,
        )
        noise = self.layer_noise[number] if number < len(self.layer_noise) else self.noise
        within = (0.0, 1.0) if number == 0 or self.activation == "sigmoid" else None  # range of the activations
        return layer, Reconstruction(LOSSES.get(loss), make_corruption(self.corruption, noise, within), self._penalty())

    def _corruption(self) -> Corruption | None:
        return make_corruption(self.corruption, self.layer_noise[0] if self.layer_noise else self.noise)

    def _labelled(self, images: Tensor, context: ImageContext) -> tuple[LabelledBatch, LabelledBatch | None, int]:
        """The labelled images, those for validation, and the number of classes."""
        if context.labels is None:
            what = "images with classes, in a folder of images one folder for each class"
            raise ConfigError(f"fine_tune: classes needs {what}; without them there is fine_tune: reconstruction")
        known, valid = LabelledBatch(images, validate_labels(context.labels, len(images))), None
        if self.labels is not None:
            known = known[balanced(context.labels, self.labels, context.seed)]
        if context.valid is not None and context.valid_labels is not None:
            valid = LabelledBatch(context.valid, validate_labels(context.valid_labels, len(context.valid)))
        given = [labels for labels in (context.labels, context.valid_labels) if labels is not None and len(labels)]
        return known, valid, 1 + max(int(labels.max()) for labels in given)


def validate_labels(labels: Labels, n: int) -> Tensor:
    """Labels as int64 [n]; `DataError` unless they are n whole numbers from 0."""
    if labels.shape != (n,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(f"labels must be a whole number from 0 for each of {n} images, got {labels.dtype} {list(labels.shape)}")
    return torch.from_numpy(labels.astype(np.int64))


def put_layer(network: Autoencoder, number: int, layer: Autoencoder) -> None:
    """Copy a trained layer into the unrolled network, as encoder layer `number` (from 0) and mirrored in the decoder."""
    with torch.no_grad():
        network.encoder_biases[number].copy_(layer.encoder_biases[0])
        if number == 0:
            network.input_weight.copy_(layer.input_weight)
            network.output_bias.copy_(layer.output_bias)
        else:
            network.encoder_weights[number - 1].copy_(layer.input_weight.T)
            network.decoder_biases[number - 1].copy_(layer.output_bias)
        if not network.tied:
            mirrored = network.output_weight if number == 0 else network.decoder_weights[number - 1]
            mirrored.copy_(layer.output_weight if number == 0 else layer.output_weight.T)


def balanced(labels: Labels, n: int, seed: int) -> Tensor:
    """int64 [n]: n random images, balanced over classes as far as possible; `ConfigError` if there are fewer than n."""
    if n > len(labels):
        raise ConfigError(f"labels: {n} is more than the {len(labels)} images")
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.zeros(len(labels), np.int64)  # position of each image within its class
    for label in np.unique(labels):
        own = order[labels[order] == label]
        place[own] = np.arange(len(own))
    return torch.from_numpy(order[np.argsort(place[order], kind="stable")][:n])
