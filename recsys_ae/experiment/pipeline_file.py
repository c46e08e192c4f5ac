"""Pipeline files: finding and reading them, `--set`, and the keys that all of them share.

The kind of data determines which `Task` runs a pipeline, and its further keys.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, TypeVar, cast

import yaml
from pydantic import AfterValidator, Field

from recsys_ae.data.cards import IMAGE_KINDS, RATING_KINDS, Card, RatingsCard, declared_folder, read_card, shipped_cards
from recsys_ae.declaration import (
    NAME_BYTES,
    Declared,
    Name,
    check_name,
    error_context,
    parameters,
    validate,
)
from recsys_ae.errors import ConfigError, did_you_mean, quoted, shortened, similar_path
from recsys_ae.experiment.search import SearchSpec, declared_space, read_space, shipped_space
from recsys_ae.files import is_file
from recsys_ae.registry import Registry
from recsys_ae.space import Space
from recsys_ae.strict_yaml import DEPTH, parse_yaml, read_yaml

if TYPE_CHECKING:
    from recsys_ae.experiment.task import Task

RATINGS = dict.fromkeys(RATING_KINDS, "recsys_ae.experiment.ratings:RatingTask")
IMAGES = dict.fromkeys(IMAGE_KINDS, "recsys_ae.experiment.images:ImageTask")
TASKS = Registry("kind of data", {**RATINGS, **IMAGES})
Seed = Annotated[int, Field(ge=0)]
RESERVED = {"best", "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def check_alias(alias: str) -> str:
    """`alias`, if MLflow accepts it; `ValueError` otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", alias) or re.fullmatch(r"latest|[vV][0-9]+", alias):
        raise ValueError(
            f"an alias consists of letters, digits, '_' and '-', and is neither latest nor a version; got {quoted(alias)}"
        )
    return alias


def check_registered(name: str) -> str:
    """`name`, if it can name a registered model; `ValueError` otherwise."""
    if {*check_name(name)} & {*"/:@"} or name in (".", ".."):
        raise ValueError(f"the name of a registered model must not contain '/', ':' or '@', got {quoted(name)}")
    return name


Alias = Annotated[str, AfterValidator(check_alias)]
RegisteredName = Annotated[str, AfterValidator(check_registered)]


class TrackingSpec(Declared):
    """The MLflow experiment of the runs; by default the name of the pipeline."""

    experiment: Name


class ExportSpec(Declared):
    """The model to export: a label, or the `best` one by one metric on the validation part."""

    model: str = "best"
    by: str | None = None

    def in_folder(self, folder: Path) -> Self:
        """The same with paths that are valid in any folder; relative ones are relative to `folder`."""
        return self

    def files(self) -> dict[str, Path]:
        """The files that it names, by the keys that name them."""
        return {}


class RegisterSpec(Declared):
    """The final model becomes a version of the registered model `name`, on request with an alias that serving refers to.

    `history: false` leaves out what users have done, which then has to come with each request.
    """

    name: RegisteredName
    alias: Alias | None = None
    history: bool = True


class PipelineFile(Declared):
    """The keys that all pipeline files share; `split` and `export` differ between kinds of data."""

    dataset: str | dict[str, Any]
    split: Any = None
    models: list[dict[str, Any]] = Field(min_length=1)
    metrics: list[str] = Field(min_length=1)
    compare: list[tuple[str, str]] = Field(default_factory=list)
    seed: Seed | Annotated[list[Seed], Field(min_length=1, max_length=100)] = 0
    refit: bool = False
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    search: SearchSpec = Field(default_factory=SearchSpec)
    tracking: TrackingSpec | None = None
    export: ExportSpec | None = None


K = TypeVar("K", bound=PipelineFile)


@dataclass(frozen=True)
class ModelSpec:
    """One model of a pipeline."""

    name: str  # registered name of its class
    label: str  # name in the results
    params: dict[str, Any]  # all constructor parameters; `device` only if the entry has one
    search: Space | None = None  # values to try for some of the parameters; None if neither entry nor sampler says any
    warm_start: str | None = None  # folder of a fitted model to start from

    def declared(self) -> dict[str, Any]:
        """The entry in a pipeline file."""
        search = {} if self.search is None else {"search": declared_space(self.search)}
        start = {"warm_start": self.warm_start} if self.warm_start else {}
        return {"name": self.name, "label": self.label, **self.params, **search, **start}

    def with_params(self, changes: dict[str, Any]) -> "ModelSpec":
        return replace(self, params={**self.params, **changes})

    def for_epochs(self, epochs: int | None) -> "ModelSpec":
        """A spec that trains for exactly that many epochs; unchanged for None."""
        fixed = {} if epochs is None else {"epochs": epochs, "patience": 0}
        return self.with_params({key: value for key, value in fixed.items() if key in self.params})


