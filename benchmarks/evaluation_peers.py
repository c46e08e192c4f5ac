"""The other side of `evaluation.py`: the same thirty values with RecBole, ranx, RecTools and LensKit.

Runs in an environment with those packages and without this one, so it imports nothing from this package. A job is a JSON object
on standard input: the library, the number of repetitions, and a file with the lists and the relevant items as rows. The result
is a JSON object on the last line of standard output: the seconds of each repetition, after one that is not counted, and the
values. With `--smoke` it only says which packages are missing.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from recbole_peer import say_what_is_missing

LENGTHS = (5, 10, 20, 50, 100)
FAMILIES = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")
Lists = Any  # int64 [U, K], the items at each rank
Values = dict[str, float]


def recbole(items: Lists, users: Any, relevant: Any) -> Callable[[], Values]:
    """From a matrix of hits that is ready, which RecBole gets from its own scores."""
    vars(np).setdefault("float", float)  # which RecBole needs, and sets itself when it reads a configuration
    evaluator = import_module("recbole.evaluator")
    names = dict(zip(("Precision", "Recall", "NDCG", "MAP", "MRR", "Hit"), FAMILIES, strict=True))
    settings = {"metrics": list(names), "topk": list(LENGTHS), "metric_decimal_place": 12}
    wanted = np.zeros((len(items), max(items.max(), relevant.max()) + 1), bool)
    wanted[users, relevant] = True
    hits = np.c_[np.take_along_axis(wanted, items, axis=1), wanted.sum(axis=1)].astype(np.int64)
    data = evaluator.DataStruct()
    data.set("rec.topk", import_module("torch").from_numpy(hits))
    judge, ours = evaluator.Evaluator(settings), {theirs.lower(): own for theirs, own in names.items()}

    def evaluate() -> Values:
        found = judge.evaluate(data)
        return {f"{ours[name.partition('@')[0]]}@{name.partition('@')[2]}": float(value) for name, value in found.items()}

    return evaluate


def ranx(items: Lists, users: Any, relevant: Any) -> Callable[[], Values]:
    """From ranx's own representation, whose construction takes much longer than the evaluation."""
    library = import_module("ranx")
    qrels: dict[str, dict[str, int]] = {str(user): {} for user in range(len(items))}
    for user, item in zip(users, relevant, strict=True):
        qrels[str(user)][str(item)] = 1
    places = range(items.shape[1], 0, -1)
    run = {
        str(user): {str(item): float(score) for item, score in zip(own, places, strict=True)} for user, own in enumerate(items)
    }
    arguments = library.Qrels(qrels), library.Run(run)
    names = [f"{family}@{k}" for family in FAMILIES for k in LENGTHS]

    def evaluate() -> Values:
        return {name: float(value) for name, value in library.evaluate(*arguments, names).items()}

    return evaluate


def rectools(items: Lists, users: Any, relevant: Any) -> Callable[[], Values]:
    """From data frames with whole numbers as ids."""
    metrics = import_module("rectools.metrics")
    classes = dict(zip(FAMILIES, ("Precision", "Recall", "NDCG", "MAP", "MRR", "HitRate"), strict=True))
    wanted = {f"{family}@{k}": getattr(metrics, kind)(k=k) for family, kind in classes.items() for k in LENGTHS}
    reco = pd.DataFrame({"user_id": np.repeat(np.arange(len(items)), items.shape[1]), "item_id": items.ravel()})
    reco["rank"] = np.tile(np.arange(1, items.shape[1] + 1), len(items))
    truth = pd.DataFrame({"user_id": users, "item_id": relevant})

    def evaluate() -> Values:
        return {name: float(value) for name, value in metrics.calc_metrics(wanted, reco=reco, interactions=truth).items()}

    return evaluate


def lenskit(items: Lists, users: Any, relevant: Any) -> Callable[[], Values]:
    """From LensKit's own collections of lists; it has no average precision."""
    metrics, data = import_module("lenskit.metrics"), import_module("lenskit.data")
    classes = {"precision": "Precision", "recall": "Recall", "ndcg": "NDCG", "mrr": "RecipRank", "hit_rate": "Hit"}
    reco = pd.DataFrame({"user_id": np.repeat(np.arange(len(items)), items.shape[1]), "item_id": items.ravel()})
    reco["rank"] = np.tile(np.arange(1, items.shape[1] + 1), len(items))
    lists = data.ItemListCollection.from_df(reco, "user_id")
    truth = data.ItemListCollection.from_df(pd.DataFrame({"user_id": users, "item_id": relevant}), "user_id")

    def evaluate() -> Values:
        analysis = metrics.RunAnalysis()
        for family, kind in classes.items():
            for k in LENGTHS:
                analysis.add_metric(getattr(metrics, kind)(n=k), f"{family}@{k}")
        means = analysis.measure(lists, truth).list_summary()["mean"]
        return {str(name): float(value) for name, value in means.items()}

    return evaluate


LIBRARIES = {"recbole": recbole, "ranx": ranx, "rectools": rectools, "lenskit": lenskit}


def main() -> None:
    if "--smoke" in sys.argv:
        say_what_is_missing(LIBRARIES)
        return
    warnings.simplefilter("ignore")
    job, seconds = json.load(sys.stdin), []
    try:
        evaluate = LIBRARIES[job["library"]](**np.load(job["file"]))
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    values = evaluate()
    for _ in range(job["times"]):
        started = time.perf_counter()
        evaluate()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "values": values}))


if __name__ == "__main__":
    main()
