"""Where the trials of a search are fitted: one after another in this process, or several at a time in others."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from threading import Thread
from typing import Any, Protocol

from recsys_ae.core.threads import share_of_threads
from recsys_ae.core.trainer import Callback
from recsys_ae.exits import TERMINATED
from recsys_ae.experiment.pipeline_file import TASKS, Pipeline
from recsys_ae.experiment.task import Task
from recsys_ae.experiment.trials import Outcome, Request, fit_trial

PATIENCE = 5.0  # seconds that a process has to end by itself


class Fitters(Protocol):
    """Fits up to a certain number of trials at a time."""

    def start(self, number: int, request: Request, callbacks: Sequence[Callback] = ()) -> None:
        """Begin a trial, which `wait` will return with this number; `callbacks` follow it if it is fitted in this process."""

    def wait(self) -> tuple[int, Outcome]:
        """The next trial that ends."""


@contextmanager
def open_fitters(task: Task[Any, Any, Any], jobs: int) -> Iterator[Fitters]:
    """This process for one job, else as many others as jobs, which end with the block."""
    if jobs == 1:
        yield Here(task)
        return
    workers = Workers(task.pipeline, jobs)
    try:
        yield workers
    finally:
        workers.close()


class Here:
    """Fits each trial at once in this process."""

    def __init__(self, task: Task[Any, Any, Any]) -> None:
        self._task = task
        self._done: list[tuple[int, Outcome]] = []

    def start(self, number: int, request: Request, callbacks: Sequence[Callback] = ()) -> None:
        self._done.append((number, fit_trial(self._task, request, callbacks)))

    def wait(self) -> tuple[int, Outcome]:
        return self._done.pop(0)


@dataclass(frozen=True, eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection


class Workers:
    """Processes that each fit one trial at a time, with an equal share of this process's threads.

    They are started when first needed, and are new processes rather than forks, because libraries read the number of their
    threads when they are loaded. If one dies, for example for lack of memory, its trial has failed, and the others go on.
    """

    def __init__(self, pipeline: Pipeline[Any], jobs: int) -> None:
        self._pipeline, self._jobs = pipeline, jobs
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[int, _Worker]] = {}

    def start(self, number: int, request: Request, callbacks: Sequence[Callback] = ()) -> None:
        worker = self._idle.pop() if self._idle else self._new()
        with suppress(OSError):  # it has died since; `wait` will say so
            worker.connection.send(request)
        self._busy[worker.connection] = number, worker

    def wait(self) -> tuple[int, Outcome]:
        ready = next(connection for connection in wait(self._busy) if isinstance(connection, Connection))
        number, worker = self._busy.pop(ready)
        try:
            outcome: Outcome = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            worker.connection.close()
            code = worker.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            return number, Outcome("failed", problem=f"its process {how}; if memory is short, use fewer --jobs")
        self._idle.append(worker)
        return number, outcome

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        busy = [worker for _, worker in self._busy.values()]
        for worker in [*self._idle, *busy]:
            worker.connection.close()
        for worker in busy:
            worker.process.terminate()
        for worker in [*self._idle, *busy]:
            worker.process.join(PATIENCE)
            worker.process.kill()
            worker.process.join()

    def _new(self) -> _Worker:
        context = get_context("spawn")
        own, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, self._pipeline), name="recsys-ae-trial", daemon=True)
        ensure_running()  # now, because later it would unblock the signal
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:  # Ctrl-C reaches the whole group, but the parent ends its workers, so they start with the signal blocked
            with share_of_threads(self._jobs):
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        other.close()  # so that the death of the process closes the pipe
        return _Worker(process, own)


def _serve(connection: Connection, pipeline: Pipeline[Any]) -> None:
    """Fit the trials that arrive, until the parent is gone."""
    signal.signal(signal.SIGTERM, _end)
    Thread(target=_end_with_parent, daemon=True).start()
    task: Task[Any, Any, Any] = TASKS.get(pipeline.card.kind)(pipeline)
    with suppress(EOFError, OSError):
        while True:
            connection.send(fit_trial(task, connection.recv()))


def _end(*_: object) -> None:
    """End the process properly, as the default would leave semaphores behind; a second signal must not interrupt that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(TERMINATED)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # in the middle of a fit, whose result nobody would read
