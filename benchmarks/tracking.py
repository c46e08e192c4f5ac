"""What tracking costs a training: item AutoRec untracked, with stores that work, and with stores that fail in every way.

    python benchmarks/tracking.py [--epochs 30] [--rounds 5] [--only "dead server,locked store"] [--smoke]

Each measurement is a whole `recsys-ae run` in a process of its own. In every round the stores take turns, each time in another
order. Right before each there is an untracked run, with which its ratio compares, because the load of a machine changes by the
minute; `nothing` is one more untracked run, whose ratio shows the noise. `fit` is the training time that the run reports;
`wall` is that of the whole process, which may wait for a store before and after the training; `taken` is the share of the
thread that sends the record in the processor time spent during the training, which hardly depends on the load of the machine.
Prints medians; the last line is a JSON object, times in seconds.
"""

import argparse
import json
import os
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

LOCKED = 100.0  # seconds
PATIENCE = 120  # seconds until the server must be ready
PIPELINE = """
dataset:
  {{name: planted, kind: planted-ratings, title: planted, licence: none, users: {users}, items: {items}, ratings: {ratings},
    factors: 4, noise: 0.6, seed: 7}}
split: {{kind: random, valid: 0.1, test: 0.1}}
models: [{{name: autorec, axis: item, epochs: {epochs}, patience: 0}}]
metrics: [rmse]
"""
RUN = """
import threading, time
from recsys_ae.__main__ import main
from recsys_ae.experiment.callbacks import Stopwatch
def used():
    clocks = [time.pthread_getcpuclockid(one.ident) for one in threading.enumerate() if one.name == "recsys-ae tracking"]
    return sum(map(time.clock_gettime, clocks)), time.process_time()
enter, leave = Stopwatch.__enter__, Stopwatch.__exit__
def entered(self):
    self.before = used()
    return enter(self)
def left(self, *error):
    leave(self, *error)
    sender, whole = (after - before for after, before in zip(used(), self.before))
    print("taken", sender / whole, flush=True)
Stopwatch.__enter__, Stopwatch.__exit__ = entered, left
main()
"""
ROOT_OBEYS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]  # else root may write to a read-only folder


@dataclass
class Place:
    """Where a run is tracked.

    Attributes:
        uri: of the store.
        prefix: words before the command of the run.
    """

    uri: str
    prefix: list[str] = field(default_factory=list)


@dataclass
class Measured:
    fit: float
    wall: float
    taken: float


def nothing(_: Path) -> AbstractContextManager[Place]:
    return _at(Place("none"))


def existing(folder: Path) -> AbstractContextManager[Place]:
    return _at(Place(_uri(folder)))


def new(folder: Path) -> AbstractContextManager[Place]:
    return _at(Place(f"sqlite:///{folder}/new.db"))


@contextmanager
def _at(place: Place) -> Iterator[Place]:
    yield place


@contextmanager
def live(folder: Path) -> Iterator[Place]:
    """A server with one worker."""
    port = _free_port()
    line = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    line += ["--backend-store-uri", _uri(folder), "--artifacts-destination", str(folder / "artifacts")]
    with open(folder / "log", "w") as log:
        settings = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        server = subprocess.Popen(line, stdout=log, stderr=log, env=settings, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server)
        yield Place(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def dead(_: Path) -> AbstractContextManager[Place]:
    """A port where nothing listens."""
    return _at(Place(f"http://127.0.0.1:{_free_port()}"))


@contextmanager
def silent(_: Path) -> Iterator[Place]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # whose queue of connections the system accepts
        yield Place(f"http://127.0.0.1:{server.getsockname()[1]}")


@contextmanager
def locked(folder: Path) -> Iterator[Place]:
    """A SQLite store that another process, this one, keeps locked for 100 seconds."""
    uri = _uri(folder)
    with closing(sqlite3.connect(folder / "mlflow.db", check_same_thread=False)) as store:
        store.execute("BEGIN EXCLUSIVE")
        timer = Timer(LOCKED, store.rollback)
        timer.start()
        yield Place(uri)
        timer.cancel()
        timer.join()


@contextmanager
def read_only(folder: Path) -> Iterator[Place]:
    """A SQLite store that the run may read, but not write."""
    uri, store = _uri(folder), folder / "mlflow.db"
    store.chmod(0o444)
    folder.chmod(0o555)
    yield Place(uri, ROOT_OBEYS if os.geteuid() == 0 else [])
    folder.chmod(0o755)


STORES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "nothing": nothing,
    "existing SQLite": existing,
    "new SQLite": new,
    "live server": live,
    "dead server": dead,
    "silent server": silent,
    "locked store": locked,
    "read-only store": read_only,
}


