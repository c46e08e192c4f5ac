"""Item AutoRec on a sparse matrix: this package against the usual dense PyTorch training loop.

    RECSYS_AE_DATA=... python benchmarks/masked_training.py [--only ml-1m] [--rounds 5]
    python benchmarks/masked_training.py --smoke        # smoke test: a few seconds, on sizes too small to measure

Both start from the same weights and see the same batches of 512 items: 500 sigmoid units, squared error on the observed
ratings, L2, Adam. They alternate in one process; times are medians over the rounds. Where a whole dense epoch would take
minutes, a few batches are timed and the time is scaled up. Peak memory is measured in a child process per side, as the increase
over its memory before training.

Prints a table; the last line is a JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.optimisers import Optimiser, make_optimiser
from recsys_ae.models.training import ObservedError, autoencoder_l2, observed_rows

HIDDEN, BATCH, L2, RATE = 500, 512, 100.0, 1e-3
CASES = ("ml-1m", "planted-30k-40k", "planted-100k-50k")
PLANTED = {  # users, items, ratings
    "planted-30k-40k": (30_000, 40_000, 1_000_000),
    "planted-100k-50k": (100_000, 50_000, 10_000_000),
    "smoke": (800, 1200, 10_000),
}
DENSE_BATCHES = {"ml-1m": None, "planted-30k-40k": 3, "planted-100k-50k": 1, "smoke": 1}  # None: the whole epoch


def ratings(case: str) -> csr_array:
    """Items x users, float32."""
    if case == "ml-1m":
        from recsys_ae.data.cards import read_card
        from recsys_ae.data.ratings import load_ratings

        return load_ratings(*read_card("ml-1m")).interactions.matrix.T.tocsr()
    n_users, n_items, n = PLANTED[case]
    return random_ratings(n_items, n_users, n)


def random_ratings(n_rows: int, n_columns: int, n: int) -> csr_array:
    """`n` ratings of 1 to 5 at random positions."""
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, n_rows * n_columns, int(n * 1.02)))
    keys = np.sort(rng.permutation(keys)[:n])
    indptr = np.r_[0, np.cumsum(np.bincount(keys // n_columns, minlength=n_rows))]
    return csr_array((rng.integers(1, 6, n).astype(np.float32), keys % n_columns, indptr), shape=(n_rows, n_columns))


class Sparse:
    """This package."""

    def __init__(self, matrix: csr_array) -> None:
        self.rows = observed_rows(matrix)
        self.module = Autoencoder(matrix.shape[1], (HIDDEN,), initial=0.03, generator=torch.Generator().manual_seed(0))
        self.objective = ObservedError(autoencoder_l2(L2, self.rows))

    @cached_property
    def optimiser(self) -> Optimiser:
        return make_optimiser("adam", self.module, RATE)

    def loss(self, index: Tensor) -> Tensor:
        return self.objective.loss(self.module, self.rows[index], torch.Generator()).total

    def step(self, index: Tensor) -> None:
        batch = self.rows[index]

        def closure() -> Tensor:
            self.optimiser.zero_grad()
            error = self.objective.loss(self.module, batch, torch.Generator()).total
            total = error + self.objective.penalty(self.module, batch)
            total.backward()
            return total

        self.optimiser.step(closure)

    def gradients(self) -> list[Tensor]:
        module = self.module
        return [module.input_weight.grad, module.output_weight.grad, module.encoder_biases[0].grad, module.output_bias.grad]


class Dense:
    """Dense rows, dense output and a mask, as in most public implementations of AutoRec."""

    def __init__(self, matrix: csr_array) -> None:
        self.matrix = matrix[np.diff(matrix.indptr) > 0]
        start = Sparse(matrix).module
        self.encoder, self.decoder = nn.Linear(matrix.shape[1], HIDDEN), nn.Linear(HIDDEN, matrix.shape[1])
        with torch.no_grad():
            self.encoder.weight.copy_(start.input_weight.T)
            self.decoder.weight.copy_(start.output_weight)
            self.encoder.bias.zero_()
            self.decoder.bias.zero_()
        self.optimiser = torch.optim.Adam([*self.encoder.parameters(), *self.decoder.parameters()], lr=RATE)

    def loss(self, index: Tensor) -> Tensor:
        x = torch.from_numpy(self.matrix[index.numpy()].toarray())
        mask = (x > 0).float()
        predicted = self.decoder(torch.sigmoid(self.encoder(x)))
        return (((predicted - x) * mask) ** 2).sum()

    def step(self, index: Tensor) -> None:
        self.optimiser.zero_grad()
        squares = self.encoder.weight.square().sum() + self.decoder.weight.square().sum()
        (self.loss(index) + L2 / 2 * len(index) / self.matrix.shape[0] * squares).backward()
        self.optimiser.step()

    def gradients(self) -> list[Tensor]:
        return [self.encoder.weight.grad.T, self.decoder.weight.grad, self.encoder.bias.grad, self.decoder.bias.grad]


def batches(n_rows: int) -> list[Tensor]:
    return list(torch.randperm(n_rows, generator=torch.Generator().manual_seed(1)).split(BATCH))


def largest_difference(matrix: csr_array, index: Tensor) -> float:
    """Largest difference of loss and gradients on one batch, each relative to its own largest entry.

    The sparse side has no optimiser at this point, so its gradients are ordinary dense ones.
    """
    sparse, dense = Sparse(matrix), Dense(matrix)
    losses = [trainer.loss(index) for trainer in (sparse, dense)]
    for loss in losses:
        loss.backward()
    pairs = [(losses[0].detach(), losses[1].detach()), *zip(sparse.gradients(), dense.gradients(), strict=True)]
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_memory(kind: str, case: str) -> float:
    """Increase of memory in GiB, in a child process that takes three training steps."""
    command = [sys.executable, __file__, "--memory", kind, "--only", case]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def measure_memory(kind: str, case: str) -> float:
    matrix = ratings(case)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # reset the peak, which reading the data has raised
    before = _memory("VmRSS")
    trainer = {"sparse": Sparse, "dense": Dense}[kind](matrix)
    for index in batches(int((np.diff(matrix.indptr) > 0).sum()))[:3]:
        trainer.step(index)
    return (_memory("VmHWM") - before) / 2**20


def _memory(field: str) -> int:
    """A field of /proc/self/status in KiB. In a child process, getrusage would return the peak of the parent."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


