"""The largest difference between our values per user and those of other libraries, where the definitions coincide.

    RECSYS_AE_DATA=... python benchmarks/metric_agreement.py [--smoke] [--peers PYTHON]

Top-100 lists of EASE for MovieLens 1M (given split `per-user-80-20`, ratings as grades), and lists of users with all kinds of
oddities: fewer items than K, none, no hit, everything relevant, K beyond the catalogue. PYTHON is the interpreter of an
environment with pytrec-eval-terrier, scikit-learn, ranx, RecTools, LensKit and RecBole, some of which do not install beside
this package; without it, those that this environment has are compared. Prints two tables for each kind of lists: the largest
differences, and means of metrics of the same name with another definition. The last line is a JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, load_npz, random_array, save_npz

LIBRARIES = {  # module to find, by name
    "pytrec_eval": "pytrec_eval",
    "scikit-learn": "sklearn",
    "ranx": "ranx",
    "RecTools": "rectools",
    "LensKit": "lenskit",
    "RecBole": "recbole",
}
KS = (10, 100)
OURS = (
    *("precision", "recall", "capped_recall", "ndcg", "graded_ndcg", "exponential_ndcg", "map", "uncapped_map", "mrr"),
    *("hit_rate", "r_precision", "rbp", "auc", "average_popularity", "coverage", "gini", "entropy"),
)
Values = dict[str, Any]  # metric -> values per user, or one value; a name that ends with ! has another definition than ours


class Lists(SimpleNamespace):
    """`items` int64 [U, P], -1 in empty places; csr_arrays `truth` [U, M] of ratings and `history` [U, M] of ones."""

    @classmethod
    def load(cls, folder: Path) -> "Lists":
        parts = {name: csr_array(load_npz(folder / f"{name}.npz")) for name in ("truth", "history")}
        return cls(items=np.load(folder / "items.npy"), **parts)

    def save(self, folder: Path) -> None:
        np.save(folder / "items.npy", self.items)
        for name in ("truth", "history"):
            save_npz(folder / f"{name}.npz", getattr(self, name))

    def of_user(self, k: int) -> Iterator[list[int]]:
        """The first `k` items of each user."""
        for row in self.items[:, :k]:
            yield row[row >= 0].tolist()

    def frame(self) -> pd.DataFrame:
        user, place = np.nonzero(self.items >= 0)
        return pd.DataFrame({"user_id": user, "item_id": self.items[user, place], "rank": place + 1})

    @property
    def full(self) -> bool:
        return bool((self.items >= 0).all())


def of_ease(folder: Path, length: int) -> Lists:
    """The lists of EASE for MovieLens 1M."""
    from recsys_ae import Split, build_model, recommend

    ratings = pd.read_parquet(folder / "ml-1m/ratings.parquet")
    test = pd.read_parquet(folder / "ml-1m/splits.parquet")["per_user_80_20_test"].to_numpy()
    split = Split.from_frames(ratings[~test], ratings[test])
    split_rows = np.flatnonzero(np.diff(split.test.matrix.indptr))
    found = recommend(build_model("ease", {"l2": 500.0}).fit(split.train), split.train, k=length)
    truth, history = split.test.matrix[split_rows], split.train.matrix[split_rows]
    return Lists(items=found.item_rows[split_rows], truth=truth, history=history)


def odd(users: int, seed: int) -> Lists:
    """Lists of 0 to 20 of 40 items; from 1 to all unseen items are relevant, with whole ratings from 1 to 5."""
    rng = np.random.default_rng(seed)
    history = csr_array(random_array((users, 40), density=0.3, rng=rng, dtype=np.float32))
    history.data[:] = 1
    seen, items = history.toarray() > 0, np.full((users, 20), -1)
    truth = np.zeros((users, 40), np.float32)
    for user in range(users):
        unseen = rng.permutation(np.flatnonzero(~seen[user]))
        own = rng.permutation(unseen)[: rng.integers(0, 21)]
        items[user, : len(own)] = own
        wanted = unseen[: rng.integers(1, len(unseen) + 1)] if user % 5 else unseen
        truth[user, wanted] = rng.integers(1, 6, len(wanted))
    return Lists(items=items, truth=csr_array(truth), history=history)


def ours(lists: Lists) -> dict[str, Any]:
    """Our values per user, and those of the catalogue."""
    from recsys_ae import evaluate_recommendations

    truth, history = (pd.DataFrame(dict(zip(["user_id", "item_id"], part.nonzero(), strict=True))) for part in parts_of(lists))
    truth["rating"] = lists.truth.data
    metrics = [f"{name}@{k}" for name in OURS for k in KS]
    report = evaluate_recommendations(lists.frame(), truth, metrics, list_length=max(KS), history=history)
    assert report.users.tolist() == list(range(len(lists.items)))
    return {name: report.per_user.get(name, report.metrics[name]) for name in metrics}


def parts_of(lists: Lists) -> tuple[csr_array, csr_array]:
    return lists.truth, lists.history


def entries_of(matrix: csr_array) -> Iterator[tuple[list[int], list[float]]]:
    for start, end in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        yield matrix.indices[start:end].tolist(), matrix.data[start:end].tolist()


def qrels_and_runs(lists: Lists, k: int) -> tuple[Any, Any, Any]:
    """Binary and graded relevance and runs of length `k` as nested dictionaries; a user without a list gets a wrong item."""
    graded = {
        str(user): {str(i): int(r) for i, r in zip(*own, strict=True)} for user, own in enumerate(entries_of(lists.truth))
    }
    binary = {user: dict.fromkeys(own, 1) for user, own in graded.items()}
    runs = {str(user): {str(i): float(k - place) for place, i in enumerate(own)} for user, own in enumerate(lists.of_user(k))}
    return binary, graded, {user: own or {"none": 1.0} for user, own in runs.items()}


def trec_eval(lists: Lists, k: int) -> Values:
    import pytrec_eval

    binary, graded, runs = qrels_and_runs(lists, k)
    names = {"precision": f"P.{k}", "recall": f"recall.{k}", "ndcg": f"ndcg_cut.{k}", "uncapped_map": f"map_cut.{k}"}
    names |= {"mrr": "recip_rank", "hit_rate": f"success.{k}", "r_precision": "Rprec"}
    found = pytrec_eval.RelevanceEvaluator(binary, set(names.values())).evaluate(runs)
    rated = pytrec_eval.RelevanceEvaluator(graded, {f"ndcg_cut.{k}"}).evaluate(runs)
    users = [str(user) for user in range(len(lists.items))]
    values = {name: [found[user][theirs.replace(".", "_")] for user in users] for name, theirs in names.items()}
    return {**values, "graded_ndcg": [rated[user][f"ndcg_cut_{k}"] for user in users]}


def scikit_learn(lists: Lists, k: int) -> Values:
    from sklearn.metrics import dcg_score, roc_auc_score

    known = np.bincount(lists.history.indices, minlength=lists.truth.shape[1]) > 0
    values: Values = {name: [] for name in ("ndcg", "graded_ndcg", "exponential_ndcg", "auc")}
    for own, (wanted, ratings), (seen, _) in zip(
        lists.of_user(k), entries_of(lists.truth), entries_of(lists.history), strict=True
    ):
        truth, scores, candidates = np.zeros(len(known)), np.zeros(len(known)), known.copy()
        truth[wanted], scores[own] = ratings, np.arange(len(own), 0, -1)
        candidates[seen] = False
        candidates[[*own, *wanted]] = True
        for name, gains in (("ndcg", (truth > 0) * 1.0), ("graded_ndcg", truth), ("exponential_ndcg", 2**truth - 1)):
            # Beyond the list all scores are equal, and scikit-learn would average the gains there.
            found = dcg_score([gains], [scores], k=len(own)) if own else 0.0
            values[name].append(found / dcg_score([gains], [gains], k=k))
        both = 0 < (truth[candidates] > 0).sum() < candidates.sum()
        values["auc"].append(roc_auc_score(truth[candidates] > 0, scores[candidates]) if both else np.nan)
    return values


def ranx(lists: Lists, k: int) -> Values:
    from ranx import Qrels, Run, evaluate

    binary, graded, runs = qrels_and_runs(lists, k)
    names = {"precision": f"precision@{k}", "recall": f"recall@{k}", "ndcg": f"ndcg@{k}", "uncapped_map": f"map@{k}"}
    names |= {"mrr": f"mrr@{k}", "hit_rate": f"hit_rate@{k}", "r_precision": "r-precision", "rbp": "rbp.80"}
    values: Values = {}
    for qrels, chosen in (
        (binary, names),
        (graded, {"graded_ndcg": f"ndcg@{k}", "exponential_ndcg": f"ndcg_burges@{k}"}),
    ):
        run = Run.from_dict(runs)
        evaluate(Qrels.from_dict(qrels), run, list(chosen.values()))
        values |= {name: [run.scores[theirs][str(user)] for user in range(len(lists.items))] for name, theirs in chosen.items()}
    return {**values, "map!": values["uncapped_map"]}


def rectools(lists: Lists, k: int) -> Values:
    from rectools import metrics

    truth, history = (pd.DataFrame(dict(zip(["user_id", "item_id"], part.nonzero(), strict=True))) for part in parts_of(lists))
    reco, users = lists.frame(), np.arange(len(lists.items))
    classes = {
        "precision": metrics.Precision(k=k),
        "recall": metrics.Recall(k=k),
        "capped_recall": metrics.Precision(k=k, r_precision=True),
        "ndcg": metrics.NDCG(k=k, divide_by_achievable=True),
        "ndcg!": metrics.NDCG(k=k),
        "uncapped_map": metrics.MAP(k=k),
        "map!": metrics.MAP(k=k),
        "mrr": metrics.MRR(k=k),
        "hit_rate": metrics.HitRate(k=k),
    }
    values = {name: metric.calc_per_user(reco, truth).reindex(users) for name, metric in classes.items()}
    popularity = metrics.AvgRecPopularity(k=k).calc_per_user(reco, history)
    items = set(history["item_id"]) | set(reco["item_id"][reco["rank"] <= k])
    covered = metrics.CatalogCoverage(k=k, normalize=True).calc(reco, items)
    return {**values, "average_popularity": popularity.reindex(users).fillna(0), "coverage": covered}


def lenskit(lists: Lists, k: int) -> Values:
    from lenskit.data import ItemList
    from lenskit.metrics import NDCG, RBP, Hit, Precision, Recall, RecipRank
    from lenskit.metrics.ranking import AveragePrecision, LogRankWeight

    classes = {
        "capped_recall": Recall(k),
        "recall!": Recall(k),
        "ndcg": NDCG(k, weight=LogRankWeight(offset=1)),
        "ndcg!": NDCG(k),  # with the same weight for the first two ranks
        "graded_ndcg": NDCG(k, weight=LogRankWeight(offset=1), gain="rating"),
        "mrr": RecipRank(k),
        "hit_rate": Hit(k),
        "rbp": RBP(k, patience=0.8),
    }
    by_length = {"precision": Precision(k), "map": AveragePrecision(k)}  # divided by the length of the list, not by K
    long = lists.full and lists.items.shape[1] >= k
    classes |= by_length if long else {f"{name}!": metric for name, metric in by_length.items()}
    truth = [ItemList(item_ids=np.array(items), rating=np.array(ratings)) for items, ratings in entries_of(lists.truth)]
    found = [ItemList(item_ids=np.array(own, np.int64), ordered=True) for own in lists.of_user(k)]
    values: Values = {}
    for name, metric in classes.items():
        values[name] = [
            metric.measure_list(own, wanted) if len(own) else np.nan if name.endswith("!") else 0.0
            for own, wanted in zip(found, truth, strict=True)
        ]
    return values


def recbole(lists: Lists, k: int) -> Values:
    setattr(np, "float", float)  # noqa: B010 - which RecBole does as well
    from recbole.evaluator import metrics

    config = {"topk": [k], "metric_decimal_place": 17}
    items = np.pad(lists.items[:, :k], ((0, 0), (0, max(0, k - lists.items.shape[1]))), constant_values=-1)
    wanted = lists.truth.toarray() > 0
    hits = np.take_along_axis(wanted, np.maximum(items, 0), axis=1) & (items >= 0)
    lengths = wanted.sum(axis=1)
    values: Values = {
        "precision": metrics.Precision(config).metric_info(hits),
        "recall": metrics.Recall(config).metric_info(hits, lengths),
        "ndcg": metrics.NDCG(config).metric_info(hits, lengths),
        "map": metrics.MAP(config).metric_info(hits, lengths),
        "mrr": metrics.MRR(config).metric_info(hits),
        "hit_rate": metrics.Hit(config).metric_info(hits),
    }
    values = {name: value[:, k - 1] for name, value in values.items()}
    if lists.full and lists.items.shape[1] >= k:
        number = len({*lists.history.indices} | {*items.ravel()})
        values["coverage"] = metrics.ItemCoverage(config).get_coverage(items, number)
        values["gini"] = metrics.GiniIndex(config).get_gini(items, number)
        nats = metrics.ShannonEntropy(config).get_entropy(items)  # divided by the number of listed items
        values |= {"entropy!": nats, "entropy": nats * len(np.unique(items)) / np.log(2)}
    return values


PEERS: dict[str, Callable[[Lists, int], Values]] = dict(
    zip(LIBRARIES, (trec_eval, scikit_learn, ranx, rectools, lenskit, recbole), strict=True)
)


def serve(name: str, folder: Path) -> None:
    """Run by the interpreter of the peers: write the values of one of them, or nothing if it is not installed."""
    warnings.filterwarnings("ignore")
    if find_spec(LIBRARIES[name]) is None:
        return
    lists = Lists.load(folder)
    found = {f"{metric}@{k}": np.asarray(value, float) for k in KS for metric, value in PEERS[name](lists, k).items()}
    np.savez(folder / f"{name}.npz", **found)


def compared(lists: Lists, python: str) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """The largest difference by metric and library, and the means of metrics of the same name and another definition."""
    own, largest, others = ours(lists), dict[str, dict[str, float]](), dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name:
        lists.save(Path(name))
        for library in LIBRARIES:
            subprocess.run([python, __file__, "--serve", library, name], check=True, stdout=subprocess.DEVNULL)
            if not (path := Path(name, f"{library}.npz")).exists():
                continue
            for metric, values in np.load(path).items():
                if "!" in metric:
                    row = others.setdefault(metric.replace("!", ""), {"recsys-ae": np.nanmean(own[metric.replace("!", "")])})
                    row[library] = np.nanmean(values)
                else:
                    expected = np.asarray(own[metric], float)
                    assert (np.isnan(values) == np.isnan(expected)).all(), (library, metric)
                    largest.setdefault(metric, {})[library] = float(np.nanmax(np.abs(values - expected), initial=0))
    return largest, others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--peers", default=sys.executable, help="the Python of an environment with the other libraries")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], Path(options.serve[1]))
        return
    kinds = {"odd lists": odd(20 if options.smoke else 2000, seed=0)}
    if not options.smoke:
        kinds = {"EASE on ML-1M": of_ease(Path(os.environ["RECSYS_AE_DATA"]), max(KS)), **kinds}
    result: dict[str, Any] = {}
    for kind, lists in kinds.items():
        largest, others = compared(lists, options.peers)
        for title, rows, form in (("largest differences", largest, "%.0e"), ("other definitions", others, "%.4f")):
            print(f"\n{kind}: {title}\n{pd.DataFrame(rows).T.to_string(float_format=form, na_rep='')}")
        result[kind] = {"largest": largest, "other definitions": others}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
