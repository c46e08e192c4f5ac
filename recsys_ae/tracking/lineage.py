"""Exports as runs, below the run that fitted their model."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from recsys_ae.errors import DataError, TrackingError
from recsys_ae.tracking import MODEL_DIGEST, TrackedRun, make_tracker, open_store

logger = logging.getLogger(__name__)

EXPERIMENT = "exports"  # for exports by models whose run is not in the store
# keys of manifests that are parameters of the run of an export
SETTINGS = ("model", "model_digest", "data_digest", "k", "what", "width")
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
    """The run of an export to `output`, below the run that fitted the model and in its experiment.

    It records nothing without a store, or if `output` exists, because then the export is complete already.

    Args:
        model: the folder or the URI of the model.
        digest: that of the model.
        uri: of the store; None means $MLFLOW_TRACKING_URI, without any other default.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri or uri == "none" or os.path.lexists(output):
        yield TrackedRun()
        return
    fitted = model_run(uri, model, digest)
    tracker = make_tracker(uri, fitted.experiment if fitted else EXPERIMENT)
    with tracker.run(output.name, parent=fitted.id if fitted else None) as run:
        yield run


class ModelRun(NamedTuple):
    """The run that fitted a model."""

    id: str
    experiment: str  # its name


def model_run(uri: str, model: str, digest: str) -> ModelRun | None:
    """The run that fitted a model: that in its URI `runs:/ID/...`, else the latest with its digest; None if there is none."""
    try:
        with open_store(uri) as client:
            from recsys_ae.tracking.mlflow_store import pages  # heavy

            if model.startswith("runs:/"):
                found = client.get_run(model.removeprefix("runs:/").partition("/")[0])
            else:
                everywhere = [str(one.experiment_id) for one in pages(client.search_experiments)]
                condition, latest = f"tags.`{MODEL_DIGEST}` = '{digest}'", ["attributes.start_time DESC"]
                runs = client.search_runs(everywhere, condition, max_results=1, order_by=latest)
                if not runs:
                    return None
                found = runs[0]
            return ModelRun(str(found.info.run_id), str(client.get_experiment(found.info.experiment_id).name))
    except DataError:  # there is no store yet
        return None
    except TrackingError as error:
        logger.warning("the run that fitted the model is unknown: %s", error)
        return None
