"""Cache folders for downloads and compiled kernels, and settings for libraries where there is no home directory."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from recsys_ae.errors import OutputError


def cache_folders() -> list[Path]:
    """Possible folders for downloads and compiled kernels, preferred one first; they need not exist.

    Only $RECSYS_AE_CACHE if it is set, else `recsys-ae` in $XDG_CACHE_HOME or ~/.cache and then, for users without a writable
    home directory, a private folder in the temporary one.
    """
    if given := os.environ.get("RECSYS_AE_CACHE"):
        return [Path(given)]
    folders = []
    with suppress(RuntimeError):  # a user id without a home
        folders.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recsys-ae")
    private = _private_folder()
    return [*folders, private] if private is not None and _is_ours(private) else folders


def cache_folder() -> Path | None:
    """The first of `cache_folders` that is writable, created if needed; None if there is none."""
    for folder in cache_folders():
        if folder == _private_folder():
            with suppress(OSError):
                folder.mkdir(mode=0o700)
        if writable(folder):
            return folder
    return None


def writable(folder: Path) -> bool:
    """Whether files can be created in a folder, which is created if needed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions do not tell: file systems can be read-only
            return True
    except OSError:
        return False


def provide_for_libraries() -> None:
    """Without a writable home directory, point Matplotlib to the cache; without any home, set HOME, which MLflow needs."""
    try:
        home = Path.home()
    except RuntimeError:
        home = None
    given = [Path(path) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME") if (path := os.environ.get(name))]
    usable = all(map(writable, given))
    if usable and home is not None and home.is_dir() and os.access(home, os.W_OK):
        return
    folder = cache_folder()
    if folder is not None:
        if not usable or not os.environ.get("XDG_CONFIG_HOME"):
            os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
        if home is None:
            os.environ["HOME"] = str(folder)


def check_current() -> None:
    """`OutputError` if the current folder has been removed, without which some libraries end the process."""
    try:
        os.getcwd()
    except OSError:
        raise OutputError("the current folder has been removed; change to another one") from None


def check_temporary() -> None:
    """`OutputError` if there is no folder for temporary files, which libraries need."""
    try:
        tempfile.gettempdir()
    except OSError:
        raise OutputError("there is no writable folder for temporary files; set TMPDIR to one") from None


def _private_folder() -> Path | None:
    with suppress(OSError):  # there is no temporary folder
        return Path(tempfile.gettempdir()) / f"recsys-ae-{os.getuid()}"
    return None


def _is_ours(folder: Path) -> bool:
    """Whether a folder belongs to this user alone, or does not exist: others could plant compiled code in it."""
    try:
        found = folder.lstat()
    except OSError:
        return True
    return found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o040000
