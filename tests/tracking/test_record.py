"""The record of a run in its output folder."""

import errno
import logging
import os

import pytest

from recsys_ae.errors import DataError
from recsys_ae.tracking.record import Record, is_incomplete, read, sent_path


def kinds(path) -> list[str]:
    return [f"{entry.run}:{entry.kind}" for entry in read(path)]


def test_entries_are_read_as_they_were_added(tmp_path):
    record = Record(tmp_path)
    record.append("params", "a", values={"x": "Größe\n"})
    record.append("end", "a", at=5, status="FINISHED")
    first, second = read(tmp_path)
    assert (first.kind, first.run, first.content) == ("params", "a", {"values": {"x": "Größe\n"}})
    assert (second.time, second.start, second.end) == (5, first.end, record.path.stat().st_size)
    assert [entry.kind for entry in read(tmp_path, first.end)] == ["end"]
    record.sync()
    record.close()
    record.append("end", "a")  # too late
    assert len(kinds(tmp_path)) == 2


def test_runs_of_a_killed_process_end_when_it_was_last_heard_of(tmp_path):
    record = Record(tmp_path)
    for kind, run, time in (("start", "a", 1), ("start", "b", 2), ("end", "b", 3), ("start", "c", 4), ("params", "c", 6)):
        record.append(kind, run, at=time)
    with record.path.open("ab") as file:
        file.write(b'{"kind": "params", "run": "c", "ti')  # killed in the middle of a line
    record = Record(tmp_path)
    assert [(entry.run, entry.time, entry.content) for entry in read(tmp_path)][5:] == [
        ("c", 6, {"status": "KILLED"}),
        ("a", 6, {"status": "KILLED"}),
    ]
    record.append("continue", "a", at=9)
    Record(tmp_path)
    assert kinds(tmp_path)[-2:] == ["a:continue", "a:end"]


def test_paths_in_the_output_move_with_it(tmp_path):
    record = Record(tmp_path / "out")
    inside, outside = tmp_path / "out/models/x", tmp_path / "log.csv"
    assert (record.name_of(inside), record.name_of(outside)) == ("models/x", str(outside))
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = Record(tmp_path / "moved")
    assert moved.path_of("models/x") == tmp_path / "moved/models/x"
    assert moved.path_of(str(outside)) == outside


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"kind": "end"}', "\udcff"])
def test_a_damaged_line_is_named(tmp_path, caplog, line):
    record = Record(tmp_path)
    record.append("end", "a")
    place = record.path.stat().st_size
    with record.path.open("ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(DataError, match=rf"record.jsonl is damaged at byte {place}: .* is not an entry"):
        list(read(tmp_path))
    with caplog.at_level(logging.WARNING, "recsys_ae"):
        assert "is damaged at byte" in Record(tmp_path).broken
    assert "tracking stops: " in caplog.text
    assert is_incomplete(tmp_path)


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_ends_tracking_not_the_run(tmp_path, monkeypatch, caplog, short):
    record = Record(tmp_path)
    record.append("start", "a")
    write = os.write

    def full(file, line):
        if short:
            return write(file, line[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "recsys_ae"):
        patch.setattr(os, "write", full)
        record.append("params", "a")
        record.append("end", "a")
    (message,) = caplog.messages
    assert message.startswith(f"tracking stops: cannot write {record.path}: ")
    assert kinds(tmp_path) == ["a:start"]
    assert record.broken in message


def test_a_folder_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "out").touch()
    record = Record(tmp_path / "out")
    record.append("start", "a")
    assert "cannot write" in record.broken
    assert list(record.entries()) == []


def test_a_store_is_the_same_with_another_password(tmp_path):
    first, second, other = (f"postgresql://{one}" for one in ("me:old@host/x", "me:new@host/x", "me:old@host/y"))
    assert sent_path(tmp_path, first) == sent_path(tmp_path, second) != sent_path(tmp_path, other)


def test_no_record_is_complete(tmp_path):
    assert not is_incomplete(tmp_path)
    Record(tmp_path).append("record")
    assert not is_incomplete(tmp_path)
    Record(tmp_path).append("start", "a")
    assert is_incomplete(tmp_path)
