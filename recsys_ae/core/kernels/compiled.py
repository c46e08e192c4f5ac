"""Compiled functions whose machine code is kept between processes, where there is a place for it."""

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from recsys_ae.folders import cache_folder, cache_folders, writable

HERE = Path(__file__).parent


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with these options, cached; what cannot be read from or written to the cache is compiled anew."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = _KernelCache(f"{Path(function.__code__.co_filename).stem}.{function.__name__}")
        return dispatcher

    return decorate


def _kernel_folders(*caches: Path) -> list[Path]:
    """Where machine code may lie: $NUMBA_CACHE_DIR or beside the source code, and in these caches."""
    return [Path(numba.config.CACHE_DIR or HERE / "__pycache__"), *(folder / "kernels" for folder in caches)]


@cache
def _where_to_save() -> Path | None:
    """The first of these folders that can be written to, if any."""
    if writable(first := _kernel_folders()[0]):
        return first
    folder = cache_folder()
    return folder / "kernels" if folder is not None and writable(folder / "kernels") else None


@cache
def _sources() -> bytes:
    """All kernels, which may be compiled into each other, and the compiler's version."""
    return b"".join([numba.__version__.encode(), *(path.read_bytes() for path in sorted(HERE.glob("*.py")))])


class _KernelCache(NullCache):
    """The cache of one function: a file for each signature, which holds a digest, then the pickled code.

    Nothing that goes wrong with a cache is an error.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code that was saved from the same sources; None if there is none or it is damaged."""
        target_context.refresh()
        for folder in _kernel_folders(*cache_folders()):
            with suppress(Exception):  # of reading, unpickling or linking
                content = (folder / self._file(sig, target_context.codegen())).read_bytes()
                if content[:32] == _digest(content[32:]):
                    return CompileResult._rebuild(target_context, *pickle.loads(content[32:]))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if (folder := _where_to_save()) is None:
            return
        path, content = folder / self._file(sig, data.codegen), dumps(data._reduce())
        draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
        with suppress(OSError):  # the disk is full
            try:
                draft.write_bytes(_digest(content) + content)
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)

    def _file(self, signature: Any, codegen: Any) -> str:
        """Its name, the same for any version of the sources, so that code of older ones is replaced."""
        key = repr((signature, codegen.magic_tuple()))
        return f"{self._name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}.nbc"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(_sources() + content).digest()
