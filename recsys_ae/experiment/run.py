"""Running a pipeline: the only place where data, models, evaluation, export, tracking and reporting meet."""

import logging
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console

from recsys_ae.errors import DataError
from recsys_ae.experiment.callbacks import LogLosses, Record, ShowProgress
from recsys_ae.experiment.output import PIPELINE, REPORT, OutputFolder, check_output, open_output
from recsys_ae.experiment.spec import ModelSpec, Pipeline
from recsys_ae.experiment.steps import Data, build_report, choose, evaluate_model, fit_model, load_data
from recsys_ae.export.local import export_recommendations
from recsys_ae.export.manifest import MANIFEST, Manifest
from recsys_ae.interactions import Interactions, Split
from recsys_ae.models.storage import load_model, save_model
from recsys_ae.reporting.report import read_report, write_report
from recsys_ae.tracking import DatasetFacts, TrackedRun, Tracker

logger = logging.getLogger(__name__)


def run_pipeline(
    pipeline: Pipeline, output: Path, tracker: Tracker, console: Console, *, resume: bool = False
) -> dict[str, Any]:
    """Carry out a pipeline and return its report; `output` then holds everything it made.

    With `resume`, what an interrupted run of the same pipeline left in `output` is not done again, and the results are the
    same as if nothing had happened. A model's failure ends the run, but loses no finished model.
    """
    declared = pipeline.to_yaml()
    check_output(output, declared, resume=resume)
    if resume and (output / REPORT).exists():
        logger.info("%s is already finished", output)
        return read_report(output / REPORT)
    data = load_data(pipeline)  # before anything is written: what is wrong with it leaves nothing behind
    ratings = data.split.train.matrix.data
    if ratings.min() == ratings.max():
        logger.warning("all ratings are the same: models that predict ratings learn nothing from them, others may")
    with open_output(output, declared, resume=resume) as folder:
        _same_data(folder, data)
        with tracker.run(pipeline.name, resume=folder.read_state("run")) as run:
            folder.write_state("run", run.id)
            _record_start(folder, run, pipeline, data.split)
            results = {spec.label: _model(spec, pipeline, data, folder, tracker, run, console) for spec in pipeline.models}
            best = choose(results, pipeline.metrics, pipeline.export.by if pipeline.export else None)
            manifest = _export(pipeline, data.split, folder, best["model"])
            report = build_report(pipeline, data, results, best, manifest)
            write_report(report, output)
            run.artifact(output / "report.csv")
            run.artifact(output / REPORT)
            if manifest is not None:
                run.artifact(folder.recommendations / MANIFEST, "recommendations")
            folder.clean()
    return report


def _same_data(folder: OutputFolder, data: Data) -> None:
    """Refuse to continue with other data than the run was started with."""
    earlier = folder.read_state("data")
    if earlier is not None and earlier != data.split.digest:
        raise DataError(f"the data has changed since the run in {folder.path} was started; run anew in another --output")
    folder.write_state("data", data.split.digest)


def _record_start(folder: OutputFolder, run: TrackedRun, pipeline: Pipeline, split: Split) -> None:
    """Pipeline, parameters and data of a run, once."""
    if run.id is None or folder.read_state("recorded") == run.id:
        return
    run.params({"dataset": pipeline.card.name, "split": pipeline.split_kind, "split_digest": split.digest})
    run.params({"seed": pipeline.seed})
    run.params({f"split.{key}": value for key, value in pipeline.split_params.items()})
    for context, part in (("train", split.train), ("valid", split.valid), ("test", split.test)):
        if len(part):
            run.dataset(_facts(pipeline, context, part))
    run.artifact(folder.path / PIPELINE)
    folder.write_state("recorded", run.id)


def _facts(pipeline: Pipeline, context: str, part: Interactions) -> DatasetFacts:
    profile = {"users": part.n_users, "items": part.n_items, "interactions": len(part)}
    return DatasetFacts(pipeline.card.name, part.digest, f"recsys-ae:{pipeline.card.name}", context, profile)


def _model(
    spec: ModelSpec,
    pipeline: Pipeline,
    data: Data,
    folder: OutputFolder,
    tracker: Tracker,
    parent: TrackedRun,
    console: Console,
) -> dict[str, Any]:
    """Fit, evaluate and save one model, unless that has been done; returns its entry in the report."""
    name = f"result-{spec.label}"
    if (done := folder.read_state(name)) is not None:
        logger.info("%s: done before", spec.label)
        return dict(done)
    if unfinished := folder.read_state(f"run-{spec.label}"):
        tracker.kill(unfinished)
    with tracker.run(spec.label, parent=parent.id) as run:
        folder.write_state(f"run-{spec.label}", run.id)
        run.params({"model": spec.name, **spec.params})
        losses, record = LogLosses(run), Record()
        started = perf_counter()
        with ShowProgress(spec.label, console) as progress:
            checkpoint = folder.checkpoint(spec.label)
            model = fit_model(spec, data.split, pipeline.seed, checkpoint, [progress, losses, record])
        losses.flush()
        earlier = sum(epoch.seconds for epoch in record.history)
        result = evaluate_model(spec, model, data.split, pipeline)
        result["fit_seconds"] = max(perf_counter() - started - result["evaluate_seconds"], earlier)
        result["epochs"] = len(record.history) or None
        run.metrics({**result["metrics"], "fit_seconds": result["fit_seconds"]})
        run.metrics({f"valid_{key}": value for key, value in (result["valid_metrics"] or {}).items()})
        save_model(model, folder.model(spec.label))
        run.artifact(folder.model(spec.label), "model")
        folder.write_state(name, result)
        checkpoint.unlink(missing_ok=True)
    logger.info("%s: fitted in %.1f s", spec.label, result["fit_seconds"])
    return result


def _export(pipeline: Pipeline, split: Split, folder: OutputFolder, best: str | None) -> Manifest | None:
    if pipeline.export is None:
        return None
    if folder.recommendations.exists():
        return Manifest.read(folder.recommendations)
    label = best if pipeline.export.model == "best" else pipeline.export.model
    if label is None:
        logger.warning("no lists are exported: no model has a value of the metric that decides")
        return None
    model = load_model(folder.model(label))
    return export_recommendations(model, split.history("test"), folder.recommendations, pipeline.export.k)
