"""From where to where: the run that a model is from, and exports as runs."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys_ae.tracking import TrackedRun, find_model_run, make_tracker

EXPERIMENT = "exports"  # of models whose run is not in the store

SETTINGS = (
    "model",
    "model_digest",
    "data_digest",
    "k",
    "what",
    "width",
)  # keys of manifests that are parameters of the run of an export
COUNTS = ("rows", "n_users", "n_items", "cold_users", "users_without_items")  # and those that are metrics


def record_export(run: TrackedRun, dataset: str, manifest: Mapping[str, Any], file: Path) -> None:
    """Record an export: its manifest, also as the `file`, and the data that the model was applied to as an input.

    The digest of the input is `data_digest` of the manifest, see `Interactions.digest`.
    """
    filters = {key: value for key, value in manifest.get("filters", {}).items() if value is not None}
    run.params({key: manifest[key] for key in SETTINGS if key in manifest} | filters)
    counts = {key: manifest[key] for key in COUNTS if key in manifest}
    sizes = {"users": counts.get("n_users"), "items": counts.get("n_items")}
    run.dataset(dataset, manifest["data_digest"], "history", {key: size for key, size in sizes.items() if size is not None})
    run.metrics(counts)
    run.artifact(file)


@contextmanager
def export_run(model: str, digest: str, output: Path, uri: str | None) -> Iterator[TrackedRun]:
    """The run of an export to `output`, below that of the model and in its experiment; it records nothing without a store.

    Nor does it if `output` exists, because then the export was complete before.

    Args:
        model: the folder or the URI of the model.
        digest: that of the model.
        uri: of the store; None means $MLFLOW_TRACKING_URI, without any other default.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri or uri == "none" or os.path.lexists(output):
        yield TrackedRun()
        return
    fitted = find_model_run(uri, model, digest)
    tracker = make_tracker(uri, fitted.experiment if fitted else EXPERIMENT)
    with tracker.run(output.name, parent=fitted.id if fitted else None) as run:
        yield run
