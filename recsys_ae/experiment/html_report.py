"""The page of a run: written at its end, and again on request."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys_ae.errors import DataError, RecsysError, reason
from recsys_ae.experiment.output import HTML, INPUTS, PIPELINE, REDO, REPORT, name_of
from recsys_ae.experiment.pipeline_file import TASKS, read_pipeline
from recsys_ae.experiment.repeat import RunInputs
from recsys_ae.experiment.task import Task
from recsys_ae.files import read_json, whole_file
from recsys_ae.fitted import saved_digest
from recsys_ae.reporting.html.facts import CloserLook, RunFiles
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import TrackedRun

logger = logging.getLogger(__name__)


def publish_html(task: Task[Any, Any, Any], report: RunReport, folder: Path, run: TrackedRun) -> None:
    """Write the page of a run and store it in the tracked run; a failure is only a warning."""
    try:
        run.artifact(write_html(report, folder, task.closer_look(_models(task, report, folder), task.data(report.seeds[0]))))
    except Exception as error:  # whatever it is, the results are there
        logger.warning("%s cannot be written: %s; the results are complete without it", folder / HTML, reason(error))
        logger.debug("it failed here:", exc_info=True)


def rewrite_html(folder: Path) -> Path:
    """Write the page of the finished run in `folder` again, and return its path.

    If the data or the models are not what they were, a warning says so, and the page does without what depends on them.

    Raises:
        DataError: there is no finished run, or its files are damaged.
    """
    if not (folder / REPORT).exists():
        raise DataError(f"{folder} holds no finished run: {REPORT} is missing; give the --output of a run")
    report = read_json(RunReport, folder / REPORT, REDO)
    look = CloserLook()
    try:
        name = read_json(RunInputs, folder / INPUTS, REDO).pipeline
        pipeline = read_pipeline(str(folder / PIPELINE), name=name)
        task: Task[Any, Any, Any] = TASKS.get(pipeline.card.kind)(pipeline)
        data, seed = task.data(report.seeds[0]), report.seeds[0]
        if (now := task.facts(data).digest) != report.data[seed].digest:
            raise DataError(f"the data has changed since: its digest was {report.data[seed].digest} and is {now} now")
        look = task.closer_look(_models(task, report, folder), data)
    except (RecsysError, OSError, MemoryError) as error:  # the report can be shown all the same
        logger.warning("the page lacks what needs the data and the models: %s", reason(error))
        logger.debug("it failed here:", exc_info=True)
    return write_html(report, folder, look)


def write_html(report: RunReport, folder: Path, look: CloserLook) -> Path:
    """Write the page, whole or not at all."""
    from recsys_ae.reporting.html.render import run_page  # heavy

    declared = (folder / PIPELINE).read_text(encoding="utf-8")
    page = run_page(report, look, RunFiles(declared, _pictures(report, folder)))
    with whole_file(folder / HTML) as draft:
        draft.write_text(page, encoding="utf-8")
    return folder / HTML


def _models(task: Task[Any, Any, Any], report: RunReport, folder: Path) -> Iterator[tuple[str, Any]]:
    """The tested models of the first seed, by label, loaded one by one."""
    seed = report.seeds[0]
    for label, model in report.models.items():
        path = folder / "models" / name_of(label, seed, report.seeds)
        if saved_digest(path, REDO) != model.runs[seed].digest:
            raise DataError(f"{path} holds another model than the run tested")
        yield label, task.models.load(path)


def _pictures(report: RunReport, folder: Path) -> dict[str, list[Path]]:
    """The figures of each model, apart from its losses, which the page draws itself."""
    found = {label: sorted((folder / "figures" / label).glob("*.png")) for label in report.models}
    return {label: own for label, paths in found.items() if (own := [path for path in paths if path.stem != "losses"])}
