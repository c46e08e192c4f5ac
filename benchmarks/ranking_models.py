"""Ranking models on MovieLens 1M: this package against RecBole 1.2.1, and EASE against four implementations.

    python -m venv peers
    peers/bin/pip install recbole==1.2.1 "numpy==1.26.*" "pandas<3" "pyarrow==20.*" "setuptools<81" \
        torch==VERSION lenskit rectools
    RECSYS_AE_DATA=... python benchmarks/ranking_models.py --peer-python peers/bin/python [--only multvae] [--quality]
    python benchmarks/ranking_models.py --smoke         # smoke test on random clicks, with those peers that are installed

VERSION is the PyTorch version of this package, so that matrix products are equally fast on both sides. LensKit and RecTools are
used for EASE only and may be left out.

Every rating is an interaction; models are trained on the training part of the split `per_user_80_20_test`. Both sides read the
same text files, use batches of 256 users, and have two threads. Each training runs in its own process; the sides alternate, and
the one that starts changes from round to round. Epochs are timed without validation. The result is the median over epochs
without the first of each process, and the median ratio over rounds. Memory is the peak of the process, imports and data
included, less that of a process that only imports PyTorch (about 530 MiB, the same on both sides). Each side has the thread
settings that its users get: RecBole the defaults, this package `GOMP_SPINCOUNT=3000`, which importing it sets.

    model    architecture (D items)                                   RecBole's name
    cdae     D-64-D, a vector of 64 for each user                     CDAE
    multdae  D-600-200-600-D                                          MultiDAE
    multvae  D-600-200-600-D                                          MultiVAE, latent_dimension 400, which it halves
    recvae   encoder of five layers of 600, code of 200, linear decoder; an epoch is three passes for the encoder and one
             for the decoder                                          RecVAE
    ease     D-D, regularisation 1000                                 EASE

On both sides dropout is 0.5, the learning rate of Adam 0.001, and regularisation that of RecBole: none for Mult-DAE, a KL
weight that is annealed to 0.2 over 200,000 batches for Mult-VAE. RecVAE's weights are not averaged. All other settings are the
defaults of each side.

With `--quality` each autoencoder is also trained to convergence, with a tenth of each user's training items held out for
validation: for at most 300 epochs, with a patience of ten. RecBole stops by NDCG@10, this package by NDCG@100; the time is from
the start of training to the end of the best epoch, validation included, and the score is NDCG@10 at that epoch.

Prints tables; the last line is a JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from recbole_peer import DATASET, EASE, PARTS, fit_times, inter_file, peak_memory, read_part, torch_memory

from recsys_ae import IdMap, Interactions, Recommender, build_model, recommend
from recsys_ae.core.trainer import Callback, Epoch, Training
from recsys_ae.models import MODELS

BATCH, L2, QUALITY_EPOCHS, PATIENCE = 256, 1000.0, 300, 10
PARAMS: dict[str, dict[str, Any]] = {
    "cdae": {"hidden": 64, "negatives": 5},
    "multdae": {"hidden": [600, 200], "l2": 0.0},
    "multvae": {"hidden": [600, 200], "beta": 0.2, "anneal": 200_000},
    "recvae": {"hidden": 600, "latent": 200, "ema_decay": 0.0},
    "ease": {"l2": L2},
}
SETTINGS = {"dropout": 0.5, "learning_rate": 1e-3, "learning_rate_decay": 1.0}
THREADS = (  # LensKit uses one thread by default
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "LK_NUM_THREADS",
    "LK_NUM_BACKEND_THREADS",
)
ENVIRONMENT = dict.fromkeys(THREADS, "2")
OWN_ENVIRONMENT = {"GOMP_SPINCOUNT": "3000"}

Job = dict[str, Any]
Result = dict[str, Any]


class Clock(Callback):
    """Records the epochs, and the seconds from its construction to the end of each.

    It keeps no reference to the training, which would keep the optimiser's memory.
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.ends: list[float] = []
        self.epochs: list[Epoch] = []
        self.best: Epoch | None = None

    def on_epoch(self, training: Training) -> None:
        self.ends.append(time.perf_counter() - self.started)
        self.epochs, self.best = training.history, training.best


