"""The results of a run, as values that can be written to JSON and read again."""

from dataclasses import dataclass, field
from typing import Any, Literal

from recsys_ae.evaluation.protocols.audit import Audit
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.evaluation.protocols.published import Relation
from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.evaluation.uncertainty.repetitions import Repetitions

UNSEEN = 0.9  # share of test pairs on items without training interactions from which nearly all test items count as new
MetricValues = dict[str, float | None]  # by metric; None where a model has no value
TrialState = Literal["complete", "pruned", "failed"]
CHOSEN_ON_TEST = (
    "there is no validation part, so the best model is chosen on the test part, where the best of several looks better than it "
    "is; to avoid that, declare split.valid"
)
Curves = list[tuple[float, float | None]]  # training loss and validation value of each epoch


@dataclass(frozen=True)
class PublishedValues:
    """Values of a published table, by metric and model."""

    about: str  # the data and the protocol
    relation: Relation  # of its split to that of the run
    values: dict[str, dict[str, float]]


@dataclass(frozen=True)
class DataFacts:
    """The data of one seed."""

    about: str  # a description
    unit: str  # what its parts consist of, such as "images"
    sizes: dict[str, int]  # of each part
    digests: dict[str, str]  # of each part
    digest: str  # of all parts
    profile: dict[str, int | list[int]]  # what the parts share: numbers of users and items, or the shape of an image
    best: dict[str, float] = field(default_factory=dict)  # the best values that any model can reach on the test part, if known
    protocol: Protocol | None = None  # of the test part; None for images
    published: list[PublishedValues] = field(default_factory=list)  # for this protocol


@dataclass(frozen=True)
class SkippedFacts:
    """Lines of the dataset's files that were left out because they are invalid."""

    number: int
    lines: int  # of all files, with those left out
    by_column: dict[str, int]  # by the first invalid column, most frequent first; `line` if a line has no columns
    seen: int  # with a valid user and item, which lists leave out as seen


@dataclass(frozen=True)
class Trial:
    """The result of one combination of searched values."""

    params: dict[str, Any]
    valid_metrics: MetricValues  # of a complete trial
    fit_seconds: float
    state: TrialState = "complete"  # or pruned, ended early because of bad validation values
    epochs: int | None = None  # how many were trained; None if the model is not trained by epochs
    problem: str | None = None  # why it failed


@dataclass(frozen=True)
class FitFacts:
    """The cost of a fit. Epochs are those of the first training, None if the model is not trained by epochs."""

    seconds: float  # wall time without compiling; of a resumed training, at least the time of all its epochs
    peak_memory_mb: float | None  # highest resident memory of the process, in 10^6 bytes; None where unknown (not on Linux)
    epochs: int | None
    best_epoch: int | None  # by the validation values; the last one without them


@dataclass(frozen=True)
class RunResult:
    """One model fitted and tested with one seed."""

    model: str  # registered name
    params: dict[str, Any]  # including those chosen by a search
    metrics: MetricValues
    valid_metrics: MetricValues | None  # of the fit on the training part; None without a validation part
    counts: dict[str, int]  # users and observations behind the test metrics
    fit: FitFacts  # of the model that was tested
    select: FitFacts | None  # with `refit`, of the preceding fit, which determined the best epoch
    digest: str
    trials: list[Trial] = field(default_factory=list)
    per_user_digest: str | None = None  # of the file with the metrics per user, if any
    ties: dict[str, tuple[float, float]] = field(default_factory=dict)  # see `evaluation.report.Report`
    segments: dict[str, dict[str, MetricValues]] = field(default_factory=dict)  # test metrics by segment and group
    curves: dict[str, Curves] = field(default_factory=dict)  # of the fit that determined the best epoch, by stage
    validation: str = ""  # name of the validation values of the curves
    searched_by: str | None = None  # the metric by which the trials were compared; None without any

    @property
    def peak_memory_mb(self) -> float | None:
        """The highest of both fits."""
        peaks = [fit.peak_memory_mb for fit in (self.fit, self.select) if fit is not None and fit.peak_memory_mb is not None]
        return max(peaks, default=None)

    @property
    def best_epoch(self) -> int | None:
        """The number of epochs for a final fit; None if the model is not trained by epochs."""
        return (self.select or self.fit).best_epoch


