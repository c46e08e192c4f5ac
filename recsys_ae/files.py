"""Writing so that a file or folder appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys_ae.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; what was written becomes `path` at the end, or vanishes if the block raises.

    Raises:
        OutputError: the disk is full, or the folder is not there or not writable.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        yield draft
        os.replace(draft, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill; at the end it becomes `path` (replacing an older one), or vanishes if the block raises.

    Raises:
        OutputError: the disk is full, or the folder's parent is not writable.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            shutil.rmtree(path)
        os.replace(draft, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
