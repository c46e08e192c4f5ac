"""The manifest of an export: what was made from what, for whoever asks a month later."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import recsys_ae
from recsys_ae.errors import DataError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What all exports say.

    Attributes:
        model: registered name of the model; `model_digest`: hash of everything it has learned.
        data_digest: hash of what it was applied to.
        rows: rows written.
        versions: of this package and of what it computed with.
    """

    model: str
    model_digest: str
    data_digest: str
    rows: int
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest in a folder; `DataError` if there is none, which means that the export is not complete."""
        path = folder / MANIFEST
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DataError(f"{folder} holds no {MANIFEST}: not a complete export") from None
        except (OSError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}") from None


@dataclass(frozen=True)
class ListManifest(Manifest):
    """Top-k lists; `data_digest` is that of the history they were made from.

    Attributes:
        k: length of the lists.
        filters: `exclude_seen`, numbers of `candidates` and `excluded` items (None: no such filter), and the policy for `cold`
            users.
        n_users, n_items: users who were asked for, and size of the catalogue.
        cold_users: those of them whom the model cannot score.
        users_without_items: users for whom no item was left.
        files: names of the Parquet files, in the order of the users.
        schema: column -> Parquet type.
    """

    k: int
    filters: dict[str, Any]
    n_users: int
    n_items: int
    cold_users: int
    users_without_items: int
    files: list[str]
    schema: dict[str, str]


@dataclass(frozen=True)
class VectorManifest(Manifest):
    """Vectors of `width` numbers; `what` says what of, in words."""

    what: str
    width: int


def versions() -> dict[str, str]:
    """Of this package and of what it computes with."""
    return {"recsys-ae": recsys_ae.__version__, **{name: version(name) for name in ("numpy", "pyarrow", "scipy", "torch")}}
