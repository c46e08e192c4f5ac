"""Small data with known answers, made of code so that a test shows what it is about.

Rectangular and asymmetric throughout: swapping users and items cannot go unseen.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_ae.features import FeatureTable
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions

N_USERS, N_ITEMS = 12, 7
USERS = IdMap([f"u{number:02d}" for number in range(N_USERS)])
ITEMS = IdMap(np.arange(100, 100 + N_ITEMS))


def taste() -> np.ndarray:
    """float32 [12, 7]: users 0-7 rate items 0-3 with 5 and 4-6 with 1, users 8-11 the other way round."""
    ratings = np.full((N_USERS, N_ITEMS), 1, np.float32)
    ratings[:8, :4] = 5
    ratings[8:, 4:] = 5
    return ratings


def held_out() -> np.ndarray:
    """bool [12, 7]: one unobserved pair per user; every item is left out at least once."""
    hidden = np.zeros((N_USERS, N_ITEMS), bool)
    hidden[np.arange(N_USERS), np.arange(N_USERS) % N_ITEMS] = True
    return hidden


def planted() -> Interactions:
    """The tastes without the held-out pairs, with times and features."""
    return complete(from_dense(taste(), ~held_out(), scale=(1.0, 5.0)))


def complete(data: Interactions) -> Interactions:
    """The same ratings with times and with features: an age of each user, and of each item whether the majority likes it."""
    minutes = (5 * data.user_rows() + 3 * data.item_rows()) % 7 + 10 * (data.item_rows() % 3)
    ages, kinds = _features((*data.users.values,), (*data.items.values.tolist(),))
    return replace(data, times=60_000_000 * minutes, user_features=ages, item_features=kinds)


@cache  # tables take longer to make than the rest of the planted data, and thousands of tests ask for the same
def _features(users: tuple[str, ...], items: tuple[int, ...]) -> tuple[FeatureTable, FeatureTable]:
    ages = pd.DataFrame({"id": users, "age": 20.0 + np.arange(len(users)) % 5})
    kinds = pd.DataFrame({"id": items, "kind": ["rare" if 104 <= item <= 107 else "common" for item in items]})
    return (
        FeatureTable.from_frame(ages, {"age": "numeric"}, ids=IdMap(users)),
        FeatureTable.from_frame(kinds, {"kind": "category"}, ids=IdMap(np.array(items))),
    )


def of_users(data: Interactions, rows: list[int], ids: list[str] | None = None) -> Interactions:
    """The interactions and features of some users, in that order, on request under other ids."""
    users = IdMap(data.users.values[rows] if ids is None else ids)
    entries = np.concatenate([np.arange(*data.matrix.indptr[row : row + 2]) for row in rows])
    features = data.user_features
    if features is not None:
        features = FeatureTable(users, features.matrix[rows], features.features)
    times = None if data.times is None else data.times[entries]
    return replace(data, matrix=data.matrix[rows], users=users, times=times, user_features=features)


def clicks() -> Interactions:
    """The liked pairs among these."""
    return planted().filter(planted().matrix.data == 5)


def from_dense(ratings: np.ndarray, observed: np.ndarray | None = None, **options) -> Interactions:
    """Interactions from a dense matrix; ids are u00, u01, ... and 100, 101, ...; zeros are observed like all others."""
    observed = np.ones(ratings.shape, bool) if observed is None else observed
    user, item = np.nonzero(observed)
    indptr = np.r_[0, np.cumsum(observed.sum(axis=1))]
    matrix = csr_array((ratings[user, item].astype(np.float32), item.astype(np.int32), indptr), shape=ratings.shape)
    users = IdMap([f"u{number:02d}" for number in range(ratings.shape[0])])
    return Interactions(matrix, users, IdMap(np.arange(100, 100 + ratings.shape[1])), **options)


def with_item_features(data: Interactions, n_labels: int, seed: int = 1) -> Interactions:
    """Each item gets a number and one or two labels."""
    rng = np.random.default_rng(seed)
    labels = [sorted({f"l{label}" for label in rng.integers(0, n_labels, 2)}) for _ in range(data.n_items)]
    frame = pd.DataFrame({"id": data.items.values, "labels": labels, "size": rng.normal(size=data.n_items)})
    kinds = {"labels": "multi_label", "size": "numeric"}
    return replace(data, item_features=FeatureTable.from_frame(frame, kinds, ids=data.items))


def random_interactions(seed: int = 0, n_users: int = 40, n_items: int = 25, share: float = 0.3, times: bool = True):
    """Random ratings 0..5 (zeros are ratings) with random times, some of them equal."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n_users, n_items)) < share
    observed[:, 0] |= ~observed.any(axis=1)
    data = from_dense(rng.integers(0, 6, (n_users, n_items)).astype(np.float32), observed)
    stamps = rng.integers(0, 50, len(data)) if times else None
    return Interactions(data.matrix, data.users, data.items, stamps)


