"""What a sender does with a record, whatever the store: here a stand-in that takes notes."""

import logging
from threading import Event

import pytest

from recsys_ae.tracking import sender as module
from recsys_ae.tracking.record import Record, is_incomplete, lacks, read_sent, sent_path
from recsys_ae.tracking.sender import BATCH, RefusedError, Sender


class Notebook:
    """A store that keeps what it is sent, by run, and may fail."""

    uri = "notebook"

    def __init__(self):
        self.batches: list[list[str]] = []
        self.failures = 0
        self.refuses: set[str] = set()
        self.gate = Event()
        self.gate.set()

    def open(self):
        self.gate.wait()

    def send(self, entries, record, runs):
        if self.failures:
            self.failures -= 1
            raise OSError("no answer")
        names = [f"{entry.run}:{entry.kind}:{entry.content.get('name', '')}" for entry in entries]
        if self.refuses & {*names}:
            raise RefusedError("never")
        if entries[0].kind == "start":
            runs[entries[0].run] = entries[0].run.upper()
        self.batches.append(names)

    def beat(self, runs): ...

    def tidy(self, own): ...


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(module, "RETRY", (0.01, 0.02))
    monkeypatch.setattr(module, "GATHER", 0.0)


@pytest.fixture
def record(tmp_path) -> Record:
    return Record(tmp_path)


def filled(record: Record) -> Record:
    record.append("start", "a", name="a")
    record.append("start", "b", name="b")
    for number in range(3):
        record.append("params", "b", values={}, name=str(number))
    record.append("artifact", "b", name="file")
    record.append("end", "b")
    record.append("metrics", "a", values=[("x", 1.0, 0)], name="x")
    record.append("end", "a")
    return record


WHOLE = [
    ["a:start:a"],
    ["b:start:b"],
    ["b:params:0", "b:params:1", "b:params:2"],
    ["b:artifact:file"],
    ["b:end:"],
    ["a:metrics:x"],
    ["a:end:"],
]


def test_everything_arrives_in_order_and_neighbours_together(record, tmp_path):
    store = Notebook()
    sender = Sender(filled(record), store)
    assert sender.finish(10) is None
    assert store.batches == WHOLE
    assert sender.stored("b") == "B"
    assert not is_incomplete(tmp_path)


def test_batches_are_limited(record):
    for number in range(2 * BATCH + 1):
        record.append("metrics", "a", values=[], name=str(number))
    store = Notebook()
    assert Sender(record, store).finish(10) is None
    assert [len(batch) for batch in store.batches] == [BATCH, BATCH, 1]


def test_after_failures_everything_arrives_once(record, caplog):
    store = Notebook()
    store.failures = 3
    with caplog.at_level(logging.INFO, "recsys_ae"):
        sender = Sender(filled(record), store)
        while len(store.batches) < len(WHOLE):
            sender.wake()
        assert sender.finish(10) is None
    assert store.batches == WHOLE
    assert [message.split(" (")[0] for message in caplog.messages] == ["MLflow cannot be used", "MLflow can be used again"]


def test_what_is_missing_is_said_and_sent_later_from_where_it_stopped(record, tmp_path):
    store = Notebook()
    store.failures = 10**9
    assert Sender(filled(record), store).finish(10) == "2 runs, 1 metric value, 1 artifact, 3 other entries (no answer)"
    assert is_incomplete(tmp_path)
    store.failures = 0
    assert Sender(record, store).finish(10) is None
    record.append("end", "a")
    assert Sender(record, store).finish(10) is None
    assert store.batches == [*WHOLE, ["a:end:"]]


def test_a_store_that_hangs_is_given_up(record):
    store = Notebook()
    store.gate.clear()
    sender = Sender(filled(record), store)
    assert not sender.ready(0.01)
    assert sender.ask(lambda: 1, 0.01) is None
    assert "did not answer within 0.1 seconds" in sender.finish(0.1)
    store.gate.set()


def test_a_refused_entry_does_not_stop_the_rest_and_is_tried_again(record, tmp_path):
    store = Notebook()
    store.refuses = {"b:params:1", "b:artifact:file"}
    assert Sender(filled(record), store).finish(10) == "1 artifact, 1 other entry (never)"
    sent = [name for batch in store.batches for name in batch]
    assert sent == [name for batch in WHOLE for name in batch if name not in store.refuses]
    assert [entry.kind for entry in lacks(tmp_path, store.uri)] == ["params", "artifact"]
    store.refuses = {"b:params:1"}
    assert Sender(record, store).finish(10) == "1 other entry (never)"
    assert store.batches[-1] == ["b:artifact:file"]


def test_another_store_gets_the_whole_record(record):
    first, second = Notebook(), Notebook()
    second.uri = "another"
    assert Sender(filled(record), first).finish(10) is None
    assert Sender(record, second).finish(10) is None
    assert first.batches == second.batches == WHOLE


def test_without_the_note_of_what_was_sent_it_is_sent_again(record, tmp_path):
    """Stores must tolerate that; see `Store.send`."""
    store = Notebook()
    Sender(filled(record), store).finish(10)
    sent_path(tmp_path, store.uri).write_text("damaged")
    assert read_sent(tmp_path, store.uri).end == 0
    assert Sender(record, store).finish(10) is None
    assert store.batches == WHOLE * 2


def test_questions_are_answered_between_entries(record):
    sender = Sender(filled(record), Notebook())
    assert sender.ask(lambda: 6 * 7, 10) == 42
    assert sender.ask(lambda: 1 / 0, 10) is None
    sender.finish(10)


def test_a_store_that_was_given_up_gets_nothing_more(record):
    """A call that hung may return after another sender has started."""

    class Slow(Notebook):
        def send(self, entries, record, runs):
            self.gate.wait()
            super().send(entries, record, runs)

    store = Slow()
    store.gate.clear()
    sender = Sender(filled(record), store)
    assert "did not answer" in sender.finish(0.1)
    store.gate.set()
    sender._thread.join(10)
    assert store.batches == WHOLE[:1]
