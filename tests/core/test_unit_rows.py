"""Rows of length 1 and their gradients, compared with PyTorch's."""

import pytest
import torch
from torch.nn import functional

from recsys_ae.core.unit_rows import unit_rows


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (50, 33), (4, 600)])
def test_agreement_with_pytorch(shape):
    generator = torch.Generator().manual_seed(0)
    matrix, gradient = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    matrix[0] *= 1e-13  # too short
    ours, theirs = matrix.clone().requires_grad_(), matrix.double().requires_grad_()
    units, expected = unit_rows(ours), functional.normalize(theirs, dim=1)
    torch.testing.assert_close(units, expected.float())
    units.backward(gradient)
    expected.backward(gradient.double())
    torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=1e-5, atol=1e-5)


def test_a_row_of_zeros_stays():
    matrix = torch.zeros(2, 5, requires_grad=True)
    unit_rows(matrix).sum().backward()
    assert not unit_rows(matrix).any()
    assert torch.isfinite(matrix.grad).all()