@dataclass(frozen=True)
class Pipeline(Generic[K]):
    """A pipeline, checked as far as possible without the data."""

    name: str  # of the file, without its suffix, or of the run that is repeated
    keys: K  # with all defaults; `dataset` is valid in any folder
    card: Any
    card_folder: Path
    models: tuple[ModelSpec, ...]

    @property
    def seeds(self) -> list[int]:
        return [self.keys.seed] if isinstance(self.keys.seed, int) else self.keys.seed

    @property
    def experiment(self) -> str:
        return self.keys.tracking.experiment if self.keys.tracking else self.name

    def to_yaml(self) -> str:
        """The pipeline file with every default written out."""
        return str(
            yaml.safe_dump(
                self.keys.model_dump(mode="json", by_alias=True), sort_keys=False, default_flow_style=None, width=120
            )
        )


def read_pipeline(
    name_or_path: str, settings: Sequence[str] = (), name: str | None = None, folder: Path | None = None
) -> Pipeline[Any]:
    """The pipeline in a file, or the shipped one of that name, with `key=value` settings applied.

    Its name is that of the file, unless `name` is given; paths are relative to the folder of the file, or to `folder`.

    Raises:
        ConfigError: anything that cannot be carried out as written, with file and key.
    """
    path = _find(name_or_path)
    name, folder = path.stem if name is None else name, path.parent if folder is None else folder
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(f"the file gives the pipeline its name, and {error}") from None
    content, where = read_yaml(path), str(path)
    for setting in settings:
        _apply(content, setting)
    if not isinstance(content.get("dataset"), str | dict):
        raise ConfigError(f"{where}: key 'dataset' is missing; give it the name of a card, or a card")
    card, card_folder, reference = dataset_of(content["dataset"], folder, where)
    task: type[Task[Any, Any, Any]] = TASKS.get(card.kind)
    keys = validate(task.file, content, where)
    export = None if keys.export is None else keys.export.in_folder(folder.absolute())
    keys = task.resolve(keys.model_copy(update={"dataset": reference, "export": export}), card, where)
    models = _models(keys, task, card, folder, where)
    full = {"models": [model.declared() for model in models], "tracking": keys.tracking or TrackingSpec(experiment=name)}
    pipeline = Pipeline(name, keys.model_copy(update=full), card, card_folder, tuple(models))
    _check(pipeline, task, where)
    return pipeline


def ratings_card(card_or_pipeline: str) -> tuple[RatingsCard, Path]:
    """A card with files of ratings, which may be inside a pipeline file, and its folder; `ConfigError` if it has none."""
    path = Path(card_or_pipeline)
    if is_file(path) and "dataset" in (content := read_yaml(path)):
        card, folder, _ = dataset_of(content["dataset"], path.parent, str(path))
    else:
        card, folder = read_card(card_or_pipeline)
    if card.kind != "ratings" or not card.files:
        raise ConfigError(f"{card_or_pipeline}: dataset {card.name!r} has no file of ratings; give the card of one that has")
    return cast(RatingsCard, card), folder


def dataset_of(declared: str | dict[str, Any], folder: Path, where: str) -> tuple[Any, Path, str | dict[str, Any]]:
    """The card, its folder, and a reference to it that is valid in any folder."""
    if isinstance(declared, dict):
        card = validate(Card, declared, f"{where}: dataset")
        beside = hasattr(card, "folder") and not getattr(card, "sources", None)  # downloads are found by name
        absolute = {"folder": str((folder / (card.folder or "")).absolute())} if beside else {}
        return card, folder.absolute(), {**declared, **absolute}
    card, card_folder = read_card(declared, folder)
    path = (folder / declared).resolve()
    is_shipped = declared in shipped_cards() or path in [file.resolve() for file in shipped_cards().values()]
    return card, card_folder, Path(declared).stem if is_shipped else str(path)


def label_of(entry: dict[str, Any]) -> str:
    """A model's name in the results: its label, or its name and its string parameters (autorec-item)."""
    if entry.get("label") is not None:
        return str(entry["label"])
    words = [value for key, value in entry.items() if isinstance(value, str) and key not in ("name", "warm_start", "device")]
    return "-".join([str(entry.get("name")), *words])


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if is_file(path):
        return path
    if path.suffix or len(path.parts) > 1:
        raise ConfigError(f"there is no pipeline file {shortened(str(path), 200)}{similar_path(path)}")
    shipped = {file.stem: file for file in declared_folder("pipelines").glob("*.yaml")}
    if name_or_path not in shipped:
        raise ConfigError(f"unknown pipeline {quoted(name_or_path)}; {did_you_mean(name_or_path, shipped)}")
    return shipped[name_or_path]


def _apply(content: dict[str, Any], setting: str) -> None:
    """Apply one `a.b=value`; models are addressed by position (models.0.hidden), label or name."""
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set needs key=value, got {quoted(setting)}")
    *parents, last = path.split(".")
    where = f"--set {quoted(setting)}"
    if len(parents) >= DEPTH:
        raise ConfigError(f"{where}: keys are nested more than {DEPTH} levels deep")
    target: Any = content
    for parent in parents:
        key = _key(target, parent, where)
        target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
    target[_key(target, last, where)] = parse_yaml(text, where)


