"""Threads of PyTorch and numba, which share one pool (OpenMP).

Spinning threads make training on small batches ten times slower when other processes compete for the cores. `import recsys_ae`
sets GOMP_SPINCOUNT, so that waiting threads soon go to sleep; this has an effect only before PyTorch is loaded. If it was
loaded earlier, `spin_briefly` achieves the same.

**Results and the number of threads.** The compiled loops of `core.kernels` give the same result with any number. Two kinds of
PyTorch's operations do not, in the last digits: matrix products of dense matrices, and functions such as the sigmoid of more
than 32,768 numbers at once, which threads share. So models whose outputs are dense (Mult-DAE, Mult-VAE, RecVAE, and all image
models) are exactly reproducible with the same number of threads only; AutoRec and CDAE with any number, as long as they have
one hidden layer and batch_size * hidden is at most 32,768.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import numba
import torch

WORTH_IT = 4e6  # multiplications in a batch from which several threads are faster than one


def spin_briefly() -> None:
    """Make waiting threads give up their core soon, if PyTorch was loaded without GOMP_SPINCOUNT.

    libgomp spins 300,000 times by default, and 100 times when it manages more threads than there are cores
    (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). An idle team raises their number above that.
    """
    if sys.platform != "linux" or {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        return
    started = Event()

    def idle() -> None:
        torch.ones(1 << 20).add_(1)  # large enough for a team
        started.set()
        Event().wait()

    Thread(target=idle, name="recsys-ae-idle", daemon=True).start()
    started.wait()


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Use one thread if `work`, the multiplications per batch, is small, otherwise all of PyTorch's.

    PyTorch and numba use the same number, because a team whose size changes is slow.
    """
    before = torch.get_num_threads()
    _set_threads(1 if work < WORTH_IT else before)
    try:
        yield
    finally:
        _set_threads(before)


def _set_threads(number: int) -> None:
    numba.set_num_threads(min(number, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(number)  # afterwards, because numba sets it too when it starts its threads
