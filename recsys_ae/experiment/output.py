"""The output folder of a run: one run at a time, and enough inside it to continue after an interruption.

While a run goes on, `.work` holds a checkpoint of the model in training, a result of each finished one, and the ids of the
MLflow runs. `report.json` is written last: where it is, the run is complete.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recsys_ae.errors import ConfigError, DataError, OutputError, TrainingError
from recsys_ae.files import whole_file

logger = logging.getLogger(__name__)

REPORT, PIPELINE = "report.json", "pipeline.yaml"


@dataclass(frozen=True)
class OutputFolder:
    """Paths and small state files of one run."""

    path: Path

    @property
    def recommendations(self) -> Path:
        return self.path / "recommendations"

    def model(self, label: str) -> Path:
        return self.path / "models" / label

    def checkpoint(self, label: str) -> Path:
        return self.path / ".work" / f"{label}.checkpoint"

    def write_state(self, name: str, value: Any) -> None:
        with whole_file(self.path / ".work" / f"{name}.json") as draft:
            draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

    def read_state(self, name: str) -> Any:
        """What was written under `name`, or None."""
        path = self.path / ".work" / f"{name}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}") from None

    def clean(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.path / ".work", ignore_errors=True)


@contextmanager
def open_output(path: Path, pipeline: str, *, resume: bool) -> Iterator[OutputFolder]:
    """The folder at `path`, locked, for a run of the resolved `pipeline` (YAML).

    Raises:
        OutputError: the folder is in use, holds something else, or cannot be written.
        ConfigError: `resume` of a run with another pipeline.
    """
    check_output(path, pipeline, resume=resume)
    fresh = not path.exists()
    if resume and fresh:
        logger.info("there is no %s to resume; starting there", path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / ".lock", timeout=0)
        with lock:
            check_output(path, pipeline, resume=resume)
            _remove_litter(path)
            (path / ".work").mkdir(exist_ok=True)
            (path / "models").mkdir(exist_ok=True)
            with whole_file(path / PIPELINE) as draft:
                draft.write_text(pipeline, encoding="utf-8")
            yield OutputFolder(path)
    except (ConfigError, DataError, TrainingError):
        if fresh and not any((path / "models").glob("*")):  # nothing is lost, and the corrected run finds its place free
            shutil.rmtree(path)
        raise
    except Timeout:
        raise OutputError(f"another run is writing {path}; wait for it or choose another --output") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _remove_litter(path: Path) -> None:
    """Remove drafts of an earlier process that did not live to do it."""
    for draft in [draft for folder in (".", "models", "figures", ".work") for draft in path.glob(f"{folder}/.*.draft")]:
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink()


def check_output(path: Path, pipeline: str, *, resume: bool) -> None:
    """Refuse a folder in which a run of the resolved `pipeline` cannot start or, with `resume`, continue."""
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file; choose another --output")
    earlier = path / PIPELINE
    others = [entry.name for entry in path.iterdir() if entry.name != ".lock"]
    if resume:
        if earlier.exists() and earlier.read_text(encoding="utf-8") != pipeline:
            raise ConfigError(f"{path} holds a run of another pipeline (see {earlier}); choose another --output")
        if others and not earlier.exists():
            raise OutputError(f"{path} holds no run to resume, but {', '.join(sorted(others)[:3])}; choose another --output")
    elif (path / REPORT).exists():
        raise OutputError(f"{path} already holds a finished run; choose another --output or remove it")
    elif earlier.exists():
        raise OutputError(f"{path} holds an interrupted run; continue it with --resume, or remove it")
    elif others:
        raise OutputError(f"{path} is not empty ({', '.join(sorted(others)[:3])}); choose another --output")
