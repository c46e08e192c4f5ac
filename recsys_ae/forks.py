"""Whether this process has lost the threads of OpenMP: they do not survive a fork.

In a process that is forked from one with such threads, numba's parallel code would end the process, and PyTorch's would wait
for ever. So both compute with one thread there, with the same results.
"""

import os
import sys

_lost = False


def threads_are_lost() -> bool:
    """Whether a process that this one was forked from had started numba's threads."""
    return _lost


def _after_fork() -> None:
    global _lost
    _lost = _lost or getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
