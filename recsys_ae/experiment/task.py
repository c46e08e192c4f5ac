"""The steps of a pipeline that depend on the kind of data; all others are in the runner."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import pandas as pd

from recsys_ae.evaluation.protocols.audit import Audit
from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.experiment.pipeline_file import K, ModelSpec, Pipeline, PipelineFile, RegisterSpec
from recsys_ae.registry import Registry
from recsys_ae.reporting.html.facts import CloserLook
from recsys_ae.reporting.results import Baseline, DataFacts, Exported, MetricValues, ModelSummary, SkippedFacts
from recsys_ae.tracking import TrackedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from recsys_ae.core.trainer import Callback  # imports PyTorch, for which a mistake in a pipeline file need not wait

D = TypeVar("D")  # the data of one seed
M = TypeVar("M")  # a model
Part = Literal["valid", "test"]
FitOn = Literal["train", "train+valid", "everything"]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on one part of the data, and what else `evaluation.report.Report` has of it."""

    metrics: MetricValues
    counts: dict[str, int] = field(default_factory=dict)
    per_user: pd.DataFrame | None = None
    ties: dict[str, tuple[float, float]] = field(default_factory=dict)
    segments: dict[str, dict[str, MetricValues]] = field(default_factory=dict)


class Models(NamedTuple):
    """The models of one kind, and functions that build, save, load and hash them."""

    names: Registry
    build: Callable[[str, dict[str, Any], str], Any]
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]
    digest: Callable[[Any], str]


class Task(ABC, Generic[K, D, M]):
    """Loading, fitting, evaluation and figures for one kind of data. Its class methods are for reading pipeline files."""

    file: ClassVar[type[PipelineFile]]
    models: ClassVar[Models]
    warm_starts: ClassVar[bool] = False  # whether an entry of `models` may have a `warm_start`
    ships_best: ClassVar[bool] = False  # a run always names a best model, and exports from a fit of it on all data

    def __init__(self, pipeline: Pipeline[K]) -> None:
        self.pipeline, self.keys = pipeline, pipeline.keys

    @property
    def registers(self) -> RegisterSpec | None:
        """As what the final model is to be registered; None: not at all."""
        return None

    @classmethod
    @abstractmethod
    def resolve(cls, keys: K, card: Any, where: str) -> K:
        """The keys with the defaults of this kind of data; `ConfigError` if they cannot be carried out."""

    @classmethod
    def resolve_params(cls, params: Any, card: Any) -> Any:
        """Parameters of a model or of its search, with references to the dataset replaced by what it declares."""
        return params

    @classmethod
    def metric_per_user(cls, keys: K) -> str | None:
        """The metric for comparing models user by user where there is one seed; None if no metric has values per user."""
        return None

    @classmethod
    @abstractmethod
    def lower_is_better(cls, metric: str) -> bool: ...

    @classmethod
    def measures_accuracy(cls, metric: str) -> bool:
        """Whether a model may be chosen by this metric without being asked to."""
        return True

    @property
    def deciding_metric(self) -> str:
        """The metric by which the best model is chosen: `export.by`, or else the first that measures accuracy."""
        by = self.keys.export.by if self.keys.export else None
        return by or self.metric_per_user(self.keys) or next(filter(self.measures_accuracy, self.keys.metrics))

    @property
    def search_metric(self) -> str:
        """The metric by which parameters are searched: `search.by`, or else the one that chooses the best model."""
        return self.keys.search.by or self.deciding_metric

    def build(self, spec: ModelSpec) -> M:
        """The unfitted model of a spec, on the pipeline's device unless the spec has another."""
        has_device = "device" in signature(self.models.names.get(spec.name)).parameters
        device = {"device": self.keys.device} if has_device else {}
        return self.models.build(spec.name, {**device, **spec.params}, spec.label)

    @abstractmethod
    def data(self, seed: int) -> D:
        """The data, split with this seed; `DataError` if it is not as declared. The dataset is loaded once."""

    def check(self, data: D) -> None:
        """Raise `DataError` about the data or a file if the fault would otherwise show only after training."""

    def record(self, output: Path) -> list[Path]:
        """Write files about the reading of the data, such as skipped lines, to `output`; returns their paths.

        Their names match `output.RECORDED`.
        """
        return []

    @abstractmethod
    def facts(self, data: D) -> DataFacts: ...

    def skipped(self) -> SkippedFacts | None:
        """What was left out when the data was read; None if nothing was."""
        return None

    def everything(self, data: D) -> tuple[str, str, dict[str, int]]:
        """What a final fit trains on, for `TrackedRun.dataset`: digest, name and sizes; only if the task `ships_best`."""
        raise NotImplementedError

    @abstractmethod
    def fit(self, model: M, data: D, on: FitOn, spec: ModelSpec, seed: int, callbacks: Sequence["Callback"]) -> M:
        """Fit a model; with `on="train"`, the validation part determines when to stop."""

    @abstractmethod
    def evaluate(self, model: M, data: D, part: Part) -> Evaluation:
        """The metrics on one part; none if it is empty."""

    def findings(self, tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[MetricFindings]:
        """What the metrics per user of each model, a table per seed, say about the models."""
        return []

    def baselines(self, data: D, seed: int) -> dict[str, Baseline]:
        """The values of trivial models on the test part, by metric."""
        return {}

    def audit(self, data: D, looks: int | None) -> Audit | None:
        """The audit of the test part, which was looked at `looks` times before; None if there is none for this kind of data."""
        return None

    def feature_models(self, models: Mapping[str, ModelSummary]) -> list[str]:
        """The labels of the models that use features of items."""
        return []

    def test_to_train(self, data: DataFacts) -> float:
        """Size of the test part over that of the training part if each seed draws its own, else 0."""
        return 0.0

    def log_model(self, run: TrackedRun, saved: Path, data: D, *, final: bool = False) -> None:
        """Store the model saved in a folder in its run; the `final` one as it is to be served."""
        run.artifact(saved, "model")

    @abstractmethod
    def export(self, label: str, model: M, data: D, output: Path) -> Exported:
        """Write what the key `export` asks for to a folder below `output`, unless it exists."""

    def figures(self, model: M, data: D) -> Mapping[str, "Callable[[], Figure]"]:
        """Functions that draw the figures of a fitted model, by file name."""
        return {}

    def closer_look(self, models: Iterable[tuple[str, M]], data: D) -> CloserLook:
        """What the page of a run shows beside its report and these figures, given the tested models by label."""
        return CloserLook()
