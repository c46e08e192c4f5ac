"""The manifest of an export: what was recommended from what, so that nobody has to guess a month later."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys_ae.errors import DataError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """Attributes:
    model: registered name of the model; `model_digest`: hash of its parameters and everything learned.
    data_digest: hash of the history the lists were made from.
    k: longest list.
    filters: `exclude_seen`, how many `candidates` and `excluded` items were given (None: no such filter), and what `cold`
        users get.
    n_users, n_items: users with a row in the export's plan, and size of the catalogue.
    cold_users: those of them of whom the model has nothing to go by.
    rows: recommendations written; `users_without_items`: users for whom nothing was left.
    files: names of the Parquet files, in order of the users.
    schema: column -> Parquet type.
    versions: of this package and what it computed with.
    """

    model: str
    model_digest: str
    data_digest: str
    k: int
    filters: dict[str, Any]
    n_users: int
    n_items: int
    cold_users: int
    rows: int
    users_without_items: int
    files: list[str]
    schema: dict[str, str]
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest in a folder; `DataError` if there is none, which means that the export is not complete."""
        path = folder / MANIFEST
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DataError(f"{folder} holds no {MANIFEST}: not a complete export of recommendations") from None
        except (OSError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}") from None
