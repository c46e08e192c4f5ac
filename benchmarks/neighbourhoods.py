"""Neighbourhoods, graph filters and EASE on validation parts of many kinds of data, none of which should be below popularity.

    RECSYS_AE_DATA=... python benchmarks/neighbourhoods.py [--smoke]

MovieLens 1M (training part of the given split `per-user-80-20`), MovieLens 100K and Yoochoose (`train.txt`, sessions as users),
all as clicks, MovieLens with 1, 3 and 10 training interactions per user, and a synthetic log with a long tail. NDCG@10 without
seen items; test parts are not used. Prints a table; the last line is a JSON object.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_ae import Interactions, Split, build_model, evaluate
from recsys_ae.splitting import leave_last, per_user, sample_per_user

PUBLISHED = {"shrinkage": 0.0, "popularity": 0.0}
RIVALS = {
    "popularity": ("popularity", {}),
    **{f"itemknn {kind}": ("itemknn", {"similarity": kind}) for kind in ("cosine", "tfidf", "bm25")},
    "itemknn tfidf, as published": ("itemknn", PUBLISHED),
    **{f"rp3beta {beta}": ("rp3beta", {"beta": beta}) for beta in (0.0, 0.3, 0.6)},
    "rp3beta 0.3, as published": ("rp3beta", PUBLISHED),
    "gf_cf": ("gf_cf", {}),
    "chebycf": ("chebycf", {}),
    "ease": ("ease", {}),
}
FEW = (1, 3, 10)  # interactions per user that are left of the training part


def real_data(folder: Path) -> dict[str, Interactions]:
    ml_1m = pd.read_parquet(folder / "ml-1m/ratings.parquet")
    test = pd.read_parquet(folder / "ml-1m/splits.parquet")["per_user_80_20_test"].to_numpy()
    ml_100k = pd.read_csv(folder / "ml-100k/u.data", sep="\t", names=["user_id", "item_id", "rating", "time"])
    sessions = pd.read_csv(folder / "yoochoose/train.txt", sep="\t")
    return {
        "ml-1m": Interactions.from_frame(ml_1m[~test], rating=None),
        "ml-100k": Interactions.from_frame(ml_100k, rating=None, time="time"),
        "yoochoose": Interactions.from_frame(
            sessions, user="SessionId", item="ItemId", rating=None, time="Time", duplicates="max"
        ),
    }


def long_tail(users: int, items: int) -> Interactions:
    """A synthetic log: 50 different items per user, mostly from three of 40 groups, most items with few users."""
    rng = np.random.default_rng(1)
    popularity, group = np.arange(1, items + 1) ** -0.9, rng.integers(0, 40, items)
    rows = []
    for user in range(users):
        weight = popularity * np.where(np.isin(group, rng.integers(0, 40, 3)), 30, 1)
        rows += [(user, item) for item in rng.choice(items, 50, replace=False, p=weight / weight.sum())]
    return Interactions.from_frame(pd.DataFrame(rows, columns=["user_id", "item_id"]), rating=None)


def splits(data: dict[str, Interactions]) -> dict[str, Split]:
    """Two random splits of each log, a split by the last but one event and thinned ones of MovieLens."""
    found = {}
    for name, log in data.items():
        test, valid = (0.2 if log.times is not None else 0.0), (0.1 if name.startswith("ml") else 0.2)
        found |= {f"{name}, seed {seed}": per_user(log, test=test, valid=valid, seed=seed) for seed in (0, 1)}
        if log.times is not None:
            found[f"{name}, last"] = leave_last(log, test=1, valid=1)
        if name.startswith("ml"):
            found |= {f"{name}, {few} per user": thinned(found[f"{name}, seed 0"], few) for few in FEW}
    return found


def thinned(split: Split, few: int) -> Split:
    """The split with at most a few training interactions of each user."""
    return Split(sample_per_user(split.train, few), split.valid, split.test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    smoke = parser.parse_args().smoke
    data = {} if smoke else real_data(Path(os.environ["RECSYS_AE_DATA"]))
    parts = splits({**data, "long tail": long_tail(*((60, 300) if smoke else (1900, 17_000)))})
    figures: dict[str, dict[str, float | None]] = {}
    for label, (kind, params) in RIVALS.items():
        figures[label] = {
            name: evaluate(build_model(kind, params).fit(split.train), split, "ndcg@10", part="valid").metrics["ndcg@10"]
            for name, split in parts.items()
        }
    print(pd.DataFrame(figures).T.round(4).to_string())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
