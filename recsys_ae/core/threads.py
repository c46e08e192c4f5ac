"""Threads of PyTorch and numba, which share one pool (OpenMP).

Threads that spin while they wait make training on small batches ten times slower when other processes want the same cores.
`import recsys_ae` sets GOMP_SPINCOUNT, so that they soon go to sleep; this only works before PyTorch is loaded. If it was
loaded earlier, `spin_briefly` has the same effect.

**Results and the number of threads.** The compiled loops of `core.kernels` give the same result with any number. So do
PyTorch's dense products in float32 on Intel processors with AVX2, for which `import recsys_ae` sets MKL_CBWR to the strict
reproducible mode (2 to 4 % slower), again only before PyTorch is loaded; and activations without gradients, as in scoring (see
`by_rows`). The last digits of these depend on the number: dense products in bfloat16 and on other processors, functions such as
the sigmoid of more than 32,768 numbers with gradients, and LAPACK's inverse.
So models with dense outputs (Mult-DAE, Mult-VAE, RecVAE, ELSA, EASE, all image models) are exactly reproducible only with the
same number of threads; AutoRec and CDAE with any, if they have one hidden layer and batch_size * hidden is at most 32,768.
docs/performance.md says how large the differences are.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import numba
import torch
from torch import Tensor

from recsys_ae.forks import when_threads_are_lost

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
WORTH_IT = 4e6  # multiplications in a batch from which several threads are faster than one
ONE_THREAD = 32_768  # numbers to which PyTorch applies a function in one thread
ROWS = 32  # fill whole vectors of the processor, however wide they are


def spin_briefly() -> None:
    """Make waiting threads give up their core soon, if PyTorch was loaded without GOMP_SPINCOUNT.

    libgomp spins 300,000 times by default, but 100 times with more threads than cores
    (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html), which a second, sleeping team of threads achieves.
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
    """Use one thread if `work`, the multiplications in a batch, is small, otherwise all of PyTorch's.

    PyTorch and numba use the same number, because changing the size of a team is slow.
    """
    before = torch.get_num_threads()
    _set_threads(1 if work < WORTH_IT else before)
    try:
        yield
    finally:
        _set_threads(before)


def by_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)`, of each number in x [B, ...] alone; without gradients, the same bits with any number of threads.

    Several threads share out the numbers, not the vectors that the processor computes at once. What is left over at the borders
    is computed by other code, which rounds differently.
    """
    if x.requires_grad or not x.is_cpu or x.numel() <= ONE_THREAD:
        return function(x)
    rows = max(ONE_THREAD // x[0].numel() // ROWS * ROWS, ROWS)
    return torch.cat([function(part) for part in x.split(rows)])


@contextmanager
def share_of_threads(processes: int) -> Iterator[None]:
    """An environment in which each of so many new processes gets an equal share of this process's threads, at least one.

    Libraries read it when they are loaded, so it does not apply to forks.
    """
    share = {name: str(max(torch.get_num_threads() // processes, 1)) for name in VARIABLES}
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(share)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _set_threads(number: int) -> None:
    numba.set_num_threads(min(number, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(number)  # afterwards, because numba sets it too when it starts its threads


when_threads_are_lost(lambda: torch.set_num_threads(1))