def _key(target: Any, key: str, where: str) -> Any:
    """A key of a mapping as it is, one of a list as a position."""
    if isinstance(target, dict):
        return key
    if not isinstance(target, list):
        raise ConfigError(f"{where}: the value above {quoted(key)} has no keys")
    names = [label_of(entry) if isinstance(entry, dict) else entry if isinstance(entry, str) else "" for entry in target]
    if key in names:
        return names.index(key)
    if key in map(str, range(len(target))):
        return int(key)
    known = shortened(", ".join([*filter(None, names), f"0 to {len(names) - 1}"]), 200)
    raise ConfigError(f"{where}: no entry {quoted(key)}; there are {known}")


def _models(keys: PipelineFile, task: "type[Task[Any, Any, Any]]", card: Any, folder: Path, where: str) -> list[ModelSpec]:
    specs = []
    for number, entry in enumerate(keys.models):
        place, params = f"{where}: models.{number}", dict(entry)
        name, search = params.pop("name", None), params.pop("search", None)
        params.pop("label", None)
        start = params.pop("warm_start", None) if task.warm_starts else None
        if not isinstance(name, str):
            raise ConfigError(f"{place}: key 'name' is missing")
        with error_context(place):
            model = task.models.build(name, params, place)
            space: Space | None = shipped_space(model) if keys.search.sampler == "tpe" else None
            if "search" in entry:
                build = partial(_with, task, name, params)
                space = read_space(task.resolve_params({"search": search}, card)["search"], build, place)
        full = {key: value for key, value in parameters(model).items() if key != "device" or key in params}
        start = None if start is None else str((folder / str(start)).absolute())
        specs.append(ModelSpec(name, label_of(entry), task.resolve_params(full, card), space, start))
    return specs


def _with(task: "type[Task[Any, Any, Any]]", name: str, params: dict[str, Any], changes: dict[str, Any], where: str) -> Any:
    """The model of an entry with some parameters changed."""
    return task.models.build(name, {**params, **changes}, where)


def _check(pipeline: Pipeline[Any], task: "type[Task[Any, Any, Any]]", where: str) -> None:
    """Raise `ConfigError` for keys that are valid alone but not together."""
    keys, labels = pipeline.keys, [model.label for model in pipeline.models]
    for number, label in enumerate(labels):
        at = f"{where}: models.{number}: label {quoted(label)}"
        if not label.replace("-", "").replace("_", "").replace(".", "").isalnum() or not label[0].isalnum():
            raise ConfigError(f"{at} may have only letters, digits, '-', '_' and '.', and must begin with a letter or digit")
        if len(label.encode()) > NAME_BYTES:
            raise ConfigError(f"{at} has more than {NAME_BYTES} bytes; give the model a shorter label")
        if label.split(".")[0].lower() in RESERVED:
            raise ConfigError(f"{at} is reserved; give the model another label")
        if same := next((earlier for earlier in labels[:number] if earlier.casefold() == label.casefold()), None):
            but = "" if same == label else f" and {same!r}, which are the same folder on some systems"
            raise ConfigError(f"{where}: two models are labelled {label!r}{but}; give one of them another label")
    if repeated := next((metric for metric in keys.metrics if keys.metrics.count(metric) > 1), None):
        raise ConfigError(f"{where}: metrics: metric {quoted(repeated)} is given twice")
    if len(set(pipeline.seeds)) < len(pipeline.seeds):
        raise ConfigError(f"{where}: seed: the seeds must differ, got {quoted(pipeline.seeds)}")
    if not keys.model_dump()["split"].get("valid"):
        searching = next((model.label for model in pipeline.models if model.search), None)
        if searching is not None:
            raise ConfigError(f"{where}: {searching} searches parameters on the validation part; give split a `valid`")
        if keys.refit:
            raise ConfigError(f"{where}: refit adds the validation part to the training part; give split a `valid`")
    keys.search.check({model.label: model.search for model in pipeline.models}, where)
    for key, spec in (("search", keys.search), ("export", keys.export)):
        if spec is not None and spec.by is not None and spec.by not in keys.metrics:
            raise ConfigError(
                f"{where}: {key}.by {quoted(spec.by)} is not among the metrics; {did_you_mean(spec.by, keys.metrics)}"
            )
    if keys.export and (exported := keys.export.model) not in ["best", *labels]:
        raise ConfigError(f"{where}: export.model: no model {quoted(exported)}; {did_you_mean(exported, ['best', *labels])}")
    if keys.compare and len(pipeline.seeds) < 2 and task.metric_per_user(keys) is None:
        raise ConfigError(f"{where}: compare needs several seeds, such as seed: [0, 1, 2]")
    for label in (label for pair in keys.compare for label in pair if label not in labels):
        raise ConfigError(f"{where}: compare: there is no model {quoted(label)}; {did_you_mean(label, labels)}")
