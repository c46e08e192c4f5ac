"""URIs of MLflow stores."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from recsys_ae.errors import ConfigError, quoted

SQLITE_OPTIONS = {"timeout", "isolation_level", "check_same_thread", "cached_statements", "detect_types"}
DATABASES, SERVERS = ("sqlite", "postgresql", "mysql", "mssql"), ("http://", "https://", "databricks")
HIDDEN = "***"
URI = re.compile(r"[\w.+-]+://\S+")


def store_uri(uri: str) -> str:
    """`uri` of an MLflow store, with an absolute path if it is that of a SQLite file.

    Paths in URIs are percent-encoded: a question mark is %3F, a percent sign %25.

    Raises:
        ConfigError: MLflow does not support such a URI.
    """
    if uri.startswith(SERVERS):
        return uri
    expected = "use sqlite:///FILE, http(s)://..., a PostgreSQL, MySQL or SQL Server URI, or none"
    try:
        parsed = make_url(uri)
    except (ArgumentError, ValueError):
        raise ConfigError(f"{quoted(masked(uri))} is not the URI of an MLflow store; {expected}") from None
    kind = parsed.get_backend_name()
    if kind not in DATABASES:
        raise ConfigError(f"{quoted(masked(uri))} is not the URI of an MLflow store; {expected}")
    if kind != "sqlite":
        return uri
    if parsed.host or not parsed.database or parsed.database.startswith((":", "file:")) or "\0" in parsed.database:
        raise ConfigError(f"{quoted(uri)} does not name a file; use sqlite:///FILE, or sqlite:////FILE from the root")
    if other := parsed.query.keys() - SQLITE_OPTIONS:
        raise ConfigError(
            f"{quoted(uri)} has the unknown option {quoted(min(other))}; in the name of a file, write %3F for '?'"
        )
    return parsed.set(database=str(Path(parsed.database).absolute())).render_as_string(hide_password=False)


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    return Path(make_url(uri).database or "") if uri.startswith("sqlite") else None


def masked(uri: str) -> str:
    """`uri` without a user's name and password, and without options, which may hold one."""
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
