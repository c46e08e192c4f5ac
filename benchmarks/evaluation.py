"""Speed and memory of evaluation, on MovieLens 1M and on a million users.

    RECSYS_AE_DATA=... python benchmarks/evaluation.py [--peers PYTHON] [--million] [--smoke]

Lists are the top 100 of EASE, fitted on the training part of the given split `per-user-80-20` with every rating as a click.

1. Thirty values, {precision, recall, NDCG, MAP, MRR, hit rate} at {5, 10, 20, 50, 100}, from given lists. Here, the lists and
   the relevant items are rows of arrays, and their search for hits is timed; or data frames of ids, which are translated,
   checked and searched. PYTHON is the interpreter of an environment with RecBole, ranx, RecTools and LensKit, which get their
   own representations for free: RecBole a matrix of hits. The sides alternate; medians of several runs.
2. The whole `evaluate` of EASE against what it cannot do without: the scores, with seen items excluded, and their top 100.
3. Intervals and all paired tests of ten models, which are these lists with a part of the items replaced, and thirty metrics.
4. With `--million`: the same thirty metrics of a million users with a model of 64 planted factors for 100,000 items, in a
   process of its own.

Prints a line for each; the last line is a JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from evaluation_peers import FAMILIES, LENGTHS
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae import IdMap, Interactions, Split, build_model, evaluate, evaluate_recommendations
from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.evaluation.report import Report
from recsys_ae.evaluation.tally import Tally
from recsys_ae.evaluation.uncertainty.sample import Sample
from recsys_ae.evaluation.uncertainty.statistics import compare
from recsys_ae.fitted import Fitted
from recsys_ae.models.base import Floats, blocks_of, fitted_on
from recsys_ae.models.factors import FactorModel
from recsys_ae.ranking import exclude, top_k
from recsys_ae.splitting import per_user

METRICS = [f"{family}@{k}" for family in FAMILIES for k in LENGTHS]
SIZES = {"users": 1_000_000, "items": 100_000}
FACTORS, TRAINED, TESTED, TRIED = 64, 10, 5, 40  # items of each user: in the training part, in the test part, to choose from
QUICK, SLOW = ["recbole", "rectools"], ["ranx", "lenskit"]  # whether a peer takes part in every round or only in the first
Rows = NDArray[np.int64]


def movielens() -> Split:
    """The given split, as clicks."""
    folder = Path(os.environ["RECSYS_AE_DATA"], "ml-1m")
    data = pd.read_parquet(folder / "ratings.parquet")
    test = pd.read_parquet(folder / "splits.parquet")["per_user_80_20_test"].to_numpy()
    users, items = IdMap(np.unique(data["user_id"])), IdMap(np.unique(data["item_id"]))
    parts = [Interactions.from_frame(part, rating=None, users=users, items=items) for part in (data[~test], data[test])]
    return Split(parts[0], parts[1].filter(np.zeros(len(parts[1]), bool)), parts[1])


def random_clicks() -> Split:
    seen = np.argwhere(np.random.default_rng(0).random((60, 150)) < 0.3)
    return per_user(Interactions.from_frame(pd.DataFrame(seen, columns=["user_id", "item_id"]), rating=None), test=0.3)


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(works: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each, after one round that is not counted."""
    taken = [[seconds_of(work) for work in works] for _ in range(rounds + 1)]
    return [median(own) for own in zip(*taken[1:], strict=True)]


def top_lists(model: Any, history: Interactions, k: int) -> Rows:
    """The best unseen items [U, k] of all users: nothing but scores and top-k."""
    found = []
    for rows in blocks_of(np.arange(history.n_users), history.n_items):
        scores = model.scores(history, rows)
        exclude(scores, history.matrix[rows])
        found.append(top_k(scores, k)[0])
    return np.concatenate(found)


def values_of(lists: Rows, truth: csr_array) -> Report:
    """The thirty values, from rows."""
    tally, rows = Tally(parse_metrics(METRICS), scored=False), np.arange(len(lists))
    for start in range(0, len(lists), 1000):
        block = rows[start : start + 1000]
        tally.add(RankedLists.of(lists[block], truth[block], LENGTHS[-1]), block)
    return tally.report(rows, rows, {})


def given_lists(split: Split, lists: Rows, peers: str | None, rounds: int) -> dict[str, float]:
    """Seconds by who computes the thirty values; prints them, and the largest difference in a mean from ours."""
    users, places = np.nonzero(lists >= 0)
    ids = {"user_id": split.test.users.values[users], "item_id": split.test.items.values[lists[users, places]]}
    frames = pd.DataFrame({**ids, "rank": places + 1}), split.test.to_frame()
    ours: list[Callable[[], Report]] = [
        lambda: values_of(lists, split.test.matrix),
        lambda: evaluate_recommendations(*frames, METRICS, list_length=LENGTHS[-1]),
    ]
    own, taken = values_of(lists, split.test.matrix).metrics, dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "lists.npz")
        np.savez(file, items=lists, users=split.test.user_rows(), relevant=split.test.item_rows())
        for number in range(rounds):
            for name, work in zip(("here", "here, from frames"), ours, strict=True):
                taken.setdefault(name, []).extend(in_turn([work], 5))
            for library in (QUICK if number else [*QUICK, *SLOW]) if peers else ():
                job = json.dumps({"library": library, "file": str(file), "times": 1 if library == "lenskit" else 5})
                command = [str(peers), str(Path(__file__).with_name("evaluation_peers.py"))]
                done = subprocess.run(command, input=job, stdout=subprocess.PIPE, text=True, check=True).stdout
                found = json.loads(done.splitlines()[-1])
                if "missing" in found:
                    print(f"{library} is skipped: {found['missing']}")
                    continue
                if library not in taken:
                    apart = {name: abs(value - (own[name] or 0)) for name, value in found["values"].items()}
                    equal = sum(difference < 1e-9 for difference in apart.values())
                    print(f"{library}: {equal} of {len(apart)} values are ours, and any others are defined differently")
                taken.setdefault(library, []).append(median(found["seconds"]))
    return {name: median(seconds) for name, seconds in taken.items()}


