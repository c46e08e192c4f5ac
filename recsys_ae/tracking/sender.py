"""Sends a record to a store from a background thread, so that a run never waits for a store while it works."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event, Thread
from time import monotonic
from typing import Protocol, TypeVar

from recsys_ae.errors import counted
from recsys_ae.tracking.processes import BEAT
from recsys_ae.tracking.reasons import reason
from recsys_ae.tracking.record import (
    ARTIFACT,
    CONTINUE,
    END,
    HEADER,
    METRICS,
    MODEL,
    PARAMS,
    REGISTER,
    START,
    TAGS,
    Entry,
    Record,
    lacks,
    read_sent,
    refused,
    write_sent,
)

GATHER = 5.0  # seconds in which entries are gathered and then sent together, because each request takes time from training
RETRY = 1.0, 30.0  # seconds until the next attempt, after the first failure and at most; doubled each time
BATCH = 200  # entries that are sent together

T = TypeVar("T")
logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """A store will never take an entry, though it may take others."""


class Store(Protocol):
    """Where a record is sent. Each of its methods raises an exception if the store cannot be used now."""

    uri: str

    def open(self) -> None: ...

    def send(self, entries: Sequence[Entry], record: Record, runs: dict[str, str]) -> None:
        """Send entries of one run: one of any kind, or several of `GATHERED`. What is sent twice has the effect of once.

        Args:
            runs: ids in the store by ids in the record; new runs are added.

        Raises:
            RefusedError: these entries cannot be sent, but others may.
        """

    def beat(self, runs: Sequence[str]) -> None:
        """Record a sign of life of the process that tracks these runs."""

    def tidy(self, own: Iterable[str]) -> None:
        """Close what earlier processes of this host left open, but none of the runs `own`."""


GATHERED = PARAMS, TAGS, METRICS  # kinds that are sent together


class Sender:
    """Sends the entries of a record, and those that are added to it, until `finish`.

    A store that fails is tried again, at growing intervals; `failure` says why it failed last, None if it works.
    """

    def __init__(self, record: Record, store: Store) -> None:
        self.record, self.store = record, store
        self.failure: str | None = None
        self.opened = False
        self._sent = read_sent(record.output, store.uri)
        self._wake, self._urgent, self._tried, self._finishing, self._given_up = (Event() for _ in range(5))
        self._questions: deque[tuple[Callable[[], object], Event, list[object]]] = deque()
        self._progress = self._beaten = monotonic()
        self._thread = Thread(target=self._run, name="recsys-ae tracking", daemon=True)  # the end of the process ends it
        self._thread.start()

    def wake(self) -> None:
        """Say that there are new entries."""
        self._wake.set()

    def ready(self, wait: float) -> bool:
        """Whether the store has been opened, after at most `wait` seconds."""
        self._tried.wait(wait)
        return self.opened

    def ask(self, question: Callable[[], T], wait: float) -> T | None:
        """The store's answer to a question; None if it fails, or has no answer after `wait` seconds."""
        if self.failure is not None:
            return None
        done, answer = Event(), list[object]()
        self._questions.append((question, done, answer))
        self._urgent.set()
        self._wake.set()
        done.wait(wait)
        return answer[0] if answer else None  # type: ignore[return-value]

    def finish(self, patience: float) -> str | None:
        """Send the rest; returns what is missing after a failure, or after `patience` seconds without progress."""
        self._progress = monotonic()
        for event in (self._finishing, self._urgent, self._wake):
            event.set()
        while self._thread.is_alive() and monotonic() - self._progress < patience:
            self._thread.join(0.05)
        self._given_up.set()  # a call that returns now is the last one: another sender may follow
        if self.record.broken:
            return f"part of this run ({self.record.broken})"
        if not (left := lacks(self.record.output, self.store.uri)):
            return None
        refusals = list(self._sent.refused.values())
        silent = f"the store did not answer within {patience:g} seconds"
        why = self.failure or (silent if self._thread.is_alive() or not refusals else refusals[0])
        return f"{_described(left)} ({why})"

    def _run(self) -> None:
        delay = 0.0
        while not self._given_up.is_set():
            finishing = self._finishing.is_set()
            delay = self._attempt(delay, finishing)
            if finishing or (delay and self._finishing.is_set()):  # the end of a run waits for one failure, not for two
                return
            if delay:
                self._urgent.wait(delay)  # a store that failed is not asked for every entry
            elif self._wake.wait(BEAT):
                self._urgent.wait(GATHER)
            self._wake.clear()
            self._urgent.clear()

    def _attempt(self, delay: float, finishing: bool) -> float:
        """Do all that is to be done; returns the seconds until the next attempt, 0 after a success."""
        try:
            self._step(finishing)
        except Exception as error:  # whatever stores raise
            if self.failure is None:
                kept = self.record.output
                logger.warning("MLflow cannot be used (%s); what it lacks is kept in %s", reason(error), kept)
            self.failure = reason(error)
            delay = min(max(2 * delay, RETRY[0]), RETRY[1])
            while self._questions:
                self._questions.popleft()[1].set()
        else:
            if self.failure is not None:
                logger.info("MLflow can be used again")
            self.failure, delay = None, 0.0
        self._tried.set()
        return delay

    def _step(self, finishing: bool) -> None:
        if not self.opened:
            self.store.open()
            self.opened = True
            self.store.tidy(self._sent.runs.values())
        self._tried.set()
        self._answer()
        for batch in _batches(self.record.entries(self._sent.end)):
            self._send(batch)
            self._sent.end = batch[-1].end
            self._save()
            if self._given_up.is_set():
                return
            self._beat(BEAT)
            self._answer()
        if finishing and self._sent.refused:
            again = refused(self.record.output, self._sent)
            self._sent.refused.clear()
            for entry in again:
                self._send([entry])
            self._save()
        elif not finishing:
            self._beat(BEAT)

    def _answer(self) -> None:
        while self._questions:
            question, done, answer = self._questions[0]
            answer.append(question())
            self._questions.popleft()
            done.set()

    def _send(self, batch: list[Entry]) -> None:
        try:
            self.store.send(batch, self.record, self._sent.runs)
        except RefusedError as refusal:
            if len(batch) > 1:
                for entry in batch:
                    self._send([entry])
            elif batch[0].kind != HEADER:
                self._sent.refused[str(batch[0].start)] = str(refusal)

    def _save(self) -> None:
        self._progress = monotonic()
        write_sent(self._sent, self.record.output, self.store.uri)

    def _beat(self, seconds: float) -> None:
        if monotonic() - self._beaten >= seconds:
            self._beaten = monotonic()
            self.store.beat(list(self._sent.runs.values())[:1])  # the first run is that around all others


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries in order, neighbours that may be sent together in one list."""
    batch: list[Entry] = []
    for entry in entries:
        joins = bool(batch) and entry.run == batch[0].run and entry.kind in GATHERED and batch[0].kind in GATHERED
        if batch and (not joins or len(batch) >= BATCH):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


def _described(entries: Sequence[Entry]) -> str:
    """What is missing, in words."""
    counts: Counter[str] = Counter()
    for entry in entries:
        counts[entry.kind] += len(entry.content["values"]) if entry.kind == METRICS else 1
    names = {START: "run", METRICS: "metric value", ARTIFACT: "artifact", MODEL: "model", REGISTER: "registered version"}
    counts["else"] = sum(counts[kind] for kind in counts if kind not in (*names, CONTINUE, END))
    named = {**names, "else": "other entry"}
    listed = [counted(counts[kind], name) for kind, name in named.items() if counts[kind]]
    return ", ".join(listed) or "how the run ended"
