"""What a run was made by, as tags."""

import getpass
import os
from contextlib import suppress

from recsys_ae.surroundings import command, commit


def environment_tags() -> dict[str, str]:
    """The tags of a run that no other run contains, under the names that MLflow's pages show where there are some."""
    tags = {"mlflow.source.name": "recsys-ae", "mlflow.source.type": "LOCAL", "command": command()}
    with suppress(OSError, KeyError, ImportError):  # a user without a name, as in some containers
        tags["mlflow.user"] = os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    if found := commit():
        tags["mlflow.source.git.commit"], changed = found
        tags["uncommitted_changes"] = "yes" if changed else "no"
    return tags
