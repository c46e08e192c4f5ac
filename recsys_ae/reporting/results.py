"""What a run finds out, as values that can be written to JSON and read again."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from recsys_ae.errors import DataError
from recsys_ae.files import whole_file

T = TypeVar("T")
Values = dict[str, float | None]  # by metric; None where a model has no value


@dataclass(frozen=True)
class DataFacts:
    """The data of one seed.

    Attributes:
        about: what it is, in words.
        unit: what its parts consist of, such as "images".
        sizes, digests: of each part; `digest` is that of all of them.
        profile: what the parts have in common: numbers of users and items, or the shape of an image.
        noise_floor: the lowest RMSE that any model can reach on the test part, where that is known.
    """

    about: str
    unit: str
    sizes: dict[str, int]
    digests: dict[str, str]
    digest: str
    profile: dict[str, int | list[int]]
    noise_floor: float | None = None


@dataclass(frozen=True)
class Trial:
    """One combination of searched values, and what it gave."""

    params: dict[str, Any]
    valid_metrics: Values
    fit_seconds: float


@dataclass(frozen=True)
class FitFacts:
    """What a fit took; see `experiment.callbacks.Stopwatch`."""

    seconds: float
    peak_memory_mb: float | None
    epochs: int | None
    best_epoch: int | None


@dataclass(frozen=True)
class RunResult:
    """One model fitted and tested with one seed.

    Attributes:
        model, params: its registered name, and its parameters with those that a search has chosen.
        valid_metrics: of the fit on the training part; None without a validation part.
        counts: how many users and observations the test metrics rest on.
        fit: of the model that was tested; `select`: with `refit`, of the fit before, which found the best epoch.
    """

    model: str
    params: dict[str, Any]
    metrics: Values
    valid_metrics: Values | None
    counts: dict[str, int]
    fit: FitFacts
    select: FitFacts | None
    digest: str
    trials: list[Trial] = field(default_factory=list)

    @property
    def peak_memory_mb(self) -> float | None:
        """The highest of both fits."""
        peaks = [fit.peak_memory_mb for fit in (self.fit, self.select) if fit is not None and fit.peak_memory_mb is not None]
        return max(peaks, default=None)

    @property
    def best_epoch(self) -> int | None:
        """The best one by the validation part, the last one without; None if nothing was trained by epochs."""
        return (self.select or self.fit).best_epoch


@dataclass(frozen=True)
class ModelSummary:
    """One model over all seeds.

    Attributes:
        model, params: of the first seed.
        metrics, valid_metrics: means over the seeds.
        deviations: sample standard deviations; "identical" where the seed decides nothing; None with one seed.
        peak_memory_mb: the highest of all.
        runs: by seed.
    """

    model: str
    params: dict[str, Any]
    metrics: Values
    deviations: dict[str, float | Literal["identical"] | None] | None
    valid_metrics: Values | None
    select_seconds: float | None
    fit_seconds: float
    peak_memory_mb: float | None
    runs: dict[int, RunResult]


@dataclass(frozen=True)
class Best:
    """The best model by one metric on the validation part, or else on the test part; None if no model has a value."""

    model: str | None
    metric: str
    part: Literal["valid", "test"]


@dataclass(frozen=True)
class Comparison:
    """A paired t-test between two models over n seeds or users; `difference` is the mean of the first minus the second's.

    It is None if a value is missing. `n` and `p_value` are None if neither model varies, `p_value` alone if all n differences
    are equal: then the test is undefined.
    """

    models: tuple[str, str]
    metric: str
    over: Literal["seeds", "users"]
    difference: float | None = None
    p_value: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class FinalFit:
    """The fit to ship: one model with the parameters and epochs found before, on everything there is. It cannot be tested."""

    model: str
    params: dict[str, Any]
    seed: int
    fit: FitFacts
    digest: str


@dataclass(frozen=True)
class Exported:
    """What was exported, in words; the folder below the output; and the manifest in it."""

    about: str
    folder: str
    manifest: dict[str, Any]


@dataclass(frozen=True)
class RunReport:
    """The content of report.json.

    Attributes:
        settings: the keys of the pipeline that say how models are fitted and evaluated.
        data: by seed.
    """

    pipeline: str
    dataset: str
    settings: dict[str, Any]
    metrics: list[str]
    lower_is_better: list[str]
    seeds: list[int]
    data: dict[int, DataFacts]
    models: dict[str, ModelSummary]
    best: Best | None
    comparisons: list[Comparison]
    final: FinalFit | None
    exported: Exported | None
    versions: dict[str, str]


def write_json(value: Any, path: Path) -> None:
    """Write a value, which may be or hold dataclasses, whole or not at all."""
    with whole_file(path) as draft:
        draft.write_text(json.dumps(value, indent=2, allow_nan=False, default=asdict) + "\n", encoding="utf-8")


def read_json(kind: type[T], path: Path) -> T:
    """The value of that type in a JSON file; `DataError` if the file cannot be read or holds something else."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is damaged: {place}: {first['msg']}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
