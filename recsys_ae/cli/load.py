"""The command that loads finished lists into a database or a Delta table."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_ae.cli.options import PATH, terminal
from recsys_ae.errors import ConfigError


def load(
    folder: Annotated[Path, typer.Argument(help="A folder made by export or run.", **PATH)],
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URI", envvar="RECSYS_AE_DATABASE", help="Database, such as postgresql+psycopg2://me:pw@host/shop."
        ),
    ] = None,
    table: Annotated[str | None, typer.Option(metavar="NAME", help="Table of the database, created if needed.")] = None,
    delta: Annotated[str | None, typer.Option(metavar="URI", help="Delta table, created if needed.")] = None,
) -> None:
    """Replace the rows of a database table or a Delta table by lists.

    Readers see either the old lists or the new ones. After an interruption, the same command continues; if the table already
    holds the lists, it does nothing.
    """
    if (table is None) == (delta is None):
        raise ConfigError("name either a --table of a --database, or a --delta table")
    if table is not None and database is None:
        raise ConfigError("--table needs --database or $RECSYS_AE_DATABASE")
    from recsys_ae.export.manifest import ListManifest
    from recsys_ae.export.tables import load_into_database, write_delta
    from recsys_ae.surroundings import masked

    if table is not None and database is not None:
        changed, place = load_into_database(folder, database, table), f"the table {table} of {masked(database)}"
    else:
        changed, place = write_delta(folder, str(delta)), f"the Delta table {masked(str(delta))}"
    rows = ListManifest.read_alone(folder).rows
    terminal().print(f"{rows} recommendations {'are in' if changed else 'were already in'} {place}", soft_wrap=True)
