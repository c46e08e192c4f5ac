"""Training in two ranks against one process: seconds per epoch of item AutoRec and RecVAE on MovieLens 1M.

    RECSYS_AE_DATA=... python benchmarks/distributed.py [--epochs 3] [--rounds 2] [--smoke]

One process with one thread, one with two threads, and two ranks with a thread each take turns. Prints a table of the shortest
epochs, without the first, which compiles; the last line is a JSON object with the speed-ups of two ranks. All products are in
float32.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import islice
from typing import Any

from recsys_ae import Interactions, build_model
from recsys_ae.core.distributed import connected
from recsys_ae.core.followers import follow
from recsys_ae.core.trainer import Callback, Training
from recsys_ae.exits import in_ranks, leave

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "autorec, batch 64": ("autorec", {"batch_size": 64}),
    "autorec, batch 256": ("autorec", {"batch_size": 256}),
    "recvae, batch 256": ("recvae", {"batch_size": 256, "precision": "float32"}),
    "recvae, batch 1024": ("recvae", {"batch_size": 1024, "precision": "float32"}),
}
WAYS = {"1 thread": ("1", False), "2 threads": ("2", False), "2 ranks": ("1", True)}
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


class Shortest(Callback):
    """Seconds of the shortest epoch after the first."""

    def on_end(self, training: Training[Any]) -> None:
        self.seconds = min(epoch.seconds for epoch in training.history[1:])


def data(*, smoke: bool) -> Interactions:
    from recsys_ae.data.cards import read_card
    from recsys_ae.data.ratings import load_ratings

    return load_ratings(*read_card("planted-ratings" if smoke else "ml-1m")).interactions


def worker(epochs: int, *, smoke: bool) -> None:
    """Print the seconds of each case as JSON; of several ranks, rank 0 does."""
    if not in_ranks():
        print(json.dumps(times(epochs, smoke=smoke)))
        return
    with connected() as team:
        if team.rank:
            follow(team)
        else:
            print(json.dumps(times(epochs, smoke=smoke)))


def times(epochs: int, *, smoke: bool) -> dict[str, float]:
    ratings, found = data(smoke=smoke), {}
    for case, (name, params) in islice(CASES.items(), 0, None, 2 if smoke else 1):  # every other one is one of each model
        shortest = Shortest()
        build_model(name, {**params, "epochs": epochs, "patience": 0}).fit(ratings, callbacks=[shortest])
        found[case] = shortest.seconds
    return found


def measured(way: str, arguments: list[str]) -> dict[str, float]:
    threads, ranks = WAYS[way]
    command = [*(LAUNCH if ranks else [sys.executable]), __file__, "--worker", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    epochs, rounds = (2, 1) if options.smoke else (options.epochs, options.rounds)
    if options.worker:
        worker(epochs, smoke=options.smoke)
        return
    arguments = ["--epochs", str(epochs), *(["--smoke"] if options.smoke else [])]
    runs = [(way, measured(way, arguments)) for _ in range(rounds) for way in WAYS]
    best = {case: {way: min(found[case] for own, found in runs if own == way) for way in WAYS} for case in runs[0][1]}
    print(f"{'seconds per epoch':20}", *(f"{way:>10}" for way in WAYS))
    for case, row in best.items():
        print(f"{case:20}", *(f"{row[way]:10.2f}" for way in WAYS))
    print(
        json.dumps(
            {
                case: {f"over_{way}": round(row[way] / row["2 ranks"], 2) for way in WAYS if way != "2 ranks"}
                for case, row in best.items()
            }
        )
    )


if __name__ == "__main__":
    main()
    leave(0)
