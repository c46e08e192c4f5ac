"""Pipeline files of recommenders: the typed view of what they declare."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from recsys_ae.data.cards import Table, read_card
from recsys_ae.declaration import Declared, error_context, parameters, read_yaml, validate, validate_params
from recsys_ae.errors import ConfigError, did_you_mean
from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.experiment.reading import Seed, TrackingSpec, dataset_of, label_of, seeds_of, validate_labels
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.models import MODELS
from recsys_ae.models.recommend import Cold
from recsys_ae.models.storage import build_model
from recsys_ae.splitting import SPLITS


class GivenParams(Declared):
    """A split named on the dataset's card; `valid` is a random share of its training part."""

    name: str
    valid: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)


class ExportSpec(Declared):
    """Top-k lists of one model, or of the `best` one by a metric on the validation part."""

    k: int = Field(100, ge=1)
    model: str = "best"
    by: str | None = None


class SearchSpec(Declared):
    """How models that declare a `search` find their parameters: as many trials each, judged on the validation part."""

    trials: int = Field(default=20, ge=1)
    by: str | None = None


class PipelineFile(Declared):
    """The keys of a pipeline file."""

    dataset: str | dict[str, Any]
    split: dict[str, Any]
    models: list[dict[str, Any]] = Field(min_length=1)
    metrics: list[str] = Field(min_length=1)
    positive_at: float | None = None
    relevant_at: float | None = None
    seed: Seed | Annotated[list[Seed], Field(min_length=1)] = 0
    refit: bool = False
    cold: Cold = "popular"
    search: SearchSpec = Field(default_factory=SearchSpec)
    tracking: TrackingSpec | None = None
    export: ExportSpec | None = None


class ModelSpec(Declared):
    """One model of a pipeline.

    Attributes:
        name: of its kind; `label`: its name in the results.
        params: all its parameters.
        search: values to try for some of them.
        warm_start: the folder of a fitted model to start from.
    """

    name: str
    label: str
    params: dict[str, Any]
    search: dict[str, list[Any]] = Field(default_factory=dict)
    warm_start: str | None = None

    def declared(self) -> dict[str, Any]:
        """As in a pipeline file."""
        extra = {"search": self.search, "warm_start": self.warm_start}
        return {"name": self.name, "label": self.label, **self.params, **{key: value for key, value in extra.items() if value}}


class Pipeline(Declared):
    """A pipeline in which everything has been checked that can be without the data.

    Attributes:
        card, card_folder: the dataset and where its card lies.
        dataset: how a copy of the pipeline in another folder would refer to the dataset.
        split_kind, split_params: protocol and all its parameters; without a seed of its own, a split is drawn anew with
            each of the `seeds`.
        positive_at: ratings from here on become 1 before anything else, the others are dropped; None leaves them alone.
        seeds: everything is done once with each of them.
        refit: whether models are fitted again on training and validation part before they are tested.
        cold: what users get of whom a model has nothing to go by.
        search: how models find those parameters for which several values are declared.
    """

    name: str
    dataset: str | dict[str, Any]
    card: Any
    card_folder: Path
    split_kind: str
    split_params: dict[str, Any]
    models: list[ModelSpec]
    metrics: list[str]
    positive_at: float | None
    relevant_at: float | None
    seeds: list[int]
    refit: bool
    cold: Cold
    search: SearchSpec
    experiment: str
    export: ExportSpec | None

    def to_yaml(self) -> str:
        """The pipeline file in which every default is written out."""
        content = {
            "dataset": self.dataset,
            "split": {"kind": self.split_kind, **self.split_params},
            "models": [model.declared() for model in self.models],
            "metrics": self.metrics,
            "positive_at": self.positive_at,
            "relevant_at": self.relevant_at,
            "seed": self.seeds if len(self.seeds) > 1 else self.seeds[0],
            "refit": self.refit,
            "cold": self.cold,
            "search": self.search.model_dump(),
            "tracking": {"experiment": self.experiment},
            "export": None if self.export is None else self.export.model_dump(),
        }
        text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
        return text


