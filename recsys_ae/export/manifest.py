"""The manifest of an export: what it contains and what it was made from."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import recsys_ae
from recsys_ae.errors import DataError
from recsys_ae.files import read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """The keys that all exports share."""

    model: str  # registered name
    model_digest: str  # hash of everything the model has learned
    data_digest: str  # hash of the data it was applied to
    rows: int
    versions: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest in a folder; `DataError` if it is damaged, or missing because the export is not complete."""
        if not (folder / MANIFEST).exists():
            raise DataError(f"{folder} holds no {MANIFEST}: not a complete export")
        return read_json(cls, folder / MANIFEST)


@dataclass(frozen=True)
class ListManifest(Manifest):
    """Top-k lists; `data_digest` is that of the history."""

    k: int
    filters: dict[str, Any]  # exclude_seen, numbers of candidates and excluded items (None: no such filter), policy `cold`
    n_users: int  # asked for
    n_items: int  # in the catalogue
    cold_users: int  # users the model cannot score
    users_without_items: int  # users with an empty list
    files: list[str]  # Parquet files in the order of the users
    schema: dict[str, str]  # column -> Parquet type


@dataclass(frozen=True)
class VectorManifest(Manifest):
    """Vectors of `width` numbers; `what` describes them."""

    what: str
    width: int


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries that do its arithmetic."""
    return {"recsys-ae": recsys_ae.__version__, **{name: version(name) for name in ("numpy", "pyarrow", "scipy", "torch")}}
