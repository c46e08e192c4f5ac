"""Which runs belong to a process that is gone."""

import os
import subprocess
import sys

import pytest

from recsys_ae.tracking import processes
from recsys_ae.tracking.processes import HOST, PLACE, PROCESS, SILENT, is_gone, own_tags

NOW = 10**12


def test_our_own_process_lives_however_long_it_is_silent():
    assert not is_gone(own_tags(), 0, NOW)


@pytest.fixture
def killed() -> dict[str, str]:
    """The tags of a process that was just killed."""
    script = "from recsys_ae.tracking.processes import own_tags; print(own_tags(), flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    tags = eval(process.stdout.readline())
    assert not is_gone(tags, 0, NOW)
    process.kill()
    while processes._start(process.pid) != "ended":
        pass
    assert is_gone(tags, NOW, NOW)  # though still a zombie
    process.communicate()
    return tags


def test_a_killed_process_is_gone_however_recent_its_heartbeat(killed):
    assert is_gone(killed, NOW, NOW)


def test_a_reused_pid_is_another_process(killed):
    number, start = own_tags()[PROCESS].split()
    assert int(number) == os.getpid()
    assert is_gone({**killed, PROCESS: f"{number} {int(start) - 1}"}, NOW, NOW)


@pytest.mark.parametrize(("silent", "gone"), [(0, False), (SILENT, False), (SILENT + 1, True)])
def test_elsewhere_only_the_heartbeat_tells(killed, silent, gone):
    elsewhere = {**killed, PLACE: "another boot, or a container"}
    assert is_gone(elsewhere, NOW - silent, NOW) is gone
    assert is_gone({**own_tags(), PLACE: "elsewhere"}, NOW - silent, NOW) is gone


def test_runs_of_other_programs_are_not_ours(killed):
    assert not is_gone({HOST: killed[HOST]}, 0, NOW)


@pytest.mark.parametrize("error", [PermissionError, OverflowError])
def test_a_process_that_cannot_be_asked_is_taken_for_a_live_one(monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(processes.os, "kill", refuse)
    monkeypatch.setattr(processes, "_start", lambda *_: None)
    assert not is_gone({PLACE: processes._place(), PROCESS: "1 2"}, 0, NOW)


def test_a_strange_tag_is_judged_by_its_heartbeat():
    assert not is_gone({PLACE: processes._place(), PROCESS: "x"}, NOW, NOW)
