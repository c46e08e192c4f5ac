"""The output folder of a run: one run at a time, and enough state to continue after an interruption.

During a run, `.work` holds a checkpoint of the model in training, the results of finished models and the ids of the MLflow
runs, all tied to one pipeline and its inputs. `report.json` is written last: a run that has it is complete.

An interrupted run keeps its state for `--resume`. A failed run keeps it only if a model or a trial of a search with Optuna is
finished, or if its record is not in the tracking store yet; it is marked as failed, and a new run moves it aside. Optuna's
storage stays for its own tools.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from recsys_ae.digests import digest_of_file, digest_of_json
from recsys_ae.errors import ConfigError, DataError, OutputError, reason
from recsys_ae.evaluation.per_user import PerUser
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.files import (
    check_file,
    locked,
    locked_folder,
    missing_folders,
    present,
    read_json,
    remove_empty,
    whole_file,
    write_json,
)
from recsys_ae.fitted import saved_digest
from recsys_ae.reporting.results import Origin
from recsys_ae.surroundings import command, commit
from recsys_ae.tracking.record import FOLDER as RECORD, is_incomplete

logger = logging.getLogger(__name__)

REPORT, HTML, PIPELINE, INPUTS, TRIALS = "report.json", "report.html", "pipeline.yaml", "inputs.json", "trials.db"
FOLDERS = ("models", "figures", "per-user", ".work")
RECORDED = ("candidates*.parquet", "skipped.csv")  # what `Task.record` writes
REDO = "delete it and repeat the command with --resume to redo that part"
FAILED = Path(".work", "failed")  # marks a failed run
T = TypeVar("T")


def name_of(label: str, seed: int, seeds: Sequence[int]) -> str:
    """The name, in the output of a run with these seeds, of what belongs to a model with one of them."""
    return label if len(seeds) == 1 else f"{label}-seed-{seed}"


def per_user_path(name: str) -> str:
    """The place of the metrics per user in the output."""
    return f"per-user/{name}.parquet"


@dataclass(frozen=True)
class OutputFolder:
    """Paths and small state files of one run; `per_user` has the ranking metrics of the users."""

    path: Path
    run: str  # digest of pipeline and inputs, to which the state belongs

    def per_user(self, label: str) -> Path:
        return self.path / per_user_path(label)

    def model(self, label: str) -> Path:
        return self.path / "models" / label

    def figures(self, label: str) -> Path:
        return self.path / "figures" / label

    def checkpoint(self, label: str) -> Path:
        return self.path / ".work" / f"{label}.checkpoint"

    def remove_checkpoints(self, label: str) -> None:
        for name in (label, f"{label}+refit"):
            for checkpoint in self.path.glob(f".work/{name}.checkpoint*"):
                checkpoint.unlink()

    def write_state(self, name: str, value: Any) -> None:
        """Write a dataclass under a name."""
        write_json(value, self._state(name), of=f"{self.run} {name}")

    def read_state(self, name: str, kind: type[T]) -> T | None:
        """The value written under `name`, or None; `DataError` if it is damaged, or of another run or name."""
        path = self._state(name)
        return read_json(kind, path, REDO, of=f"{self.run} {name}") if path.exists() else None

    def write_note(self, name: str, text: str | None) -> None:
        """Write a text under a name."""
        self.write_state(name, {"text": text})

    def read_note(self, name: str) -> str | None:
        """The text written under `name`, or None."""
        return (self.read_state(name, dict[str, str | None]) or {}).get("text")

    def first_start(self) -> Origin:
        """When and from what the run was started, which a resumed run has from its first part."""
        found = self.read_state("origin", Origin)
        if found is None:
            at, changes = commit() or (None, False)
            found = Origin(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", command(), at, changes)
            self.write_state("origin", found)
        return found

    def write_per_user(self, label: str, metrics: pd.DataFrame, protocol: Protocol | None) -> str:
        """Write a model's metrics per user under a protocol; returns the digest of the file."""
        PerUser(metrics, protocol).write(self.per_user(label))
        return digest_of_file(self.per_user(label))

    def read_per_user(self, label: str, digest: str | None) -> pd.DataFrame:
        """A model's metrics per user; `DataError` if the file does not have this digest."""
        check_file(self.per_user(label), digest or "", REDO)
        return PerUser.read(self.per_user(label)).values

    def holds(self, digests: Mapping[Path, str]) -> bool:
        """Whether the files and folders of models still exist, by their digests.

        Raises:
            DataError: a file is damaged, or a folder holds another model.
        """
        if gone := [path for path in digests if not present(path).exists()]:
            logger.info("%s is missing; fitting this model again", gone[0])
            return False
        for path, digest in digests.items():
            if not present(path).is_dir():
                check_file(path, digest, REDO)
            elif saved_digest(path, REDO) != digest:
                raise DataError(f"{path} holds another model than this run saved there; {REDO}")
        return True

    def check_input(self, what: str, digest: str, note: str | None = None) -> None:
        """Raise `DataError` if the run started with another digest of this input, which is kept under the name `note`."""
        note = note or what.replace(" ", "-")
        if self.read_note(note) not in (None, digest):
            raise DataError(f"the {what} has changed since the run in {self.path} started; start a new run in another --output")
        self.write_note(note, digest)

    def _state(self, name: str) -> Path:
        return self.path / ".work" / f"{name}.json"

    def clean(self) -> None:
        """Remove the state and empty folders."""
        shutil.rmtree(self.path / ".work", ignore_errors=True)
        remove_empty(self.path / name for name in FOLDERS)


