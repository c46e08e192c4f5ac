"""How something was made: the command and the commit of the working folder, without secrets."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from urllib.parse import urlsplit

URI = re.compile(r"[\w.+-]+://\S+")
SECRET = re.compile(r"((?:password|passwd|secret|token|credential|api_?key)\w*[=: ]\s*)\S+", re.IGNORECASE)
LOGIN = re.compile(r"([\w.+-]+://)[^:/@]*:[^@]*@")  # the password may have any other character, as SQLAlchemy takes it
HIDDEN = "***"


def command(arguments: list[str] | None = None) -> str:
    """A command line, by default that of this process, on one line and without secrets.

    Masked are users and options of URIs, and values whose names sound secret, such as a password or a token.

    >>> command(["/bin/recsys-ae", "run", "x.yaml", "--tracking-uri", "postgresql://me:pw@host/runs"])
    'recsys-ae run x.yaml --tracking-uri postgresql://***@host/runs'
    >>> command(["recsys-ae", "--set", "dataset.token=abc"])
    'recsys-ae --set dataset.token=***'
    """
    program, *rest = (sys.argv if arguments is None else arguments) or [""]
    name = os.path.basename(program)
    line = " ".join(["python -m recsys_ae" if name == "__main__.py" else name, *(" ".join(one.split()) for one in rest)])
    return SECRET.sub(rf"\1{HIDDEN}", mask_uris(line))


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
    found = _git("rev-parse", "HEAD")
    return (found, bool(_git("status", "--porcelain", "--untracked-files=no"))) if found else None


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
