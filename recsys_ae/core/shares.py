"""The share of a batch that this process computes when several train together, see `core.distributed`.

Losses that draw random numbers for their rows, or need the other rows of the batch, get them here. Every process draws the
numbers of the whole batch and uses those of its own rows, so a row gets the same numbers in whichever process it is, and the
same as in a single process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Generator, Tensor

Unit = Literal["rows", "entries", "sessions", "events"]  # what the first axis of a tensor counts
B = TypeVar("B")


@dataclass(frozen=True, eq=False)
class Share:
    """The rows of a `whole` batch from `first` to `last`; there may be none."""

    whole: Any
    first: int
    last: int

    def span(self, unit: Unit) -> tuple[int, int, int]:
        """The first and last `unit` of these rows within the whole batch, and the number of all."""
        if unit == "rows":
            return self.first, self.last, len(self.whole)
        starts = self.whole.starts_of(unit)
        return int(starts[self.first]), int(starts[self.last]), int(starts[-1])


_share: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def sharing(share: Share | None) -> Iterator[None]:
    """Within the block, losses are computed for a share of a batch, if there is one."""
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


def drawn(draw: Callable[..., Tensor], shape: Sequence[int], generator: Generator, unit: Unit = "rows") -> Tensor:
    """Random numbers `draw(shape, generator=generator)`; the first axis of `shape` counts `unit`s of this process's rows."""
    share = _share.get()
    if share is None:
        return draw(shape, generator=generator)
    first, last, total = share.span(unit)
    return draw((total, *shape[1:]), generator=generator)[first:last]


def whole_batch(batch: B) -> B:
    """The whole batch, if `batch` is this process's share of it; `batch` itself in a single process."""
    share = _share.get()
    return batch if share is None else share.whole
