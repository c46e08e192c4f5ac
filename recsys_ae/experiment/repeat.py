"""Runs repeated from what they wrote to their output folder, or logged to MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_ae.digests import digest_of_file
from recsys_ae.errors import ConfigError, DataError, RecsysError, quoted
from recsys_ae.experiment.contenders import MLFLOW, REDO as RERUN
from recsys_ae.experiment.output import INPUTS, PIPELINE, REDO, REPORT
from recsys_ae.experiment.pipeline_file import TASKS, Pipeline, read_pipeline
from recsys_ae.experiment.task import Task
from recsys_ae.export.manifest import versions
from recsys_ae.files import path_of, read_json, write_json
from recsys_ae.fitted import saved_digest
from recsys_ae.reporting.results import DataFacts, RunReport
from recsys_ae.tracking import local_copy

REPEATS = "recsys_ae.repeats"  # tag of a run: the folder or the id of the run that it repeats
CHANGED = "recsys_ae.changed"  # tag of such a run: the settings that differ


@dataclass(frozen=True)
class RunInputs:
    """What the metrics of a run depend on, besides its pipeline file; it is written when the run starts.

    Attributes:
        pipeline: name of the pipeline.
        digests: content hashes, by name: of the data (split with the first seed), of each model that another starts from, and
            of each file that the export names.
        versions: of the libraries that do the arithmetic.
    """

    pipeline: str
    digests: dict[str, str]
    versions: dict[str, str]

    @classmethod
    def of(cls, pipeline: Pipeline[Any], data: DataFacts) -> "RunInputs":
        """The inputs of a pipeline now, with the facts of the first seed."""
        starts = {f"warm start of {spec.label}": spec.warm_start for spec in pipeline.models if spec.warm_start}
        digests = {"data": data.digest, **{name: saved_digest(Path(start)) for name, start in starts.items()}}
        files = {} if pipeline.keys.export is None else pipeline.keys.export.files()
        digests |= {f"file {name} of the export": digest_of_file(path) for name, path in files.items()}
        return cls(pipeline.name, digests, versions())

    def record(self, folder: Path) -> None:
        """Write them to the folder of a run, unless its first part did so; `DataError` if the file is that of another run."""
        path = folder / INPUTS
        if not path.exists():
            write_json(self, path)
        elif read_json(RunInputs, path, REDO).digests != self.digests:
            raise DataError(f"{path} belongs to another run; {REDO}")


@dataclass(frozen=True)
class EarlierRun:
    """The run that is repeated."""

    source: str  # its folder or id
    declared: Path  # its pipeline file
    inputs: RunInputs
    report: RunReport | None  # None if it did not finish

    def pipeline(self, settings: Sequence[str] = ()) -> Pipeline[Any]:
        """The pipeline of the run, with `key=value` settings applied; paths in these are relative to the current folder."""
        return read_pipeline(str(self.declared), settings, self.inputs.pipeline, folder=Path())

    def check(self, settings: Sequence[str] = ()) -> None:
        """Raise `DataError` if the data, or a model that another starts from, is not what the run read.

        Both are looked for where the run found them, or where `key=value` settings say.
        """
        try:
            recorded = self.pipeline([setting for setting in settings if _names_a_place(setting)])
            task: Task[Any, Any, Any] = TASKS.get(recorded.card.kind)(recorded)
            now = RunInputs.of(recorded, task.facts(task.data(recorded.seeds[0]))).digests
        except RecsysError as error:
            raise type(error)(
                f"the run {self.source} cannot be repeated here: {error}; "
                "what lies elsewhere now is named by --set dataset=CARD, or by --set models.LABEL.warm_start=FOLDER"
            ) from None
        for name, digest in self.inputs.digests.items():
            if now[name] != digest:
                raise DataError(
                    f"the {name} has changed since the run {self.source}: its digest was {digest} and is {now[name]} now; "
                    f"restore it, or start a new run with its {PIPELINE}"
                )

    def tags(self, settings: Sequence[str]) -> dict[str, str]:
        """The tags of the run that repeats this one."""
        return {REPEATS: self.source, **({CHANGED: " ".join(settings)} if settings else {})}

    def other_versions(self) -> list[str]:
        """What has another version now, such as "torch 2.6.0 (now 2.7.0)"."""
        now = versions()
        return [f"{name} {one} (now {now.get(name)})" for name, one in self.inputs.versions.items() if now.get(name) != one]

    def outcome(self, report: RunReport) -> str:
        """One sentence on whether the metrics in `report` equal those of this run."""
        if self.report is None:
            return f"the run {self.source} did not finish, so there are no metrics to compare with"
        before, now = _numbers(self.report), _numbers(report)
        different = [name for name in before if now.get(name) != before[name]]
        if not different and before.keys() == now.keys():
            return f"all {len(now)} metric values equal those of run {self.source}"
        if not different:
            return f"all {len(before)} metric values of run {self.source} are repeated, and {len(now) - len(before)} are new"
        first = different[0]
        if first not in now:
            share = f"{len(different)} of {len(before)} metric values"
            return f"{share} of run {self.source} differ or are missing now, such as {first}"
        return (
            f"{len(different)} of {len(before)} metric values differ from run {self.source}; "
            f"the first is {first}: {now.get(first)} instead of {before[first]}"
        )


def read_earlier_run(source: str, tracking_uri: str | None) -> EarlierRun:
    """The run in an output folder, or the MLflow run of a pipeline with this id (also as runs:/ID).

    Raises:
        DataError: there is no such run, or its record is incomplete or damaged.
    """
    folder = path_of(source)
    if folder.is_dir():
        if not (folder / INPUTS).exists():
            raise DataError(
                f"{folder} holds no run to repeat: {INPUTS} is missing; give the --output or the MLflow id of a run"
            )
        files = {name: folder / name for name in (PIPELINE, INPUTS, REPORT)}
        return _read(str(folder.absolute()), files)
    run = source.removeprefix(MLFLOW)
    if not run.isalnum():
        raise ConfigError(f"--from-run: there is no folder {quoted(source)}, nor is it the id of an MLflow run")
    files = {name: local_copy(f"{MLFLOW}{run}/{name}", tracking_uri) for name in (PIPELINE, INPUTS)}
    try:
        files[REPORT] = local_copy(f"{MLFLOW}{run}/{REPORT}", tracking_uri)
    except DataError:  # it did not finish
        files[REPORT] = files[PIPELINE].with_name(REPORT)
    return _read(run, files)


def _read(source: str, files: Mapping[str, Path]) -> EarlierRun:
    inputs = read_json(RunInputs, files[INPUTS], RERUN)
    report = read_json(RunReport, files[REPORT], RERUN) if files[REPORT].exists() else None
    return EarlierRun(source, files[PIPELINE], inputs, report)


def _names_a_place(setting: str) -> bool:
    """Whether a `key=value` setting says where data, or a model to start from, lies."""
    keys = setting.partition("=")[0].split(".")
    return keys[0] == "dataset" or keys[-1] == "warm_start"


def _numbers(report: RunReport) -> dict[str, float | None]:
    """All metrics on the test part, by a name that says which they are."""
    return {
        f"{metric} of {label} (seed {seed})": value
        for label, model in report.models.items()
        for seed, run in model.runs.items()
        for metric, value in run.metrics.items()
    }