def own_side(job: Job) -> Result:
    """The counterpart of `recbole_peer` for this package."""
    train, valid = own_data(job)
    if job["model"] == "ease":
        return own_ease(train, job)
    training = SETTINGS | {"epochs": job["epochs"], "batch_size": BATCH, "patience": job["patience"]}
    model = build_model(job["model"], PARAMS[job["model"]] | training)
    clock = Clock()
    model.fit(train, valid=valid if job["validate"] else None, seed=1, callbacks=[clock])
    result: Result = {"seconds": [epoch.seconds for epoch in clock.epochs], "peak": peak_memory()}
    if clock.best is not None:
        best = clock.best.number
        result |= {"ndcg": ndcg(model, train, valid), "until_best": clock.ends[best - 1], "best_epoch": best}
    return result


def own_data(job: Job) -> tuple[Interactions, Interactions]:
    """Training and validation parts, with the ids of all parts."""
    frames = {part: read_part(job["folder"], part) for part in PARTS}
    ids: dict[str, IdMap] = {}
    for name in ("user_id", "item_id"):
        ids[name] = IdMap(np.unique(np.concatenate([frame[name].unique() for frame in frames.values()])))

    def interactions(part: str) -> Interactions:
        return Interactions.from_frame(frames[part], rating=None, users=ids["user_id"], items=ids["item_id"])

    return interactions("train"), interactions("valid")


def own_ease(train: Interactions, job: Job) -> Result:
    model = build_model("ease", PARAMS["ease"])
    seconds = fit_times(lambda: model.fit(train), job["epochs"])
    peak = peak_memory()
    assert model.fitted is not None
    return {"seconds": seconds, "peak": peak, "weights": float(np.abs(model.fitted.arrays["weights"]).sum(dtype=np.float64))}


def ndcg(model: Recommender, train: Interactions, valid: Interactions, k: int = 10) -> float:
    """NDCG@k as in RecBole: training items are excluded, and the ideal list has min(k, held out) hits."""
    rows = np.flatnonzero(np.diff(valid.matrix.indptr))
    best = recommend(model, train, users=train.users.values[rows], k=k).item_rows
    wanted = valid.matrix[rows]
    hits = np.take_along_axis(wanted.toarray() > 0, best, axis=1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(k, np.diff(wanted.indptr)) - 1]
    return float((hits @ discount / ideal).mean())


def write_parts(folder: Path, parts: dict[str, pd.DataFrame]) -> Path:
    """The parts as the text files that RecBole reads."""
    (folder / DATASET).mkdir(parents=True)
    for part, frame in parts.items():
        frame.to_csv(inter_file(str(folder), part), sep="\t", index=False, header=["user_id:token", "item_id:token"])
    return folder


