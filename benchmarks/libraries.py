"""From a log to top-100 lists for all users: this package against RecBole, RecTools, LensKit, Cornac, implicit and WarpRec.

    python -m venv peers/rectools && peers/rectools/bin/pip install rectools      # likewise for the others
    RECSYS_AE_DATA=... python benchmarks/libraries.py --python rectools=peers/rectools/bin/python [--python lenskit=...]
    python benchmarks/libraries.py --smoke              # smoke test on random clicks, with those peers that are installed

Every rating of MovieLens 1M is an interaction; models are trained on the training part of the split `per_user_80_20_test`. Each
run is a fresh process with two threads, in which each library is called as its documents say:

    prepare     imports, reading the text file, and conversion to the library's own data
    fit         the model is trained
    recommend   the best 100 unseen items of every user, with the ids of the log
    MiB         peak memory of the process, imports included

RecBole finds the log in its own format. Starting the interpreter and evaluating the lists are not timed. Runs alternate; every
other round is in reverse order, and the figures are medians of the rounds. A round before them is not counted but shown as
`first`: on a machine where a library was never used, it compiles then. NDCG@10 is computed here, from the lists, for all.

Models: EASE as published in 2019, with regularisation 1000; and matrix factorisation for implicit feedback by alternating least
squares with 64 factors, confidence 2, regularisation 20 and 15 iterations, which RecTools and this package fit by `implicit`.
LensKit gets the same parameters for its own ALS. `--processes N` lets LensKit recommend in N processes; the memory is
then that of the main one only.

Prints each run on standard error, and a table; the last line is a JSON object.
"""

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402 - the clock starts before the imports
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import median  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from library_peers import LIBRARIES, Fit, Job, Recommend, log_of, timed  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

MODELS = {"ease": ["recbole", "rectools", "lenskit", "cornac", "warprec"], "als": ["implicit", "rectools", "lenskit"]}
SETTINGS: Job = {"l2": 1000.0, "factors": 64, "als_l2": 20.0, "alpha": 2.0, "epochs": 15}
PUBLISHED = {"dropout": 0.0, "user_exponent": 0.0, "item_exponent": 0.0, "input_exponent": 0.0, "intercept": 0.0}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "LK_NUM_THREADS", "LK_NUM_BACKEND_THREADS")
FIGURES = ("prepare", "fit", "recommend", "total", "peak")


def own(job: Job) -> Fit:
    """The counterpart of the functions in `library_peers` for this package."""
    from recsys_ae import Interactions, build_model, recommend

    names = {"factors": "factors", "l2": "als_l2", "alpha": "alpha", "epochs": "epochs"}
    params = {"l2": job["l2"], **PUBLISHED} if job["model"] == "ease" else {own: job[name] for own, name in names.items()}
    train, model = Interactions.from_frame(log_of(job), rating=None), build_model(job["model"], params)

    def fit() -> Recommend:
        model.fit(train, seed=1)

        def lists() -> tuple[Any, Any]:
            found = recommend(model, train, k=job["k"])
            return found.users, found.items.values[found.item_rows]

        return lists

    return fit


def random_clicks() -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Random columns user_id and item_id of 60 users and 50 items, and which rows are in the test part: some of each user's."""
    rng = np.random.default_rng(0)
    clicks = pd.DataFrame(np.argwhere(rng.random((60, 50)) < 0.4), columns=["user_id", "item_id"])
    return clicks, clicks.groupby("user_id").cumcount().to_numpy() % 5 == 4


def write_log(folder: Path, train: pd.DataFrame, test: pd.DataFrame) -> None:
    """The training part as a text file and in RecBole's format.

    RecBole requires three parts and has histories of the users in its test part only, so each user has a row in all of them;
    what the others hold is of no consequence: an item seen in training, and one that is not excluded.
    """
    train.to_csv(folder / "train.csv", index=False)
    (folder / "log").mkdir()
    parts = {"train": train, "valid": train.groupby("user_id").head(1), "test": test.groupby("user_id").head(1)}
    for part, rows in parts.items():
        rows.to_csv(folder / f"log/log.{part}.inter", sep="\t", index=False, header=["user_id:token", "item_id:token"])


