"""Data-parallel training: processes (ranks) that each compute the gradient of a share of every batch.

Rank 0 runs the command. The other ranks know nothing of it: they get the module, the objective and the rows from rank 0 when a
training starts, and a message per epoch (see `core.followers`). For each batch:

1. Every rank draws the same batch, and computes loss, penalty and gradient of its share of the rows (see `core.shares`).
2. Losses and ordinary gradients are added up over the ranks. The gradient of a wide weight is a product S^T G (see
   `core.sparse`) over the rows of the batch, so the ranks exchange their rows of S and G, which is far less than the product.
3. Every rank takes the same step. After each epoch, digests of the weights are compared.

All ranks train objectives that are sums over rows, marked by `separable = True`; rank 0 alone trains all others.
docs/distributed.md describes how to start ranks and what to expect.

Ranks trust each other: what rank 0 sends is unpickled, as between the processes of `multiprocessing`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BytesIO
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from recsys_ae.core.devices import device_of
from recsys_ae.core.shares import Share
from recsys_ae.core.sparse import DeferredGradient, SparseRows, deferred_gradients
from recsys_ae.digests import digest_of
from recsys_ae.errors import RankLost, RanksError, RecsysError, reason

DIGIT = 4096  # sizes are sent as two digits in this base, which float32 holds exactly
PATIENCE = timedelta(days=30)  # for rank 0, which also reads data, evaluates and exports


class Start(NamedTuple):
    """What the other ranks need to join a training; the last two are states."""

    module: Any
    objective: Any
    rows: Any
    config: Any
    optimiser: dict[str, Any]
    generator: Tensor


class Team:
    """The ranks that train together. All methods but `share` must be called by all of them, in the same order.

    They raise `RankLost` if another rank has ended.

    Attributes:
        rank, size: the number of this rank, from 0, and how many ranks there are.
    """

    def __init__(self, store: Any, rank: int, size: int, *, nccl: bool) -> None:
        self.rank, self.size = rank, size
        self._store, self._nccl = store, nccl
        self._in_step = True

    def share(self, batch: Any) -> Share:
        """The share of a batch that this rank computes."""
        n = len(batch)
        return Share(batch, n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def add_up(self, module: nn.Module, numbers: Sequence[Tensor]) -> Sequence[Tensor]:
        """Replace all gradients of a module by their sums over the ranks; returns the sums of the scalar `numbers`."""
        gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
        deferred = [gradient for gradient in deferred_gradients() if gradient]
        patterns, parts = _parts(deferred)
        sizes = torch.zeros(self.size, len(parts), 2)
        sizes[self.rank] = torch.tensor([divmod(part.numel(), DIGIT) for part in parts]).view(-1, 2)
        *sums, totals, sizes = self._sums([*gradients, torch.stack([number.float() for number in numbers]), sizes])
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total)
        if parts:
            high, low = sizes.long().unbind(2)
            _replace(deferred, patterns, self._concatenated(parts, (DIGIT * high + low).tolist()))
        return totals.unbind()

    def _sums(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum of each tensor over the ranks."""
        device = tensors[0].device
        placed = self._placed(torch.cat([tensor.to(device).reshape(-1).float() for tensor in tensors]))
        with self._reaching_others():
            distributed.all_reduce(placed)
        found = placed.to(device).split([tensor.numel() for tensor in tensors])
        return [total.view(tensor.shape) for total, tensor in zip(found, tensors, strict=True)]

    def _concatenated(self, parts: Sequence[Tensor], sizes: Sequence[list[int]]) -> list[Tensor]:
        """int32 and float32 tensors [n, ...], each concatenated over the ranks in order.

        Args:
            sizes: for each rank, the number of elements of each tensor; n may differ among ranks.
        """
        flat = parts[0].new_zeros(max(map(sum, sizes)), dtype=torch.int32)
        torch.cat([part.reshape(-1).view(torch.int32) for part in parts], out=flat[: sum(sizes[self.rank])])
        payloads = [one[: sum(size)].split(size) for one, size in zip(self._gathered(flat), sizes, strict=True)]
        joined = map(torch.cat, zip(*payloads, strict=True))
        return [one.view(part.dtype).view(-1, *part.shape[1:]) for one, part in zip(joined, parts, strict=True)]

    def check_equal(self, module: nn.Module, epoch: int) -> None:
        """Raise `RanksError` unless all ranks have the same weights."""
        tensors = (tensor.detach().cpu().contiguous() for tensor in module.state_dict().values())
        digest = bytes.fromhex(digest_of(tensor.reshape(-1).view(torch.uint8).numpy().data for tensor in tensors))
        found = self._gathered(torch.tensor(list(digest), device=device_of(module)))
        if wrong := [rank for rank, other in enumerate(found) if not other.equal(found[0])]:
            raise RanksError(
                f"after epoch {epoch}, rank {wrong[0]} and rank 0 have different weights; all need the same versions of the "
                "libraries and the same kind of processor"
            )

    def send(self, value: Any) -> None:
        """Send a value from rank 0; all other ranks must `receive` it."""
        buffer = BytesIO()
        torch.save(value, buffer)
        content = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
        with self._reaching_others():
            distributed.broadcast(torch.tensor([len(content)]), 0)
            distributed.broadcast(content, 0)

    def receive(self) -> Any:
        """The value that rank 0 sends; its tensors are on the CPU."""
        size = torch.zeros(1, dtype=torch.int64)
        with self._reaching_others():
            distributed.broadcast(size, 0)
            content = torch.empty(int(size), dtype=torch.uint8)
            distributed.broadcast(content, 0)
        return torch.load(BytesIO(content.numpy().data), map_location="cpu", weights_only=False)

    @contextmanager
    def led(self, training: Any, objective: Any, rows: Any) -> Iterator[None]:
        """On rank 0: the others take part in the training of this block, which must `send` the number of each epoch.

        A `RecsysError` is raised between epochs, or by all ranks at once. After any other exception, ranks are out of step.
        """
        if not self._in_step:
            raise RanksError("the other ranks still wait for an earlier training, which failed; start the command again")
        states = training.optimiser.state_dict(), training.generator.get_state()
        self.send(Start(training.module, objective, rows, training.config, *states))
        try:
            yield
        except RecsysError:
            self.send(None)
            raise
        except BaseException:
            self._in_step = False
            raise
        self.send(None)

    def end(self) -> None:
        """Leave the group of ranks. Rank 0 first tells the others to end, unless they cannot be reached."""
        if not self.rank and self._in_step:
            with suppress(RankLost):
                self.send(None)
        if not self._in_step:
            self._first_to_notice()
        if self._in_step or not self._nccl:  # NCCL would wait for ranks that are gone; gloo's threads must be joined
            distributed.destroy_process_group()

    def _placed(self, tensor: Tensor) -> Tensor:
        """The tensor where the ranks can exchange it; gloo does so on the CPU."""
        return tensor if self._nccl else tensor.cpu()

    def _gathered(self, tensor: Tensor) -> list[Tensor]:
        """A tensor of the same shape from each rank, in order."""
        placed = self._placed(tensor)
        found = [torch.empty_like(placed) for _ in range(self.size)]
        with self._reaching_others():
            distributed.all_gather(found, placed)
        return [other.to(tensor.device) for other in found]

    @contextmanager
    def _reaching_others(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError:  # raised by gloo and NCCL, whose messages say neither which rank it was nor why
            self._in_step = False
            lost = f"another of the {self.size} ranks has ended, and so this training ends; the launcher's last lines say which"
            raise RankLost(lost if self._first_to_notice() else "") from None

    def _first_to_notice(self) -> bool:
        """Whether no other rank has called this before."""
        try:
            return int(self._store.add("ended", 1)) == 1
        except RuntimeError:  # the launcher is gone too
            return True


_teams: list[Team] = []  # the team of this process, if there is one


@contextmanager
def connected() -> Iterator[Team]:
    """The ranks started by torch.distributed.run, of which this process is one; `RanksError` if they cannot be reached."""
    local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    nccl = gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", 1)) and distributed.is_nccl_available()
    if gpus:
        torch.cuda.set_device(local % gpus)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)  # all ranks must take the same steps
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    try:
        store, rank, size = next(rendezvous("env://"))
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RanksError(f"cannot reach the other ranks: {reason(error)}; start all with torch.distributed.run") from None
    team = Team(store, rank, size, nccl=nccl)
    _teams.append(team)
    try:
        yield team
    finally:
        _teams.clear()
        team.end()