def movielens() -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Columns user_id and item_id of all ratings, and which of them are in the test part."""
    source = Path(os.environ["RECSYS_AE_DATA"], "ml-1m")
    ratings = pd.read_parquet(source / "ratings.parquet")[["user_id", "item_id"]]
    return ratings, pd.read_parquet(source / "splits.parquet")["per_user_80_20_test"].to_numpy()


def random_clicks() -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """The same, random for 40 users and 30 items. The first 40 rows have each user once and are not in the test part."""
    rng = np.random.default_rng(0)
    pairs = {"user_id": np.r_[np.arange(40), rng.integers(0, 40, 400)], "item_id": rng.integers(0, 30, 440)}
    clicks = pd.DataFrame(pairs).drop_duplicates(ignore_index=True)
    return clicks, (np.arange(len(clicks)) >= 40) & (rng.random(len(clicks)) < 0.2)


def prepare(folder: Path, ratings: pd.DataFrame, is_test: NDArray[np.bool_]) -> tuple[Path, Path, int]:
    """Folders for timing and for quality, and the number of items; all parts together are all ratings in both."""
    train, test = ratings[~is_test], ratings[is_test]
    by_user = train.sample(frac=1, random_state=0).groupby("user_id")["item_id"]
    is_valid = (by_user.cumcount() < by_user.transform("size") // 10).reindex(train.index)
    timing = {"train": train, "valid": test[::2], "test": test[1::2]}  # RecBole needs three parts
    quality = {"train": train[~is_valid], "valid": train[is_valid], "test": test}
    return write_parts(folder / "timing", timing), write_parts(folder / "quality", quality), ratings["item_id"].nunique()


def run_child(command: list[str], job: Job) -> Result:
    """The result of a child process for the job. Its working directory is the data folder, so that it may write files there."""
    environment = {**os.environ, **ENVIRONMENT, **(OWN_ENVIRONMENT if job["peer"] == "ours" else {})}
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, env=environment, cwd=job["folder"])
    if done.returncode != 0:
        raise SystemExit(f"{command} failed on {job}:\n{done.stderr[-3000:]}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


class Sides:
    """Starts the processes of both sides.

    Args:
        peer_python: interpreter of the environment with RecBole.
    """

    def __init__(self, peer_python: str) -> None:
        here = Path(__file__).resolve()
        peer = str(here.with_name("recbole_peer.py"))
        # The path of the interpreter determines its virtual environment, so links in it must not be resolved.
        self.peer = [os.path.abspath(peer_python), peer]
        self.commands = {"ours": [sys.executable, str(here), "--child"], "numpy": [sys.executable, peer]}

    def run(self, side: str, job: Job) -> Result:
        return run_child(self.commands.get(side, self.peer), job | {"peer": side})

    def rounds(self, sides: list[str], job: Job, rounds: int) -> dict[str, list[Result]]:
        """The results of each side in each round; every other round runs in reverse order."""
        found: dict[str, list[Result]] = {side: [] for side in sides}
        for number in range(rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                found[side].append(self.run(side, job))
        return found


def epoch_seconds(result: Result) -> float:
    """The median over all epochs but the first."""
    return statistics.median(result["seconds"][1:])


def above_torch(result: Result) -> float:
    """Peak memory in MiB, without that of importing PyTorch."""
    return float(result["peak"] - result["torch"])


def ratios(results: dict[str, list[Result]], figure: Any) -> list[float]:
    """RecBole's figure divided by ours, per round."""
    return [figure(peer) / figure(own) for peer, own in zip(results["recbole"], results["ours"], strict=True)]


def median(results: list[Result], figure: Any) -> float:
    return statistics.median(map(figure, results))


def left_out(results: list[Result]) -> str:
    return f"skipped: the environment of --peer-python has no {results[0]['missing']}"


def compare_training(name: str, sides: Sides, job: Job, rounds: int) -> dict[str, float]:
    """Print a row of the table; returns time and memory of RecBole divided by ours."""
    results = sides.rounds(["recbole", "ours"], job, rounds)
    if "missing" in results["recbole"][0]:
        print(f"{name:10}{left_out(results['recbole'])}", flush=True)
        return {}
    faster, smaller = ratios(results, epoch_seconds), ratios(results, above_torch)
    seconds = [median(results[side], epoch_seconds) for side in ("recbole", "ours")]
    peaks = [median(results[side], above_torch) for side in ("recbole", "ours")]
    found = {"epoch_speedup": statistics.median(faster), "memory_ratio": statistics.median(smaller)}
    spread = f"{min(faster):.2f}-{max(faster):.2f}"
    print(
        f"{name:10}{seconds[0]:10.3f}{seconds[1]:10.3f}{found['epoch_speedup']:10.2f}{spread:>14}"
        f"{peaks[0]:12.0f}{peaks[1]:8.0f}{found['memory_ratio']:8.2f}",
        flush=True,
    )
    return found


