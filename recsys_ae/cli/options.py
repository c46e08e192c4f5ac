"""What the commands share: kinds of options, and the printing of tables."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def _path(text: str) -> Path:
    """Parser of a path argument; see `path_of`."""
    from recsys_ae.files import path_of

    return path_of(text)


PATH: dict[str, Any] = {"parser": _path, "metavar": "PATH"}
CardOption = Annotated[
    str | None,
    typer.Option(help="Dataset card, or pipeline with one inside, that describes the file and the features of users."),
]
# As in `models.recommend` and `split`, which are too heavy to import for --help
Cold = Literal["error", "popular", "skip"]
Repeats = Literal["excluded", "wanted"]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow store; 'none' tracks nothing. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."),
]
RequireTracking = Annotated[
    bool, typer.Option("--require-tracking", help="Fail if the store cannot be used, or lacks something at the end.")
]


def terminal(stderr: bool = False) -> Any:
    """A `rich.console.Console` that prints text as it is."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160  # in files and pipes, 80 columns would cut tables
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def print_table(*columns: str, rows: list[list[str]]) -> None:
    """Print a table of texts."""
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    terminal().print(table)