@contextmanager
def open_output(path: Path, pipeline: str, inputs: Mapping[str, str], *, resume: bool) -> Iterator[OutputFolder]:
    """The folder at `path`, locked, for a run of the resolved `pipeline` (YAML) on `inputs`: digests by name.

    Raises:
        OutputError: the folder is in use, holds something else, or cannot be written.
        ConfigError: `resume` of a run with another pipeline.
        DataError: `resume` of a run with other inputs.
    """
    resumed = pipeline if resume else None
    check_output(path, resumed)
    missing = missing_folders(path)
    if resume and missing:
        logger.info("there is no run in %s to resume; starting a new one", path)
    elif not resume and os.path.exists(path / FAILED):
        _move_aside(path)
        missing = [path]
    with locked_folder(path, _busy(path)):
        _check(path, resumed)  # another run may have used it before this one got the lock
        began = not (path / PIPELINE).exists()
        for name in FOLDERS:
            (path / name).mkdir(exist_ok=True)
        (path / FAILED).unlink(missing_ok=True)
        with whole_file(path / PIPELINE) as draft:
            draft.write_text(pipeline, encoding="utf-8")
        for name, digest in inputs.items():  # before the block: resuming with other inputs does not make a run a failed one
            OutputFolder(path, digest_of_json(pipeline)).check_input(name, digest)
        try:
            yield OutputFolder(path, digest_of_json(pipeline, dict(inputs)))
        except Exception:
            if any((path / "models").glob("*")) or (path / TRIALS).exists() or is_incomplete(path):
                (path / FAILED).touch()
            elif began:
                _remove_traces(path, missing)
            raise


def new_folder(parent: Path, name: str) -> Path:
    """A new, empty folder `name` in `parent`, with a number appended if that exists."""
    path, number = parent / name, 1
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
            path = parent / f"{name}-{number}"
        except OSError as error:
            raise OutputError(f"cannot create {path}: {reason(error)}; choose an --output") from None


def check_output(path: Path, resumed: str | None = None) -> None:
    """Raise unless a new run can start in a folder or, if that is to be resumed, a run of the resolved pipeline `resumed`."""
    with locked(path / ".lock", _busy(path)) if os.path.exists(path / ".lock") else nullcontext():
        pass  # checked first, because a run in progress looks like an interrupted one
    _check(path, resumed)


def _busy(path: Path) -> str:
    return f"a run is in progress in {path}; wait for it or choose another --output"


def _check(path: Path, resumed: str | None) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise OutputError(f"{path} is {'no folder' if path.is_symlink() else 'a file'}; choose another --output")
    earlier = path / PIPELINE
    others = ", ".join(sorted(entry.name for entry in path.iterdir() if entry.name != ".lock")[:3])
    if resumed is not None:
        if earlier.exists() and earlier.read_bytes() != resumed.encode():
            raise ConfigError(f"{path} holds a run of another pipeline (see {earlier}); choose another --output")
        if others and not earlier.exists():
            raise OutputError(f"{path} holds no run to resume ({others}); choose another --output")
    elif (path / REPORT).exists():
        raise OutputError(f"{path} already holds a finished run; choose another --output or remove it")
    elif (path / FAILED).exists():
        return
    elif earlier.exists():
        raise OutputError(f"{path} holds an interrupted run; continue it with --resume, or remove it")
    elif others:
        raise OutputError(f"{path} is not empty ({others}); choose another --output")


def _move_aside(path: Path) -> None:
    """Rename the folder of a failed run."""
    aside = new_folder(path.parent, f"{path.name}.failed")
    try:
        path.replace(aside)  # an empty folder can be replaced
    except OSError as error:
        raise OutputError(f"cannot rename {path}: {reason(error)}; choose another --output") from None
    logger.info("the failed run in %s is now in %s", path, aside)


def _remove_traces(path: Path, made: list[Path]) -> None:
    """Remove all files of a run that finished no model, so that the corrected run can use the folder."""
    for name in (*FOLDERS, RECORD):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in (*RECORDED, PIPELINE, INPUTS, ".lock"):
        for file in path.glob(name):
            file.unlink()
    remove_empty(made)
