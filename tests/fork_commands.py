"""The process from which `commands.Command` forks: it reads a request per line and answers with the number of the process."""

import atexit
import importlib
import json
import os
import runpy
import select
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

IMPORTED = (
    "cli",
    "experiment.images",
    "experiment.list_export",
    "experiment.page",
    "experiment.ratings",
    "experiment.runner",
    "images.stacked",
    "images.variational",
    "models.autorec",
    "models.mf",
    "reporting.html.drawing",
    "tracking.registry",
    "tracking.sender",
    "tracking.views",
)


def become(request: dict) -> NoReturn:
    """Run the command or program, and end with its exit code."""
    from recsys_ae.__main__ import main as recsys_ae
    from recsys_ae.exits import end

    for number, name in enumerate([os.devnull, f"{request['results']}.out", f"{request['results']}.err"]):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv, code = request["arguments"], 0
    try:
        if sys.argv[0] == "recsys-ae":
            recsys_ae()
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    end(code)


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(f"recsys_ae.{name}")
    running: dict[int, Path] = {}
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], 0.005 if running else None)
        if ready:
            line = sys.stdin.readline()
            if not line:
                return
            request = json.loads(line)
            pid = os.fork()
            if not pid:
                become(request)
            running[pid] = Path(request["results"])
            print(pid, flush=True)
        with suppress(ChildProcessError):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                ended = running.pop(pid)
                ended.with_suffix(".part").write_text(str(os.waitstatus_to_exitcode(status)))
                ended.with_suffix(".part").rename(ended.with_suffix(".code"))


if __name__ == "__main__":
    main()
