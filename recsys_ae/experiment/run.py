"""Running a pipeline: the only place where data, models, evaluation, export, tracking and reporting meet."""

import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from recsys_ae.errors import DataError
from recsys_ae.experiment.callbacks import LogLosses, ShowProgress, Stopwatch
from recsys_ae.experiment.output import PIPELINE, REPORT, OutputFolder, check_output, open_output
from recsys_ae.experiment.spec import ModelSpec, Pipeline
from recsys_ae.experiment.steps import (
    Data,
    build_report,
    choose,
    deciding_metric,
    evaluate_model,
    facts_of,
    fit_model,
    load_data,
    refit_model,
    summarise,
    trials_of,
    worth,
)
from recsys_ae.export.local import export_recommendations
from recsys_ae.export.manifest import MANIFEST, Manifest
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender
from recsys_ae.models.storage import load_model, model_digest, save_model
from recsys_ae.reporting.report import read_report, write_report
from recsys_ae.split import Split
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
    data = load_data(pipeline, pipeline.seeds[0])  # before anything is written: what is wrong with it leaves nothing behind
    ratings = data.split.train.matrix.data
    if ratings.min() == ratings.max() and pipeline.positive_at is None:
        logger.warning("all ratings are the same: models that predict ratings learn nothing from them, others may")
    with open_output(output, declared, resume=resume) as folder:
        _same_data(folder, pipeline.seeds[0], data)
        with tracker.run(pipeline.name, resume=folder.read_state("run")) as run:
            folder.write_state("run", run.id)
            _record_start(folder, run, pipeline, data.split)
            facts: dict[int, dict[str, Any]] = {}
            results: dict[str, dict[int, dict[str, Any]]] = {spec.label: {} for spec in pipeline.models}
            for seed in pipeline.seeds:
                data = _data_of(seed, pipeline, data)
                _same_data(folder, seed, data)
                facts[seed] = facts_of(data)
                for spec in pipeline.models:
                    results[spec.label][seed] = _model(spec, seed, pipeline, data.split, folder, tracker, run, console)
            models = {label: summarise(runs) for label, runs in results.items()}
            best = choose(models, pipeline.metrics, pipeline.export.by if pipeline.export else None)
            manifest = _export(pipeline, data, folder, best["model"])
            report = build_report(pipeline, facts, models, best, manifest)
            write_report(report, output)
            run.artifact(output / "report.csv")
            run.artifact(output / REPORT)
            if manifest is not None:
                run.artifact(folder.recommendations / MANIFEST, "recommendations")
            folder.clean()
    return report


def _data_of(seed: int, pipeline: Pipeline, loaded: Data) -> Data:
    """The data of a seed; loaded anew if `loaded` is of another."""
    return loaded if loaded.seed == seed else load_data(pipeline, seed)


def _same_data(folder: OutputFolder, seed: int, data: Data) -> None:
    """Refuse to continue with other data than the run was started with."""
    name = f"data-{seed}"
    earlier = folder.read_state(name)
    if earlier is not None and earlier != data.split.digest:
        raise DataError(f"the data has changed since the run in {folder.path} was started; run anew in another --output")
    folder.write_state(name, data.split.digest)


def _record_start(folder: OutputFolder, run: TrackedRun, pipeline: Pipeline, split: Split) -> None:
    """Pipeline, parameters and data of a run, once."""
    if run.id is None or folder.read_state("recorded") == run.id:
        return
    run.params({"dataset": pipeline.card.name, "split": pipeline.split_kind, "split_digest": split.digest})
    run.params({"seeds": pipeline.seeds, "refit": pipeline.refit})
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
    seed: int,
    pipeline: Pipeline,
    split: Split,
    folder: OutputFolder,
    tracker: Tracker,
    parent: TrackedRun,
    console: Console,
) -> dict[str, Any]:
    """Fit, evaluate and save one model with one seed, unless that has been done; returns the results."""
    name = _name(spec.label, seed, pipeline)
    if (done := folder.read_state(f"result-{name}")) is not None:
        logger.info("%s: done before", name)
        return dict(done)
    if unfinished := folder.read_state(f"run-{name}"):
        tracker.kill(unfinished)
    with tracker.run(name, parent=parent.id) as run:
        folder.write_state(f"run-{name}", run.id)
        run.params({"model": spec.name, "seed": seed, "split_digest": split.digest, **spec.params})
        with ShowProgress(name, console) as progress:
            spec, trials = _searched(spec, seed, name, pipeline, split, folder, tracker, run, progress)
            model, valid_metrics, trained = _fit(spec, seed, name, pipeline, split, folder, run, progress)
        test = evaluate_model(model, split, pipeline, "test")
        assert test is not None
        result: dict[str, Any] = {
            "params": {"name": spec.name, **spec.params},
            "metrics": test.metrics,
            "valid_metrics": valid_metrics,
            "counts": test.counts,
            "select_seconds": trained.select_seconds,
            "fit_seconds": trained.seconds,
            "peak_memory_mb": trained.peak_memory_mb,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "digest": model_digest(model),
            **({"trials": trials} if trials else {}),
        }
        run.metrics({**result["metrics"], **{key: result[key] for key in ("select_seconds", "fit_seconds", "peak_memory_mb")}})
        run.metrics({f"valid_{key}": value for key, value in (valid_metrics or {}).items()})
        save_model(model, folder.model(name))
        run.artifact(folder.model(name), "model")
        folder.write_state(f"result-{name}", result)
        for checkpoint in _checkpoints(folder, name):
            checkpoint.unlink(missing_ok=True)
    logger.info("%s: fitted in %.1f s", name, trained.seconds)
    return result


