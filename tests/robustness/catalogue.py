"""Inputs that nobody prepared, as data, and what must hold for every one of them.

A `Case` is an input, how it is fed, and what must come of it: the right result, or one sentence. To add one, add a line to
the list of the module that fits; `examine` then demands, whatever the case is about:

- the exit code is the given one; nothing is "unexpected", and no traceback is shown;
- a failure ends with exactly one line that begins with `recsys-ae:`, of at most 500 characters, which contains `says`;
- after a failure the folder holds exactly what it held before, so that the corrected command finds it usable;
- nothing is ever written outside the folder, and no half-written output stays;
- memory grows by less than 2 GB, and the whole takes less than a minute of processor time (only to end what hangs).

A case that can end its process (or that is about environment variables) is `alone`: it gets a process of its own.
"""

import hashlib
import io
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from recsys_ae import cli
from recsys_ae.errors import RecsysError

ROOT = Path(__file__).parents[2]
LONGEST = 500  # characters of a message
MEMORY = 2 << 30  # bytes by which a case may grow the process
SECONDS = 60  # of processor time, after which a case counts as hung
PATIENCE = 2  # times as long may be waited on a busy machine
TIMERS = (signal.SIGALRM, signal.SIGPROF)
Content = str | bytes | dict | pd.DataFrame | Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One input and what must come of it.

    Attributes:
        do: a command line without `recsys-ae`, or a call from Python; either runs in a folder that holds `files`.
        files: path -> text, bytes, a mapping (YAML), a frame (Parquet), or a function that writes to the path it is given.
        code: the exit code, or those allowed; of a call from Python that of its error, or 0.
        says: regular expressions, without regard to case, each of which must be found in the sentence, or in the output.
        never: the same, for what must not be found anywhere in the output.
        then: for a command, a function whose value is the result; a call from Python returns it itself.
        gives: the right result; not compared if it is `...`.
        corrected: a command that must succeed afterwards in the same folder, with these files `fixed`.
        environment: variables of a process of its own.
    """

    name: str
    do: str | Callable[[], Any]
    files: Mapping[str, Content] = field(default_factory=dict)
    code: int | tuple[int, ...] = 0
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    then: Callable[[], Any] | None = None
    gives: Any = ...
    corrected: str | None = None
    fixed: Mapping[str, Content] = field(default_factory=dict)
    alone: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a case: exit code, output, error output, and the value of a call from Python."""

    code: int
    out: str
    err: str
    value: Any = None

    @property
    def sentences(self) -> list[str]:
        """The lines that begin with `recsys-ae:`."""
        return [line for line in self.err.splitlines() if line.startswith("recsys-ae:")]


class Hung(BaseException):
    """A case took too long; not an `Exception`, so that nothing translates it."""


def cases(*listed: Case) -> Any:
    """The decorator that runs a test with every case, by name."""
    names = [case.name for case in listed]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    marked = [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in listed]
    return pytest.mark.parametrize("case", marked)


