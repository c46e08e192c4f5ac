"""The unit of work of a run: one model with one seed."""

from dataclasses import dataclass

from recsys_ae.experiment.callbacks import ShowProgress
from recsys_ae.experiment.pipeline_file import ModelSpec
from recsys_ae.reporting.results import Curves, FitFacts, Trial
from recsys_ae.tracking import TrackedRun


@dataclass(frozen=True)
class Job:
    """One model with one seed; `name` is that in the output folder and in the tracker."""

    name: str
    spec: ModelSpec
    seed: int
    run: TrackedRun
    progress: ShowProgress


@dataclass(frozen=True)
class Searched:
    """The trials of a finished search, kept because one with a timeout would go on when it is resumed."""

    trials: list[Trial]


@dataclass(frozen=True)
class Selected:
    """The results of the fit on the training part."""

    valid_metrics: dict[str, float | None] | None
    fit: FitFacts
    curves: dict[str, Curves]