def ten_models(split: Split, lists: Rows) -> list[Sample]:
    """A sample for each metric: the values of the lists with up to 18 % of the places empty."""
    rng = np.random.default_rng(0)
    reports = [values_of(np.where(rng.random(lists.shape) < 0.02 * model, -1, lists), split.test.matrix) for model in range(10)]
    return [Sample(np.stack([report.per_user[name] for report in reports])) for name in METRICS]


@dataclass
class Planted(FactorModel):
    """Has the factors that the data was made from."""

    def _fit(self, train: Interactions, context: Any) -> Any:
        return fitted_on(train, {"items": factors(train.n_items, 0), "users": factors(train.n_users, 1)})

    def _user_factors(self, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        return fitted.arrays["users"][rows]

    def _item_factors(self, fitted: Fitted) -> Floats:
        return fitted.arrays["items"]


def factors(n: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, FACTORS), np.float32)


def planted_split(users: int, items: int) -> Split:
    """Of 40 random items of each user, those with the highest planted scores are the test part, and some others are known."""
    rng, of_users, of_items, chosen = np.random.default_rng(2), factors(users, 1), factors(items, 0), []
    for start in range(0, users, 1000):
        own = of_users[start : start + 1000]
        tried = np.arange(TRIED) + np.sort(rng.integers(0, items - TRIED, (len(own), TRIED)), axis=1)  # different items
        order = np.argsort(-np.einsum("uh,uth->ut", own, of_items[tried]), axis=1)[:, : TESTED + TRAINED]
        chosen.append(np.take_along_axis(tried, order, axis=1).astype(np.int32))
    ids = IdMap(np.arange(users)), IdMap(np.arange(items))
    test, train = (clicks(np.sort(part, axis=1), *ids) for part in np.split(np.concatenate(chosen), [TESTED], axis=1))
    return Split(train, test.filter(np.zeros(len(test), bool)), test)


def clicks(chosen: Any, users: IdMap, items: IdMap) -> Interactions:
    stored = np.ones(chosen.size, np.float32), chosen.ravel(), np.arange(len(chosen) + 1, dtype=np.int32) * chosen.shape[1]
    return Interactions(csr_array(stored, (len(users), len(items))), users, items)


def million(users: int, items: int) -> dict[str, float]:
    split = planted_split(users, items)
    model = Planted().fit(split.train)
    started = time.perf_counter()
    report = evaluate(model, split, METRICS)
    seconds = time.perf_counter() - started
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 2**10
    return {"seconds": seconds, "peak_mb": peak, "recall@100": report.metrics["recall@100"] or 0.0}


def in_child(sizes: dict[str, int]) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", json.dumps(sizes)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    return dict(json.loads(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="interpreter of an environment with other libraries")
    parser.add_argument("--million", action="store_true", help="evaluate a million users, which takes minutes")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(million(**json.loads(options.child))))
        return
    rounds, split = (1, random_clicks()) if options.smoke else (3, movielens())
    model, history = build_model("ease", {}).fit(split.train), split.history("test")
    lists = top_lists(model, history, LENGTHS[-1])
    taken = given_lists(split, lists, options.peers, rounds)
    for name, seconds in taken.items():
        print(f"thirty values from given lists, {name}: {seconds:.4f} s")
    works = [lambda: top_lists(model, history, LENGTHS[-1]), lambda: evaluate(model, split, METRICS)]
    needed, whole = in_turn(works, 2 * rounds + 1)
    print(f"EASE: scores and top 100 {needed:.3f} s, full evaluation {whole:.3f} s")
    samples = ten_models(split, lists)
    (statistics,) = in_turn([lambda: compare(samples)], rounds)
    print(f"intervals and paired tests of 10 models x {len(METRICS)} metrics: {statistics:.2f} s")
    figures: dict[str, Any] = {
        "speedup_over": {name: round(taken[name] / taken["here"], 2) for name in taken if not name.startswith("here")},
        "full_evaluation_over_scores_and_topk": round(whole / needed, 3),
        "million_users_peak_mb": None,
        "intervals_and_tests_s": round(statistics, 3),
    }
    if options.million or options.smoke:
        sizes = {"users": 300, "items": 500} if options.smoke else SIZES
        found = in_child(sizes)
        print(
            f"{sizes['users']} users x {sizes['items']} items: {found['seconds']:.0f} s, {found['peak_mb']:.0f} MiB at the peak"
        )
        print(f"their recall@100 is {found['recall@100']:.4f}; that of random lists would be {100 / sizes['items']:.4f}")
        figures["million_users_peak_mb"] = round(found["peak_mb"])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
