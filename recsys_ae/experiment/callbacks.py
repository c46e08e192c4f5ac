"""Training callbacks: progress for people, losses for the tracker, time and memory for the report."""

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recsys_ae.core.kernels.compiled import working_seconds
from recsys_ae.core.trainer import Callback, Epoch, Training
from recsys_ae.reporting.results import Curves, FitFacts
from recsys_ae.tracking import TrackedRun

SECONDS_BETWEEN_LINES = 10.0

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
    """Keeps the losses of all epochs, and records each in a run as soon as it is known.

    Args:
        valid_name: name of the validation values. Those called 1 minus a metric, which a model minimises, are recorded as
            the metric itself: `valid_1_minus_ndcg_100` as `by_epoch/valid_ndcg_at_100`.
        prefix: of all names, after `by_epoch/`; that of the stage follows it.

    Attributes:
        curves: the losses of finished trainings, by stage.
    """

    def __init__(self, run: TrackedRun, valid_name: str, prefix: str = "") -> None:
        self._run, self._prefix = run, prefix
        self._complement = re.fullmatch(r"valid_1_minus_(\w+)_(\d+)", valid_name)
        self._curve = "valid_{}_at_{}".format(*self._complement.groups()) if self._complement else valid_name
        self.curves: dict[str, Curves] = {}

    def on_start(self, training: Training[Any]) -> None:
        self._record(training.stage, training.history)  # epochs of an earlier attempt

    def on_epoch(self, training: Training[Any]) -> None:
        self._record(training.stage, training.history[-1:])

    def on_end(self, training: Training[Any]) -> None:
        self.curves[training.stage] = [(epoch.loss, epoch.valid) for epoch in training.history]

    def repeat(self, curves: dict[str, Curves]) -> None:
        """Record the losses of training stages that finished in an earlier attempt, whose run this one replaces."""
        for stage, losses in curves.items():
            self._record(stage, [Epoch(number, loss, valid, 0.0) for number, (loss, valid) in enumerate(losses, 1)])

    def _record(self, stage: str, epochs: Sequence[Epoch]) -> None:
        prefix = f"by_epoch/{self._prefix}" + (f"{stage}_" if stage else "")
        if epochs:
            self._run.history(f"{prefix}train_loss", {epoch.number: epoch.loss for epoch in epochs})
        if validated := {epoch.number: epoch.valid for epoch in epochs if epoch.valid is not None}:
            shown = {number: 1 - value for number, value in validated.items()} if self._complement else validated
            self._run.history(f"{prefix}{self._curve}", shown)


def validation_name(model: Any) -> str:
    """The name of the values by which a model chooses its best epoch; those of an image model are losses."""
    return str(getattr(model, "validation_name", "valid_loss"))


class Stopwatch(Callback):
    """Measures the cost of a fit. A context manager, after which `facts` describe the block."""

    facts: FitFacts

    def __init__(self) -> None:
        self._seconds = 0.0
        self._epochs: tuple[int | None, int | None] = None, None  # of the first training: how many, and the best one

    def __enter__(self) -> "Stopwatch":
        self._measures_memory = _peak_memory_mb(reset=True) is not None
        self._started = working_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        memory = _peak_memory_mb() if self._measures_memory else None
        self.facts = FitFacts(max(working_seconds() - self._started, self._seconds), memory, *self._epochs)

    def on_end(self, training: Training[Any]) -> None:
        self._seconds += sum(epoch.seconds for epoch in training.history)
        if self._epochs[0] is None:
            n = len(training.history)
            self._epochs = n, training.best.number if training.best else n


def _peak_memory_mb(*, reset: bool = False) -> float | None:
    """The highest resident memory of this process since the last reset; None where the system does not report it."""
    with suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)
    return None
