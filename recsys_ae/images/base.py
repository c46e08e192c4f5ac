"""Base class of image models: n images, D = channels * height * width pixels between 0 and 1, H units in the code."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isqrt, prod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from recsys_ae.core.corruption import Corruption
from recsys_ae.core.trainer import Callback, Epoch
from recsys_ae.declaration import Parameterised, check_seed, likely_cause
from recsys_ae.errors import ConfigError, DataError, NotFittedError, described
from recsys_ae.limits import check_finite, check_memory, limits
from recsys_ae.space import Space

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Shape = tuple[int, int, int]  # channels, height, width
BATCH_IMAGES = 1000


@dataclass(frozen=True, repr=False)
class FittedImages:
    """The state of a fitted image model.

    Attributes:
        network: in evaluation mode, with `encode` and `decode`.
        shape: of an image.
        classes: number of classes of a classifier.
        histories: epochs of each training by stage, "" if there is only one. Empty after loading.
        before: the network before fine-tuning, if any; not saved.
    """

    network: nn.Module
    shape: Shape
    classes: int | None = None
    histories: dict[str, list[Epoch]] = field(default_factory=dict)
    before: nn.Module | None = None


@dataclass(frozen=True, repr=False)
class ImageContext:
    """The other arguments of `ImageModel.fit`, and the history of each training stage so far."""

    labels: Labels | None
    valid: Tensor | None
    valid_labels: Labels | None
    seed: int
    callbacks: Sequence[Callback]
    histories: dict[str, list[Epoch]] = field(default_factory=dict)


@dataclass
class ImageModel(Parameterised, ABC):
    """A model of images: a dataclass of hyper-parameters, whose learned state is `fitted`, set by `fit`.

    Images are float32 arrays of pixels between 0 and 1: [n, D] (square and grey unless a shape is given), [n, height, width] or
    [n, channels, height, width].

    Attributes:
        space: the search space, around the defaults.
    """

    fitted: FittedImages | None = field(default=None, init=False, repr=False)
    space: ClassVar[Space] = {}

    def _memory(self, shape: Shape) -> int:
        """Bytes of the weights during training; 0 if the data limits their number."""
        return 0

    @abstractmethod
    def _network(self, shape: Shape, generator: Generator, classes: int | None = None) -> nn.Module:
        """A new module with `encode` and `decode`, and with `forward` to logits if there are classes."""

    @abstractmethod
    def _fit(self, images: Tensor, shape: Shape, context: ImageContext) -> FittedImages:
        """The state fitted to images [n, D]."""

    def fit(
        self,
        images: Floats,
        labels: Labels | None = None,
        *,
        shape: Shape | None = None,
        valid: Floats | None = None,
        valid_labels: Labels | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Fit the model to `images` and return it.

        Args:
            images: [n, D], [n, height, width] or [n, channels, height, width].
            labels: class of each image, int64 [n]; for models that classify.
            shape: channels, height and width of an image; None: that of the array, or square and grey.
            valid, valid_labels: validation images and labels; the weights of the epoch with the lowest loss on them are kept.
            seed: of all random numbers.
            callbacks: training hooks, see `core.trainer.Callback`.

        Raises:
            DataError: the images are not float32 between 0 and 1, or not of this shape.
            ConfigError: parameters that do not fit the images or the memory.
            TrainingError: the loss or a weight is no longer finite.
        """
        check_seed(seed)
        images, shape = validated(images, shape)
        given = None
        if valid is not None and len(valid):
            given = torch.from_numpy(validated(valid, shape)[0])
        context = ImageContext(labels, given, valid_labels, seed, callbacks)
        what, way_out = type(self).__name__, likely_cause(self)
        check_memory(what, self._memory(shape), way_out)
        with limits(what, way_out):
            fitted = self._fit(torch.from_numpy(images), shape, context)
        check_finite(what, {key: weight.cpu().numpy() for key, weight in fitted.network.state_dict().items()}, way_out)
        self.fitted = fitted
        return self

    def encode(self, images: Floats) -> Floats:
        """Codes [n, H] of images, as rows or with the model's shape; `DataError` unless they are float32 and finite."""
        fitted = fitted_images(self)
        rows = rows_of(images, fitted.shape)
        return self._finite("codes", in_batches(lambda batch: self._code(fitted.network, batch), rows))

    def decode(self, codes: Floats) -> Floats:
        """Images [n, D] of codes [n, H]; `DataError` unless they are float32 of that width."""
        network: Any = fitted_images(self).network
        black = np.zeros((1, n_pixels(fitted_images(self).shape)), np.float32)
        check_rows(codes, self.encode(black).shape[1], "codes")
        return self._finite("images", in_batches(lambda batch: self._pixels(network.decode(batch)), codes))

    def _finite(self, what: str, values: Floats) -> Floats:
        """`values`, after checking that they are finite."""
        check_finite(type(self).__name__, {f"a number in the {what}": values}, "fit the model again, with other parameters")
        return values

    def reconstruct(self, images: Floats) -> Floats:
        """Reconstructions [n, D] of images [n, D]."""
        return self.decode(self.encode(images))

    def corrupt(self, images: Floats, seed: int = 0) -> Floats:
        """Images [n, D], corrupted as in training."""
        check_seed(seed)
        corruption = self._corruption()
        if corruption is None:
            return images
        return corruption(torch.from_numpy(_flattened(images)[0]), Generator().manual_seed(seed)).numpy()

    def _corruption(self) -> Corruption | None:
        return None

    def _code(self, network: Any, images: Tensor) -> Tensor:
        return network.encode(images)

    def _pixels(self, outputs: Tensor) -> Tensor:
        """Pixels from outputs of the network."""
        return outputs


