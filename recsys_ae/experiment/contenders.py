"""The inputs of a comparison: models of runs, files of values per user, and systems that are evaluated first."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq

from recsys_ae.data.reading import reading
from recsys_ae.errors import ConfigError, DataError, did_you_mean, similar_path
from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.evaluation.per_user import PerUser
from recsys_ae.experiment.output import REPORT, name_of, per_user_path
from recsys_ae.experiment.systems import SystemEvaluator
from recsys_ae.files import check_file, is_file, path_of, read_json
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import URIS, local_copy

MLFLOW = "runs:/"
REDO = "run the pipeline again"


@dataclass(frozen=True, eq=False)
class Contender:
    """A model or system in a comparison.

    Attributes:
        label: name in tables.
        full_name: name in tables if several contenders have the same label.
        seeds: of its run; None for a file or a system.
        tables: values per user, a table for each seed or a single one.
        warnings: about its values.
    """

    label: str
    full_name: str
    seeds: list[int] | None
    tables: list[PerUser]
    warnings: list[str] = field(default_factory=list)


def contenders(
    sources: Sequence[str], evaluator: SystemEvaluator | None, tracking_uri: str | None = None
) -> dict[str, Contender]:
    """The contenders from all sources, by distinct names.

    Args:
        sources: output folders of `run` or MLflow runs `runs:/ID` (all of their models, or the one named after a colon),
            Parquet files of values per user, or what `evaluator` can evaluate.
        evaluator: evaluates models and lists; None without a truth. If it names no metrics, it computes the ranking metrics of
            the runs and files.

    Raises:
        ConfigError: fewer than two, one of them twice, a model that a run does not have, or a system without an evaluator.
        DataError: something that does not exist, is damaged, or has no values per user.
    """
    recorded = {source: _recorded(source, tracking_uri) for source in sources}
    if evaluator is not None and not evaluator.metrics:
        names = dict.fromkeys(name for own in recorded.values() for one in own for name in one.tables[0].metrics)
        ranking = [one.name for one in parse_metrics(names) if one.k and not one.sampled] if names else []
        evaluator = replace(evaluator, metrics=ranking)
    found = [one for source in sources for one in recorded[source] or [_evaluated(source, evaluator)]]
    if len(found) < 2:
        raise ConfigError(f"there is only {found[0].full_name} to compare; name at least two models, runs or files")
    shared = Counter(one.label for one in found)
    named = {one.label if shared[one.label] == 1 else one.full_name: one for one in found}
    if len(named) < len(found):
        twice = next(name for name, number in Counter(one.full_name for one in found).items() if number > 1)
        raise ConfigError(f"{twice} is named twice; there is nothing to compare it with")
    return named


def _recorded(source: str, tracking_uri: str | None) -> list[Contender]:
    """The contenders of a run or a file; none if `source` is something to be evaluated."""
    if source.startswith(MLFLOW) and "/" not in source.removeprefix(MLFLOW):
        run, _, label = source.removeprefix(MLFLOW).partition(":")
        return _of_run(MLFLOW + run, label, lambda name: local_copy(f"{MLFLOW}{run}/{name}", tracking_uri))
    folder, _, label = (source, "", "") if os.path.exists(path_of(source)) else source.rpartition(":")
    if folder and os.path.exists(path_of(folder) / REPORT):
        return _of_run(folder, label, path_of(folder).joinpath)
    path = path_of(source)
    return [Contender(path.stem, source, None, [PerUser.read(path)])] if is_file(path) and _holds_values(path) else []


def _evaluated(source: str, evaluator: SystemEvaluator | None) -> Contender:
    """A model or lists, evaluated now."""
    if evaluator is None:
        if not source.startswith(URIS) and not os.path.exists(path_of(source)):
            raise DataError(f"there is no file or folder {source}{similar_path(path_of(source))}")
        raise ConfigError(
            f"{source} is neither the output of a run nor a file of values per user; pass --truth FILE to evaluate it first"
        )
    evaluated, path = evaluator.evaluate(source), path_of(source)
    return Contender(path.stem if is_file(path) else path.name, source, None, [evaluated.per_user], evaluated.warnings)


def _of_run(source: str, wanted: str, fetch: Callable[[str], Path]) -> list[Contender]:
    """The wanted model of a run, or all of them if none is named; `fetch` gives the local path of a file of its output."""
    report = read_json(RunReport, fetch(REPORT), REDO)
    if wanted and wanted not in report.models:
        raise ConfigError(f"{source} has no model {wanted!r}; {did_you_mean(wanted, report.models)}")
    return [
        Contender(
            label, f"{source}:{label}", report.seeds, [_values(report, label, seed, source, fetch) for seed in report.seeds]
        )
        for label in ([wanted] if wanted else report.models)
    ]


def _values(report: RunReport, label: str, seed: int, source: str, fetch: Callable[[str], Path]) -> PerUser:
    """The values per user of one model with one seed."""
    digest = report.models[label].runs[seed].per_user_digest
    if digest is None:
        raise DataError(f"{source}: {label} has no values per user, as recommenders have; it cannot be compared")
    path = fetch(per_user_path(name_of(label, seed, report.seeds)))
    check_file(path, digest, REDO)
    return PerUser(PerUser.read(path).values, report.data[seed].protocol)


def _holds_values(path: Path) -> bool:
    """Whether a file is a Parquet file without the columns of lists."""
    if path.suffix.lower() != ".parquet":
        return False
    with reading(path):
        return not {"item_id", "rank"} & {*pq.read_schema(path).names}