def write(path: Path, content: Content) -> None:
    """Write one file of a case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_bytes(content.encode())
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    elif isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    else:
        content(path)


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below `folder`, by path, with a hash of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def limits(memory: int = MEMORY, seconds: float = SECONDS) -> Iterator[None]:
    """A block that raises `MemoryError` where it would take more memory, and `Hung` after that many seconds."""

    def stop(number: int, frame: Any) -> None:
        raise Hung(f"still running after {seconds} s")

    status = Path("/proc/self/status").read_text()
    used = int(re.search(r"VmData:\s+(\d+)", status)[1]) << 10  # type: ignore[index]
    before = resource.getrlimit(resource.RLIMIT_DATA)
    timers = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, PATIENCE * seconds)}
    handlers = {number: signal.signal(number, stop) for number in timers}
    resource.setrlimit(resource.RLIMIT_DATA, (used + memory, before[1]))
    for timer, limit in timers.values():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, handlers[number])
        resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.fixture
def examine(tmp_path, monkeypatch, capfd, caplog):
    """A function that runs a case and demands everything that must hold for it."""
    work = tmp_path / "work"
    outside = {name: tmp_path / name for name in ("cache", "home", "temporary")}
    for folder in (work, *outside.values()):
        folder.mkdir()
    monkeypatch.chdir(work)
    variables = {"RECSYS_AE_CACHE": outside["cache"], "HOME": outside["home"], "TMPDIR": outside["temporary"]}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    for name in ("RECSYS_AE_DATA", "MLFLOW_TRACKING_URI", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    keep = signal.signal
    monkeypatch.setattr("signal.signal", lambda number, what: keep(number, what) if number in TIMERS else None)

    def outcome_of(case: Case, do: str | Callable[[], Any]) -> Outcome:
        if case.alone:
            assert isinstance(do, str)
            return process(do, case.environment)
        capfd.readouterr()
        caplog.clear()
        code, message, value = 0, "", None
        with limits(), caplog.at_level("INFO", "recsys_ae"):
            try:
                if callable(do):
                    value = do()
                else:
                    monkeypatch.setattr(sys, "argv", ["recsys-ae", *shlex.split(do)])
                    cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
            except RecsysError as error:
                code, message = error.exit_code, f"recsys-ae: {' '.join(str(error).split())}\n"
        out, err = capfd.readouterr()
        return Outcome(code, out, caplog.text + err + message, value)

    def elsewhere() -> set[str]:
        """The files outside the folder and the caches, where downloads may stay to be continued."""
        caches = ("work", "cache", "home/.cache", "home/.config", "temporary/torchinductor_")
        return {path for path in tree(tmp_path) if not path.startswith(caches)}

    def check(case: Case) -> None:
        for path, content in case.files.items():
            write(work / path, content)
        before, around = tree(work), elsewhere()
        found = outcome_of(case, case.do)
        told = found.out + found.err
        assert "shows where" not in told, told[-3000:]
        assert not re.search(r"recsys-ae: unexpected [A-Z]", told), told[-3000:]
        assert "Traceback" not in told, told[-3000:]
        code, allowed = found.code, case.code if isinstance(case.code, tuple) else (case.code,)
        assert code in allowed, told[-3000:]
        if code:
            assert len(found.sentences) == 1, told[-3000:]
            assert len(found.sentences[0]) <= LONGEST, f"{len(found.sentences[0])} characters: {found.sentences[0][:300]}"
        for pattern in case.says:
            wanted_in = found.sentences[0] if code else told
            said = re.search(pattern, wanted_in, re.IGNORECASE) is not None
            assert said, f"{pattern!r} is not in {wanted_in[-3000:]!r}"
        for pattern in case.never:
            said = re.search(pattern, told, re.IGNORECASE) is not None
            assert not said, f"{pattern!r} is in {told[-3000:]!r}"
        after = tree(work)
        if code:
            assert after == before, f"left behind: {sorted(after.items() ^ before.items())}"
        drafts = [path for path in after.keys() - before.keys() if path.endswith((".draft", ".partial", ".part"))]
        assert not drafts, f"left behind: {drafts}"
        assert (now := elsewhere()) == around, f"written outside: {sorted(now ^ around)}"
        if case.gives is not ...:
            value, right = case.then() if case.then else found.value, case.gives
            assert value == right
        for path, content in case.fixed.items():
            write(work / path, content)
        if case.corrected is not None:
            again = outcome_of(case, case.corrected)
            code, told = again.code, again.out + again.err
            assert code == 0, told[-3000:]

    return check


def process(command: str, environment: Mapping[str, str], seconds: float = SECONDS) -> Outcome:
    """The outcome of a command line in a process of its own, whose memory is limited."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY + (1 << 30),) * 2)  # libraries take the rest

    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    command_line = [sys.executable, "-m", "recsys_ae", *shlex.split(command)]
    done = subprocess.run(
        command_line, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE * seconds, preexec_fn=limit
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def call(command: str) -> tuple[int, str]:
    """Exit code and last line of the error output of a command line, for a case that needs several."""
    told, before = io.StringIO(), sys.argv
    sys.argv = ["recsys-ae", *shlex.split(command)]
    try:
        with redirect_stderr(told):
            cli.main()
    except SystemExit as end:
        return int(end.code or 0), (told.getvalue().strip().splitlines() or [""])[-1]
    finally:
        sys.argv = before
    raise AssertionError("the command line returned")
