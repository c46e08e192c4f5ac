"""Training callbacks: progress for people, losses for the tracker, time and memory for the report."""

import logging
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recsys_ae.core.trainer import Callback, Epoch, Training
from recsys_ae.reporting.results import FitFacts
from recsys_ae.tracking import TrackedRun

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FLUSHES = 2.0
Curves = list[tuple[float, float | None]]  # training loss and validation value of each epoch

logger = logging.getLogger(__name__)


class ShowProgress(Callback):
    """A progress bar on a terminal, a log line every ten seconds elsewhere. Use as a context manager.

    `valid_name` names the validation values in both.
    """

    valid_name = "validation"

    def __init__(self, label: str, console: Console) -> None:
        self._label = self._name = label
        columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
        times = TimeElapsedColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, *times, console=console, transient=True, disable=not console.is_terminal)
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
        epoch = training.history[-1]
        valid = "" if epoch.valid is None else f", {self.valid_name} {epoch.valid:.4f}"
        text = f"loss {epoch.loss:.4f}{valid}"
        self._bar.update(self._task, completed=len(training.history), description=f"{self._name} {text}")
        if self._bar.disable and perf_counter() >= self._next:
            self._next = perf_counter() + SECONDS_BETWEEN_LINES
            logger.info("%s: epoch %d of %d, %s", self._name, len(training.history), training.config.epochs, text)


class LogLosses(Callback):
    """Keeps the losses of all epochs, and sends them to a run, several epochs per call. Call `flush` at the end.

    Args:
        valid_name: name of the validation values. They are recorded as `<valid_name>_by_epoch`, because a metric of the
            finished model may be called `<valid_name>`.
        prefix: of all names; that of the stage follows it.

    Attributes:
        curves: the losses of finished trainings, by stage.
    """

    def __init__(self, run: TrackedRun, valid_name: str, prefix: str = "") -> None:
        self._run, self._valid_name, self._prefix = run, valid_name, prefix
        self._waiting: list[Epoch] = []
        self._next, self._stage = 0.0, ""
        self.curves: dict[str, Curves] = {}

    def on_start(self, training: Training[Any]) -> None:
        self.flush()
        self._waiting = list(training.history)
        self._stage = self._prefix_of(training.stage)

    def on_epoch(self, training: Training[Any]) -> None:
        self._waiting.append(training.history[-1])
        if perf_counter() >= self._next:
            self.flush()

    def on_end(self, training: Training[Any]) -> None:
        self.curves[training.stage] = [(epoch.loss, epoch.valid) for epoch in training.history]

    def repeat(self, curves: dict[str, Curves]) -> None:
        """Log the losses of training stages that finished in an earlier attempt."""
        for stage, losses in curves.items():
            self._stage = self._prefix_of(stage)
            self._waiting = [Epoch(number, loss, valid, 0.0) for number, (loss, valid) in enumerate(losses, 1)]
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._run.history(f"{self._stage}train_loss", {epoch.number: epoch.loss for epoch in self._waiting})
            validated = {epoch.number: epoch.valid for epoch in self._waiting if epoch.valid is not None}
            self._run.history(f"{self._stage}{self._valid_name}_by_epoch", validated)
        self._waiting = []
        self._next = perf_counter() + SECONDS_BETWEEN_FLUSHES

    def _prefix_of(self, stage: str) -> str:
        return self._prefix + (f"{stage}_" if stage else "")


class Stopwatch(Callback):
    """Measures the cost of a fit. A context manager, after which `facts` describe the block."""

    facts: FitFacts

    def __init__(self) -> None:
        self._seconds = 0.0
        self._epochs: tuple[int | None, int | None] = None, None  # of the first training: how many, and the best one

    def __enter__(self) -> "Stopwatch":
        self._measures_memory = _peak_memory_mb(reset=True) is not None
        self._started = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        memory = _peak_memory_mb() if self._measures_memory else None
        self.facts = FitFacts(max(perf_counter() - self._started, self._seconds), memory, *self._epochs)

    def on_end(self, training: Training[Any]) -> None:
        self._seconds += sum(epoch.seconds for epoch in training.history)
        if self._epochs[0] is None:
            n = len(training.history)
            self._epochs = n, training.best.number if training.best else n


def validation_name(model: Any) -> str:
    """The name of the values by which a model chooses its best epoch; image models use the loss."""
    return str(getattr(model, "validation_name", "valid_loss"))


def _peak_memory_mb(*, reset: bool = False) -> float | None:
    """The highest resident memory of this process since the last reset; None where the system does not report it."""
    with suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)
    return None
