"""The command that prints the JSON schemas of pipelines and cards."""

from typing import Annotated, Literal

import typer


def schema(kind: Annotated[Literal["pipeline", "card"], typer.Argument(help="What the schema is of.")]) -> None:
    """Print the JSON schema of pipelines or cards, with which editors complete and check them."""
    import json

    from recsys_ae.experiment.schema import SCHEMAS

    print(json.dumps(SCHEMAS[kind](), indent=1))
