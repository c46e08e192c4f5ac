"""Logged and registered models in an MLflow store."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS, MLFLOW_PARENT_RUN_ID

from recsys_ae.errors import ConfigError, DataError, quoted
from recsys_ae.escapes import as_markdown
from recsys_ae.files import whole_file
from recsys_ae.tracking import DESCRIPTION, FITTED_ON
from recsys_ae.tracking.record import now

LOGGED_AS = "model"  # the name of a run's logged model, and of the folder of the saved model among its artifacts
PROMOTION = "promotion"  # tag of a version: why it got its alias
GIVEN = "recsys_ae.alias."  # followed by an alias, tag of a version: when it was to get it, in milliseconds since 1970
LONGEST = 4000  # characters of a version's description
MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}  # codes for an absent model, alias or run


@dataclass(frozen=True)
class Version:
    """A version of a registered model: the final fit of a pipeline's run, unless somebody else has registered it."""

    name: str
    number: str
    run: str | None  # id of the run that fitted the model; None if this store has no such run
    pipeline: str | None  # id of the pipeline's run

    def __str__(self) -> str:
        return f"version {self.number}"


def start_model(client: MlflowClient, run_id: str) -> str:
    """The id of a run's logged model, which `fill_model` completes: a new one, unless an earlier attempt made it."""
    run = client.get_run(run_id)
    own = f"source_run_id = '{run_id}' and name = '{LOGGED_AS}'"
    if found := client.search_logged_models([run.info.experiment_id], own, max_results=1):
        return str(found[0].model_id)
    model = client.create_logged_model(
        run.info.experiment_id, LOGGED_AS, run_id, params=run.data.params, model_type="recommender"
    )
    return str(model.model_id)


def fill_model(client: MlflowClient, run_id: str, model_id: str, folder: Path) -> None:
    """Fill a logged model with the MLflow model in a folder, whose MLmodel is changed; to be repeated if it fails."""
    from mlflow.models import Model  # takes another second to import

    about = Model.load(str(folder))
    about.model_id = about.model_uuid = model_id
    about.run_id = run_id
    with whole_file(folder / "MLmodel") as draft:
        about.save(str(draft))
    client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    if model_of(client, run_id) != model_id:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def model_of(client: MlflowClient, run_id: str) -> str | None:
    """The id of the logged model of a run, the last one if it was logged again."""
    outputs = client.get_run(run_id).outputs
    return str(outputs.model_outputs[-1].model_id) if outputs is not None and outputs.model_outputs else None


def register(client: MlflowClient, run_id: str, name: str) -> Version:
    """The logged model of a run as a version of `name`: a new one, unless it is registered already.

    Raises:
        DataError: the run has no logged model.
    """
    model_id = model_of(client, run_id)
    if model_id is None:
        raise DataError(f"run {run_id} has no logged model; run the pipeline again")
    run = client.get_run(run_id)
    pipeline = _parent(run) or run_id
    found = [one for one in client.search_model_versions(f"run_id = '{run_id}'") if one.name == name]
    model = client.get_logged_model(model_id)
    if found:
        number = str(max(int(one.version) for one in found))
        _link(client, model, name, number)
        return Version(name, number, run_id, pipeline)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # not models:/ID, which MLflow would look up in a global store
    about = _about(run, client.get_run(pipeline))
    made = client.create_model_version(name, model.artifact_location, run_id, model_id=model_id, description=about)
    _link(client, model, name, str(made.version))
    return Version(name, str(made.version), run_id, pipeline)


def _link(client: MlflowClient, model: Any, name: str, number: str) -> None:
    """Note a version in its logged model, unless it is there: MLflow's pages link the two by this."""
    versions = json.loads(model.tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if not any((one["name"], str(one["version"])) == (name, number) for one in versions):
        noted = json.dumps([*versions, {"name": name, "version": number}])
        client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: noted})


