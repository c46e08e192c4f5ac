"""Recommendation with autoencoders: honest evaluation, comparable experiments, nightly top-N lists.

Names are loaded when they are first used: importing the package alone loads neither torch nor mlflow.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Read when PyTorch and numba are loaded, see recsys_ae.core.threads
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

if TYPE_CHECKING:
    from recsys_ae.data.ratings import read_interactions
    from recsys_ae.evaluation.evaluator import Report, evaluate, evaluate_recommendations
    from recsys_ae.export.local import export_recommendations, read_recommendations
    from recsys_ae.images.storage import build_image_model, load_image_model, save_image_model
    from recsys_ae.interactions import IdMap, Interactions, Split
    from recsys_ae.models.base import Recommender, TopK, predict, recommend
    from recsys_ae.models.explanation import explain
    from recsys_ae.models.similar import similar_items, similar_users
    from recsys_ae.models.storage import build_model, load_model, save_model

_PLACES = {
    "IdMap": "interactions",
    "Interactions": "interactions",
    "Recommender": "models.base",
    "Report": "evaluation.evaluator",
    "Split": "interactions",
    "TopK": "models.base",
    "build_image_model": "images.storage",
    "build_model": "models.storage",
    "evaluate": "evaluation.evaluator",
    "evaluate_recommendations": "evaluation.evaluator",
    "explain": "models.explanation",
    "export_recommendations": "export.local",
    "load_image_model": "images.storage",
    "load_model": "models.storage",
    "predict": "models.base",
    "read_interactions": "data.ratings",
    "read_recommendations": "export.local",
    "recommend": "models.base",
    "save_image_model": "images.storage",
    "save_model": "models.storage",
    "similar_items": "models.similar",
    "similar_users": "models.similar",
}

__all__ = [
    "IdMap",
    "Interactions",
    "Recommender",
    "Report",
    "Split",
    "TopK",
    "build_image_model",
    "build_model",
    "evaluate",
    "evaluate_recommendations",
    "explain",
    "export_recommendations",
    "load_image_model",
    "load_model",
    "predict",
    "read_interactions",
    "read_recommendations",
    "recommend",
    "save_image_model",
    "save_model",
    "similar_items",
    "similar_users",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
