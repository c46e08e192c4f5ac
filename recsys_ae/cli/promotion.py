"""The command that moves the alias of a registered model."""

import os
from typing import Annotated

import typer

from recsys_ae.cli.options import TrackingUri, terminal
from recsys_ae.errors import ConfigError
from recsys_ae.exits import NOT_PROMOTED


def promote(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The MLflow run of a pipeline: its id, or runs:/ID.")],
    name: Annotated[
        str | None, typer.Option(help="The registered model. Default: the one that the run's pipeline declares.")
    ] = None,
    alias: Annotated[str, typer.Option(help="The alias to move.")] = "champion",
    force: Annotated[bool, typer.Option("--force", help="Move it even if the new model is not better.")] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Give an alias to a run's final model if it beats the version that has it, on the same test part."""
    if os.path.isdir(run):
        raise ConfigError(f"{run} is a folder; promote takes the id of an MLflow run, as `recsys-ae runs list` shows it")
    from recsys_ae.declaration import validate
    from recsys_ae.experiment.pipeline_file import Alias, RegisteredName
    from recsys_ae.experiment.promotion import promote as promote_model

    validate(Alias, alias, "--alias")
    if name is not None:
        validate(RegisteredName, name, "--name")
    found = promote_model(run, name, alias, force=force, tracking_uri=tracking_uri)
    terminal().print(found.why, soft_wrap=True)
    if not found.promoted:
        raise typer.Exit(NOT_PROMOTED)
