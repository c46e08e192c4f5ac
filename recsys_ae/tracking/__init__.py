"""Recording of experiments: a small interface, implemented by MLflow or by nothing."""

import os
from pathlib import Path

from recsys_ae.tracking.tracker import DatasetFacts, TrackedRun, Tracker

DEFAULT_URI = "sqlite:///mlflow.db"

__all__ = ["DEFAULT_URI", "DatasetFacts", "TrackedRun", "Tracker", "local_model", "make_tracker"]


def make_tracker(uri: str | None, experiment: str) -> Tracker:
    """A tracker for `uri`: "none" tracks nothing; None means $MLFLOW_TRACKING_URI, or else `mlflow.db` in this folder."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if uri == "none":
        return Tracker()
    from recsys_ae.tracking.mlflow_tracker import MlflowTracker  # heavy

    return MlflowTracker(uri, experiment)


def local_model(folder_or_uri: str, tracking_uri: str | None) -> Path:
    """The local folder of a model: the one given, or the one downloaded from an MLflow URI (runs:/, models:/)."""
    if not folder_or_uri.startswith(("runs:/", "models:/", "mlflow-artifacts:/")):
        return Path(folder_or_uri)
    from recsys_ae.tracking.mlflow_tracker import download_model  # heavy

    return download_model(folder_or_uri, tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)
