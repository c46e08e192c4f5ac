"""Models on a catalogue too large for a dense item-item matrix, and EASE on about the largest catalogue it can handle.

    python benchmarks/large_catalogues.py [cdae elsa sparse_ease]       # 200,000 items, 2 million interactions
    python benchmarks/large_catalogues.py --ease [--items 41000]        # EASE alone, 5 million interactions
    python benchmarks/large_catalogues.py --smoke                       # smoke test on a tiny catalogue

The data is synthetic: items belong to clusters of about 100, each user likes three clusters, and two thirds of a user's
interactions are with items of these. Popularity is proportional to 1 / rank, within a cluster and overall. A fifth of the
interactions of 2000 users is held out. Each model is trained in its own process. Reported are the seconds of `fit`, the peak
memory of the process (data and evaluation included), and recall@20 without seen items.

`--ease` also checks the fitted weights: for some items, the residual of the equations (G + l2) B = G that define them, relative
to the right-hand side.

Prints a table; the last line is a JSON object.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae import build_model
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.events import Events
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models import MODELS
from recsys_ae.split import Split

PARAMS: dict[str, dict[str, Any]] = {"cdae": {"epochs": 10}, "elsa": {"epochs": 5}}
USERS, ITEMS, INTERACTIONS = 100_000, 200_000, 2_000_000
EASE_ITEMS, EASE_PER_ITEM = 41_000, 5_000_000 / 41_000
CLUSTER, LIKED, IN_CLUSTER = 100, 3, 2 / 3
TESTED, SHARE, BATCH = 2000, 0.2, 100
CHECKED = 5


def planted(users: int, items: int, interactions: int) -> Interactions:
    """About `interactions` clicks, see above."""
    rng = np.random.default_rng(0)
    popularity = rng.permutation(1 / np.arange(1, items + 1))
    first = np.arange(0, items, CLUSTER)
    reach = np.r_[0, np.cumsum(popularity)]
    activity = rng.lognormal(0, 0.7, users)
    tries = int(1.3 * interactions)  # some pairs are drawn repeatedly
    user = rng.choice(users, tries, p=activity / activity.sum())
    liked = rng.integers(0, len(first), (users, LIKED))[user, rng.integers(0, LIKED, tries)]
    in_cluster = rng.random(tries) < IN_CLUSTER
    low = np.where(in_cluster, reach[first[liked]], 0)
    high = np.where(in_cluster, reach[np.minimum(first[liked] + CLUSTER, items)], reach[-1])
    item = np.minimum(np.searchsorted(reach, low + (high - low) * rng.random(tries), side="right") - 1, items - 1)
    pairs = rng.permutation(np.unique(user * items + item))[:interactions]
    user, item = np.divmod(np.sort(pairs), items)
    return Interactions.from_events(
        Events(user, item, np.ones(len(user), np.float32)), IdMap(np.arange(users)), IdMap(np.arange(items))
    )


def planted_split(*sizes: int) -> Split:
    """A fifth of the interactions of 2000 users is the test part."""
    data, rng = planted(*sizes), np.random.default_rng(1)
    tested = np.zeros(data.n_users, bool)
    tested[rng.choice(data.n_users, min(TESTED, data.n_users), replace=False)] = True
    out = tested[data.user_rows()] & (rng.random(len(data)) < SHARE)
    return Split(data.filter(~out), data.filter(np.zeros(len(data), bool)), data.filter(out))


def train(name: str, *sizes: int) -> dict[str, Any]:
    split = planted_split(*sizes)
    started = time.perf_counter()
    model = build_model(name, PARAMS.get(name, {})).fit(split.train, seed=0)
    seconds = time.perf_counter() - started
    recall = evaluate(model, split, ["recall@20"], batch_users=BATCH).metrics["recall@20"]
    return {"seconds": seconds, "recall@20": recall, "memory_gb": peak_memory()}


def train_ease(*sizes: int) -> dict[str, Any]:
    data = planted(*sizes)
    started = time.perf_counter()
    model = build_model("ease", {}).fit(data, seed=0)
    minutes = (time.perf_counter() - started) / 60
    worst = residual(ones(data.matrix), model.fitted.arrays["weights"], model.l2)
    return {"items": data.n_items, "minutes": minutes, "residual": worst, "memory_gb": peak_memory()}


def residual(x: csr_array, weights: NDArray[np.float32], l2: float) -> float:
    """The largest |(G + l2) b - g| / |g| over the columns of some items, without the diagonal entry, where G = X^T X."""
    size = np.bincount(x.indices, minlength=x.shape[1])
    misses = []
    for item in np.argsort(-size, kind="stable")[np.linspace(0, (size > 0).sum() - 1, CHECKED).astype(int)]:
        b = weights[:, item].astype(np.float64)
        g = x.T @ x[:, [item]].toarray()[:, 0].astype(np.float64)
        miss = x.T @ (x @ b) + l2 * b - g
        miss[item] = g[item] = 0
        misses.append(np.linalg.norm(miss) / max(np.linalg.norm(g), 1e-12))
    return max(misses)


def peak_memory() -> float:
    """Peak memory of this process in GB. In a child process, getrusage would return the peak of the parent."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024 / 1e9


def in_child(work: Callable[..., Any], arguments: list[Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", json.dumps([work.__name__, *arguments])]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="default: cdae elsa sparse_ease")
    parser.add_argument("--smoke", action="store_true", help="EASE and one other model on a tiny catalogue")
    parser.add_argument("--ease", action="store_true", help="fit EASE on its largest catalogue, and other models only if named")
    parser.add_argument("--items", type=int, help="size of the catalogue, with the same number of interactions per item")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work, *arguments = json.loads(options.child)
        print(json.dumps({"train": train, "train_ease": train_ease}[work](*arguments)))
        return
    users = USERS
    if options.smoke:
        users, options.models, options.ease, options.items = 300, ["sparse_ease"], True, 500
    results: dict[str, dict[str, Any]] = {}
    names = options.models or ([] if options.ease else ["cdae", "elsa", "sparse_ease"])
    items = options.items or ITEMS
    sizes = [users, items, items * INTERACTIONS // ITEMS]
    print(f"{'model':14}{'seconds':>10}{'GB':>8}{'recall@20':>11}{'x popularity':>14}")
    for name in ["popularity", *names] if names else []:
        if name not in MODELS:
            print(f"{name:14} is skipped: there is no such model", flush=True)
            continue
        found = results[name] = in_child(train, [name, *sizes])
        ratio = found["recall@20"] / results["popularity"]["recall@20"]
        print(f"{name:14}{found['seconds']:10.1f}{found['memory_gb']:8.2f}{found['recall@20']:11.4f}{ratio:14.1f}", flush=True)
    if options.ease:
        items = options.items or EASE_ITEMS
        found = results[f"ease_{items}"] = in_child(train_ease, [users, items, round(items * EASE_PER_ITEM)])
        print(
            f"ease on {items} items: {found['minutes']:.1f} minutes, {found['memory_gb']:.2f} GB, "
            f"largest relative residual {found['residual']:.1e}"
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