def compare(case: str, rounds: int) -> dict[str, float]:
    matrix = ratings(case)
    epoch = batches(int((np.diff(matrix.indptr) > 0).sum()))
    difference = largest_difference(matrix, epoch[0])
    sparse, dense = Sparse(matrix), Dense(matrix)
    sample = epoch[: DENSE_BATCHES[case]]
    sparse.step(epoch[0])  # compiles
    sparse_times, dense_times = [], []
    for _ in range(rounds):
        dense_times.append(seconds(lambda: [dense.step(index) for index in sample]) * len(epoch) / len(sample))
        sparse_times.append(seconds(lambda: [sparse.step(index) for index in epoch]))
    result = {
        "sparse_epoch_s": statistics.median(sparse_times),
        "dense_epoch_s": statistics.median(dense_times),
        "epoch_speedup": statistics.median(d / s for d, s in zip(dense_times, sparse_times, strict=True)),
        "max_rel_diff": difference,
        "sparse_memory_gib": peak_memory("sparse", case),
        "dense_memory_gib": peak_memory("dense", case),
    }
    result["memory_ratio"] = result["dense_memory_gib"] / result["sparse_memory_gib"]
    return result


def scaling(rounds: int, n_ratings: int = 1_000_000, n_columns: int = 30_000) -> float:
    """Ratio of the time per rating with 10 * `n_ratings` ratings to that with `n_ratings`, with 25 ratings per row."""
    per_rating = []
    for n in (n_ratings, 10 * n_ratings):
        trainer = Sparse(random_ratings(n // 25, n_columns, n))
        epoch = batches(len(trainer.rows))
        trainer.step(epoch[0])
        times = [seconds(lambda trainer=trainer, epoch=epoch: [trainer.step(i) for i in epoch]) for _ in range(rounds)]
        per_rating.append(statistics.median(times) / n)
    return per_rating[1] / per_rating[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, once")
    parser.add_argument("--only", choices=list(DENSE_BATCHES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", choices=("sparse", "dense"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(measure_memory(options.memory, options.only))
        return
    if options.smoke:
        options.only, options.rounds = "smoke", 1
    results: dict[str, Any] = {}
    print(f"{'case':18}{'sparse s':>10}{'dense s':>10}{'speed-up':>10}{'GiB':>8}{'dense':>8}{'ratio':>8}{'difference':>12}")
    for case in [options.only] if options.only else CASES:
        found = results[case] = compare(case, options.rounds)
        print(
            f"{case:18}{found['sparse_epoch_s']:10.2f}{found['dense_epoch_s']:10.1f}{found['epoch_speedup']:10.1f}"
            f"{found['sparse_memory_gib']:8.2f}{found['dense_memory_gib']:8.2f}{found['memory_ratio']:8.1f}"
            f"{found['max_rel_diff']:12.1e}",
            flush=True,
        )
    if options.smoke:
        results["time_per_rating_scaling"] = scaling(1, 1000, 2000)
    elif not options.only:
        results["time_per_rating_10m_over_1m"] = scaling(options.rounds)
        print(f"time per rating, 10 million over 1 million: {results['time_per_rating_10m_over_1m']:.2f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
