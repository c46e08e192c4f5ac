"""URIs of MLflow stores."""

from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from recsys_ae.errors import ConfigError, quoted
from recsys_ae.surroundings import masked

SQLITE_OPTIONS = {"timeout", "isolation_level", "check_same_thread", "cached_statements", "detect_types"}
DATABASES, SERVERS = ("sqlite", "postgresql", "mysql", "mssql"), ("http://", "https://", "databricks")


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
