"""Recording of experiments: a small interface, implemented with MLflow or as a no-op."""

import os
from pathlib import Path

from recsys_ae.tracking.tracker import DatasetFacts, TrackedRun, Tracker

__all__ = ["DatasetFacts", "TrackedRun", "Tracker", "local_model", "make_tracker"]


def make_tracker(uri: str | None, experiment: str) -> Tracker:
    """A tracker for `uri`: "none" tracks nothing; None means $MLFLOW_TRACKING_URI, or else `mlflow.db` in this folder."""
    uri = _or_default(uri)
    if uri == "none":
        return Tracker()
    from recsys_ae.tracking.mlflow_tracker import MlflowTracker  # heavy

    return MlflowTracker(uri, experiment)


def local_model(folder_or_uri: str, tracking_uri: str | None) -> Path:
    """The local folder of a model: the one given, or the one downloaded from an MLflow URI (runs:/, models:/)."""
    if not folder_or_uri.startswith(("runs:/", "models:/", "mlflow-artifacts:/")):
        return Path(folder_or_uri)
    from recsys_ae.tracking.mlflow_tracker import download_model  # heavy

    return download_model(folder_or_uri, _or_default(tracking_uri))


def _or_default(uri: str | None) -> str:
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
