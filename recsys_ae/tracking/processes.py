"""Whether the process that tracks a run still lives, from what its run says about it.

A process is identified by its system (this boot of this machine, and the PID namespace), its PID and its start time, because
PIDs are reused. For a process elsewhere, only the heartbeat of its run tells.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

HOST = "host"  # tags of a run
PLACE, PROCESS, HEARTBEAT = "recsys_ae.place", "recsys_ae.process", "recsys_ae.heartbeat"
SILENT = 600_000  # milliseconds without a heartbeat after which a process elsewhere counts as gone
BEAT = 15.0  # seconds between heartbeats


def own_tags() -> dict[str, str]:
    """The tags of a run that is tracked by this process."""
    pid = os.getpid()
    return {HOST: platform.node(), PLACE: _place(), PROCESS: f"{pid} {_start(pid) or ''}".rstrip()}


def is_gone(tags: Mapping[str, str], heartbeat: int, now: int) -> bool:
    """Whether the process behind a run is gone for certain, or elsewhere and silent for ten minutes.

    Args:
        tags: of the run; a run without ours belongs to another program, whose process is not known to be gone.
        heartbeat, now: times in milliseconds since 1970.
    """
    if PROCESS not in tags:
        return False
    pid, _, start = tags[PROCESS].partition(" ")
    if tags.get(PLACE) != _place() or not pid.isdecimal():
        return now - heartbeat > SILENT
    try:
        os.kill(int(pid), 0)  # asks only whether it exists
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # a process of another user, whose start time may be hidden
        pass
    found = _start(int(pid))
    return found is not None and found != start


def _place() -> str:
    """The system that PIDs belong to; a container has its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not on Linux
        return platform.node()


def _start(pid: int) -> str | None:
    """When a process started, in the system's own units; "ended" if it is a zombie, None if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()  # the name before may hold anything
    return "ended" if state in "ZX" else rest[18]  # fields 3 and 22