def _searched(
    spec: ModelSpec,
    seed: int,
    name: str,
    pipeline: Pipeline,
    split: Split,
    folder: OutputFolder,
    tracker: Tracker,
    parent: TrackedRun,
    progress: ShowProgress,
) -> tuple[ModelSpec, list[dict[str, Any]]]:
    """The model with the parameters that were best on the validation part, and what was tried; each trial is a run."""
    if not spec.search:
        return spec, []
    metric = deciding_metric(pipeline.metrics, pipeline.search.by)
    tried: list[dict[str, Any]] = []
    choices = trials_of(spec, pipeline.search.trials, seed)
    for number, choice in enumerate(choices, 1):
        trial = f"{name}-trial-{number}"
        result = folder.read_state(trial)
        if result is None:
            with tracker.run(trial, parent=parent.id) as run:
                run.params({"model": spec.name, "seed": seed, "split_digest": split.digest, **spec.params, **choice})
                trained, losses = Stopwatch(), LogLosses(run)
                candidate = spec.model_copy(update={"params": {**spec.params, **choice}})
                with trained:
                    model = fit_model(candidate, split, seed, folder.checkpoint(trial), [progress, losses, trained])
                losses.flush()
                valid = evaluate_model(model, split, pipeline, "valid")
                assert valid is not None
                run.metrics({f"valid_{key}": value for key, value in valid.metrics.items()} | {"fit_seconds": trained.seconds})
            result = {"params": choice, "valid_metrics": valid.metrics, "fit_seconds": trained.seconds}
            folder.write_state(trial, result)
            folder.checkpoint(trial).unlink(missing_ok=True)
        tried.append(result)
        value = result["valid_metrics"][metric.name]
        logger.info("%s: trial %d of %d, %s: %s %s", name, number, len(choices), choice, metric.name, value)
    best = max(tried, key=lambda result: worth(result["valid_metrics"][metric.name], metric))
    parent.params({f"chosen.{key}": value for key, value in best["params"].items()})
    return spec.model_copy(update={"params": {**spec.params, **best["params"]}}), tried


def _fit(
    spec: ModelSpec,
    seed: int,
    name: str,
    pipeline: Pipeline,
    split: Split,
    folder: OutputFolder,
    run: TrackedRun,
    progress: ShowProgress,
) -> tuple[Recommender, dict[str, float | None] | None, Stopwatch]:
    """The model to test, its values on the validation part, and what fitting took."""
    first, second = _checkpoints(folder, name)
    selected = folder.read_state(f"selected-{name}")
    if selected is None:
        trained, losses = Stopwatch(), LogLosses(run)
        with trained:
            model = fit_model(spec, split, seed, first, [progress, losses, trained])
        losses.flush()
        valid = evaluate_model(model, split, pipeline, "valid")
        valid_metrics = valid.metrics if valid else None
        if not pipeline.refit:
            return model, valid_metrics, trained
        selected = {"valid_metrics": valid_metrics, "trained": trained.facts()}
        folder.write_state(f"selected-{name}", selected)
    trained = Stopwatch(**selected["trained"]).next()
    with trained:
        model = refit_model(spec, split, seed, trained.best_epoch, second, [progress, trained])
    return model, selected["valid_metrics"], trained


def _checkpoints(folder: OutputFolder, name: str) -> tuple[Path, Path]:
    """Of the first and the second fit; labels have no +."""
    return folder.checkpoint(name), folder.checkpoint(f"{name}+refit")


def _name(label: str, seed: int, pipeline: Pipeline) -> str:
    """What a model fitted with one of the seeds is called in the output folder and by the tracker."""
    return label if len(pipeline.seeds) == 1 else f"{label}-seed-{seed}"


def _export(pipeline: Pipeline, data: Data, folder: OutputFolder, best: str | None) -> Manifest | None:
    """The lists of the model that was fitted with the first seed."""
    if pipeline.export is None:
        return None
    if folder.recommendations.exists():
        return Manifest.read(folder.recommendations)
    label = best if pipeline.export.model == "best" else pipeline.export.model
    if label is None:
        logger.warning("no lists are exported: no model has a value of the metric that decides")
        return None
    split = _data_of(pipeline.seeds[0], pipeline, data).split
    model = load_model(folder.model(_name(label, pipeline.seeds[0], pipeline)))
    return export_recommendations(model, split.history("test"), folder.recommendations, pipeline.export.k)
