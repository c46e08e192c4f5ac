"""Mutated files of every reader, for minutes: how many are refused, read as written, or wrongly accepted.

    python benchmarks/fuzz.py --minutes 10 [--readers csv models] [--keep faults] [--first 100000] [--smoke]

Each reader works in a process of its own, with limited memory, that is started again after a crash. `changed` (a result that
differs without a word), `crashed` (an exception that is not one of ours, or the end of the process) and `hung` are faults; the
exit status is 1 if there is any. The files of every fault are kept in the folder `--keep`. A mutation is determined by reader
and number, so that the same numbers give the same files; see tests/robustness/mutations.py. Prints a table; the last line is a
JSON object.
"""

import argparse
import collections
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from robustness.mutations import FAULTS, OUTCOMES, READERS, SECONDS  # noqa: E402

MEMORY = 6 << 30  # bytes of data of one process, libraries included
SILENCE = 6 * SECONDS  # seconds without an answer after which a process is hung
BLOCK = 200  # mutations of a reader before the next one has its turn


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def lines(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """The output lines of a process as they come; None where it was silent for too long."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
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
    """What came of the mutations `first` to `last`; one that ends its process, or never ends, is an answer too."""
    while first < last and time.monotonic() < until:
        command = [sys.executable, "-m", "robustness.mutations", reader, str(first), str(last), str(keep)]
        variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        errors = tempfile.TemporaryFile("w+")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables, preexec_fn=limited
        ) as process:
            working = None
            for line in lines(process):
                if line is None or time.monotonic() >= until + SILENCE:
                    process.kill()
                    if line is None and working is not None:
                        yield {"reader": reader, "number": working, "outcome": "hung", "detail": "killed", "file": ""}
                        first, working = working + 1, None
                    break
                answer = json.loads(line)
                working = answer["number"]
                if "outcome" in answer:
                    yield answer
                    first, working = working + 1, None
                    if time.monotonic() >= until:
                        process.kill()
                        return
        if process.returncode and first < last and time.monotonic() < until:
            errors.seek(0)
            told = (errors.read().strip().splitlines() or [""])[-1]
            number = first if working is None else working
            yield {
                "reader": reader,
                "number": number,
                "outcome": "crashed",
                "file": "",
                "detail": f"{process.returncode}: {told}",
            }
            if working is None:  # the undamaged files cannot be read either
                return
            first = working + 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--readers", nargs="+", choices=list(READERS), default=list(READERS), metavar="READER", help=", ".join(READERS)
    )
    parser.add_argument("--keep", type=Path, default=Path("faults"), help="folder for the files of every fault")
    parser.add_argument("--first", type=int, default=100_000, help="number of the first mutation, that is: the seed")
    parser.add_argument("--smoke", action="store_true", help="two mutations of a few readers")
    options = parser.parse_args()
    names, size = (["tsv", "idx", "models"], 2) if options.smoke else (options.readers, BLOCK)
    until = time.monotonic() + 60 * options.minutes
    counts = {name: collections.Counter[str]() for name in names}
    positions, faults = dict.fromkeys(names, options.first), []
    options.keep.mkdir(parents=True, exist_ok=True)
    while names and time.monotonic() < until:
        for name in list(names):
            last = positions[name] + max(2, size // READERS[name].cost)
            turn = time.monotonic() + max(1.0, (until - time.monotonic()) / len(names)) if not options.smoke else until
            found = list(attempts(name, positions[name], last, options.keep, min(turn, until)))
            counts[name].update(answer["outcome"] for answer in found)
            faults += [answer for answer in found if answer["outcome"] in FAULTS]
            positions[name] = max([positions[name], *(answer["number"] + 1 for answer in found)])
            if not found:
                names.remove(name)
        if options.smoke:
            break
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
