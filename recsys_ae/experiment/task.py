"""What one kind of data brings to a pipeline; everything else is the runner's."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import pandas as pd

from recsys_ae.core.trainer import Callback
from recsys_ae.experiment.pipeline_file import K, ModelSpec, Pipeline, PipelineFile
from recsys_ae.registry import Registry
from recsys_ae.reporting.results import DataFacts, Exported, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

D = TypeVar("D")  # the data of one seed
M = TypeVar("M")  # a model
Part = Literal["valid", "test"]
FitOn = Literal["train", "train+valid", "everything"]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on one part of the data, how much they rest on, and values per user [U] where there are users."""

    metrics: Values
    counts: dict[str, int] = field(default_factory=dict)
    per_user: pd.DataFrame | None = None


class Models(NamedTuple):
    """The models of one kind, and the functions that build, save, load and hash them."""

    names: Registry
    build: Callable[[str, dict[str, Any], str], Any]
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]
    digest: Callable[[Any], str]


class Task(ABC, Generic[K, D, M]):
    """Loading, fitting, evaluation and presentation for one kind of data. Class methods serve reading of pipeline files.

    Attributes:
        file: the keys of its pipeline files.
        models: the models that there are.
        warm_starts: whether an entry of `models` may have a `warm_start`.
        exports_final_fit: whether what is exported comes from a fit on everything, instead of from the one that was tested.
        always_chooses: whether the report names a best model even if none is exported.
    """

    file: ClassVar[type[PipelineFile]]
    models: ClassVar[Models]
    warm_starts: ClassVar[bool] = False
    exports_final_fit: ClassVar[bool] = False
    always_chooses: ClassVar[bool] = False

    def __init__(self, pipeline: Pipeline[K]) -> None:
        self.pipeline = pipeline
        self.keys = pipeline.keys

    @classmethod
    @abstractmethod
    def resolve(cls, keys: K, card: Any, where: str) -> K:
        """The keys with the defaults that only this kind of data knows; `ConfigError` if they cannot be carried out."""

    @classmethod
    def metric_per_user(cls, keys: K) -> str | None:
        """The metric to compare models by, user by user, where there is one seed; None if no metric has values per user."""
        return None

    @classmethod
    @abstractmethod
    def lower_is_better(cls, metric: str) -> bool: ...

    @classmethod
    def measures_accuracy(cls, metric: str) -> bool:
        """Whether a model may be chosen by this metric without being asked to."""
        return True

    def deciding_metric(self, by: str | None) -> str:
        """The metric by which parameters and models are chosen: `by`, or else the first that measures accuracy."""
        return by or self.metric_per_user(self.keys) or next(filter(self.measures_accuracy, self.keys.metrics))

    def build(self, spec: ModelSpec) -> M:
        """The model of a spec, not fitted, for the pipeline's device unless it has its own."""
        has_device = "device" in signature(self.models.names.get(spec.name)).parameters
        device = {"device": self.keys.device} if has_device else {}
        model: M = self.models.build(spec.name, {**device, **spec.params}, spec.label)
        return model

    @abstractmethod
    def data(self, seed: int) -> D:
        """The data, split with this seed. The dataset is loaded once; `DataError` if it is not as declared."""

    @abstractmethod
    def facts(self, data: D) -> DataFacts: ...

    @abstractmethod
    def fit(self, model: M, data: D, on: FitOn, spec: ModelSpec, seed: int, callbacks: Sequence[Callback]) -> M:
        """Fit a model; with `on="train"`, the validation part decides when to stop."""

    @abstractmethod
    def evaluate(self, model: M, data: D, part: Part) -> Evaluation:
        """No metrics if the part is empty."""

    @abstractmethod
    def export(self, model: M, data: D, output: Path) -> Exported:
        """Write to a folder below `output` what the key `export` asks for, unless it is there already."""

    def figures(self, model: M, data: D) -> Mapping[str, "Callable[[], Figure]"]:
        """What draws each figure of a fitted model, by the name of its file."""
        return {}
