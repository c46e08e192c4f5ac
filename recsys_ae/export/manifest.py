"""The manifest of an export: what was made from what, for whoever asks a month later."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from recsys_ae.errors import DataError

MANIFEST = "manifest.json"
T = TypeVar("T")


@dataclass(frozen=True)
class Manifest:
    """Attributes:
    model: registered name of the model; `model_digest`: hash of its parameters and everything learned.
    data_digest: hash of the history that the lists were made from.
    k: length of the lists.
    filters: `exclude_seen`, numbers of `candidates` and `excluded` items (None: no such filter), and the policy for `cold`
        users.
    n_users, n_items: users who were asked for, and size of the catalogue.
    cold_users: those of them whom the model cannot score.
    rows: recommendations written; `users_without_items`: users for whom no item was left.
    files: names of the Parquet files, in the order of the users.
    schema: column -> Parquet type.
    versions: of this package and of what it computed with.
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
        write_manifest(asdict(self), folder)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest in a folder; `DataError` if there is none, which means that the export is not complete."""
        return read_manifest(cls, folder)


def write_manifest(content: dict[str, Any], folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_manifest(kind: type[T], folder: Path) -> T:
    """The manifest in a folder; `DataError` if there is none, or one of another kind."""
    path = folder / MANIFEST
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {MANIFEST}: not a complete export") from None
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