@dataclass(frozen=True)
class ModelSummary:
    """One model over all seeds. Name and parameters are those of the first seed, metrics and seconds means."""

    model: str
    params: dict[str, Any]
    metrics: MetricValues
    deviations: MetricValues | None  # standard deviations of samples; None with a single seed
    valid_metrics: MetricValues | None
    select_seconds: float | None
    fit_seconds: float
    peak_memory_mb: float | None  # the highest of all
    runs: dict[int, RunResult]  # by seed
    identical: list[str] = field(default_factory=list)  # metrics that do not depend on the seed

    @property
    def never_varies(self) -> bool:
        """Whether no metric of the model depends on the seed."""
        return bool(self.identical) and {name for name, value in self.metrics.items() if value is not None} <= {*self.identical}


@dataclass(frozen=True)
class Best:
    """The best model by one metric on one part of the data; None if no model has a value.

    Attributes:
        caution: what to bear in mind about the choice.
        tied: all models with the best value if there are several, of which the first is the `model`.
    """

    model: str | None
    metric: str
    part: Literal["valid", "test"]
    caution: str | None = None
    tied: list[str] = field(default_factory=list)

    @property
    def data(self) -> str:
        """What the part is called in a text."""
        return "validation data" if self.part == "valid" else "test data"


@dataclass(frozen=True)
class Comparison:
    """A paired t-test of two models over n seeds or users.

    The difference is the mean of the first minus the second's, None if a value is missing. `n` and `p_value` are None if
    neither model varies, `p_value` alone if all differences are equal: then the test is undefined.

    Attributes:
        corrected: over users, the p-value with Holm's correction over all pairs of models of the run.
    """

    models: tuple[str, str]
    metric: str
    over: Literal["seeds", "users"]
    difference: float | None = None
    p_value: float | None = None
    n: int | None = None
    corrected: float | None = None


@dataclass(frozen=True)
class Baseline:
    """The value of a trivial model, which any useful model has to surpass."""

    model: str
    value: float


@dataclass(frozen=True)
class FinalFit:
    """The model to ship: fitted on all data with the parameters and epochs found before, hence not testable."""

    model: str
    params: dict[str, Any]
    seed: int
    fit: FitFacts
    digest: str


@dataclass(frozen=True)
class Exported:
    """An export: its description, its folder below the output, its manifest, and the label of the model."""

    about: str
    folder: str
    manifest: dict[str, Any]
    model: str | None = None  # None in reports that were written before this was known


@dataclass(frozen=True)
class Origin:
    """When and from what a run was started."""

    started: str  # ISO 8601, UTC
    command: str  # without secrets
    commit: str | None  # of the folder it was started in; None outside of a repository
    uncommitted: bool  # whether there were changes after that commit


@dataclass(frozen=True)
class RunReport:
    """The content of report.json; `settings` are the pipeline's keys on fitting and evaluation, `data` is by seed."""

    pipeline: str
    dataset: str
    settings: dict[str, Any]
    metrics: list[str]
    lower_is_better: list[str]
    seeds: list[int]
    data: dict[int, DataFacts]
    audit: Audit | None  # of the test part of the first seed
    models: dict[str, ModelSummary]
    best: Best | None
    findings: list[MetricFindings]  # on each metric with values per user
    baselines: dict[str, Baseline]  # by metric, as means over the seeds
    repetitions: dict[str, dict[str, Repetitions]]  # over the seeds, by model and metric; empty for a single seed
    comparisons: list[Comparison]
    final: FinalFit | None
    exported: Exported | None
    versions: dict[str, str]
    origin: Origin | None = None
    skipped: SkippedFacts | None = None  # None if nothing was skipped
    feature_models: list[str] | None = None  # those that use features of items; None in older reports

    @property
    def ranked(self) -> bool:
        """Whether there are ranking metrics."""
        return any("@" in metric for metric in self.metrics)

    def is_chance(self, label: str, metric: str) -> bool:
        """Whether a ranking metric of a model is due to chance: nearly all test items are new, and it uses no item features.

        False if that is unknown, as in older reports.
        """
        able, found = self.feature_models, self.audit
        return (
            "@" in metric and able is not None and label not in able and found is not None and found.cold_item_pairs >= UNSEEN
        )

    def below(self, label: str) -> list[str]:
        """The metrics in which a model is worse than the baseline."""
        values = self.models[label].metrics
        known = [(name, value, self.baselines[name].value) for name, value in values.items() if name in self.baselines]
        return [
            name
            for name, value, least in known
            if value is not None and (value > least if name in self.lower_is_better else value < least)
        ]
