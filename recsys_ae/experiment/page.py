"""What a run shows on its page in the tracker: the protocol at its start, the findings at its end.

Metrics on the test part have their own names. Others have a prefix that ends with `/`, by which MLflow groups charts and
`Tracker.looks` tells them from those on the test part.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_ae.core.devices import device_named
from recsys_ae.errors import shortened
from recsys_ae.experiment.output import OutputFolder
from recsys_ae.experiment.pipeline_file import Pipeline, RegisterSpec
from recsys_ae.export.manifest import MANIFEST, versions
from recsys_ae.reporting.markdown import description
from recsys_ae.reporting.results import Best, DataFacts, Exported, FitFacts, MetricValues, RunReport, RunResult
from recsys_ae.tracking import DESCRIPTION, MODEL_DIGEST, TEST_DIGEST, TrackedRun, Tracker
from recsys_ae.tracking.lineage import record_export

logger = logging.getLogger(__name__)

MOST_COLUMNS = 20  # metrics in the list of runs
BELOW = "below_popularity"  # tag of a model's run: the metrics in which it is worse than a trivial model


def record_start(run: TrackedRun, pipeline: Pipeline[Any], settings: Mapping[str, Any], data: DataFacts) -> None:
    """Record what is known before any model is fitted: the whole protocol, the data and the environment."""
    protocol = {} if data.protocol is None else {key: getattr(data.protocol, key) for key in ("repeats", "predict")}
    own = {"dataset": pipeline.card.name, "data_digest": data.digest, "seeds": pipeline.seeds, "metrics": pipeline.keys.metrics}
    run.params(_flat({**own, **settings, "protocol": protocol}))
    tags = {f"version.{name}": number for name, number in versions().items()}
    tags |= {"device": str(device_named(pipeline.keys.device)), "split_digest": data.digest}
    if data.protocol is not None:
        tags |= {TEST_DIGEST: data.protocol.test, "protocol_digest": data.protocol.digest}
    run.tags(tags)
    shown = pipeline.keys.metrics[:MOST_COLUMNS]
    columns = ["tags.winner", *(f"metrics.{name}" for name in shown), "metrics.fit/seconds"]
    run.view(shortened(", ".join(shown), 60), columns)
    run.metrics({f"best_reachable/{name}": value for name, value in data.best.items()})
    record_data(run, pipeline.card.name, data)


def record_data(run: TrackedRun, name: str, data: DataFacts) -> None:
    """Record the parts of the data as inputs."""
    for part, size in data.sizes.items():
        if size:
            run.dataset(name, data.digests[part], part, {data.unit: size, **data.profile}, data.unit)


def record_result(run: TrackedRun, result: RunResult, refit: bool) -> None:
    """Record what is known about one model with one seed."""
    costs = _costs(result.fit) | {"fit/best_epoch": result.best_epoch, "fit/peak_memory_mb": result.peak_memory_mb}
    select = {} if result.select is None else {"fit/select_seconds": result.select.seconds}
    run.metrics({**result.metrics, **_on_valid(result.valid_metrics or {}), **costs, **select})
    run.tags({MODEL_DIGEST: result.digest, "trained_on": "train+valid" if refit else "train"})


def record_trial(run: TrackedRun, valid_metrics: MetricValues, seconds: float) -> None:
    """Record what is known about a trial of a search."""
    run.metrics({**_on_valid(valid_metrics), "fit/seconds": seconds})


def record_final(run: TrackedRun, fit: FitFacts, digest: str) -> None:
    """Record what is known about the model to ship."""
    run.metrics(_costs(fit) | {"fit/peak_memory_mb": fit.peak_memory_mb})
    run.tags({MODEL_DIGEST: digest, "trained_on": "everything"})


def record_exported(tracker: Tracker, folder: OutputFolder, dataset: str, exported: Exported, fit: str) -> None:
    """Record an export once, as a run below that of its model, which has the name `fit`."""
    if folder.read_note("run-export") is not None:
        return
    with tracker.run(exported.folder, parent=folder.read_note(f"run-{fit}")) as run:
        record_export(run, dataset, exported.manifest, folder.path / exported.folder / MANIFEST)
        folder.write_note("run-export", run.id)


def register_final(tracker: Tracker, folder: OutputFolder, wanted: RegisterSpec, label: str) -> None:
    """Register the final fit of a model once."""
    run_id = folder.read_note(f"run-{label}+final")
    if run_id is None:
        logger.warning("%s is not registered, because its run is not tracked", label)
    elif folder.read_note("registered") != run_id:
        tracker.register(run_id, wanted.name, wanted.alias)
        folder.write_note("registered", run_id)


def record_report(
    run: TrackedRun, report: RunReport, winner: Best, tracker: Tracker, models: Mapping[str, Sequence[str | None]]
) -> None:
    """Record the findings: a table of all models and the metrics of the winner, with deviations over seeds and intervals.

    Args:
        models: ids of the runs of each model; their tag `BELOW` says where the model is worse than a trivial one.
    """
    for label, ids in models.items() if report.baselines else ():
        for own in filter(None, ids):
            tracker.run_of(own).tags({BELOW: ", ".join(report.below(label)) or "in no metric"})
    run.tags({DESCRIPTION: description(report, winner)})
    if winner.model is None:
        return
    model = report.models[winner.model]
    run.tags({"winner": winner.model, "winner_by": f"{winner.metric} on {winner.data}"})
    deviations = {f"deviation/{name}": value for name, value in (model.deviations or {}).items()}
    ends: dict[str, float | None] = {}
    for found in report.findings:
        intervals = found.findings.intervals
        if intervals is not None and winner.model in found.models:
            low, high = intervals[found.models.index(winner.model)]
            ends |= {f"interval/{found.metric}_low": float(low), f"interval/{found.metric}_high": float(high)}
    run.metrics({**model.metrics, **deviations, **ends})


def _costs(fit: FitFacts) -> dict[str, float | None]:
    return {"fit/seconds": fit.seconds, "fit/epochs": fit.epochs}


def _on_valid(metrics: MetricValues) -> MetricValues:
    return {f"valid/{name}": value for name, value in metrics.items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values with names such as `split.kind`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
