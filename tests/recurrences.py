"""PyTorch's recurrent cell, as a reference."""

import torch
from torch import nn
from torch.nn import functional

from recsys_ae.core.recurrence import Recurrence


def cell_of(recurrence: Recurrence) -> nn.GRUCell:
    """PyTorch's cell with the same weights, whose inputs are those of the gates."""
    hidden = len(recurrence.bias)
    cell = nn.GRUCell(3 * hidden, hidden)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.eye(3 * hidden))
        cell.weight_hh.copy_(recurrence.weight.T)
        cell.bias_ih.zero_()
        cell.bias_hh.copy_(functional.pad(recurrence.bias, (2 * hidden, 0)))
    return cell
