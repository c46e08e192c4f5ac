"""Recommendation with autoencoders: honest evaluation, comparable experiments, nightly top-N lists.

Public names, among them all registered models, are imported on first use: `import recsys_ae` loads neither torch nor mlflow.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsys_ae import forks as _forks  # noqa: F401 - notices forks from now on
from recsys_ae.folders import provide_for_libraries
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.models import MODELS

__version__ = "0.1.0"

# Read when PyTorch and numba are loaded, see recsys_ae.core.threads; the second asks for memory in pages of 2 MB
if "torch" not in sys.modules:
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
_ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")  # processes of torch.distributed.run, which sets one thread for each
if _ranks != "1" and os.environ.get("OMP_NUM_THREADS") == "1" and "NUMBA_NUM_THREADS" not in os.environ:
    _cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = str(max(_cores // int(_ranks), 1))
if (_threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(_threads) > 0:
    os.environ.setdefault("NUMBA_NUM_THREADS", _threads)
provide_for_libraries()

if TYPE_CHECKING:
    from recsys_ae.data.ratings import read_interactions as read_interactions
    from recsys_ae.data.skipped import SkippedLines as SkippedLines
    from recsys_ae.data.stored import open_interactions as open_interactions, save_interactions as save_interactions
    from recsys_ae.evaluation.evaluator import evaluate as evaluate
    from recsys_ae.evaluation.given_lists import evaluate_recommendations as evaluate_recommendations
    from recsys_ae.evaluation.report import Report as Report
    from recsys_ae.export.local import (
        export_recommendations as export_recommendations,
        read_recommendations as read_recommendations,
    )
    from recsys_ae.ids import IdMap as IdMap
    from recsys_ae.images.convolutional import ConvolutionalAutoencoder as ConvolutionalAutoencoder
    from recsys_ae.images.dense import DenseAutoencoder as DenseAutoencoder
    from recsys_ae.images.principal import PrincipalComponents as PrincipalComponents
    from recsys_ae.images.stacked import StackedAutoencoder as StackedAutoencoder
    from recsys_ae.images.storage import (
        build_image_model as build_image_model,
        load_image_model as load_image_model,
        save_image_model as save_image_model,
    )
    from recsys_ae.images.variational import VariationalImages as VariationalImages
    from recsys_ae.interactions import Interactions as Interactions
    from recsys_ae.models.autorec import AutoRec as AutoRec
    from recsys_ae.models.base import Recommender as Recommender
    from recsys_ae.models.baselines import Bias as Bias, Popularity as Popularity
    from recsys_ae.models.bayesian_fm import BayesianFM as BayesianFM
    from recsys_ae.models.cdae import CDAE as CDAE
    from recsys_ae.models.ease import EASE as EASE, SparseEASE as SparseEASE
    from recsys_ae.models.elsa import ELSA as ELSA
    from recsys_ae.models.feature_ease import FeatureEASE as FeatureEASE
    from recsys_ae.models.graph_filters import GFCF as GFCF, ChebyCF as ChebyCF
    from recsys_ae.models.gru import RatingGRU as RatingGRU, SessionGRU as SessionGRU
    from recsys_ae.models.hybrid import HybridAutoencoder as HybridAutoencoder
    from recsys_ae.models.implicit_models import ALS as ALS, BPR as BPR
    from recsys_ae.models.inspection import explain as explain, similar_items as similar_items, similar_users as similar_users
    from recsys_ae.models.mf import MatrixFactorisation as MatrixFactorisation
    from recsys_ae.models.multinomial import MultDAE as MultDAE, MultVAE as MultVAE
    from recsys_ae.models.neighbourhoods import ItemKNN as ItemKNN, RP3Beta as RP3Beta
    from recsys_ae.models.pca import PCA as PCA
    from recsys_ae.models.recommend import TopK as TopK, predict as predict, recommend as recommend
    from recsys_ae.models.recvae import RecVAE as RecVAE
    from recsys_ae.models.rules import Rules as Rules
    from recsys_ae.models.slist import SLIST as SLIST
    from recsys_ae.models.storage import build_model as build_model, load_model as load_model, save_model as save_model
    from recsys_ae.models.transitions import (
        MarkovChain as MarkovChain,
        SequentialRules as SequentialRules,
        SessionPopularity as SessionPopularity,
    )
    from recsys_ae.models.vsknn import VSKNN as VSKNN
    from recsys_ae.models.wide_deep import WideAndDeep as WideAndDeep
    from recsys_ae.split import Split as Split

_MODULES = {
    "data.ratings": ["read_interactions"],
    "data.skipped": ["SkippedLines"],
    "data.stored": ["open_interactions", "save_interactions"],
    "evaluation.evaluator": ["evaluate"],
    "evaluation.given_lists": ["evaluate_recommendations"],
    "evaluation.report": ["Report"],
    "export.local": ["export_recommendations", "read_recommendations"],
    "ids": ["IdMap"],
    "images.storage": ["build_image_model", "load_image_model", "save_image_model"],
    "interactions": ["Interactions"],
    "models.base": ["Recommender"],
    "models.inspection": ["explain", "similar_items", "similar_users"],
    "models.recommend": ["TopK", "predict", "recommend"],
    "models.rules": ["Rules"],
    "models.storage": ["build_model", "load_model", "save_model"],
    "split": ["Split"],
}
_PLACES = {name: f"recsys_ae.{module}" for module, names in _MODULES.items() for name in names}
for _place in (*MODELS.places.values(), *IMAGE_MODELS.places.values()):
    _PLACES[_place.split(":")[1]] = _place.split(":")[0]
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
