"""Pipeline files of image models: the typed view of what they declare."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from recsys_ae.declaration import Declared, error_context, parameters, validate
from recsys_ae.errors import ConfigError, did_you_mean
from recsys_ae.experiment.reading import Seed, TrackingSpec, dataset_of, label_of, seeds_of, validate_labels
from recsys_ae.images.metrics import IMAGE_METRICS
from recsys_ae.images.storage import build_image_model


class ImageSplit(Declared):
    """How many training images are trained on (all that are left, if not said), and how many after them are for validation."""

    train: int | None = Field(None, ge=1)
    valid: int = Field(0, ge=0)


class ImagePipelineFile(Declared):
    """The keys of a pipeline file about images."""

    dataset: str | dict[str, Any]
    white: int | None = Field(None, ge=255)
    split: ImageSplit = ImageSplit(train=None, valid=0)
    models: list[dict[str, Any]] = Field(min_length=1)
    metrics: list[str] = Field(min_length=1)
    compare: list[tuple[str, str]] = Field(default_factory=list)
    seed: Seed | Annotated[list[Seed], Field(min_length=1)] = 0
    tracking: TrackingSpec | None = None


class ImageModelSpec(Declared):
    """One model of a pipeline: its kind, its name in the results, all its parameters."""

    name: str
    label: str
    params: dict[str, Any]


class ImagePipeline(Declared):
    """A pipeline of image models in which everything has been checked that can be without the images.

    Attributes:
        card, card_folder: the dataset and where its card lies.
        dataset: how a copy of the pipeline in another folder would refer to the dataset.
        white: the value of a byte that becomes 1; None leaves that to the card.
        split: parts of the training images; test images are those of the dataset.
        compare: pairs of labels whose values of the first metric are compared over the seeds.
        seeds: everything is done once with each of them.
    """

    name: str
    dataset: str | dict[str, Any]
    card: Any
    card_folder: Path
    white: int | None
    split: ImageSplit
    models: list[ImageModelSpec]
    metrics: list[str]
    compare: list[tuple[str, str]]
    seeds: list[int]
    experiment: str

    def to_yaml(self) -> str:
        """The pipeline file in which every default is written out."""
        content = {
            "dataset": self.dataset,
            "white": self.white,
            "split": self.split.model_dump(),
            "models": [{"name": model.name, "label": model.label, **model.params} for model in self.models],
            "metrics": self.metrics,
            "compare": [list(pair) for pair in self.compare],
            "seed": self.seeds if len(self.seeds) > 1 else self.seeds[0],
            "tracking": {"experiment": self.experiment},
        }
        text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
        return text


def image_pipeline(content: dict[str, Any], path: Path) -> ImagePipeline:
    """The pipeline of image models that the file at `path` declares.

    Raises:
        ConfigError: anything in it that cannot be carried out as written, with file and key.
    """
    where = str(path)
    declared: ImagePipelineFile = validate(ImagePipelineFile, content, where)
    for metric in declared.metrics:
        if metric not in IMAGE_METRICS:
            raise ConfigError(f"{where}: unknown metric {metric!r} of images; {did_you_mean(metric, IMAGE_METRICS)}")
    card, folder, reference = dataset_of(declared.dataset, path.parent, where)
    if declared.white is not None:
        if not hasattr(card, "white"):
            raise ConfigError(f"{where}: white is for datasets in the IDX format; {card.name!r} is none")
        card = card.model_copy(update={"white": declared.white})
    models = [_model(entry, f"{where}: models.{number}") for number, entry in enumerate(declared.models)]
    labels = [model.label for model in models]
    validate_labels(labels, where)
    seeds = seeds_of(declared.seed, where)
    if declared.compare and len(seeds) < 2:
        raise ConfigError(f"{where}: compare needs several seeds, for example seed: [0, 1, 2]")
    for label in (label for pair in declared.compare for label in pair if label not in labels):
        raise ConfigError(f"{where}: compare: there is no model {label!r}; {did_you_mean(label, labels)}")
    return ImagePipeline(
        name=path.stem,
        dataset=reference,
        card=card,
        card_folder=folder,
        white=declared.white,
        split=declared.split,
        models=models,
        metrics=declared.metrics,
        compare=declared.compare,
        seeds=seeds,
        experiment=declared.tracking.experiment if declared.tracking else path.stem,
    )


def _model(entry: dict[str, Any], where: str) -> ImageModelSpec:
    params = dict(entry)
    name = params.pop("name", None)
    params.pop("label", None)
    if not isinstance(name, str):
        raise ConfigError(f"{where}: key 'name' is missing")
    with error_context(where):
        model = build_image_model(name, params, where)
    return ImageModelSpec(name=name, label=label_of(entry), params=parameters(model))
