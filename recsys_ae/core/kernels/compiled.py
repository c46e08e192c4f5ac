"""numba kernels with a persistent cache of their machine code, where one can be written."""

import hashlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.cpu import CPUContext
from numba.core.event import TimingListener, register, trigger_event
from numba.core.registry import cpu_target
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from recsys_ae.folders import cache_folder, cache_folders, writable
from recsys_ae.forks import when_threads_are_lost

HERE = Path(__file__).parent

COMPILING = TimingListener()

logger = logging.getLogger(__name__)
register("numba:compile", COMPILING)


def working_seconds() -> float:
    """A clock that stands still while a kernel is compiled, which happens once on a machine and says nothing about a model."""
    return perf_counter() - (COMPILING.duration if COMPILING.done else 0.0)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with these options and a persistent cache; a function is compiled if the cache cannot be used."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = _KernelCache(f"{Path(function.__code__.co_filename).stem}.{function.__name__}", dispatcher)
        if options.get("parallel"):
            when_threads_are_lost(lambda: _without_threads(dispatcher))
        return dispatcher

    return decorate


def _without_threads(dispatcher: Any) -> None:
    """Compile a kernel for one thread when it is called next."""
    if dispatcher.targetoptions["parallel"]:
        dispatcher.targetoptions["parallel"] = False
        dispatcher._cache = _KernelCache(f"{dispatcher._cache.name}.one-thread", dispatcher)
        dispatcher._reset_overloads()


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
def _announce() -> None:
    """Log, once, why the first call of a kernel takes long."""
    folder = _where_to_save()
    where = "there is no writable folder to keep them" if folder is None else f"they are kept in {folder}"
    logger.info("compiling the kernels that are needed, which takes seconds each; %s", where)


@cache
def _sources() -> bytes:
    """numba's version and the source of all kernels, because they may be inlined into each other."""
    return b"".join([numba.__version__.encode(), *(path.read_bytes() for path in sorted(HERE.glob("*.py")))])


class _KernelCache(NullCache):
    """The cache of one function: a file per signature, with a digest and the pickled code.

    Nothing that goes wrong with a cache is an error.
    """

    def __init__(self, name: str, dispatcher: Any) -> None:
        self.name, self._dispatcher = name, dispatcher

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult:
        """The code as it is stored, in an engine of its own.

        With one engine for all, as numba has it, a kernel would use those copies of the functions in it that were linked first:
        by itself if it has just been compiled, or by another kernel. They are optimised differently, and round differently.
        """
        target_context.refresh()
        with suppress(Exception):  # of unpickling or linking
            for content in self._found(sig, target_context):
                return _linked(pickle.loads(content))
        content = self._compiled(sig)
        self._save(sig, target_context, content)
        return _linked(pickle.loads(content))

    def _found(self, sig: Any, target_context: Any) -> Iterator[bytes]:
        """What was saved from the same sources and is not damaged."""
        for folder in _kernel_folders(*cache_folders()):
            with suppress(OSError):
                content = (folder / self._file(sig, target_context.codegen())).read_bytes()
                if content[:32] == _digest(content[32:]):
                    yield content[32:]

    def _compiled(self, sig: Any) -> bytes:
        """The pickled code, which has just been compiled."""
        _announce()
        arguments, returned = normalize_signature(sig)
        with trigger_event("numba:compile"):
            return bytes(dumps(self._dispatcher._compiler.compile(arguments, returned)._reduce()))

    def _save(self, sig: Any, target_context: Any, content: bytes) -> None:
        if (folder := _where_to_save()) is None:
            return
        path = folder / self._file(sig, target_context.codegen())
        draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
        with suppress(OSError):  # the disk is full
            try:
                draft.write_bytes(_digest(content) + content)
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)

    def _file(self, signature: Any, codegen: Any) -> str:
        """The file name, independent of the version of the sources, so that outdated code is replaced."""
        key = repr((signature, codegen.magic_tuple()))
        return f"{self.name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}.nbc"


def _linked(code: tuple[Any, ...]) -> CompileResult:
    return CompileResult._rebuild(CPUContext(cpu_target.typing_context), *code)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(_sources() + content).digest()
