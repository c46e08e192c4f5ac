"""numba kernels with a persistent cache of their machine code, where one can be written."""

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps

from recsys_ae.folders import cache_folder, cache_folders, writable

HERE = Path(__file__).parent


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with these options and a persistent cache; a function is compiled if the cache cannot be used."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = _KernelCache(function)
        return dispatcher

    return decorate


def _kernel_folders(*caches: Path) -> list[Path]:
    """Possible folders of machine code: $NUMBA_CACHE_DIR or `__pycache__` here, then `kernels` in each cache."""
    return [Path(numba.config.CACHE_DIR or HERE / "__pycache__"), *(folder / "kernels" for folder in caches)]


@cache
def _where_to_save() -> Path | None:
    """The first writable folder of `_kernel_folders`; None if there is none."""
    if writable(first := _kernel_folders()[0]):
        return first
    folder = cache_folder()
    return folder / "kernels" if folder is not None and writable(folder / "kernels") else None


@cache
def _sources() -> bytes:
    """numba's version and the source of all kernels, because they may be inlined into each other."""
    return b"".join([numba.__version__.encode(), *(path.read_bytes() for path in sorted(HERE.glob("*.py")))])


class _Place:
    """A minimal numba cache locator; `_Files` decides about folders and digests."""

    @classmethod
    def from_function(cls, function: Any, path: str) -> "_Place":
        return cls()

    def get_cache_path(self) -> str:
        return str(HERE)

    def get_source_stamp(self) -> None: ...

    def get_disambiguator(self) -> str:
        return "kernel"

    def ensure_cache_path(self) -> None: ...


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Place,)


class _KernelCache(FunctionCache):
    """numba's cache of one function, in files with digests. No failure of the cache is an error."""

    _impl_class = _Implementation

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._impl.filename_base)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # reading, unpickling or linking failed: compile the function
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # the disk is full
            super().save_overload(sig, data)


class _Files:
    """The cache files of a function, one per signature: a digest, then the pickled code."""

    def __init__(self, name: str) -> None:
        self._name = name

    def load(self, key: Any) -> Any:
        """What was saved under `key` from the same sources; None if it is missing or damaged."""
        for folder in _kernel_folders(*cache_folders()):
            with suppress(OSError):
                content = (folder / self._file(key)).read_bytes()
                if content[:32] == _digest(content[32:]):
                    return pickle.loads(content[32:])
        return None

    def save(self, key: Any, data: Any) -> None:
        if (folder := _where_to_save()) is None:
            return
        content = dumps(data)
        path = folder / self._file(key)
        draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
        try:
            draft.write_bytes(_digest(content) + content)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def _file(self, key: Any) -> str:
        """The file name, independent of the version of the sources, so that outdated code is replaced."""
        signature, processor, _ = key
        return f"{self._name}.{hashlib.sha256(repr((signature, processor)).encode()).hexdigest()[:16]}.nbc"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(_sources() + content).digest()
