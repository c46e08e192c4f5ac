"""Recording of experiments: a small protocol, MLflow behind it, and nothing behind it."""

import os
from pathlib import Path

from recsys_ae.tracking.tracker import DatasetFacts, NullTracker, TrackedRun, Tracker

DEFAULT_URI = "sqlite:///mlflow.db"

__all__ = ["DEFAULT_URI", "DatasetFacts", "NullTracker", "TrackedRun", "Tracker", "local_model", "make_tracker"]


def make_tracker(uri: str | None, experiment: str) -> Tracker:
    """A tracker for `uri`: "none" tracks nothing; None is $MLFLOW_TRACKING_URI, or else `mlflow.db` in this folder."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if uri == "none":
        return NullTracker()
    from recsys_ae.tracking.mlflow_tracker import MlflowTracker  # heavy

    return MlflowTracker(uri, experiment)


def local_model(folder_or_uri: str, tracking_uri: str | None) -> Path:
    """The folder of a model that is given as a folder or as an MLflow URI (runs:/, models:/), which is downloaded."""
    if not folder_or_uri.startswith(("runs:/", "models:/", "mlflow-artifacts:/")):
        return Path(folder_or_uri)
    from recsys_ae.tracking.mlflow_tracker import download_model  # heavy

    return download_model(folder_or_uri, tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)
