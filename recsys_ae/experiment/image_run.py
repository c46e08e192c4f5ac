"""Running a pipeline of images: data, models, metrics, pictures, tracking and the report."""

import logging
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from recsys_ae.core.checkpoint import Checkpoint
from recsys_ae.data.images import Images, load_images
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.significance import paired_t_test
from recsys_ae.experiment.callbacks import LogLosses, ShowProgress, Stopwatch
from recsys_ae.experiment.image_figures import draw_figures
from recsys_ae.experiment.image_spec import ImageModelSpec, ImagePipeline
from recsys_ae.experiment.output import PIPELINE, REPORT, OutputFolder, check_output, open_output
from recsys_ae.experiment.steps import summarise
from recsys_ae.images.base import Floats, ImageModel, Labels
from recsys_ae.images.metrics import IMAGE_METRICS, EvaluationData
from recsys_ae.images.storage import build_image_model, save_image_model
from recsys_ae.reporting.report import read_report, versions, write_report
from recsys_ae.tracking import DatasetFacts, TrackedRun, Tracker

logger = logging.getLogger(__name__)


def run_image_pipeline(
    pipeline: ImagePipeline, output: Path, tracker: Tracker, console: Console, *, resume: bool = False
) -> dict[str, Any]:
    """Carry out a pipeline of image models and return its report; `output` then holds everything it made.

    With `resume`, what an interrupted run of the same pipeline left in `output` is not done again, and the results are the
    same as if nothing had happened.
    """
    declared = pipeline.to_yaml()
    check_output(output, declared, resume=resume)
    if resume and (output / REPORT).exists():
        logger.info("%s is already finished", output)
        return read_report(output / REPORT)
    images, valid, valid_labels = load_parts(pipeline)
    with open_output(output, declared, resume=resume) as folder:
        facts = _facts(images, valid, valid_labels)
        if folder.read_state("data") not in (None, facts["digests"]):
            raise DataError(f"the images have changed since the run in {output} was started; run anew in another --output")
        folder.write_state("data", facts["digests"])
        with tracker.run(pipeline.name, resume=folder.read_state("run")) as run:
            folder.write_state("run", run.id)
            _record_start(folder, run, pipeline, facts)
            results: dict[str, dict[int, dict[str, Any]]] = {spec.label: {} for spec in pipeline.models}
            for seed in pipeline.seeds:
                for spec in pipeline.models:
                    one = _Model(spec, seed, pipeline, folder, tracker, run)
                    results[spec.label][seed] = one.result(images, valid, valid_labels, console)
            report = _report(pipeline, facts, results)
            write_report(report, output)
            run.artifact(output / "report.csv")
            run.artifact(output / REPORT)
            folder.clean()
    return report


def load_parts(pipeline: ImagePipeline) -> tuple[Images, Floats, Labels | None]:
    """The images, of which `train` are those to train on; and those for validation.

    Raises:
        ConfigError: there are not so many images.
    """
    images = load_images(pipeline.card, pipeline.card_folder)
    there, valid = len(images.train), pipeline.split.valid
    train = pipeline.split.train or there - valid
    if train < 1 or train + valid > there:
        raise ConfigError(f"split: {train} + {valid} training and validation images, but {images_of(pipeline)} has {there}")
    labels = images.train_labels
    parts = (labels, None) if labels is None else (labels[:train], labels[train : train + valid])
    held_out = images.train[train : train + valid]
    return replace(images, train=images.train[:train], train_labels=parts[0]), held_out, parts[1]


def images_of(pipeline: ImagePipeline) -> str:
    """What messages call the dataset."""
    return f"dataset {pipeline.card.name!r}"


