"""How something was made: the command, without secrets, and the commits of the working folder and of this package."""

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

URI = re.compile(r"[\w.+-]+://\S+")
NAME = r"(?:password|passwd|secret|token|credential|api_?key)\w*"
SECRET = re.compile(rf"({NAME}[=: ]\s*).+", re.IGNORECASE)  # within an argument, up to its end
SECRET_OPTION = re.compile(rf"--?[\w-]*{NAME}", re.IGNORECASE)
LOGIN = re.compile(r"([\w.+-]+://)[^:/@]*:[^@]*@")  # the password may have any other character, as SQLAlchemy takes it
HIDDEN = "***"


def command(arguments: list[str] | None = None) -> str:
    """A command line for a shell, by default that of this process, on one line and without secrets.

    Masked are users and options of URIs, and values whose names sound secret, such as a password or a token.

    >>> command(["/bin/recsys-ae", "run", "x.yaml", "--tracking-uri", "postgresql://me:pw@host/runs"])
    'recsys-ae run x.yaml --tracking-uri postgresql://***@host/runs'
    >>> command(["recsys-ae", "--set", "dataset.token=abc"])
    'recsys-ae --set dataset.token=***'
    >>> command(["recsys-ae", "export", "m", "--output", "new lists"])
    "recsys-ae export m --output 'new lists'"
    """
    program, *rest = (sys.argv if arguments is None else arguments) or [""]
    name = os.path.basename(program)
    shown = ["python -m recsys_ae" if name == "__main__.py" else name]
    for before, one in zip(["", *rest], rest, strict=False):
        hidden = HIDDEN if SECRET_OPTION.fullmatch(before) else SECRET.sub(rf"\1{HIDDEN}", mask_uris(" ".join(one.split())))
        bare = hidden.replace(HIDDEN, "")  # asterisks that mask something need no quotes
        shown.append(hidden if hidden and shlex.quote(bare) in (bare, "''") else shlex.quote(hidden))
    return " ".join(shown)


def masked(uri: str) -> str:
    """`uri` without a user's name and password, and without options, which may hold one.

    >>> masked("postgresql://me:a/b?c#d@host/runs?sslpassword=e"), masked("s3://bucket/a@b")
    ('postgresql://***@host/runs?***', 's3://bucket/a@b')
    """
    uri = LOGIN.sub(rf"\1{HIDDEN}@", uri, count=1)
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    user, at, place = parts.netloc.rpartition("@")
    options = "" if not parts.query or parts.scheme.startswith("sqlite") else f"?{HIDDEN}"
    if not (user or at or options):
        return uri
    return f"{parts.scheme}://{f'{HIDDEN}@' if at else ''}{place}{parts.path}{options}"


def mask_uris(text: str) -> str:
    """`text` with each URI in it `masked`."""
    return URI.sub(lambda found: masked(found[0]), text)


def commit() -> tuple[str, bool] | None:
    """The commit of the current folder, and whether there are uncommitted changes; None outside of a repository."""
    return _commit(Path())


def commit_of_package() -> tuple[str, bool] | None:
    """The commit of the checkout that this package runs from, and whether it has changes; None if it does not run from one."""
    folder = Path(__file__).parent
    return _commit(folder) if _git(folder, "ls-files", Path(__file__).name) else None


def _commit(folder: Path) -> tuple[str, bool] | None:
    found = _git(folder, "rev-parse", "HEAD")
    return (found, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))) if found else None


def _git(folder: Path, *arguments: str) -> str:
    """The output of git in a folder; empty if there is none."""
    with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        run, environment = ["git", "-C", str(folder), *arguments], {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        nothing = subprocess.DEVNULL
        done = subprocess.run(
            run, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, env=environment, timeout=5, check=True
        )
        return done.stdout.decode().strip()
    return ""
