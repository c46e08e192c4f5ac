"""The pipeline runner, which connects data, models, evaluation, export, tracking and reporting.

Steps that depend on the kind of data are those of its `Task`.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import isfinite
from pathlib import Path
from statistics import fmean, mean
from typing import Any, Generic

import pandas as pd
from rich.console import Console

from recsys_ae.core.checkpoint import Checkpoint
from recsys_ae.digests import digest_of_json
from recsys_ae.errors import TrainingError
from recsys_ae.evaluation.protocols.audit import Audit
from recsys_ae.experiment.callbacks import LogLosses, ShowProgress, Stopwatch, validation_name
from recsys_ae.experiment.drawing import draw_metrics, draw_model
from recsys_ae.experiment.html_report import publish_html
from recsys_ae.experiment.job import Job, Searched, Selected
from recsys_ae.experiment.output import INPUTS, PIPELINE, REPORT, OutputFolder, check_output, name_of, open_output
from recsys_ae.experiment.page import (
    record_data,
    record_exported,
    record_final,
    record_report,
    record_result,
    record_start,
    record_trial,
    register_final,
)
from recsys_ae.experiment.pipeline_file import TASKS, K, ModelSpec, Pipeline
from recsys_ae.experiment.repeat import RunInputs
from recsys_ae.experiment.search import combinations
from recsys_ae.experiment.summary import asked_for, best_trial, choose, compare_pair, repetitions, summarise, warn_of_choice
from recsys_ae.experiment.task import D, Evaluation, FitOn, M, Part, Task
from recsys_ae.export.manifest import versions
from recsys_ae.files import read_json
from recsys_ae.reporting.report import write_report
from recsys_ae.reporting.results import (
    Baseline,
    Best,
    Curves,
    DataFacts,
    Exported,
    FinalFit,
    FitFacts,
    RunReport,
    RunResult,
    Trial,
)
from recsys_ae.tracking import CONTINUES, FITTED_ON, Tags, TrackedRun, Tracker

SETTINGS = ("positive_at", "sample", "relevant_at", "cold", "candidates", "white", "split", "refit", "device")

logger = logging.getLogger(__name__)


def run_pipeline(
    pipeline: Pipeline[Any], output: Path, tracker: Tracker, console: Console, *, resume: bool = False, tags: Tags | None = None
) -> RunReport:
    """Run a pipeline, write everything to `output`, and return the report.

    With `resume`, an interrupted run of the same pipeline in `output` is continued, with the same results as without the
    interruption. If a model fails, the run ends, but no finished model is lost. The tracked run gets the `tags` too.
    """
    declared = pipeline.to_yaml()
    check_output(output, declared if resume else None)
    if resume and (output / REPORT).exists():
        logger.info("%s is already finished", output)
        return read_json(RunReport, output / REPORT, "delete it to run everything again with --resume")
    task: Task[Any, Any, Any] = TASKS.get(pipeline.card.kind)(pipeline)
    task.check(task.data(pipeline.seeds[0]))  # first, so that invalid data leaves nothing behind
    facts = task.facts(task.data(pipeline.seeds[0]))
    inputs = RunInputs.of(pipeline, facts)
    tracker.keep_record(output)
    with (
        open_output(output, declared, inputs.digests, resume=resume) as folder,
        tracker.run(pipeline.name, resume=folder.read_note("run")) as run,
    ):
        folder.write_note("run", run.id)
        inputs.record(output)
        run.tags(tags or {})
        for path in task.record(output):
            run.artifact(path)
        folder.first_start()
        report = _Experiment(task, folder, tracker, run, console).report(facts)
        publish_html(task, report, output, run)
        for path in write_report(report, output):
            run.artifact(path)
        folder.clean()
    return report


class _Experiment(Generic[K, D, M]):
    """All models of a pipeline with all seeds."""

    def __init__(self, task: Task[K, D, M], folder: OutputFolder, tracker: Tracker, run: TrackedRun, console: Console) -> None:
        self.task, self.pipeline, self.keys = task, task.pipeline, task.keys
        self.folder, self.tracker, self.run, self.console = folder, tracker, run, console
        self.settings = {key: value for key, value in self.keys.model_dump().items() if key in SETTINGS}

    def _record(self, data: DataFacts) -> None:
        """Record pipeline, protocol and data once in the tracker's run."""
        if self.run.id is None or self.folder.read_note("recorded") == self.run.id:
            return
        record_start(self.run, self.pipeline, self.settings, data)
        self.run.artifact(self.folder.path / PIPELINE)
        self.run.artifact(self.folder.path / INPUTS)
        self.folder.write_note("recorded", self.run.id)

    def report(self, data: DataFacts) -> RunReport:
        """The report, after all steps that are still missing; `data` are the facts of the first seed."""
        self._record(data)
        warn_of_choice(self.task, data)
        facts: dict[int, DataFacts] = {}
        results: dict[str, dict[int, RunResult]] = {spec.label: {} for spec in self.pipeline.models}
        for seed in self.pipeline.seeds:
            facts[seed] = self.task.facts(self.task.data(seed))
            self.folder.check_input("data", facts[seed].digest, f"data-{seed}")
            for spec in self.pipeline.models:
                results[spec.label][seed] = self._result(spec, seed, facts[seed])
        models = {label: summarise(runs) for label, runs in results.items()}
        lower = [name for name in self.keys.metrics if self.task.lower_is_better(name)]
        metric = self.task.deciding_metric
        winner = choose(models, metric, metric in lower)
        best = asked_for(winner, self.task)
        final, exported = self._export(best, results)
        findings, by_user = self.task.findings(self._per_user(results)), self.task.metric_per_user(self.keys)
        ratio = fmean(self.task.test_to_train(own) for own in facts.values())
        report = RunReport(
            pipeline=self.pipeline.name,
            dataset=self.pipeline.card.name,
            settings=self.settings,
            metrics=self.keys.metrics,
            lower_is_better=lower,
            seeds=self.pipeline.seeds,
            data=facts,
            audit=self._audit(data, results),
            models=models,
            best=best,
            findings=findings,
            baselines=self._baselines(),
            repetitions={label: repetitions(model, ratio) for label, model in models.items()} if len(facts) > 1 else {},
            comparisons=[compare_pair(pair, models, findings, self.keys.metrics, by_user, ratio) for pair in self.keys.compare],
            final=final,
            exported=exported,
            versions=versions(),
            origin=self.folder.first_start(),
            skipped=self.task.skipped(),
            feature_models=self.task.feature_models(models),
        )
        draw_metrics(report, self.folder.path / "figures", self.run)
        if any((per_user := self.folder.path / "per-user").iterdir()):
            self.run.artifact(per_user, per_user.name)
        runs = {label: [self.folder.read_note(f"run-{self._name(label, seed)}") for seed in facts] for label in models}
        record_report(self.run, report, winner, self.tracker, runs)
        if final is not None and self.task.registers is not None:
            register_final(self.tracker, self.folder, self.task.registers, final.model)
        return report

    def _audit(self, data: DataFacts, results: Mapping[str, Mapping[int, RunResult]]) -> Audit | None:
        """The audit of the test part of the first seed, with the number of other models that were tested on it before."""
        own = {run.digest for runs in results.values() for run in runs.values()}
        looks = None if data.protocol is None else self.tracker.looks(data.protocol.test, besides=own)
        return self.task.audit(self.task.data(self.pipeline.seeds[0]), looks)

    def _per_user(self, results: Mapping[str, Mapping[int, RunResult]]) -> dict[str, list[pd.DataFrame]]:
        """The metrics per user of each model, a table per seed."""
        read = self.folder.read_per_user
        return {
            label: [read(self._name(label, seed), run.per_user_digest) for seed, run in runs.items() if run.per_user_digest]
            for label, runs in results.items()
        }

    def _baselines(self) -> dict[str, Baseline]:
        """The means over the seeds of the baselines, rounded as those of models are, so that none is worse than itself."""
        found = self.folder.read_state("baselines", dict[str, Baseline])
        if found is None:
            by_seed = [self.task.baselines(self.task.data(seed), seed) for seed in self.pipeline.seeds]
            found = {name: Baseline(one.model, mean(own[name].value for own in by_seed)) for name, one in by_seed[0].items()}
            self.folder.write_state("baselines", found)
        return found

    def _name(self, label: str, seed: int) -> str:
        return name_of(label, seed, self.pipeline.seeds)

    @contextmanager
    def _job(self, name: str, spec: ModelSpec, seed: int, within: Job | None = None) -> Iterator[Job]:
        """A job with its tracked run, and with a progress display unless it is `within` another."""
        earlier = self.folder.read_note(f"run-{name}")
        with self.tracker.run(name, parent=within.run.id if within else self.run.id) as run:
            if earlier is not None:
                run.tags({CONTINUES: earlier})
            self.folder.write_note(f"run-{name}", run.id)
            run.params({"model": spec.name, "seed": seed, **spec.params})
            with nullcontext(within.progress) if within else ShowProgress(name, self.console) as progress:
                yield Job(name, spec, seed, run, progress)
        self.folder.remove_checkpoints(name)

    def _result(self, spec: ModelSpec, seed: int, data: DataFacts) -> RunResult:
        """Fit, evaluate and save one model with one seed, unless that has been done before."""
        name = self._name(spec.label, seed)
        if (done := self.folder.read_state(f"result-{name}", RunResult)) is not None:
            per_user = {self.folder.per_user(name): done.per_user_digest} if done.per_user_digest else {}
            if self.folder.holds({self.folder.model(name): done.digest, **per_user}):
                logger.info("%s: done before", name)
                return done
        with self._job(name, spec, seed) as job:
            record_data(job.run, self.pipeline.card.name, data)
            spec, trials = self._search(job)
            model, fit, selected = self._select(job, spec)
            test = self._evaluate(job, model, "test")
            digest = self._save(job, model, self.folder.model(name))
            found = test.metrics, selected.valid_metrics, test.counts, fit, selected.fit if self.keys.refit else None
            by_user = None if test.per_user is None else self.folder.write_per_user(name, test.per_user, data.protocol)
            rest: dict[str, Any] = {"segments": test.segments, "curves": selected.curves, "validation": validation_name(model)}
            rest["searched_by"] = self.task.search_metric if trials else None
            result = RunResult(spec.name, spec.params, *found, digest, trials, by_user, test.ties, **rest)
            record_result(job.run, result, self.keys.refit)
            if seed == self.pipeline.seeds[0]:
                folder, figures = self.folder.figures(spec.label), self.task.figures(model, self.task.data(seed))
                draw_model(figures, selected.curves, validation_name(model), folder, job.run)
            self.folder.write_state(f"result-{name}", result)
        logger.info("%s: fitted in %.1f s", name, fit.seconds)
        return result

    def _search(self, job: Job) -> tuple[ModelSpec, list[Trial]]:
        """The spec with the parameters that were best on the validation part, and the trials, each of them a tracked run."""
        if not job.spec.search:
            return job.spec, []
        metric = self.task.search_metric
        trials = (self._tune if self.keys.search.sampler == "tpe" else self._try)(job, metric)
        best = best_trial(job.name, trials, metric, self.task.lower_is_better(metric))
        job.run.params({f"chosen.{key}": value for key, value in best.params.items()})
        return job.spec.with_params(best.params), trials

    def _tune(self, job: Job, metric: str) -> list[Trial]:
        """The trials of a search with Optuna, unless it has ended before: a timeout would begin anew."""
        from recsys_ae.experiment.tuning import tune  # of an extra

        if (done := self.folder.read_state(f"searched-{job.name}", Searched)) is not None:
            return done.trials

        def open_trial(name: str, spec: ModelSpec) -> AbstractContextManager[Job]:
            return self._job(name, spec, job.seed, within=job)

        trials = tune(self.task, job, metric, self.folder, open_trial)
        self.folder.write_state(f"searched-{job.name}", Searched(trials))
        return trials

    def _try(self, job: Job, metric: str) -> list[Trial]:
        """The trials of combinations of listed values."""
        trials: list[Trial] = []
        choices = combinations(job.spec.search or {}, self.keys.search.trials, job.seed)
        for number, choice in enumerate(choices, 1):
            name = f"{job.name}-trial-{number}"
            trial = self.folder.read_state(name, Trial)
            if trial is None:
                with self._job(name, job.spec.with_params(choice), job.seed, within=job) as one:
                    model, fit, _ = self._fit(one, one.spec, "train")
                    valid = self._evaluate(one, model, "valid").metrics
                    record_trial(one.run, valid, fit.seconds)
                    trial = Trial(choice, valid, fit.seconds, epochs=fit.epochs)
                    self.folder.write_state(name, trial)
            trials.append(trial)
            shown = "none" if (value := trial.valid_metrics.get(metric)) is None else f"{value:.4f}"
            logger.info("%s: trial %d of %d, %s: %s %s", job.name, number, len(choices), choice, metric, shown)
        return trials

    def _select(self, job: Job, spec: ModelSpec) -> tuple[M, FitFacts, Selected]:
        """The model to test, the cost of its fit, and the results of the fit on the training part, which may be the same."""
        selected = self.folder.read_state(f"selected-{job.name}", Selected)
        if selected is not None:
            losses = LogLosses(job.run, validation_name(self.task.build(spec)))
            losses.repeat(selected.curves)
        else:
            model, fit, curves = self._fit(job, spec, "train")
            valid = self._evaluate(job, model, "valid").metrics
            selected = Selected(valid or None, fit, curves)
            if not self.keys.refit:
                return model, fit, selected
            self.folder.write_state(f"selected-{job.name}", selected)
        model, fit, _ = self._fit(job, spec.for_epochs(selected.fit.best_epoch), "train+valid")
        return model, fit, selected

    def _fit(self, job: Job, spec: ModelSpec, on: FitOn) -> tuple[M, FitFacts, dict[str, Curves]]:
        """Fit a model, from the checkpoint of an earlier attempt if there is one; returns it with its cost and losses."""
        model, again = self.task.build(spec), on == "train+valid"
        job.progress.valid_name = validation_name(model)
        losses = LogLosses(job.run, validation_name(model), prefix="refit_" if again else "")
        name = f"{job.name}+refit" if again else job.name
        about = digest_of_json(self.folder.run, name, spec.name, spec.params, spec.warm_start, job.seed, on)
        checkpoint = Checkpoint(self.folder.checkpoint(name), about)
        with Stopwatch() as stopwatch:
            callbacks = [checkpoint, job.progress, losses, stopwatch]
            model = self.task.fit(model, self.task.data(job.seed), on, spec, job.seed, callbacks)
        return model, stopwatch.facts, losses.curves

    def _evaluate(self, job: Job, model: M, part: Part) -> Evaluation:
        """The metrics of a model on one part; `TrainingError` if one of them is not finite."""
        found = self.task.evaluate(model, self.task.data(job.seed), part)
        if wrong := [metric for metric, value in found.metrics.items() if value is not None and not isfinite(value)]:
            raise TrainingError(f"{job.name}: {wrong[0]} is not finite on the {part} part; try other parameters")
        return found

    def _save(self, job: Job, model: M, folder: Path, *, final: bool = False) -> str:
        """Save a model and store it in the tracker; returns its digest."""
        self.task.models.save(model, folder)
        self.task.log_model(job.run, folder, self.task.data(job.seed), final=final)
        return self.task.models.digest(model)

    def _export(
        self, best: Best | None, results: Mapping[str, Mapping[int, RunResult]]
    ) -> tuple[FinalFit | None, Exported | None]:
        """Export what the pipeline asks for, from a final fit of the chosen model if the task ships that."""
        spec, seed, exported = self.keys.export, self.pipeline.seeds[0], None
        if spec is None and self.task.registers is None:
            return None, None
        label = spec.model if spec and spec.model != "best" else best.model if best else None
        if label is None:  # see `check_delivered`
            return None, None
        final = self._final(label, seed, results[label][seed]) if self.task.ships_best else None
        if spec is not None:
            model = self.task.models.load(self.folder.path / "final" if final else self.folder.model(self._name(label, seed)))
            exported = self.task.export(label, model, self.task.data(seed), self.folder.path)
            fit = f"{label}+final" if final else self._name(label, seed)
            record_exported(self.tracker, self.folder, self.pipeline.card.name, exported, fit)
        return final, exported

    def _final(self, label: str, seed: int, result: RunResult) -> FinalFit:
        """Fit a model on all data, with the parameters and the number of epochs found before."""
        done = self.folder.read_state("final", FinalFit)
        if done is not None and self.folder.holds({self.folder.path / "final": done.digest}):
            return done
        declared = next(spec for spec in self.pipeline.models if spec.label == label)
        spec = declared.with_params(result.params).for_epochs(result.best_epoch)
        with self._job(f"{label}+final", spec, seed) as job:
            job.run.params({FITTED_ON: "everything"})
            job.run.dataset(self.pipeline.card.name, *self.task.everything(self.task.data(seed)))
            model, fit, _ = self._fit(job, spec, "everything")
            digest = self._save(job, model, self.folder.path / "final", final=True)
            final = FinalFit(label, spec.params, seed, fit, digest)
            record_final(job.run, fit, digest)
            self.folder.write_state("final", final)
        return final
