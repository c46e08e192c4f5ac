"""Fuzzing of every file reader: counts of mutated files that are refused, read correctly, or wrongly accepted.

    python benchmarks/fuzz.py --minutes 10 [--readers csv models] [--keep faults] [--first 100000] [--smoke]

Each reader runs in its own process with limited memory, which is restarted after a crash. Faults are `changed` (a wrong result
without an error), `crashed` (an unintended exception, or the end of the process) and `hung`; the exit status is 1 if there are
any. The files of every fault are kept in the folder `--keep`. Reader and number determine a mutation, see
tests/robustness/mutations.py. Prints a table; the last line is a JSON object.
"""

import argparse
import collections
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from robustness.mutations import FAULTS, OUTCOMES, READERS, SECONDS  # noqa: E402

MEMORY = 6 << 30  # bytes of data of one process, libraries included
BATCH = 5000  # attempts of one process: libraries lose some memory with each damaged file
SILENCE = 6 * SECONDS  # seconds without an answer after which a process is hung


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def lines(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """The output lines of a process as they arrive; None after too long a silence."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        with suppress(ValueError):  # closed, because the time is over
            for line in process.stdout or ():
                found.put(line)
        found.put("")

    threading.Thread(target=read, daemon=True).start()
    while line := _next(found):
        yield line
    if line is None:
        yield None


def _next(found: queue.Queue[str | None]) -> str | None:
    try:
        return found.get(timeout=SILENCE)
    except queue.Empty:
        return None


def attempts(reader: str, first: int, last: int, keep: Path, until: float) -> Iterator[dict[str, Any]]:
    """Outcomes of the mutations from `first` on, including those that end their process or never return."""
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    started = False
    while first < last and (not started or time.monotonic() < until):
        end = min(first + BATCH, last)
        command = [sys.executable, "-m", "robustness.mutations", reader, str(first), str(end), str(keep)]
        working, before = None, first
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables, preexec_fn=limited
            ) as process,
        ):
            for line in lines(process):
                answer = {} if line is None else json.loads(line)
                if "outcome" in answer:
                    yield answer
                    first, working, started = answer["number"] + 1, None, True
                    if time.monotonic() >= until:
                        process.kill()
                        return
                elif line is not None:
                    working = answer["number"]
                else:
                    process.kill()
            process.wait()
            errors.seek(0)
            told = (errors.read().strip().splitlines() or [""])[-1]
        if first < end:
            hung = process.returncode == -signal.SIGKILL
            outcome = "hung" if hung else "crashed"
            yield {"reader": reader, "number": first, "outcome": outcome, "file": "", "detail": f"{process.returncode} {told}"}
            if first == before and working is None:  # the undamaged files cannot be read either
                return
            first += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--readers", nargs="+", choices=list(READERS), default=list(READERS), metavar="READER", help=", ".join(READERS)
    )
    parser.add_argument("--keep", type=Path, default=Path("faults"), help="folder for the files of every fault")
    parser.add_argument("--first", type=int, default=100_000, help="number of the first mutation")
    parser.add_argument("--smoke", action="store_true", help="two mutations of a few readers")
    options = parser.parse_args()
    names = ["tsv", "idx", "models"] if options.smoke else options.readers
    counts, faults = {name: collections.Counter[str]() for name in names}, []
    options.keep.mkdir(parents=True, exist_ok=True)
    for name in names:
        last = options.first + (2 if options.smoke else 10**9)
        until = time.monotonic() + (SILENCE if options.smoke else 60 * options.minutes / len(names))
        for answer in attempts(name, options.first, last, options.keep, until):
            counts[name][answer["outcome"]] += 1
            faults += [answer] if answer["outcome"] in FAULTS else []
    columns = ["tried", *(f"accepted-{outcome}" if outcome in ("unchanged", "changed") else outcome for outcome in OUTCOMES)]
    print(f"{'':20}" + "".join(f"{column:>20}" for column in columns))
    for name, found in counts.items():
        print(f"{name:20}" + "".join(f"{number:20}" for number in (found.total(), *(found[outcome] for outcome in OUTCOMES))))
    for fault in faults[:50]:
        print(f"{fault['reader']} {fault['number']} {fault['file']}: {fault['outcome']}: {fault['detail'][:200]}")
    if not any(options.keep.iterdir()):
        options.keep.rmdir()
    print(
        json.dumps(
            {
                name: {"tried": found.total(), **{outcome: found[outcome] for outcome in OUTCOMES}}
                for name, found in counts.items()
            }
        )
    )
    return 1 if faults and not options.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
