"""Threads of OpenMP, which do not survive a fork.

In a process that is forked from one with such threads, numba's parallel code would end the process, and PyTorch's would wait
for ever. So both compute with one thread there, with the same results. `import recsys_ae` loads this module, because forks are
only noticed from then on.
"""

import os
import sys
from collections.abc import Callable

_lost = False


def when_threads_are_lost(action: Callable[[], object]) -> None:
    """Call `action` in each process that is forked from one in which numba had started its threads; now, if this is one."""
    if _lost:
        action()
    _after_forks(lambda: _lost and action())


def _notice() -> None:
    global _lost
    _lost = _lost or getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", False)


def _after_forks(action: Callable[[], object]) -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=action)  # called in the order of registration


_after_forks(_notice)
