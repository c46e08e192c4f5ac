"""The command that writes the page of a run again."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_ae.cli.options import PATH, terminal


def report(run: Annotated[Path, typer.Argument(help="The folder of a finished run.", **PATH)]) -> None:
    """Write report.html, the page of a run, again."""
    from recsys_ae.experiment.html_report import rewrite_html

    terminal().print(str(rewrite_html(run)), soft_wrap=True)
