"""Kinds of models with a property in common, and variants of them that are fitted to the planted data."""

from collections.abc import Container, Iterable

import builders
import numpy as np
import pytest
from builders import VARIANTS, clicks, planted

from recsys_ae import build_model
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.popularity_share import PopularityShare

FITTED: dict[str, object] = {}


def make(name: str, **changes: object):
    kind, params = VARIANTS[name]
    return build_model(kind, {**params, **changes})


def kind_of(name: str) -> str:
    """The kind of a variant; blends of rankers, which ignore values, are one of their own."""
    return CLICK_BLEND if name in ("blend", "blend-mixture") else VARIANTS[name][0]


def variants(kinds: Container[str]) -> list[str]:
    return [name for name in VARIANTS if kind_of(name) in kinds]


CLICK_BLEND = "blend of rankers"
KINDS = {*MODELS, CLICK_BLEND}

# By kind of model; every list below is checked to hold registered names only.
BY_GRADIENT = {name for name in MODELS if MODELS.get(name).validation_name != "none"} - {"blend"}
OF_ORDER = {"slist", "vsknn", "sequential_rules", "markov", "session_popularity"}  # score the current session without gradients
# Nothing is drawn in these.
CLOSED_FORM = {"ease", "feature_ease", "sparse_ease", "itemknn", "rp3beta", "gf_cf", "chebycf", "bias", "popularity", *OF_ORDER}
FOLLOWING = {"sequential_rules", "markov"}  # score by what came after the last item; in the planted data it is the same for all
RECURRENT = {"gru", "gru_ratings"}  # score what comes next; in the planted data nothing comes after a user's last items
TASTELESS = {"bias", "popularity", "session_popularity", *FOLLOWING}
NO_REPEATS = {"vsknn"}  # ranks the items of the current session last if no session of the training data repeats an item
WITHOUT_VECTORS = {*TASTELESS, *OF_ORDER, "blend", CLICK_BLEND}
RATE = {"autorec", "gru_ratings", "hybrid", "mf", "wide_deep"}  # learn ratings by gradient
OF_CLICKS = {*BY_GRADIENT - RATE, *CLOSED_FORM - TASTELESS, "als", "bpr", CLICK_BLEND}  # ratings are clicks for these
OF_USERS = {"bpr"}  # score only users they were trained on
OF_ANYONE = KINDS - OF_USERS
HAS_USER_VECTORS = KINDS - CLOSED_FORM - {"blend", CLICK_BLEND}
# The weights of these may depend on the number of threads.
THREADS_MATTER = {
    "autorec": "at the ends of a thread's share, torch.sigmoid rounds the last digit differently",
    "hybrid": "as AutoRec",
    "cdae": "so does torch's softplus, for loss: logistic",
    "wide_deep": "PyTorch's dense products and functions, as Mult-DAE and CDAE",
    "elsa": "dense products in bfloat16, on processors that have them",
    "multdae": "dense products in bfloat16, and where MKL has no strict mode",
    "multvae": "as Mult-DAE",
    "gru": "torch's dense products and functions, as Mult-DAE and CDAE",
    "gru_ratings": "torch.tanh, as torch.sigmoid",
    "recvae": "as Mult-DAE",
    "slist": "as EASE",
    "ease": "LAPACK splits the sums of an inverse by threads",
    "feature_ease": "as EASE",
    "blend": "as EASE",
}
TRAINED = variants(BY_GRADIENT)
OF_ITEMS = [name for name in variants({"autorec", "hybrid"}) if make(name).axis == "item"]  # rows that are trained on are items
# Scores of a training user do not depend on the history given: learned for that user, or the same for all.
IGNORES_HISTORY = [*variants({"mf", "bpr", "popularity"}), *OF_ITEMS, "wide-deep-ids", "blend-of-ratings"]
OF_RATINGS = variants(KINDS - OF_CLICKS - TASTELESS - RECURRENT)
PREDICTS_RATINGS = [name for name in VARIANTS if make(name).predicts_ratings]
RANKS_ONLY = [name for name in VARIANTS if name not in PREDICTS_RATINGS]


def over(names: Iterable[str]) -> pytest.MarkDecorator:
    """The variants that a test applies to."""
    return pytest.mark.parametrize("name", list(names))


def fitted(name: str):
    if name not in FITTED:
        FITTED[name] = make(name).fit(planted(), seed=0)
    return FITTED[name]


def fitted_on_clicks(name: str):
    key = f"{name} of clicks"
    if key not in FITTED:
        FITTED[key] = make(name).fit(clicks(), seed=0)
    return FITTED[key]


def short(name: str, epochs: int = 3, **changes: object):
    """The model with fewer epochs, if it has any."""
    own = VARIANTS[name][1].get("epochs")
    return make(name, **changes, **({} if own is None else {"epochs": min(own, epochs)}))


def barely_trained(name: str):
    """A model whose training hardly changes its weights."""
    kind, _ = VARIANTS[name]
    rate = {} if kind == "als" else {"learning_rate": 1e-6}
    return make(name, epochs=1, **rate, **without_popularity(kind))


def without_popularity(kind: str) -> dict[str, float]:
    """Parameters with which only what the model has learned counts, however thin the data are."""
    return {"popularity": 0.0} if issubclass(MODELS.get(kind), PopularityShare) else {}


def everything(data: Interactions) -> np.ndarray:
    return np.arange(data.n_users)


def one_more() -> Interactions:
    """The planted data with one more item, which the minority likes, and one more user, who is like user 9."""
    dense = np.c_[planted().matrix.toarray(), np.r_[np.zeros(8), np.full(4, 5)]]
    dense = np.r_[dense, dense[[9]]]
    return builders.complete(builders.from_dense(dense, dense > 0, scale=(1.0, 5.0)))
