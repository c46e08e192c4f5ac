"""The recurrence over many sequences, compared with PyTorch's cell one event at a time."""

import numpy as np
import pytest
import torch
from recurrences import cell_of
from torch import nn
from torch.nn import functional

from recsys_ae.core import devices
from recsys_ae.core.recurrence import Recurrence, by_length

HIDDEN = 7  # not a multiple of four, the step of the kernels


def starts_of(*lengths: int) -> torch.Tensor:
    return functional.pad(torch.tensor(lengths, dtype=torch.int64).cumsum(0), (1, 0))


def one_by_one(cell: nn.GRUCell, inputs: torch.Tensor, initial: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    states = [initial[:0]]
    for sequence, state in enumerate(initial):
        for event in range(starts[sequence], starts[sequence + 1]):
            state = cell(inputs[event : event + 1], state[None])[0]
            states.append(state[None])
    return torch.cat(states)


@pytest.fixture(params=["kernels", "torch"])
def implementation(request, monkeypatch):
    monkeypatch.setattr(devices, "uses_kernels", lambda _: request.param == "kernels")


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("lengths", [(3, 0, 5, 1, 2, 5), (1,), (0, 0), (4, 2)])
def test_states_and_gradients_are_those_of_single_sequences(lengths):
    generator = torch.Generator().manual_seed(0)
    recurrence = Recurrence(HIDDEN, generator)
    with torch.no_grad():
        recurrence.bias.normal_(generator=generator)
    starts = starts_of(*lengths)
    inputs = torch.randn(int(starts[-1]), 3 * HIDDEN, generator=generator, requires_grad=True)
    initial = torch.randn(len(lengths), HIDDEN, generator=generator, requires_grad=True)
    weight = torch.randn(len(inputs), HIDDEN, generator=generator)
    cell = cell_of(recurrence)
    found, expected = recurrence(inputs, initial, starts), one_by_one(cell, inputs, initial, starts)
    np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-6)
    if not len(inputs):
        return
    ours = torch.autograd.grad((found * weight).sum(), [inputs, initial, recurrence.weight, recurrence.bias])
    theirs = torch.autograd.grad((expected * weight).sum(), [inputs, initial, cell.weight_hh, cell.bias_hh])
    theirs = [theirs[0], theirs[1], theirs[2].T, theirs[3][2 * HIDDEN :]]
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-5)


def test_a_step_is_one_event():
    generator = torch.Generator().manual_seed(0)
    recurrence = Recurrence(HIDDEN, generator)
    inputs, before = (torch.randn(4, n, generator=generator) for n in (3 * HIDDEN, HIDDEN))
    np.testing.assert_allclose(
        recurrence.step(inputs, before).detach(), recurrence(inputs, before, starts_of(1, 1, 1, 1)).detach(), atol=1e-6
    )


def test_sequences_by_length():
    order, wide = by_length(torch.tensor([2, 0, 3, 2]))
    assert order.tolist() == [2, 0, 3, 1]
    assert wide == [3, 3, 1]


def test_non_finite_inputs_give_non_finite_states():
    recurrence = Recurrence(HIDDEN, torch.Generator().manual_seed(0))
    inputs = torch.full((1, 3 * HIDDEN), torch.nan)
    assert recurrence(inputs, torch.zeros(1, HIDDEN), starts_of(1)).isnan().all()
