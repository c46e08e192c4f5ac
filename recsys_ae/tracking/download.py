"""Local copies of what an MLflow store holds."""

from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.tracking import MlflowClient

from recsys_ae.errors import DataError
from recsys_ae.surroundings import masked
from recsys_ae.tracking.mlflow_store import existing
from recsys_ae.tracking.reasons import reason
from recsys_ae.tracking.registry import LOGGED_AS, MISSING, model_of
from recsys_ae.tracking.uris import store_uri


def download(uri: str, tracking_uri: str) -> Path:
    """A local copy of the artifact or model at `uri`; `DataError` if there is none.

    For a recommender that was logged as an MLflow model, it is the folder of the saved model in it.
    """
    store = store_uri(tracking_uri)
    try:
        client = existing(store)
        place = _place_of(client, uri) if uri.startswith("models:/") else _place_in_run(client, uri)
        found = Path(download_artifacts(artifact_uri=place, tracking_uri=store))
    except Exception as error:  # whatever MLflow's stores raise
        hint = "; recsys-ae promote gives aliases" if "@" in uri and getattr(error, "error_code", "") in MISSING else ""
        raise DataError(f"cannot get {uri} from {masked(tracking_uri)}: {reason(error)}{hint}") from None
    saved = found / "artifacts" / LOGGED_AS
    return saved if (found / "MLmodel").is_file() and saved.is_dir() else found


def _place_of(client: MlflowClient, uri: str) -> str:
    """The location of a registered model. MLflow's own function uses a global registry URI."""
    model, path = ModelsArtifactRepository.split_models_uri(uri)
    found = get_model_name_and_version(client, model)
    if len(found) == 1:
        place = str(client.get_logged_model(found[0]).artifact_location)
    else:
        place = client.get_model_version_download_uri(*found)
    place = _place_of(client, place) if place.startswith("models:/") else place
    return f"{place}/{path}" if path else place


def _place_in_run(client: MlflowClient, uri: str) -> str:
    """The location of the logged model at runs:/ID/model, which MLflow would look up in a global store; else `uri`."""
    run_id, _, path = uri.removeprefix("runs:/").partition("/")
    if uri.startswith("runs:/") and path.split("/")[0] == LOGGED_AS:
        if (model := model_of(client, run_id)) is not None:
            return f"{client.get_logged_model(model).artifact_location}{path.removeprefix(LOGGED_AS)}"
        if not client.list_artifacts(run_id, LOGGED_AS):
            raise DataError("this run fitted no model; give the id of one that did, such as one below the run of a pipeline")
    return uri