class _Model:
    """One model with one seed: what it is called, and how its results come about."""

    def __init__(
        self,
        spec: ImageModelSpec,
        seed: int,
        pipeline: ImagePipeline,
        folder: OutputFolder,
        tracker: Tracker,
        parent: TrackedRun,
    ) -> None:
        self.spec, self.seed, self.pipeline, self.folder = spec, seed, pipeline, folder
        self.tracker, self.parent = tracker, parent
        self.name = spec.label if len(pipeline.seeds) == 1 else f"{spec.label}-seed-{seed}"

    def result(self, images: Images, valid: Floats, valid_labels: Labels | None, console: Console) -> dict[str, Any]:
        """Fit, evaluate, draw and save the model, unless that has been done."""
        if (done := self.folder.read_state(f"result-{self.name}")) is not None:
            logger.info("%s: done before", self.name)
            return dict(done)
        if unfinished := self.folder.read_state(f"run-{self.name}"):
            self.tracker.kill(unfinished)
        with self.tracker.run(self.name, parent=self.parent.id) as run:
            self.folder.write_state(f"run-{self.name}", run.id)
            run.params({"model": self.spec.name, "seed": self.seed, **self.spec.params})
            model, trained = self._fit(images, valid, valid_labels, run, console)
            result: dict[str, Any] = {
                "params": {"name": self.spec.name, **self.spec.params},
                "metrics": self._judge(model, EvaluationData(images.test, images.test_labels, images.train)),
                "valid_metrics": self._judge(model, EvaluationData(valid, valid_labels, images.train)) if len(valid) else None,
                **{key: getattr(trained, key) for key in ("select_seconds", "peak_memory_mb", "epochs", "best_epoch")},
                "fit_seconds": trained.seconds,
            }
            run.metrics({**result["metrics"], **{key: result[key] for key in ("fit_seconds", "peak_memory_mb")}})
            run.metrics({f"valid_{key}": value for key, value in (result["valid_metrics"] or {}).items()})
            self._keep(model, images, run)
            self.folder.write_state(f"result-{self.name}", result)
        for checkpoint in self.folder.path.glob(f".work/{self.name}.checkpoint*"):
            checkpoint.unlink()
        logger.info("%s: fitted in %.1f s", self.name, trained.seconds)
        return result

    def _fit(
        self, images: Images, valid: Floats, valid_labels: Labels | None, run: TrackedRun, console: Console
    ) -> tuple[ImageModel, Stopwatch]:
        trained, losses = Stopwatch(), LogLosses(run, valid_name="valid_loss")
        with ShowProgress(self.name, console) as progress, trained:
            model = build_image_model(self.spec.name, self.spec.params).fit(
                images.train,
                images.train_labels,
                shape=images.shape,
                valid=valid if len(valid) else None,
                valid_labels=valid_labels,
                seed=self.seed,
                callbacks=[Checkpoint(self.folder.checkpoint(self.name)), progress, losses, trained],
            )
        losses.flush()
        return model, trained

    def _judge(self, model: ImageModel, on: EvaluationData) -> dict[str, float | None]:
        return {name: IMAGE_METRICS.get(name)(model, on) for name in self.pipeline.metrics}

    def _keep(self, model: ImageModel, images: Images, run: TrackedRun) -> None:
        """Save the model, and its pictures if it is the first of its kind."""
        save_image_model(model, self.folder.model(self.name))
        run.artifact(self.folder.model(self.name), "model")
        if self.seed == self.pipeline.seeds[0]:
            figures = self.folder.path / "figures" / self.spec.label
            figures.parent.mkdir(exist_ok=True)
            draw_figures(model, images, figures)
            run.artifact(figures, "figures")


def _facts(images: Images, valid: Floats, valid_labels: Labels | None) -> dict[str, Any]:
    """Size and content hash (of pixels and classes) of each part, and the shape of an image."""
    parts = {
        "train": (images.train, images.train_labels),
        "valid": (valid, valid_labels),
        "test": (images.test, images.test_labels),
    }
    return {
        "sizes": {name: len(pixels) for name, (pixels, _) in parts.items()},
        "digests": {name: _digest(*part) for name, part in parts.items()},
        "shape": list(images.shape),
    }


def _digest(pixels: Floats, labels: Labels | None) -> str:
    digest = blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(b"" if labels is None else np.ascontiguousarray(labels).data)
    return digest.hexdigest()


def _record_start(folder: OutputFolder, run: TrackedRun, pipeline: ImagePipeline, facts: dict[str, Any]) -> None:
    """Pipeline, parameters and data of a run, once."""
    if run.id is None or folder.read_state("recorded") == run.id:
        return
    run.params({"dataset": pipeline.card.name, "seeds": pipeline.seeds})
    run.params({f"split.{key}": value for key, value in pipeline.split.model_dump().items()})
    for name, size in facts["sizes"].items():
        if size:
            profile = {"images": size, "shape": facts["shape"]}
            digest = facts["digests"][name]
            run.dataset(DatasetFacts(pipeline.card.name, digest, f"recsys-ae:{pipeline.card.name}", name, profile, "images"))
    run.artifact(folder.path / PIPELINE)
    folder.write_state("recorded", run.id)


def _report(pipeline: ImagePipeline, facts: dict[str, Any], results: dict[str, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """The content of report.json."""
    return {
        "pipeline": pipeline.name,
        "dataset": {"name": pipeline.card.name, "shape": facts["shape"]},
        "split": {
            "kind": "images",
            "params": pipeline.split.model_dump(),
            "sizes": facts["sizes"],
            "digests": facts["digests"],
        },
        "metrics": pipeline.metrics,
        "lower_is_better": pipeline.metrics,
        "seeds": pipeline.seeds,
        "refit": False,
        "models": {label: summarise(runs) for label, runs in results.items()},
        "comparisons": [_compared(pair, pipeline.metrics[0], results) for pair in pipeline.compare],
        "versions": versions(),
    }


def _compared(pair: tuple[str, str], metric: str, results: dict[str, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """Two models over the same seeds; `test` is None where one of them has no value of the metric."""
    values = [[run["metrics"][metric] for run in results[label].values()] for label in pair]
    known = None not in (*values[0], *values[1])
    return {"models": list(pair), "metric": metric, "test": asdict(paired_t_test(*values)) if known else None}