def for_threads() -> Interactions:
    """600 users, 500 items, a tenth of the pairs rated 1 to 5: enough work in a batch for several threads."""
    data = random_interactions(n_users=600, n_items=500, share=0.1, times=False)
    matrix = data.matrix.copy()
    matrix.data = matrix.data.clip(1, 5)
    return complete(Interactions(matrix, data.users, data.items, scale=(1.0, 5.0)))


def events() -> pd.DataFrame:
    """A log with repeated events of one user and item."""
    return pd.DataFrame(
        {
            "user_id": ["b", "a", "b", "b", "a"],
            "item_id": [7, 7, 9, 7, 7],
            "rating": [1.0, 0.0, 2.0, 4.0, 3.0],
            "time": [30, 10, 20, 10, 10],
        }
    )


# EASE as published in 2019, but for its l2.
PLAIN_EASE = {"dropout": 0.0, "user_exponent": 0.0, "item_exponent": 0.0, "input_exponent": 0.0, "intercept": 0.0}
# Parameters under which each model is quick on the small data, and learns it if it can.
SMALL = {
    "autorec": {  # the published objective; the variants below have the rest
        "hidden": [8],
        "activation": "sigmoid",
        "scale_inputs": False,
        "centring": "none",
        "l2": 0.1,
        "l2_exponent": 0.0,
        "dropout": 0.0,
        "epochs": 100,
        "batch_size": 4,
        "learning_rate": 0.02,
        "learning_rate_decay": 1.0,
    },
    "hybrid": {
        "features": "both",
        "hidden": [8],
        "centring": "none",
        "l2": 0.1,
        "l2_exponent": 0.0,
        "who_l2": 0.1,
        "feature_l2": 0.1,
        "factors": 2,
        "epochs": 60,
        "batch_size": 6,
        "learning_rate": 0.04,
        "learning_rate_decay": 1.0,
    },
    "mf": {"factors": 2, "epochs": 150, "learning_rate": 0.05, "l2": 0.02, "init_std": 0.1, "learning_rate_decay": 1.0},
    "bayesian_fm": {"factors": 2, "epochs": 100, "chains": 2, "samples": 20},
    "wide_deep": {
        "features": "both",
        "factors": 4,
        "hidden": [8],
        "cold": 0.0,
        "dropout": 0.0,
        "l2": 0.01,
        "init_std": 0.3,
        "epochs": 40,
        "batch_size": 24,
        "learning_rate": 0.06,
        "learning_rate_decay": 1.0,
    },
    "pca": {"factors": 1},
    "multvae": {"hidden": [8, 2], "epochs": 60, "batch_size": 4, "learning_rate": 0.01, "dropout": 0.2, "beta": 0.01},
    "multdae": {"hidden": [4], "epochs": 60, "batch_size": 4, "learning_rate": 0.01, "dropout": 0.2, "l2": 0.0},
    "recvae": {"hidden": 8, "latent": 2, "epochs": 25, "batch_size": 4, "learning_rate": 0.01, "dropout": 0.2, "gamma": 0.001},
    "cdae": {"hidden": 2, "epochs": 60, "batch_size": 4, "learning_rate": 0.03, "dropout": 0.2, "negatives": 3, "l2": 0.01},
    "elsa": {"factors": 3, "epochs": 60, "batch_size": 4, "learning_rate": 0.05, "dropout": 0.0},
    "gru": {"hidden": 8, "epochs": 25, "batch_events": 24, "learning_rate": 0.02, "dropout": 0.1},
    "gru_ratings": {
        **{"hidden": 8, "epochs": 60, "batch_events": 24, "learning_rate": 0.03, "dropout": 0.0, "learning_rate_decay": 1.0}
    },
    "ease": {"l2": 1.0},
    "feature_ease": {"l2": 1.0, "dropout": 0.0},
    "sparse_ease": {"l2": 1.0, "neighbours": 4},
    "als": {"factors": 2, "l2": 0.1},
    "bpr": {"factors": 2, "epochs": 1000},
    "itemknn": {"neighbours": 7},
    "rp3beta": {"neighbours": 7},
    "gf_cf": {"factors": 2},
    "chebycf": {"factors": 2, "order": 4},
    "slist": {"l2": 1.0},
    "vsknn": {"neighbours": 5},
    "sequential_rules": {},
    "markov": {},
    "session_popularity": {},
    "blend": {"members": [{"name": "ease", "l2": 1.0}, {"name": "als", "factors": 2, "l2": 0.1}]},
    "bias": {},
    "popularity": {},
}
# Layers and batches wide enough for that, and odd: then a thread's share ends in the middle of a vector instruction.
WIDE = {
    "autorec": {"hidden": [131], "batch_size": 299},
    "hybrid": {"hidden": [131], "batch_size": 299, "factors": 61},
    "multvae": {"hidden": [131, 61], "batch_size": 299},
    "multdae": {"hidden": [131, 61], "batch_size": 299},
    "recvae": {"hidden": 131, "latent": 31, "batch_size": 299},
    "cdae": {"hidden": 131, "batch_size": 299},
    "elsa": {"factors": 131, "batch_size": 299},
    "gru": {"hidden": 131, "batch_events": 2999},
    "gru_ratings": {"hidden": 131, "batch_events": 2999, "learning_rate": 0.003},  # with 0.03, rounding would grow to 10 %
    "wide_deep": {"factors": 61, "hidden": [131, 61], "batch_size": 2999},
}
VARIANTS = {
    "autorec-item": ("autorec", {**SMALL["autorec"], "axis": "item"}),
    "autorec-user": ("autorec", {**SMALL["autorec"], "axis": "user"}),
    "autorec-item-bias": ("autorec", {**SMALL["autorec"], "axis": "item", "centring": "bias", "l2_exponent": 0.5}),
    "autorec-user-deep": ("autorec", {**SMALL["autorec"], "axis": "user", "centring": "bias", "hidden": [8, 4]}),
    "autorec-user-sigmoid-tied": ("autorec", {**SMALL["autorec"], "axis": "user", "output": "sigmoid", "tied": True}),
    "autorec-item-sigmoid": ("autorec", {**SMALL["autorec"], "axis": "item", "output": "sigmoid"}),
    "hybrid-item": ("hybrid", SMALL["hybrid"]),
    "hybrid-user": ("hybrid", {**SMALL["hybrid"], "axis": "user"}),
    "hybrid-item-deep": (
        "hybrid",
        {**SMALL["hybrid"], "axis": "item", "hidden": [8, 4], "film": True, "dropout": 0.2, "beta": 0.5},
    ),
    "hybrid-user-bias": (
        "hybrid",
        {**SMALL["hybrid"], "axis": "user", "centring": "bias", "features": "items", "loss": "ordinal"},
    ),
    "hybrid-item-ids": ("hybrid", {**SMALL["hybrid"], "axis": "item", "features": "none"}),
    "autorec-user-networks": ("autorec", {**SMALL["autorec"], "axis": "user", "centring": "bias", "networks": 2}),
    "autorec-item-networks": ("autorec", {**SMALL["autorec"], "axis": "item", "centring": "bias", "networks": 2}),
    "hybrid-item-networks": ("hybrid", {**SMALL["hybrid"], "loss": "ordinal", "centring": "bias", "networks": 3}),
    "mf": ("mf", SMALL["mf"]),
    "bayesian-fm": ("bayesian_fm", SMALL["bayesian_fm"]),
    "bayesian-fm-features": ("bayesian_fm", {**SMALL["bayesian_fm"], "features": "both", "chains": 3, "noise": "shared"}),
    "bayesian-fm-ids": ("bayesian_fm", {**SMALL["bayesian_fm"], "who": False}),
    "wide-deep": ("wide_deep", SMALL["wide_deep"]),
    "wide-deep-softmax": ("wide_deep", {**SMALL["wide_deep"], "loss": "softmax", "features": "items"}),
    "wide-deep-ordinal": (
        "wide_deep",
        {**SMALL["wide_deep"], "loss": "ordinal", "hidden": [8, 4], "cold": 0.1, "dropout": 0.1},
    ),
    "wide-deep-ids": ("wide_deep", {**SMALL["wide_deep"], "features": "none", "who": False}),
    "wide": ("wide_deep", {**SMALL["wide_deep"], "hidden": []}),
    "pca": ("pca", SMALL["pca"]),
    "pca-raw": ("pca", {"factors": 2, "centring": "none"}),
    "multvae": ("multvae", SMALL["multvae"]),
    "multdae": ("multdae", SMALL["multdae"]),
    "recvae": ("recvae", SMALL["recvae"]),
    "cdae": ("cdae", SMALL["cdae"]),
    "cdae-identity-logistic": ("cdae", {**SMALL["cdae"], "loss": "logistic"}),
    "cdae-sigmoid-square": ("cdae", {**SMALL["cdae"], "mapping": "sigmoid"}),
    "cdae-sigmoid-logistic": ("cdae", {**SMALL["cdae"], "mapping": "sigmoid", "loss": "logistic"}),
    "elsa": ("elsa", SMALL["elsa"]),
    "elsa-denoising": ("elsa", {**SMALL["elsa"], "dropout": 0.3}),
    "gru": ("gru", SMALL["gru"]),
    "gru-flat-one-hot": ("gru", {**SMALL["gru"], "hierarchy": "none", "input": "one_hot", "loss": "bpr_max", "ratings": False}),
    "gru-init-sampled": ("gru", {**SMALL["gru"], "hierarchy": "init", "input": "embedding", "negatives": 5}),
    "gru-attention-top1": ("gru", {**SMALL["gru"], "user_state": "attention", "loss": "top1", "item_features": True}),
    "gru-ratings": ("gru_ratings", SMALL["gru_ratings"]),
    "gru-ratings-features": ("gru_ratings", {**SMALL["gru_ratings"], "hierarchy": "init", "item_features": True}),
    "ease": ("ease", SMALL["ease"]),
    "ease-plain": ("ease", {**PLAIN_EASE, "l2": 1.0}),
    "ease-bounded": ("ease", {**PLAIN_EASE, "l2": 1.0, "dropout": 0.3, "intercept": 0.5, "diagonal": 0.4}),
    "feature-ease": ("feature_ease", SMALL["feature_ease"]),
    "feature-ease-added": ("feature_ease", {**SMALL["feature_ease"], "combine": "added"}),
    "feature-ease-prior": ("feature_ease", {**SMALL["feature_ease"], "combine": "prior", "weight": 3.0}),
    "sparse-ease": ("sparse_ease", SMALL["sparse_ease"]),
    "sparse-edlae": ("sparse_ease", {"l2": 1.0, "dropout": 0.3}),
    "als": ("als", SMALL["als"]),
    "bpr": ("bpr", SMALL["bpr"]),
    "itemknn": ("itemknn", SMALL["itemknn"]),
    "itemknn-bm25": ("itemknn", {"similarity": "bm25", "neighbours": 7}),
    "itemknn-cosine": ("itemknn", {"similarity": "cosine", "neighbours": 7}),
    "rp3beta": ("rp3beta", SMALL["rp3beta"]),
    "gf-cf": ("gf_cf", SMALL["gf_cf"]),
    "chebycf": ("chebycf", SMALL["chebycf"]),
    "slist": ("slist", SMALL["slist"]),
    "slist-whole": ("slist", {"l2": 1.0, "alpha": 1.0}),
    "vsknn": ("vsknn", SMALL["vsknn"]),
    "sequential-rules": ("sequential_rules", {}),
    "markov": ("markov", {}),
    "session-popularity": ("session_popularity", {}),
    "blend": ("blend", SMALL["blend"]),
    "blend-mixture": ("blend", {**SMALL["blend"], "combine": "mixture", "folds": 2}),
    "blend-of-ratings": (
        "blend",
        {
            "members": [{"name": "mf", **SMALL["mf"]}, {"name": "hybrid", **SMALL["hybrid"], "epochs": 20}],
            "holdout": 0.2,
            "folds": 2,
        },
    ),
    "bias": ("bias", {}),
    "popularity": ("popularity", {}),
}
ONE_OF_EACH = list({kind: name for name, (kind, _) in reversed(VARIANTS.items())}.values())  # the first variant of each kind


def peak_memory(function: Callable[[], object]) -> int:
    """The highest number of bytes that Python and numpy had allocated during a call."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
