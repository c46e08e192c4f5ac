"""The command that loads finished lists into tables."""

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
    table: Annotated[str | None, typer.Option(metavar="NAME", help="Its table, which is created if needed.")] = None,
    delta: Annotated[str | None, typer.Option(metavar="URI", help="Delta table, which is created if needed.")] = None,
) -> None:
    """Replace the rows of a table of a database, or of a Delta table, by lists.

    Readers see the old lists or the new ones. The same command continues after an interruption, and does nothing if the table
    holds the lists already.
    """
    if (table is None) == (delta is None):
        raise ConfigError("name either a --table of a --database, or a --delta table")
    if table is not None and database is None:
        raise ConfigError("--table needs a --database, which $RECSYS_AE_DATABASE may name too")
    from recsys_ae.export.manifest import ListManifest
    from recsys_ae.export.tables import load_into_database, write_delta
    from recsys_ae.surroundings import masked

    if table is not None and database is not None:
        changed, place = load_into_database(folder, database, table), f"the table {table} of {masked(database)}"
    else:
        changed, place = write_delta(folder, str(delta)), f"the Delta table {masked(str(delta))}"
    rows = ListManifest.read_alone(folder).rows
    terminal().print(f"{rows} recommendations {'are in' if changed else 'were already in'} {place}", soft_wrap=True)
