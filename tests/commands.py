"""Commands of recsys-ae, and programs that use it, in processes of their own that start at once.

A new interpreter spends most of the time of a short run on imports. These processes are forked from one that has imported
what a run needs and has computed nothing, and otherwise are like new ones. What happens during the imports and at the very
end is left to tests that start an interpreter.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = count()


@cache
def _origin() -> tuple["subprocess.Popen[str]", Path]:
    """The process that others are forked from, and a folder for their outputs; both last as long as this process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, Path(__file__).with_name("fork_commands.py")]
    process = subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    results = Path(tempfile.mkdtemp())
    atexit.register(_end, process, results)
    return process, results


def _end(origin: "subprocess.Popen[str]", results: Path) -> None:
    origin.communicate()  # which closes its input
    shutil.rmtree(results)


class Command:
    """A running command, with the methods of `subprocess.Popen`; output and messages are kept in files.

    It has the environment of this process with one thread, changed by `environment`. With a `program`, a path, that is run
    instead of recsys-ae.
    """

    def __init__(
        self,
        *arguments: object,
        folder: Path | str = ".",
        environment: Mapping[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        origin, results = _origin()
        self._results = results / str(next(NUMBERS))
        self.returncode: int | None = None
        request = {
            "arguments": [str(program or "recsys-ae"), *map(str, arguments)],
            "folder": str(Path(folder).absolute()),
            "environment": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})},
            "results": str(self._results),
        }
        origin.stdin.write(f"{json.dumps(request)}\n")
        origin.stdin.flush()
        answer = origin.stdout.readline()
        assert answer, "the process to fork from has failed"
        self.pid = int(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.wait()

    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        if self.returncode is None and (ended := self._results.with_suffix(".code")).exists():
            self.returncode = int(ended.read_text())
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        latest = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > latest:
                raise subprocess.TimeoutExpired("recsys-ae", timeout)
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = float("inf")) -> tuple[str, str]:
        """Output and messages, after the end."""
        self.wait(timeout)
        return self._results.with_suffix(".out").read_text(), self._results.with_suffix(".err").read_text()