def run(command: list[str], job: Job) -> dict[str, Any]:
    """The result of a fresh process for the job."""
    environment = {**os.environ, **dict.fromkeys((*THREADS, "OPENBLAS_NUM_THREADS"), "2")}
    if job["library"] == "implicit" or (job["model"] == "als" and job["library"] == "rectools"):
        environment["OPENBLAS_NUM_THREADS"] = "1"  # as implicit asks for; it has threads of its own
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, env=environment, cwd=job["folder"])
    if done.returncode != 0:
        raise SystemExit(f"{command} failed on {job}:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "missing" not in result:
        result["total"] = result["prepare"] + result["fit"] + result["recommend"]
    return result


def ndcg(file: Path, train: pd.DataFrame, test: pd.DataFrame, k: int) -> float:
    """NDCG@10 of the lists in a file, which must be complete and without seen items."""
    from recsys_ae import evaluate_recommendations

    with np.load(file) as arrays:
        users, items = arrays["users"], arrays["items"]
    if items.ndim == 2:
        users, items = np.repeat(users, items.shape[1]), items.ravel()
    lists = pd.DataFrame({"user_id": users, "item_id": items})
    lists["rank"] = lists.groupby("user_id").cumcount() + 1
    lengths = lists["user_id"].value_counts()
    if len(lists.merge(train)) or (lengths != k).any() or len(lengths) != train["user_id"].nunique():
        raise SystemExit("some list is not complete, or has seen items")
    return float(evaluate_recommendations(lists, test, "ndcg@10", list_length=k).metrics["ndcg@10"] or 0)


def measure(pythons: dict[str, str], rounds: int, job: Job, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """Print a row for each model and library; returns the figures."""
    here, folder = Path(__file__).resolve(), Path(job["folder"])
    peer = str(here.with_name("library_peers.py"))
    commands = {"ours": [sys.executable, str(here), "--child"]}
    commands |= {library: [os.path.abspath(python), peer] for library, python in pythons.items()}
    sides = [(model, library) for model, peers in MODELS.items() for library in ("ours", *peers) if library in commands]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {side: [] for side in sides}
    quality = {}
    for number in range(rounds + 1):
        for model, library in sides if number % 2 == 0 else sides[::-1]:
            file = folder / f"{model}-{library}.npz"
            result = run(commands[library], job | {"model": model, "library": library, "file": str(file)})
            print(f"round {number}: {model} {library} {result}", file=sys.stderr, flush=True)
            found[model, library].append(result)
            if file.exists() and number == 0:
                quality[model, library] = ndcg(file, train, test, job["k"])
    seconds = "".join(f"{name:>9}" for name in ("prepare", "fit", "lists", "total", "first"))
    print(f"{'model':6}{'library':10}{'version':>12}{seconds}{'MiB':>7}{'NDCG@10':>9}")
    results: dict[str, Any] = {}
    for (model, library), runs in found.items():
        if "missing" in runs[0]:
            print(f"{model:6}{library:10} skipped: {pythons[library]} has no {library}")
            continue
        counted = runs[1:] or runs  # a smoke test has no other round than the first
        row = {figure: median(one[figure] for one in counted) for figure in FIGURES} | {"ndcg@10": quality[model, library]}
        row["first"] = runs[0]["total"]
        results[f"{model} {library}"] = row | {"totals": [one["total"] for one in runs], "version": runs[0]["version"]}
        seconds = "".join(f"{row[name]:9.2f}" for name in ("prepare", "fit", "recommend", "total", "first"))
        print(f"{model:6}{library:10}{runs[0]['version']:>12}{seconds}{row['peak']:7.0f}{row['ndcg@10']:9.4f}", flush=True)
    return results


def main() -> None:
    if sys.argv[1:] == ["--child"]:
        from recsys_ae import __version__

        print(json.dumps(timed(json.load(sys.stdin), STARTED, own) | {"version": __version__}))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, once, with this interpreter for every library")
    parser.add_argument("--python", action="append", default=[], metavar="LIBRARY=PATH", help="interpreter that has a library")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--processes", type=int, default=1, help="in which LensKit recommends")
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    pythons = dict.fromkeys(LIBRARIES, sys.executable) if options.smoke else {}
    pythons |= dict(text.split("=", 1) for text in options.python)
    if unknown := pythons.keys() - LIBRARIES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(LIBRARIES)}")
    from ranking_models import movielens  # which loads PyTorch

    clicks, is_test = random_clicks() if options.smoke else movielens()
    train, test = clicks[~is_test], clicks[is_test]
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder), train, test)
        job = SETTINGS | {"folder": folder, "k": 10 if options.smoke else 100, "processes": options.processes}
        print(json.dumps(measure(pythons, 0 if options.smoke else options.repeat, job, train, test)))


if __name__ == "__main__":
    main()