def rating_pipeline(content: dict[str, Any], path: Path) -> Pipeline:
    """The pipeline of recommenders that the file at `path` declares.

    Raises:
        ConfigError: anything in it that cannot be carried out as written, with file and key.
    """
    where = str(path)
    declared: PipelineFile = validate(PipelineFile, content, where)
    with error_context(f"{where}: metrics"):
        parse_metrics(declared.metrics)
    card, folder, reference = dataset_of(declared.dataset, path.parent, where)
    kind, params = _split(declared.split, where)
    models = _models(declared.models, path.parent, where)
    _check_metric("search.by", declared.search.by, declared.metrics, where)
    if not params.get("valid") and (searching := next((model for model in models if model.search), None)):
        raise ConfigError(f"{where}: {searching.label} searches its parameters on the validation part, but split has no valid")
    _check_export(declared.export, models, declared.metrics, where)
    if declared.refit and not params.get("valid"):
        raise ConfigError(f"{where}: refit adds the validation part to the training part, but split has no valid")
    if declared.refit and kind == "user_holdout":
        raise ConfigError(f"{where}: refit would train on users that the user_holdout split keeps out; leave it out")
    return Pipeline(
        name=path.stem,
        dataset=reference,
        card=card,
        card_folder=folder,
        split_kind=kind,
        split_params=params,
        models=models,
        metrics=declared.metrics,
        positive_at=declared.positive_at,
        relevant_at=declared.relevant_at,
        seeds=seeds_of(declared.seed, where),
        refit=declared.refit,
        cold=declared.cold,
        search=declared.search,
        experiment=declared.tracking.experiment if declared.tracking else path.stem,
        export=declared.export,
    )


def table_of(card_or_pipeline: str) -> Table:
    """How the first file of a card is laid out; the card may also be inside a pipeline file.

    Raises:
        ConfigError: no such file, or not one with a card of ratings.
    """
    path = Path(card_or_pipeline)
    if path.is_file() and "dataset" in (content := read_yaml(path)):
        card, _, _ = dataset_of(content["dataset"], path.parent, str(path))
    else:
        card, _ = read_card(card_or_pipeline)
    if card.kind != "ratings":
        raise ConfigError(f"{card_or_pipeline}: dataset {card.name!r} has no file of ratings")
    table: Table = card.files[0]
    return table


def _split(declared: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Kind and parameters, defaults filled in; a seed is among them only if it is declared."""
    params = dict(declared)
    kind = params.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: split: key 'kind' is missing; known are: given, {', '.join(SPLITS)}")
    if kind != "given" and kind not in SPLITS.places:
        raise ConfigError(f"{where}: unknown split {kind!r}; {did_you_mean(kind, ['given', *SPLITS])}")
    if kind == "given":
        full = validate(GivenParams, params, f"{where}: split {kind}").model_dump()
    else:
        full = validate_params(SPLITS.get(kind), params, f"{where}: split {kind}")
    return kind, {name: value for name, value in full.items() if name != "seed" or "seed" in params}


def _models(declared: list[dict[str, Any]], folder: Path, where: str) -> list[ModelSpec]:
    specs = []
    for number, entry in enumerate(declared):
        params = dict(entry)
        name, label = params.pop("name", None), label_of(entry)
        params.pop("label", None)
        search, warm_start = params.pop("search", {}), params.pop("warm_start", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}: models.{number}: key 'name' is missing")
        if name in IMAGE_MODELS and name not in MODELS:
            raise ConfigError(f"{where}: models.{number}: {name!r} is a model of images, but the dataset holds ratings")
        with error_context(f"{where}: models.{number}"):
            model = build_model(name, params, f"{where}: models.{number}")
            _check_search(search, name, params, f"{where}: models.{number}")
        if warm_start is not None:
            warm_start = str((folder / str(warm_start)).absolute())
        specs.append(ModelSpec(name=name, label=label, params=parameters(model), search=search, warm_start=warm_start))
    validate_labels([spec.label for spec in specs], where)
    return specs


def _check_search(search: Any, name: str, params: dict[str, Any], where: str) -> None:
    """Each parameter has a list of values, and the model takes each of them."""
    if not isinstance(search, dict) or not all(isinstance(values, list) and values for values in search.values()):
        raise ConfigError(f"{where}: search must give each parameter a list of values, got {search!r}")
    for key, values in search.items():
        for value in values:
            build_model(name, {**params, key: value}, f"{where}: search.{key}")


def _check_export(export: ExportSpec | None, models: list[ModelSpec], metrics: list[str], where: str) -> None:
    if export is None:
        return
    labels = [model.label for model in models]
    if export.model not in ["best", *labels]:
        raise ConfigError(
            f"{where}: export.model {export.model!r} is not here; {did_you_mean(export.model, ['best', *labels])}"
        )
    _check_metric("export.by", export.by, metrics, where)


def _check_metric(key: str, metric: str | None, metrics: list[str], where: str) -> None:
    if metric is not None and metric not in metrics:
        raise ConfigError(f"{where}: {key} {metric!r} is not among the metrics; {did_you_mean(metric, metrics)}")
