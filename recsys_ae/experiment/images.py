"""Pipelines of image models: splits, fits, evaluation, figures, and exported codes of test images."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field, model_validator
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from recsys_ae.core.trainer import Callback
from recsys_ae.data.images import Images, load_images
from recsys_ae.declaration import Declared
from recsys_ae.digests import digest_of
from recsys_ae.errors import ConfigError, did_you_mean
from recsys_ae.experiment.pipeline_file import ExportSpec, ModelSpec, PipelineFile
from recsys_ae.experiment.task import Evaluation, FitOn, Models, Part, Task
from recsys_ae.export.local import export_vectors
from recsys_ae.export.manifest import VectorManifest, versions
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.images.base import Floats, ImageModel, Labels
from recsys_ae.images.metrics import IMAGE_METRICS, EvaluationData
from recsys_ae.images.probes import filters, n_layers, strongest_inputs
from recsys_ae.images.stacked import StackedAutoencoder
from recsys_ae.images.storage import build_image_model, image_model_digest, load_image_model, save_image_model
from recsys_ae.images.variational import VariationalImages
from recsys_ae.reporting.figures import activation_sheet, code_map, filter_sheet, image_grid, reconstruction_rows
from recsys_ae.reporting.results import DataFacts, Exported

SHOWN, UNITS, MAPPED, SAMPLED, STEPS = 10, 8, 1000, 100, 12
BEFORE_MAPPING = 50  # components to which wider codes are reduced first, because t-SNE is slow on them


class ImageSplit(Declared):
    """The number of training images to train on (None: all that remain), and of those after them for validation."""

    train: int | None = Field(None, ge=1)
    valid: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _is_about_images(cls, value: Any) -> Any:
        if isinstance(value, dict) and "kind" in value:
            raise ValueError("this is a split of ratings, but the dataset holds images; use the keys train and valid")
        return value


class CodeExport(ExportSpec):
    """The codes of all test images by one model."""

    what: Literal["codes"] = "codes"


class ImageFile(PipelineFile):
    """The keys of a pipeline of image models; `white` is the byte value that becomes 1, by default that of the card."""

    white: int | None = Field(None, ge=255)
    split: ImageSplit = ImageSplit(train=None, valid=0)
    export: CodeExport | None = None


@dataclass(frozen=True)
class ImageData:
    """Images, of which `train` is the training part, and the validation part with its classes."""

    images: Images
    valid: Floats
    valid_labels: Labels | None

    def parts(self) -> dict[str, tuple[Floats, Labels | None]]:
        """Pixels and classes of each part."""
        train, test = (self.images.train, self.images.train_labels), (self.images.test, self.images.test_labels)
        return {"train": train, "valid": (self.valid, self.valid_labels), "test": test}

    def training(self, on: FitOn) -> tuple[Floats, Labels | None]:
        """Pixels and classes of the training part, alone or together with the validation part."""
        images, labels = self.images.train, self.images.train_labels
        if on == "train":
            return images, labels
        both = None if labels is None or self.valid_labels is None else np.concatenate([labels, self.valid_labels])
        return np.concatenate([images, self.valid]), both


class ImageTask(Task[ImageFile, ImageData, ImageModel]):
    """Image autoencoders; the images are split in the same way with all seeds."""

    file = ImageFile
    models = Models(IMAGE_MODELS, build_image_model, save_image_model, load_image_model, image_model_digest)

    @classmethod
    def resolve(cls, keys: ImageFile, card: Any, where: str) -> ImageFile:
        for metric in keys.metrics:
            if metric not in IMAGE_METRICS:
                raise ConfigError(f"{where}: unknown metric {metric!r} of images; {did_you_mean(metric, IMAGE_METRICS)}")
        if keys.white is not None and not hasattr(card, "white"):
            raise ConfigError(f"{where}: white applies only to IDX datasets, but {card.name!r} is not one; remove it")
        names = [str(entry.get("name")) for entry in keys.models]
        staged = [name for name in names if name in IMAGE_MODELS and issubclass(IMAGE_MODELS.get(name), StackedAutoencoder)]
        if keys.refit and staged:
            raise ConfigError(
                f"{where}: refit trains for the best number of epochs, but {staged[0]!r} is trained in several stages; "
                "remove refit, or this model"
            )
        return keys

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        return True

    def data(self, seed: int) -> ImageData:
        return self._data

    def facts(self, data: ImageData) -> DataFacts:
        channels, height, width = data.images.shape
        parts = data.parts()
        digests = {name: _digest(*part) for name, part in parts.items()}
        return DataFacts(
            about=f"images of {height} x {width} pixels{' in colour' if channels > 1 else ''}",
            unit="images",
            sizes={name: len(pixels) for name, (pixels, _) in parts.items()},
            digests=digests,
            digest=digest_of(digests.values()),
            profile={"shape": [channels, height, width]},
        )

    def fit(
        self, model: ImageModel, data: ImageData, on: FitOn, spec: ModelSpec, seed: int, callbacks: Sequence[Callback]
    ) -> ImageModel:
        valid, valid_labels = (data.valid, data.valid_labels) if on == "train" and len(data.valid) else (None, None)
        (images, labels), shape = data.training(on), data.images.shape
        return model.fit(images, labels, shape=shape, valid=valid, valid_labels=valid_labels, seed=seed, callbacks=callbacks)

    def evaluate(self, model: ImageModel, data: ImageData, part: Part) -> Evaluation:
        pixels, labels = data.parts()[part]
        if not len(pixels):
            return Evaluation({})
        train, _ = data.training("train+valid" if self.keys.refit and part == "test" else "train")
        on = EvaluationData(pixels, labels, train)
        return Evaluation({name: IMAGE_METRICS.get(name)(model, on) for name in self.keys.metrics})

    def figures(self, model: ImageModel, data: ImageData) -> dict[str, Callable[[], Figure]]:
        return figures_of(model, data.images)

    def export(self, label: str, model: ImageModel, data: ImageData, output: Path) -> Exported:
        folder, (pixels, labels), what = output / "codes", data.parts()["test"], "codes of test images"
        columns = {"image": np.arange(len(pixels)), **({} if labels is None else {"class": labels})}
        codes = model.encode(pixels)
        digests = image_model_digest(model), self.facts(data).digests["test"]
        about = VectorManifest(IMAGE_MODELS.name_of(model), *digests, len(codes), versions(), what, codes.shape[1])
        return Exported(what, folder.name, asdict(export_vectors(columns, codes, folder, about)), label)

    @cached_property
    def _data(self) -> ImageData:
        white = {} if self.keys.white is None else {"white": self.keys.white}
        images = load_images(self.pipeline.card.model_copy(update=white), self.pipeline.card_folder)
        available, valid = len(images.train), self.keys.split.valid
        train = self.keys.split.train or available - valid
        if train < 1 or train + valid > available:
            name = self.pipeline.card.name
            raise ConfigError(f"split: {train} + {valid} images are needed, but dataset {name!r} has {available} for training")
        used, held_out, labels = slice(train), slice(train, train + valid), images.train_labels
        own, others = (None, None) if labels is None else (labels[used], labels[held_out])
        return ImageData(replace(images, train=images.train[used], train_labels=own), images.train[held_out], others)


def _digest(pixels: Floats, labels: Labels | None) -> str:
    """Content hash of pixels and classes."""
    return digest_of(np.ascontiguousarray(part).data for part in (pixels, labels) if part is not None)


def figures_of(model: ImageModel, images: Images) -> dict[str, Callable[[], Figure]]:
    """Functions that draw the figures of a fitted model, by name, from test images."""
    figures: dict[str, Callable[[], Figure]] = {
        "reconstructions": lambda: _reconstructions(model, images),
        "activations": lambda: _activations(model, images),
        "codes": lambda: code_map(*_mapped(model, images), images.class_names),
    }
    for layer in range(1, n_layers(model) + 1):
        figures[f"filters-{layer}"] = partial(filter_sheet, filters(model, layer))
    if isinstance(model, VariationalImages):
        figures["samples"] = lambda: image_grid(_as_images(model.sample(SAMPLED), images))
        if len(images.test) > 1:
            figures["walks"] = lambda: _walks(model, images)
    return figures


def _reconstructions(model: ImageModel, images: Images) -> Figure:
    originals = images.test[:SHOWN]
    corrupted = model.corrupt(originals)
    rows = {"original": originals, "corrupted": corrupted, "reconstructed": model.reconstruct(corrupted)}
    if corrupted is originals:  # the model does not corrupt its input
        del rows["corrupted"]
    return reconstruction_rows({name: _as_images(row, images) for name, row in rows.items()})


def _activations(model: ImageModel, images: Images) -> Figure:
    """Activations of all units, and strongest images of those with the largest standard deviation."""
    seen = images.test[:MAPPED]
    codes = model.encode(seen)
    units = np.sort(np.argsort(-codes.std(axis=0), kind="stable")[:UNITS])
    strongest = [_as_images(seen[best], images) for best in strongest_inputs(codes, units, SHOWN)]
    return activation_sheet(codes[:SHOWN], units.tolist(), strongest)


def _mapped(model: ImageModel, images: Images) -> tuple[Floats, NDArray[np.int64] | None]:
    """Codes in two dimensions, by t-SNE if they have more."""
    codes = model.encode(images.test[:MAPPED])
    if codes.shape[1] > BEFORE_MAPPING:
        codes = PCA(min(BEFORE_MAPPING, len(codes)), random_state=0).fit_transform(codes)
    if np.ptp(codes, axis=0).max() == 0:  # t-SNE would crash the process on identical codes
        codes = codes[:, :2]
    if codes.shape[1] > 2:
        codes = TSNE(perplexity=min(30, len(codes) / 4), init="pca", random_state=0).fit_transform(codes)
    points = np.pad(codes, ((0, 0), (0, 2 - codes.shape[1])))
    return points, None if images.test_labels is None else images.test_labels[:MAPPED]


def _walks(model: VariationalImages, images: Images) -> Figure:
    """Interpolations from each of the first test images to the next."""
    walks = [model.walk(first, last, STEPS) for first, last in pairwise(images.test[: SHOWN + 1])]
    return image_grid(_as_images(np.concatenate(walks), images), columns=STEPS)


def _as_images(rows: Floats, images: Images) -> Floats:
    """Rows of pixels as images [n, channels, height, width]."""
    return rows.reshape(-1, *images.shape)
