"""The output folder of a run: one run at a time, and enough state to continue after an interruption.

During a run, `.work` holds a checkpoint of the model in training, the results of finished models and the ids of the MLflow
runs. `report.json` is written last: where it exists, the run is complete.

An interrupted run keeps its state for `--resume`. A failed run keeps it only if a model is finished, with a mark: a new run
does not stop at a failed one but moves it aside.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.files import locked, locked_folder, read_json, whole_file, write_json

logger = logging.getLogger(__name__)

REPORT, PIPELINE = "report.json", "pipeline.yaml"
FOLDERS = ("models", "figures", "per-user", ".work")
FAILED = Path(".work", "failed")  # the mark of a failed run
T = TypeVar("T")


@dataclass(frozen=True)
class OutputFolder:
    """Paths and small state files of one run; `per_user` has the ranking metrics of the users."""

    path: Path

    def per_user(self, label: str) -> Path:
        return self.path / "per-user" / f"{label}.parquet"

    def model(self, label: str) -> Path:
        return self.path / "models" / label

    def checkpoint(self, label: str) -> Path:
        return self.path / ".work" / f"{label}.checkpoint"

    def remove_checkpoints(self, label: str) -> None:
        for name in (label, f"{label}+refit"):
            for checkpoint in self.path.glob(f".work/{name}.checkpoint*"):
                checkpoint.unlink()

    def write_state(self, name: str, value: Any) -> None:
        write_json(value, self.path / ".work" / f"{name}.json")

    def read_state(self, name: str, kind: type[T]) -> T | None:
        """The value written under `name`, or None; `DataError` if it is not a `kind` or None."""
        path = self.path / ".work" / f"{name}.json"
        return read_json(kind | None, path) if path.exists() else None  # type: ignore[arg-type]

    def check_data(self, seed: int, digest: str) -> None:
        """Raise `DataError` if the run was started with other data."""
        if self.read_state(f"data-{seed}", str) not in (None, digest):
            raise DataError(f"the data has changed since the run in {self.path} was started; run anew in another --output")
        self.write_state(f"data-{seed}", digest)

    def clean(self) -> None:
        """Remove state and folders that stayed empty."""
        shutil.rmtree(self.path / ".work", ignore_errors=True)
        for name in FOLDERS:
            with suppress(OSError):
                (self.path / name).rmdir()


@contextmanager
def open_output(path: Path, pipeline: str, *, resume: bool) -> Iterator[OutputFolder]:
    """The folder at `path`, locked, for a run of the resolved `pipeline` (YAML).

    Raises:
        OutputError: the folder is in use, holds something else, or cannot be written.
        ConfigError: `resume` of a run with another pipeline.
    """
    check_output(path, pipeline, resume=resume)
    existed = path.exists()
    if resume and not existed:
        logger.info("there is no %s to resume; starting there", path)
    elif not resume and (path / FAILED).exists():
        existed = False
        _move_aside(path)
    with locked_folder(path, _busy(path)):
        _check(path, pipeline, resume=resume)  # another run may have been there before this one got the lock
        began = not (path / PIPELINE).exists()
        for name in FOLDERS:
            (path / name).mkdir(exist_ok=True)
        (path / FAILED).unlink(missing_ok=True)
        with whole_file(path / PIPELINE) as draft:
            draft.write_text(pipeline, encoding="utf-8")
        try:
            yield OutputFolder(path)
        except Exception:
            if any((path / "models").glob("*")):
                (path / FAILED).touch()
            elif began:
                _remove_traces(path, keep=existed)
            raise


def new_folder(parent: Path, name: str) -> Path:
    """A new, empty folder `name` in `parent`, with a number at the end if there is one of that name."""
    for number in count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"cannot make {path}: {error.strerror or error}; choose an --output") from None
        return path
    raise AssertionError("numbers do not end")


def check_output(path: Path, pipeline: str, *, resume: bool) -> None:
    """Refuse a folder in which a run of the resolved `pipeline` cannot start or, with `resume`, continue."""
    with locked(path / ".lock", _busy(path)) if (path / ".lock").exists() else nullcontext():
        pass  # first of all: a run in progress looks like an interrupted one
    _check(path, pipeline, resume=resume)


def _busy(path: Path) -> str:
    return f"a run is in progress in {path}; wait for it or choose another --output"


def _check(path: Path, pipeline: str, *, resume: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file; choose another --output")
    earlier = path / PIPELINE
    others = ", ".join(sorted(entry.name for entry in path.iterdir() if entry.name != ".lock")[:3])
    if resume:
        if earlier.exists() and earlier.read_text(encoding="utf-8") != pipeline:
            raise ConfigError(f"{path} holds a run of another pipeline (see {earlier}); choose another --output")
        if others and not earlier.exists():
            raise OutputError(f"{path} holds no run to resume, but {others}; choose another --output")
    elif (path / REPORT).exists():
        raise OutputError(f"{path} already holds a finished run; choose another --output or remove it")
    elif (path / FAILED).exists():
        return
    elif earlier.exists():
        raise OutputError(f"{path} holds an interrupted run; continue it with --resume, or remove it")
    elif others:
        raise OutputError(f"{path} is not empty ({others}); choose another --output")


def _move_aside(path: Path) -> None:
    """Give the folder of a failed run another name."""
    aside = new_folder(path.parent, f"{path.name}.failed")
    try:
        path.replace(aside)  # an empty folder can be replaced
    except OSError as error:
        raise OutputError(f"cannot rename {path}: {error.strerror or error}; choose another --output") from None
    logger.info("the failed run in %s is now in %s", path, aside)


def _remove_traces(path: Path, *, keep: bool) -> None:
    """Remove what a run that finished no model has made; nothing is lost, and the corrected run can have the folder."""
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    for name in (PIPELINE, ".lock"):
        (path / name).unlink(missing_ok=True)
    if not keep:
        with suppress(OSError):
            path.rmdir()