def team_for(*objectives: Any) -> Team | None:
    """The ranks that train these objectives together; None for a single process, or if an objective is not `separable`."""
    return _teams[0] if _teams and all(getattr(objective, "separable", False) for objective in objectives) else None


Patterns = dict[tuple[int, int], SparseRows]  # by `pattern_id`


def _parts(gradients: Sequence[DeferredGradient]) -> tuple[Patterns, list[Tensor]]:
    """The patterns of deferred gradients; and lengths and columns of each, then values and factor of each product."""
    products = [product for gradient in gradients for product in gradient.products]
    shrinkages = [shrinkage for gradient in gradients for shrinkage in gradient.shrinkages]
    patterns = {rows.pattern_id: rows for rows in [*(rows for rows, _, _ in products), *(rows for rows, _ in shrinkages)]}
    parts = [part.int() for rows in patterns.values() for part in (rows.lengths, rows.columns)]
    return patterns, parts + [part for _, values, factor in products for part in (values, factor)]


def _replace(gradients: Sequence[DeferredGradient], patterns: Patterns, parts: Sequence[Tensor]) -> None:
    """Replace deferred gradients by those of the whole batch, given as their `_parts`."""
    part = iter(parts)
    joined = {known: _rows(next(part), next(part), rows.width) for known, rows in patterns.items()}
    for gradient in gradients:
        gradient.products[:] = [(joined[rows.pattern_id], next(part), next(part)) for rows, _, _ in gradient.products]
        gradient.shrinkages[:] = [(joined[rows.pattern_id], strength) for rows, strength in gradient.shrinkages]


def _rows(lengths: Tensor, columns: Tensor, width: int) -> SparseRows:
    """The pattern with these lengths and columns of its rows, int32."""
    indptr = torch.nn.functional.pad(lengths.long().cumsum(0), (1, 0))
    return SparseRows(torch.arange(len(lengths), device=indptr.device), indptr, columns.long(), columns.float(), width)
