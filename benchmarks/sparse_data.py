"""Rankers with their defaults on few interactions of each user, over popularity.

    RECSYS_AE_DATA=... python benchmarks/sparse_data.py [--models NAME ...] [--interactions N ...] [--smoke]

Of the training parts of MovieLens 1M (`per-user-80-20`) and 100K (`u1`), as clicks, n random interactions of each user are the
training data; there is no validation part. Each model ranks the other interactions of the training part, of which there are
many, so that the ratios are exact to about 1 %. Prints NDCG@10 over that of popularity with its 95 % interval over users; the
last line is a JSON object.
"""

import argparse
import json

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae import Interactions, build_model
from recsys_ae.data.cards import read_card
from recsys_ae.data.ratings import load_given_split
from recsys_ae.models.base import Recommender, blocks_of, finite_scores
from recsys_ae.ranking import exclude, hits, ndcg, top_k
from recsys_ae.splitting import sample_per_user

PARTS = {"ml-1m": "per-user-80-20", "ml-100k": "u1"}
RANKERS = ["ease", "sparse_ease", "elsa", "cdae", "multvae", "multdae", "als", "bpr", "itemknn", "rp3beta", "gf_cf", "chebycf"]


def training_part(name: str) -> Interactions:
    card, folder = read_card(name)
    return load_given_split(card, folder, PARTS[name]).train.binarise(0)


def ndcg_per_user(model: Recommender, train: Interactions, rest: Interactions) -> NDArray[np.float64]:
    users = np.flatnonzero((np.diff(train.matrix.indptr) > 0) & (np.diff(rest.matrix.indptr) > 0))
    values = []
    for rows in blocks_of(users, train.n_items):
        scores, relevant = np.array(finite_scores(model, train, rows)), rest.matrix[rows]
        exclude(scores, train.matrix[rows])
        values.append(ndcg(hits(top_k(scores, 10)[0], relevant), np.diff(relevant.indptr), 10))
    return np.concatenate(values)


def of_popular_items() -> Interactions:
    """Fifteen items of each of 80 users, chosen by nothing but popularity."""
    chances = 1.0 / np.arange(1, 41)
    rng = np.random.default_rng(0)
    rows = [(user, item) for user in range(80) for item in rng.choice(40, 15, replace=False, p=chances / chances.sum())]
    return Interactions.from_frame(pd.DataFrame(rows, columns=["user_id", "item_id"]), rating=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=RANKERS)
    parser.add_argument("--interactions", nargs="+", type=int, default=[10, 3, 1], help="of each user")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    given = parser.parse_args()
    names = ["als", "itemknn"] if given.smoke else given.models
    parts = {"small": of_popular_items()} if given.smoke else {name: training_part(name) for name in PARTS}
    figures: dict[str, dict[str, float]] = {}
    for part, data in parts.items():
        for n in given.interactions:
            train = sample_per_user(data, n)
            rest = data.filter(~data.shared_with(train))
            base = ndcg_per_user(build_model("popularity", {}).fit(train), train, rest)
            found = figures[f"{part} /{n}"] = {}
            for name in names:
                above = ndcg_per_user(build_model(name, {}).fit(train), train, rest) - base
                found[name] = 1 + above.mean() / base.mean()
                half = 1.96 * above.std() / len(above) ** 0.5 / base.mean()
                print(f"{part} /{n} {name}: {found[name]:.3f} +-{half:.3f}", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
