"""What a run was made by: the command, the commit of the working folder, the user. Nothing of it may hold a secret."""

import getpass
import os
import re
import subprocess
import sys
from contextlib import suppress

from recsys_ae.tracking.uris import HIDDEN, mask_uris

SECRET = re.compile(r"((?:password|passwd|secret|token|credential|api_?key)\w*[=: ]\s*)\S+", re.IGNORECASE)


def environment_tags() -> dict[str, str]:
    """The tags of a run that no other run contains, under the names that MLflow's pages show where there are some."""
    tags = {"mlflow.source.name": "recsys-ae", "mlflow.source.type": "LOCAL", "command": command(sys.argv)}
    with suppress(OSError, KeyError, ImportError):  # a user without a name, as in some containers
        tags["mlflow.user"] = os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    if commit := _git("rev-parse", "HEAD"):
        tags["mlflow.source.git.commit"] = commit
        tags["uncommitted_changes"] = "yes" if _git("status", "--porcelain", "--untracked-files=no") else "no"
    return tags


def command(arguments: list[str]) -> str:
    """A command line on one line, without what may be secret: users and options in URIs, and what is called a password.

    >>> command(["/bin/recsys-ae", "run", "x.yaml", "--tracking-uri", "postgresql://me:pw@host/runs"])
    'recsys-ae run x.yaml --tracking-uri postgresql://***@host/runs'
    >>> command(["recsys-ae", "--set", "dataset.token=abc"])
    'recsys-ae --set dataset.token=***'
    """
    program, *rest = arguments or [""]
    name = os.path.basename(program).replace("__main__.py", "recsys-ae")  # as of `python -m recsys_ae`
    line = " ".join([name, *(" ".join(one.split()) for one in rest)])
    return SECRET.sub(rf"\1{HIDDEN}", mask_uris(line))


def _git(*arguments: str) -> str:
    """The output of git in the current folder; empty if there is none."""
    with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        run, environment = ["git", *arguments], {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        nothing = subprocess.DEVNULL
        done = subprocess.run(
            run, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, env=environment, timeout=5, check=True
        )
        return done.stdout.decode().strip()
    return ""
