"""The gated recurrent unit (Cho et al. 2014), over many sequences of different lengths at once.

S sequences of E events in total, H units. With inputs x = (x_r, x_z, x_n) [3H] of an event and the state h before it:

    r = sigmoid(x_r + h W_r)    z = sigmoid(x_z + h W_z)    n = tanh(x_n + r (h W_n + b))    h' = (1 - z) n + z h

as in `torch.nn.GRU`. All other biases belong to the inputs, which are computed for all events at once.
"""

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core import devices
from recsys_ae.core.kernels import recurrence as kernels


class Recurrence(nn.Module):
    """The recurrent weights W = (W_r, W_z, W_n) [H, 3H] and b [H]."""

    def __init__(self, hidden: int, generator: Generator | None) -> None:
        super().__init__()
        blocks = [torch.empty(hidden, hidden) for _ in range(3)]
        for block in blocks:
            nn.init.orthogonal_(block, generator=generator)
        self.weight, self.bias = nn.Parameter(torch.cat(blocks, 1)), nn.Parameter(torch.zeros(hidden))

    def forward(self, inputs: Tensor, initial: Tensor, starts: Tensor) -> Tensor:
        """The state after each event, [E, H].

        Args:
            inputs: [E, 3H].
            initial: [S, H], the state before the first event of each sequence.
            starts: int64 [S + 1]; the events of sequence s are those from starts[s] to starts[s + 1].
        """
        inputs, initial = inputs.float(), initial.float()
        if devices.uses_kernels(inputs):
            states: Tensor = _States.apply(inputs.contiguous(), initial.contiguous(), self.weight, self.bias, starts)
            return states
        return _states(inputs, initial, self.weight, self.bias, starts)

    def step(self, inputs: Tensor, before: Tensor) -> Tensor:
        """The states [B, H] after one event each, with `inputs` [B, 3H]."""
        return _step(inputs, before, self.weight, self.bias)


def by_length(lengths: Tensor) -> tuple[Tensor, list[int]]:
    """The order of n sequences by decreasing length (int64 [n]), and how many are longer than 0, 1, 2, ... events."""
    order = lengths.argsort(descending=True, stable=True)
    return order, torch.bincount(lengths, minlength=1).flip(0).cumsum(0).flip(0)[1:].tolist()


def _step(inputs: Tensor, before: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    products = before @ weight
    (r, z), (in_r, in_z, in_n) = products[:, : -len(bias)].chunk(2, 1), inputs.chunk(3, 1)
    new = torch.tanh(in_n + torch.sigmoid(in_r + r) * (products[:, -len(bias) :] + bias))
    return torch.lerp(new, before, torch.sigmoid(in_z + z))


def _states(inputs: Tensor, initial: Tensor, weight: Tensor, bias: Tensor, starts: Tensor) -> Tensor:
    """The states [E, H], one step at a time for all sequences; by decreasing length, so that those that have ended are last."""
    order, wide = by_length(starts.diff())
    at, state = starts[:-1][order], initial[order]
    events, out = [at[:0]], [initial[:0]]
    for number, width in enumerate(wide):
        events.append(at[:width] + number)
        state = _step(inputs[events[-1]], state[:width], weight, bias)
        out.append(state)
    return torch.cat(out)[torch.cat(events).argsort()]


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, initial: Tensor, weight: Tensor, bias: Tensor, starts: Tensor) -> Tensor:
        gates, out = inputs.new_empty(len(inputs), 4 * len(bias)), inputs.new_empty(len(inputs), len(bias))
        arrays = (tensor.detach().numpy() for tensor in (starts, inputs, initial, weight, bias, gates, out))
        kernels.states(*arrays)
        ctx.save_for_backward(starts, gates, initial, out, weight)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        starts, gates, initial, out, weight = (tensor.detach() for tensor in ctx.saved_tensors)
        size = out.shape[1]
        of_inputs, of_products = (out.new_empty(len(out), 3 * size) for _ in range(2))
        of_initial = torch.empty_like(initial)
        results = (gradient.contiguous(), of_inputs, of_products, of_initial)
        arrays = (starts, gates, initial, out, weight.T.contiguous(), *results)
        kernels.gradients(*(tensor.numpy() for tensor in arrays))
        before = functional.pad(out[:-1], (0, 0, 1, 0))
        begun = starts.diff() > 0
        before[starts[:-1][begun]] = initial[begun]
        return of_inputs, of_initial, before.T @ of_products, of_products[:, 2 * size :].sum(0), None
