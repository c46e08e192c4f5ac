"""What goes on while a model trains: lines or bars for the person, losses for the tracker."""

import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recsys_ae.core.trainer import Callback, Epoch, Training
from recsys_ae.tracking import TrackedRun

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FLUSHES = 2.0

logger = logging.getLogger(__name__)


class ShowProgress(Callback):
    """A bar on a terminal, a log line every ten seconds elsewhere. Use as a context manager."""

    def __init__(self, label: str, console: Console) -> None:
        self._label = self._name = label
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=None)
        self._next = perf_counter() + SECONDS_BETWEEN_LINES

    def __enter__(self) -> "ShowProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_start(self, training: Training[Any]) -> None:
        self._name = f"{self._label} {training.stage}".rstrip()
        if training.history:
            logger.info("%s: continuing after epoch %d", self._name, len(training.history))
        self._bar.update(self._task, total=training.config.epochs, completed=len(training.history))

    def on_epoch(self, training: Training[Any]) -> None:
        text = describe(training.history[-1])
        self._bar.update(self._task, completed=len(training.history), description=f"{self._name} {text}")
        if self._bar.disable and perf_counter() >= self._next:
            self._next = perf_counter() + SECONDS_BETWEEN_LINES
            logger.info("%s: epoch %d of %d, %s", self._name, len(training.history), training.config.epochs, text)


class LogLosses(Callback):
    """Sends the losses of every epoch to a run, several epochs in one call. `flush` at the end.

    Args:
        valid_name: what the validation values are called; the names of a stage begin with its name.
    """

    def __init__(self, run: TrackedRun, valid_name: str = "valid_rmse_by_epoch") -> None:
        self._run, self._valid_name = run, valid_name
        self._waiting: list[Epoch] = []
        self._next, self._prefix = 0.0, ""

    def on_start(self, training: Training[Any]) -> None:
        self.flush()
        self._waiting = list(training.history)
        self._prefix = f"{training.stage}_" if training.stage else ""

    def on_epoch(self, training: Training[Any]) -> None:
        self._waiting.append(training.history[-1])
        if perf_counter() >= self._next:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._run.history(f"{self._prefix}train_loss", {epoch.number: epoch.loss for epoch in self._waiting})
            validated = {epoch.number: epoch.valid for epoch in self._waiting if epoch.valid is not None}
            self._run.history(self._prefix + self._valid_name, validated)
        self._waiting = []
        self._next = perf_counter() + SECONDS_BETWEEN_FLUSHES


@dataclass
class Stopwatch(Callback):
    """What fitting took and which epoch was best; a context manager that adds up what happens within.

    Attributes:
        seconds: of the blocks measured; of a training that an earlier process began, at least those of its epochs.
        select_seconds: of the fit before, if there was one.
        peak_memory_mb: the highest resident memory of this process meanwhile, in units of 10^6 bytes; None where the system
            does not tell (it does on Linux).
        epochs, best_epoch: of the first training, the best by its validation values (the last if there are none); None if
            nothing was trained by epochs.
    """

    seconds: float = 0.0
    select_seconds: float | None = None
    peak_memory_mb: float | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    _of_epochs: float = field(default=0.0, init=False)
    _started: float = field(default=0.0, init=False)
    _measures_memory: bool = field(default=False, init=False)

    def facts(self) -> dict[str, Any]:
        """What it takes to make it again."""
        return {name: getattr(self, name) for name in ("seconds", "peak_memory_mb", "epochs", "best_epoch")}

    def next(self) -> "Stopwatch":
        """One for fitting again after this one's fit has found the best epoch."""
        return replace(self, seconds=0.0, select_seconds=self.seconds)

    def __enter__(self) -> "Stopwatch":
        self._measures_memory = reset_peak_memory()
        self._started, self._of_epochs = perf_counter(), 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += max(perf_counter() - self._started, self._of_epochs)
        peak = peak_memory_mb() if self._measures_memory else None
        self.peak_memory_mb = None if peak is None else max(peak, self.peak_memory_mb or 0.0)

    def on_end(self, training: Training[Any]) -> None:
        self._of_epochs += sum(epoch.seconds for epoch in training.history)
        if self.epochs is None:
            self.epochs = len(training.history)
            self.best_epoch = training.best.number if training.best else self.epochs


def reset_peak_memory() -> bool:
    """From here on, `peak_memory_mb` is about what follows; whether the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return True
    return False


def peak_memory_mb() -> float | None:
    """The highest resident memory of this process, None where the system does not tell."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)
    return None


def describe(epoch: Epoch) -> str:
    """The losses of an epoch in words."""
    valid = "" if epoch.valid is None else f", validation {epoch.valid:.4f}"
    return f"loss {epoch.loss:.4f}{valid}"
