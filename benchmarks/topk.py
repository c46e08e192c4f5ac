"""The best items of every user: this package, `implicit`, NumPy's `argpartition`, and the product of the factors alone.

    RECSYS_AE_DATA=... python benchmarks/topk.py [--rounds 5]
    python benchmarks/topk.py --smoke         # tiny sizes, once

    als        ALS with 64 factors on MovieLens 1M, top 100 of unseen items for all 6,040 users. `here` is `recommend` from the
               fitted model and the history; `here, new users` is the same for users whose vectors are not known. `implicit`
               has its own fitted model, and its user vectors.
    ease       EASE on the same data. The product is that of the sparse history and the dense weights; `implicit` has no EASE.
    planted    20,000 users and 100,000 items with 64 random factors, top 100 of all items. Random factors of equal length are
               the hardest case: no item is so short that it can be left out.
    long tail  The same, with items whose lengths fall with their rank, as those of fitted models do.
    spark      259,137 users and 39,443 items with 10 random factors, top 10. 16 seconds on 4 x 48 cores
               were published for Spark's `recommendForAllUsers` (apache/spark#17845).

The product is computed by NumPy in blocks of 1,024 users into the same memory, and nothing is done with it. All sides have two
threads unless the environment says otherwise; they take turns, and figures are medians over rounds.

Prints a table; the last line is a JSON object.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from recsys_ae import ALS, EASE, Interactions, recommend
from recsys_ae.interactions import ones
from recsys_ae.ranking import ColumnFactors, Product, exclude, top_k

BLOCK, K = 1024, 100
Floats = NDArray[np.float32]


def clicks(smoke: bool) -> Interactions:
    """MovieLens 1M, every rating an interaction; or random clicks of 60 users on 40 items."""
    if smoke:
        seen = np.argwhere(np.random.default_rng(0).random((60, 40)) < 0.2)
        return Interactions.from_frame(pd.DataFrame(seen, columns=["user_id", "item_id"]), rating=None)
    ratings = pd.read_parquet(Path(os.environ["RECSYS_AE_DATA"], "ml-1m", "ratings.parquet"))
    return Interactions.from_frame(ratings[["user_id", "item_id"]], rating=None)


def blocks(n: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def bare_product(left: Any, right: Floats) -> Callable[[], Any]:
    """left [N, H], dense or sparse, times right [H, M], block by block."""
    buffer = np.empty((BLOCK, right.shape[1]), np.float32)

    def work() -> None:
        for block in blocks(left.shape[0]):
            if isinstance(left, csr_array):
                left[block] @ right
            else:
                np.matmul(left[block], right, out=buffer[: block.stop - block.start])

    return work


def with_argpartition(left: Any, right: Floats, k: int, seen: csr_array | None) -> Callable[[], Any]:
    """The lists of the same product by `argpartition`, sorted."""

    def work() -> None:
        for block in blocks(left.shape[0]):
            scores = left[block] @ right
            if seen is not None:
                exclude(scores, seen[block])
            best = np.argpartition(-scores, min(k, scores.shape[1] - 1), axis=1)[:, :k]
            np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1), axis=1)

    return work


def of_factors(users: Floats, items: Floats, k: int) -> Callable[[], Any]:
    """The lists by this package."""

    def work() -> None:
        columns = ColumnFactors.of(items)
        for block in blocks(len(users)):
            top_k(Product(users[block], columns), k)

    return work


def by_implicit(model: Any, n_users: int, k: int, seen: csr_matrix | None) -> Callable[[], Any]:
    return lambda: model.recommend(np.arange(n_users), seen, N=k, filter_already_liked_items=seen is not None)


def als_works(data: Interactions, k: int) -> dict[str, Callable[[], Any]]:
    model, peer = ALS(popularity=0).fit(data, seed=0), AlternatingLeastSquares(factors=64, regularization=20, alpha=2)
    seen = csr_matrix(ones(data.matrix), dtype=np.float32)
    peer.fit(seen, show_progress=False)
    ids = np.array([f"new {user}" for user in data.users.values])
    frame = data.to_frame().assign(user_id=lambda one: "new " + one["user_id"].astype(str))
    strangers = Interactions.from_frame(frame, rating=None, items=data.items)
    assert len(strangers.users) == len(ids)
    users, items = model.user_vectors(data, np.arange(data.n_users)), model.item_vectors()
    return {
        "here": lambda: recommend(model, data, k=k),
        "here, new users": lambda: recommend(model, strangers, k=k),
        "implicit": by_implicit(peer, data.n_users, k, seen),
        "argpartition": with_argpartition(users, items.T, k, data.matrix),
        "product": bare_product(users, items.T),
    }


def ease_works(data: Interactions, k: int) -> dict[str, Callable[[], Any]]:
    model = EASE().fit(data)
    assert model.fitted is not None
    x, weights = ones(data.matrix), model.fitted.arrays["weights"]
    return {
        "here": lambda: recommend(model, data, k=k),
        "argpartition": with_argpartition(x, weights, k, data.matrix),
        "product": bare_product(x, weights),
    }


def factor_works(n_users: int, n_items: int, height: int, k: int, tail: float = 0.0) -> dict[str, Callable[[], Any]]:
    """Random factors; those of the item of rank r are shorter by r^-tail."""
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, height)).astype(np.float32) for n in (n_users, n_items))
    items *= (rng.permutation(np.arange(1, n_items + 1))[:, None] ** -tail).astype(np.float32)
    peer = AlternatingLeastSquares(factors=height)
    peer.user_factors, peer.item_factors = users, items
    return {
        "here": of_factors(users, items, k),
        "implicit": by_implicit(peer, n_users, k, None),
        "argpartition": with_argpartition(users, items.T, k, None),
        "product": bare_product(users, items.T),
    }


def measure(case: str, works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; prints them. What takes longer than ten seconds is run once."""
    taken: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, work in works.items():
            if number and taken[name][-1] > 10:
                continue
            started = time.perf_counter()
            work()
            taken.setdefault(name, []).append(time.perf_counter() - started)
    found = {name: median(own[1:] or own) for name, own in taken.items()}  # the first run may compile
    print(f"{case:10}" + "".join(f"{name:>18} {seconds:8.3f} s" for name, seconds in found.items()), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, once")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # implicit's about BLAS threads
    rounds, shrink, k = (1, 200, 5) if options.smoke else (options.rounds, 1, K)
    data = clicks(options.smoke)
    als, ease = measure("als", als_works(data, k), rounds), measure("ease", ease_works(data, k), rounds)
    sizes = 20_000 // shrink, 100_000 // shrink, 64
    planted = measure("planted", factor_works(*sizes, k), rounds)
    tail = measure("long tail", factor_works(*sizes, k, tail=0.3), rounds)
    spark = measure("spark", factor_works(259_137 // shrink, 39_443 // shrink, 10, min(k, 10)), rounds)
    figures = {
        "als_over_implicit": als["here"] / als["implicit"],
        "als_new_users_over_implicit": als["here, new users"] / als["implicit"],
        "ease_over_product": ease["here"] / ease["product"],
        "planted_over_product": planted["here"] / planted["product"],
        "planted_over_implicit": planted["here"] / planted["implicit"],
        "long_tail_over_product": tail["here"] / tail["product"],
        "spark_size_seconds": spark["here"],
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
