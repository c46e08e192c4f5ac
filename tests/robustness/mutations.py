"""Seeded mutations of the files of every reader, and what came of them.

A mutation is `refused` (one of our errors), or accepted. What is accepted must be `unchanged`: for formats that check
themselves (models, checkpoints, exports, the state of a run) the result of the undamaged files, for plain data what an
independent, strict parser reads from the damaged file. Everything else is a fault: `changed` (a result that differs without a
word), `crashed` (any other exception) or `hung`. `attempt` is reproducible: reader and number determine the mutation.

To add a reader, add an entry to `PLAIN` in `plain_files.py` or to `SAVED` in `saved_state.py`. As a script, it prints an
outcome per line for `benchmarks/fuzz.py`:

    python -m robustness.mutations READER FIRST LAST FOLDER
"""

import json
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from robustness.catalogue import Hung, limits
from robustness.damages import mutate
from robustness.plain_files import PLAIN
from robustness.reader import in_folder
from robustness.saved_state import SAVED

from recsys_ae.errors import RecsysError

READERS = {**PLAIN, **SAVED}
SECONDS = 20  # of processor time for one mutation
OUTCOMES = ("refused", "unchanged", "changed", "crashed", "hung")
FAULTS = ("changed", "crashed", "hung")


@dataclass(frozen=True)
class Attempt:
    """What came of one mutation."""

    reader: str
    number: int
    outcome: str
    file: str
    detail: str = ""


class Bench:
    """The good files of one reader in a folder, and attempts with mutated ones."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.reader = name, READERS[name]
        self.good, self.work = folder / "good", folder / "work"
        self.work.mkdir(parents=True)
        self.reader.make(self.work)  # at the place where it is read, because some files hold absolute paths
        shutil.copytree(self.work, self.good)
        with in_folder(self.work):
            self.right = repr(self.reader.read())

    def attempt(self, number: int) -> Attempt:
        """What comes of mutation `number`; the mutated files stay in `work`."""
        chance = random.Random(f"{self.name} {number}")
        shutil.rmtree(self.work)
        shutil.copytree(self.good, self.work)
        files = sorted({path for pattern in self.reader.mutated for path in self.work.glob(pattern) if path.is_file()})
        file = chance.choice([path for path in files if path.name != ".lock"])
        file.write_bytes(mutate(file, chance))
        outcome, detail = "unchanged", ""
        with in_folder(self.work):
            try:
                with limits(seconds=SECONDS):
                    found = repr(self.reader.read())
                if found != self.right and not self.reader.anything and found != self._reference():
                    outcome, detail = "changed", found[:200]
            except RecsysError as error:
                outcome, detail = "refused", str(error)[:300]
            except Hung:
                outcome = "hung"
            except Exception as error:  # whatever a reader lets through
                outcome, detail = "crashed", f"{type(error).__name__}: {error}"[:300]
        return Attempt(self.name, number, outcome, file.relative_to(self.work).as_posix(), detail)

    def _reference(self) -> str:
        if self.reader.reference is None:
            return ""
        try:
            return repr(self.reader.reference())
        except Exception:  # the reference accepts less
            return ""


def main(name: str, first: int, last: int, folder: str) -> None:
    """Print the outcome of each mutation as JSON, flushed, so that the last line before a crash says which one it was."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        bench = Bench(name, Path(place))
        for number in range(first, last):
            print(json.dumps({"number": number}), flush=True)
            started = time.process_time()
            found = bench.attempt(number)
            line = {**found.__dict__, "seconds": round(time.process_time() - started, 3)}
            if found.outcome in FAULTS:
                kept = Path(folder) / f"{name.replace(' ', '-')}-{number}"
                shutil.copytree(bench.work, kept, dirs_exist_ok=True)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