def compare_quality(name: str, sides: Sides, job: Job) -> None:
    """Print two rows of the table, one training per side."""
    for side in ("recbole", "ours"):
        found = sides.run(side, job)
        if "missing" in found:
            print(f"{name:10}{left_out([found])}", flush=True)
            continue
        epochs = f"{found['best_epoch']}/{len(found['seconds'])}"
        print(f"{name:10}{side:10}{found['until_best']:12.1f}{epochs:>12}{found['ndcg']:10.4f}", flush=True)


def compare_ease(sides: Sides, job: Job, rounds: int) -> dict[str, float]:
    """Print rows of the table; returns our time divided by that of the fastest other implementation."""
    results = sides.rounds([*EASE, "ours"], job, rounds)
    print(f"\n{'ease':10}{'fit s':>10}{'first s':>10}{'MiB':>8}{'sum |B|':>12}")
    times = {}
    for side, found in results.items():
        if "missing" in found[0]:
            print(f"{side:10}{left_out(found)}")
            continue
        times[side] = median(found, epoch_seconds)
        first, peak = median(found, lambda result: result["seconds"][0]), median(found, lambda result: result["peak"])
        print(f"{side:10}{times[side]:10.3f}{first:10.3f}{peak:8.0f}{found[0]['weights']:12.2f}")
    own = times.pop("ours")
    return {"fit_time_over_fastest": own / min(times.values())}


def main() -> None:
    if sys.argv[1:] == ["--child"]:
        print(json.dumps(own_side(json.load(sys.stdin)) | {"torch": torch_memory()}))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, once")
    parser.add_argument("--peer-python", help="interpreter of an environment with RecBole; default with --smoke: this one")
    parser.add_argument("--only", nargs="+", choices=list(PARAMS), default=list(PARAMS), help="these models")
    parser.add_argument("--epochs", type=int, default=3, help="epochs (for ease: fits) timed in each process, after the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quality", action="store_true", help="also train the autoencoders to convergence")
    options = parser.parse_args()
    if options.smoke:
        options.peer_python = options.peer_python or sys.executable
        options.only, options.epochs, options.rounds, options.quality = ["multvae", "ease"], 1, 1, True
    if not options.peer_python:
        parser.error("--peer-python is required without --smoke")
    known = [name for name in options.only if name in MODELS]
    for name in options.only:
        if name not in known:
            print(f"{name}: skipped, recsys_ae has no such model")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(known, options, Path(folder))))


def measure(names: list[str], options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Print all tables; returns the content of the last line."""
    timing, quality, n_items = prepare(folder, *(random_clicks() if options.smoke else movielens()))
    sides = Sides(options.peer_python)
    common: Job = {"batch_size": BATCH, "patience": PATIENCE, "l2": L2, "n_items": n_items}
    few: Job = common | {"folder": str(timing), "epochs": options.epochs + 1, "validate": False}
    many: Job = common | {"folder": str(quality), "epochs": 2 if options.smoke else QUALITY_EPOCHS, "validate": True}
    results: dict[str, dict[str, float]] = {}
    autoencoders = [name for name in names if name != "ease"]
    if autoencoders:
        titles = f"{'RecBole s':>10}{'ours s':>10}{'speed-up':>10}{'of rounds':>14}{'RecBole MiB':>12}{'ours':>8}{'ratio':>8}"
        print(f"{'epoch':10}{titles}", flush=True)
    for name in autoencoders:
        results[name] = compare_training(name, sides, few | {"model": name}, options.rounds)
    if "ease" in names:
        results["ease"] = compare_ease(sides, few | {"model": "ease"}, options.rounds)
    if options.quality and autoencoders:
        print(f"\n{'quality':10}{'':10}{'s to best':>12}{'epoch':>12}{'NDCG@10':>10}", flush=True)
        for name in autoencoders:
            compare_quality(name, sides, many | {"model": name})
    return results


if __name__ == "__main__":
    main()
