"""Folders: the declarations that ship with the package, and the download cache."""

import os
from pathlib import Path

import recsys_ae


def declared_folder(name: str) -> Path:
    """The top-level folder `datasets` or `pipelines`: inside the installed package, or beside it in a checkout."""
    package = Path(recsys_ae.__file__).parent
    installed = package / "declared" / name
    return installed if installed.is_dir() else package.parent / name


def cache_folder() -> Path:
    """Where downloads are kept: $RECSYS_AE_CACHE, else `recsys-ae` in the user's cache folder."""
    if given := os.environ.get("RECSYS_AE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recsys-ae"
