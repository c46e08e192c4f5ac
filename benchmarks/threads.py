"""Training on a busy machine: item AutoRec on 25,000 ratings, alone and beside two busy processes.

    python benchmarks/threads.py [--epochs 10] [--rounds 3] [--smoke]

From Python, with recsys_ae or PyTorch imported first, the time is that of `fit`; from the command line, that of a whole run.
The last row of the table is a single-threaded loop of half a second of CPU time: its ratio is the slowdown due to
scheduling alone. The two conditions alternate. Prints a table of medians and their ratios; the last line is a JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_USERS, N_ITEMS = 1000, 1500
FIT = """
import sys, time
import {first}
import numpy as np
from recsys_ae import build_model, read_interactions
data = read_interactions({ratings!r})
build_model("autorec", {{"epochs": 1}}).fit(data)  # compiles
started = time.perf_counter()
build_model("autorec", {{"epochs": {epochs}}}).fit(data)
print(time.perf_counter() - started)
"""
PIPELINE = """
dataset:
  {{name: planted, kind: planted-ratings, title: planted, licence: none, users: {users}, items: {items}, ratings: {ratings},
    factors: 4, noise: 0.6, seed: 7}}
split: {{kind: random, test: 0.1}}
models: [{{name: autorec, epochs: {epochs}}}]
metrics: [rmse]
"""


def write_ratings(path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    keys = rng.choice(N_USERS * N_ITEMS, n, replace=False)
    lines = (f"{key // N_ITEMS},{key % N_ITEMS},{rating}" for key, rating in zip(keys, rng.integers(1, 6, n), strict=True))
    path.write_text("user_id,item_id,rating\n" + "\n".join(lines) + "\n")


def from_python(first: str, folder: Path, epochs: int) -> float:
    script = FIT.format(first=first, ratings=str(folder / "ratings.csv"), epochs=epochs)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def from_command_line(folder: Path, epochs: int) -> float:
    pipeline = folder / "pipeline.yaml"
    n = len((folder / "ratings.csv").read_text().splitlines()) - 1
    pipeline.write_text(PIPELINE.format(users=N_USERS, items=N_ITEMS, ratings=n, epochs=epochs))
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "recsys_ae", "run", str(pipeline), "--output", f"{output}/run"]
        command += ["--tracking-uri", "none"]
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True, cwd=folder)
        return time.perf_counter() - started


def plain_loop() -> float:
    started, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < 0.5:
        pass
    return time.perf_counter() - started


def measured(folder: Path, epochs: int) -> dict[str, float]:
    """Seconds by way of starting the training."""
    return {
        "recsys_ae first": from_python("recsys_ae", folder, epochs),
        "torch first": from_python("torch", folder, epochs),
        "command line": from_command_line(folder, epochs),
        "plain loop": plain_loop(),
    }


def measured_beside(n_busy: int, folder: Path, epochs: int) -> dict[str, float]:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_busy)]
    try:
        return measured(folder, epochs)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {way: statistics.median(one[way] for one in rounds) for way in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="smoke test on tiny sizes")
    options = parser.parse_args()
    epochs, rounds, n = (1, 0, 500) if options.smoke else (options.epochs, options.rounds, 25_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ratings(folder / "ratings.csv", n)
        if options.smoke:  # once, beside nothing
            found = measured_beside(0, folder, epochs)
            both = [(found, found)]
        else:
            both = [(measured(folder, epochs), measured_beside(2, folder, epochs)) for _ in range(rounds)]
        alone, beside = (median(list(rounds)) for rounds in zip(*both, strict=True))
    print(f"{'':16} {'alone':>8} {'beside two':>11} {'ratio':>6}")
    for way, seconds in alone.items():
        print(f"{way:16} {seconds:7.2f}s {beside[way]:10.2f}s {beside[way] / seconds:6.1f}")
    print(json.dumps({"alone": alone, "beside": beside, "ratio": {way: beside[way] / alone[way] for way in alone}}))


if __name__ == "__main__":
    main()
