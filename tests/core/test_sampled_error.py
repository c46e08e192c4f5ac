"""The squared error at the entries of sparse rows, compared with that of the dense product."""

import pytest
import torch

from recsys_ae.core import devices
from recsys_ae.core.sampled_error import squared_error_at
from recsys_ae.core.sparse import SparseRows

WIDTH, UNITS = 13, 6
LENGTHS = torch.tensor([0, 1, 4, 5, 7, 8])  # around multiples of the four entries that are processed together


def entries() -> SparseRows:
    generator = torch.Generator().manual_seed(0)
    columns = torch.cat([torch.randperm(WIDTH, generator=generator)[:n] for n in LENGTHS])
    indptr = torch.nn.functional.pad(LENGTHS.cumsum(0), (1, 0))
    return SparseRows.from_arrays(indptr, columns, torch.randn(len(columns), generator=generator), WIDTH)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_value_and_gradients_are_those_of_the_dense_product(weighted, compiled, monkeypatch):
    monkeypatch.setattr(devices, "uses_kernels", lambda _: compiled)
    generator, at = torch.Generator().manual_seed(1), entries()
    shapes = ((len(LENGTHS), UNITS), (WIDTH, UNITS), (WIDTH,))
    own = [torch.randn(*shape, generator=generator, requires_grad=True) for shape in shapes]
    others = [tensor.detach().clone().requires_grad_() for tensor in own]
    weights = torch.rand(len(at.values), generator=generator) if weighted else torch.ones(len(at.values))

    found = squared_error_at(*own, at, weights if weighted else None)
    (3 * found.total).backward()
    code, weight, bias = others
    dense = (code @ weight.T + bias)[at.row_of_entry(), at.columns]
    expected = (weights * (dense - at.values).square()).sum()
    (3 * expected).backward()

    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.count, weights.sum())
    for one, other in zip(own, others, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_columns_outside_the_weight_are_refused():
    with pytest.raises(ValueError, match="13 columns"):
        squared_error_at(torch.zeros(6, UNITS), torch.zeros(WIDTH - 1, UNITS), torch.zeros(WIDTH - 1), entries())