def _about(run: Run, pipeline: Run) -> str:
    """The description of a version: the runs that it is from, and what they found, if that is not too long."""
    source = as_markdown(f"{run.info.run_name} of run {pipeline.info.run_name}")
    found = pipeline.data.tags.get(DESCRIPTION, "").split("\n\n")[:2]  # the winner and the table
    return max((text for text in (source, "\n\n".join([source, *found])) if len(text) <= LONGEST), key=len, default="")


def give_alias(client: MlflowClient, version: Version, alias: str, at: int) -> bool:
    """Give a version an alias that it was to have at a time in milliseconds since 1970; returns whether it has it.

    Records may be sent days later, or twice. So the alias stays with a version that was to have it later (or was created
    later, if that is unknown), and is not given a second time once it has moved on.
    """
    given = f"{GIVEN}{alias}"
    try:
        holder = client.get_model_version_by_alias(version.name, alias)
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
    else:
        own = client.get_model_version(version.name, version.number).tags
        if str(holder.version) != version.number and (
            own.get(given) == str(at) or int(holder.tags.get(given, holder.creation_timestamp)) > at
        ):
            return False
    _set_alias(client, version, alias, at)
    return True


def _set_alias(client: MlflowClient, version: Version, alias: str, at: int) -> None:
    client.set_registered_model_alias(version.name, alias, version.number)
    client.set_model_version_tag(version.name, version.number, f"{GIVEN}{alias}", str(at))


class Registry:
    """The registered models of a store, for the promotion of one of them."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def candidate(self, run_id: str, name: str | None) -> Version:
        """The final model of a pipeline's run as a version of `name`, registered now unless it is one already.

        Args:
            run_id: id of the pipeline's run, or of one below it.
            name: if None, the one under which the model is registered.

        Raises:
            DataError: there is no such run, or it has no final model.
            ConfigError: no name is given, and the model is registered under none, or under several.
        """
        run = self._run(run_id)
        while (parent := _parent(run)) is not None:
            run = self._run(parent)
        final = self._final(run)
        if name is None:
            names = sorted({version.name for version in self._client.search_model_versions(f"run_id = '{final}'")})
            if len(names) != 1:
                found = f"under several names ({', '.join(names)})" if names else "under no name"
                raise ConfigError(f"the final model of run {run_id} is registered {found}; name one with --name")
            name = names[0]
        return register(self._client, final, name)

    def holder(self, name: str, alias: str) -> Version | None:
        """The version that has an alias, None if there is none."""
        try:
            found = self._client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code not in MISSING:
                raise
            return None
        run = self._find(found.run_id) if found.run_id else None
        if run is None:
            return Version(name, str(found.version), None, None)
        return Version(name, str(found.version), found.run_id, _parent(run) or found.run_id)

    def move(self, version: Version, alias: str, why: str) -> None:
        """Give an alias to a version, with a tag that says why."""
        self._client.set_model_version_tag(version.name, version.number, PROMOTION, why)
        _set_alias(self._client, version, alias, now())

    def _final(self, run: Run) -> str:
        """The id of the run that fitted the model that a pipeline's run ships."""
        condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run.info.run_id}' and params.`{FITTED_ON}` = 'everything'"
        found = self._client.search_runs([run.info.experiment_id], f"{condition} and status = 'FINISHED'", max_results=10)
        logged = [one for one in found if one.outputs is not None and one.outputs.model_outputs]
        if not logged:
            raise DataError(
                f"run {run.info.run_id} has no final model; runs of pipelines with the key register or export have one"
            )
        return str(logged[0].info.run_id)  # the latest

    def _run(self, run_id: str) -> Run:
        found = self._find(run_id)
        if found is None:
            raise DataError(f"there is no run {quoted(run_id)} in this store; see --tracking-uri")
        return found

    def _find(self, run_id: str) -> Run | None:
        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in MISSING:
                raise
            return None


def _parent(run: Any) -> str | None:
    """The id of the run above a run."""
    found: str | None = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
    return found