def fitted_images(model: ImageModel) -> FittedImages:
    """The fitted state of the model; `NotFittedError` if there is none, `ConfigError` if it is not an `ImageModel`."""
    if not isinstance(model, ImageModel):
        raise ConfigError(f"expected a fitted image model, got {described(model)}; load_image_model(folder) loads one")
    if model.fitted is None:
        raise NotFittedError(f"{type(model).__name__} is not fitted; call fit() or load_image_model() first")
    return model.fitted


def n_pixels(shape: Shape) -> int:
    """Number of pixels, D."""
    return prod(shape)


def max_components(images: Floats) -> int:
    """Largest number of principal components of centred images [n, D]."""
    return min(len(images) - 1, images.shape[1])


def validated(images: Floats, shape: Shape | None) -> tuple[Floats, Shape]:
    """Images as rows [n, D], and their shape: `shape`, or that of the array, or else square and grey.

    Raises:
        DataError: they are not float32, not between 0 and 1, or not of this shape.
    """
    rows, own = _flattened(images)
    check_rows(rows)
    if not len(rows):
        raise DataError("there are no images: the array has no rows")
    if not (rows.min() >= 0 and rows.max() <= 1):
        raise DataError(f"pixels must be between 0 and 1, got {rows.min()} to {rows.max()}")
    pixels = rows.shape[1]
    shape = shape or own or (1, isqrt(pixels), isqrt(pixels))
    _check_shape(own, shape)
    if n_pixels(shape) != pixels:
        raise DataError(f"images of {pixels} pixels are not {_sides(shape)} (channels x height x width); give shape=")
    return rows, shape


def rows_of(images: Floats, shape: Shape) -> Floats:
    """Images of a fitted model's shape as rows [n, D]; `DataError` unless they are float32, finite and of this shape."""
    rows, own = _flattened(images)
    _check_shape(own, shape)
    check_rows(rows, n_pixels(shape))
    if not np.isfinite(rows).all():
        raise DataError(f"pixels must be finite, but those of image {int(np.argmin(np.isfinite(rows).all(axis=1)))} are not")
    return rows


def check_rows(rows: Floats, width: int | None = None, what: str = "images") -> None:
    """Raise `DataError` unless rows are float32 [n, D], with D = `width` if given."""
    if not isinstance(rows, np.ndarray):
        raise DataError(f"{what} must be a float32 array [n, {width or 'numbers'}], got {described(rows)}")
    if rows.ndim != 2 or rows.dtype != np.float32 or width not in (None, rows.shape[1]):
        raise DataError(f"{what} must be a float32 array [n, {width or 'numbers'}], got {rows.dtype} {list(rows.shape)}")


def _flattened(images: Floats) -> tuple[Floats, Shape | None]:
    """Images as rows, and the shape that the array has; None if it has rows."""
    if not isinstance(images, np.ndarray) or images.ndim not in (3, 4):
        return images, None
    channels, height, width = (1, *images.shape[1:]) if images.ndim == 3 else images.shape[1:]
    return images.reshape(len(images), channels * height * width), (channels, height, width)


def _check_shape(own: Shape | None, shape: Shape) -> None:
    if own not in (None, shape):
        raise DataError(f"images must be {_sides(shape)} (channels x height x width), got {_sides(own or shape)}")


def _sides(shape: Shape) -> str:
    return " x ".join(map(str, shape))


@torch.no_grad()
def by_parts(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """`function` applied to rows [n, ...] in batches."""
    return torch.cat([function(part) for part in rows.split(BATCH_IMAGES)])


def in_batches(function: Callable[[Tensor], Tensor], rows: Floats) -> Floats:
    """`by_parts` for arrays; the result is float32."""
    return by_parts(lambda part: function(part).float(), torch.from_numpy(rows)).numpy()