def _uri(folder: Path) -> str:
    """The URI of the SQLite store that is in a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def measured(pipeline: Path, place: Place) -> Measured:
    """The costs of a run in a process of its own."""
    with tempfile.TemporaryDirectory() as output:
        line = [*place.prefix, sys.executable, "-c", RUN, "run", str(pipeline), "--tracking-uri", place.uri]
        started = time.perf_counter()
        run = subprocess.run([*line, "--output", f"{output}/run"], capture_output=True, text=True, check=False)
        wall = time.perf_counter() - started
        assert run.returncode == 0, run.stderr
        taken = float(run.stdout.partition("taken ")[2].split()[0])
        (model,) = json.loads(Path(output, "run", "report.json").read_text())["models"].values()
    return Measured(model["fit_seconds"], wall, taken)


def measured_beside_none(pipeline: Path, name: str, tables: Path) -> tuple[Measured, Measured]:
    """A run with a store, and one without right before it."""
    none = measured(pipeline, Place("none"))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(tables, folder)
        with STORES[name](Path(folder)) as place:
            return measured(pipeline, place), none


def write_pipeline(folder: Path, *, epochs: int, smoke: bool) -> Path:
    path = folder / "pipeline.yaml"
    sizes = (60, 40, 400) if smoke else (3000, 1500, 200_000)
    path.write_text(PIPELINE.format(**dict(zip(("users", "items", "ratings"), sizes, strict=True)), epochs=epochs))
    return path


def make_tables(path: Path) -> None:
    from recsys_ae.tracking import make_tracker

    with make_tracker(f"sqlite:///{path}", "empty").run("empty"):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="names of stores, with commas")
    parser.add_argument("--smoke", action="store_true", help="smoke test on tiny sizes, with one store")
    options = parser.parse_args()
    names = [name.strip() for name in options.only.split(",")] if options.only else list(STORES)
    if options.smoke:
        names = ["existing SQLite"]
    epochs, rounds = (2, 1) if options.smoke else (options.epochs, options.rounds)
    pairs: dict[str, list[tuple[Measured, Measured]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        pipeline = write_pipeline(folder, epochs=epochs, smoke=options.smoke)
        make_tables(folder / "mlflow.db")
        if not options.smoke:
            measured(pipeline, Place("none"))  # reads all files once
        for number in range(rounds):
            for name in random.Random(number).sample(names, len(names)):
                pairs[name].append(measured_beside_none(pipeline, name, folder / "mlflow.db"))
                own, none = pairs[name][-1]
                shown = f"{name:16} fit {own.fit:6.2f} s, untracked {none.fit:6.2f} s, taken {own.taken:.4f}"
                print(f"{shown}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    median = statistics.median
    figures = {
        "fit_over_untracked": {name: median(own.fit / none.fit for own, none in found) for name, found in pairs.items()},
        "wall_over_untracked": {name: median(own.wall / none.wall for own, none in found) for name, found in pairs.items()},
        "taken": {name: median(own.taken for own, _ in found) for name, found in pairs.items()},
    }
    untracked = median(none.fit for found in pairs.values() for _, none in found)
    print(f"{'':16} {'fit':>7} {'wall':>7} {'taken':>7}   (untracked, a fit takes {untracked:.1f} s)")
    for name in names:
        fit, wall, taken = (values[name] for values in figures.values())
        print(f"{name:16} {fit:7.3f} {wall:7.3f} {taken:7.2%}")
    print(json.dumps({"fit_seconds_untracked": untracked, **figures}))


if __name__ == "__main__":
    main()
