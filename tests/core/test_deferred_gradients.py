"""Gradients kept by rows, and the optimiser that uses them, against written-out gradients and PyTorch's optimisers."""

import pytest
import torch
from builders import random_interactions
from torch import Tensor, nn

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.optimisers import RowAdam
from recsys_ae.core.sparse import DeferredGradient, SparseRows, entry_l2, sparse_linear


def rows(*index: int, share: float = 0.05) -> SparseRows:
    matrix = random_interactions(n_items=60, share=share).matrix
    every = SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])
    return every[torch.tensor(index)] if index else every


def module(*, tied: bool = False, hidden: tuple[int, ...] = (5,)) -> Autoencoder:
    return Autoencoder(60, hidden, tied=tied, generator=torch.Generator().manual_seed(0))


def objective(network: Autoencoder, batch: SparseRows) -> Tensor:
    error = (network(batch, batch) - batch.values).square().sum()
    return error + sum(entry_l2(weight, batch, torch.linspace(0.1, 2, 60)) for weight in network.wide_weights())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("hidden", [(5,), (5, 3)])
def test_row_gradients_written_out_are_the_gradients(tied, hidden):
    network, batch = module(tied=tied, hidden=hidden), rows(3, 9, 20)
    objective(network, batch).backward()
    expected = [weight.grad.clone() for weight in network.parameters()]
    network.zero_grad()
    for weight in network.wide_weights():
        weight.deferred_gradient = DeferredGradient()
    objective(network, batch).backward()
    for weight, gradient in zip(network.parameters(), expected, strict=True):
        found = weight.deferred_gradient.dense(weight) if hasattr(weight, "deferred_gradient") else weight.grad
        torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_where_every_row_is_touched_it_is_adam(tied):
    ours, theirs = (module(tied=tied, hidden=(5, 3)) for _ in range(2))
    row_adam = RowAdam(ours.parameters(), ours.wide_weights(), 0.05)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.05)
    every = rows(share=0.2)
    assert len(every.columns.unique()) == 60
    for _ in range(6):
        for network, optimiser in ((ours, row_adam), (theirs, adam)):
            optimiser.zero_grad()
            objective(network, every).backward()
            optimiser.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_where_rows_are_left_out_it_is_sparse_adam():
    start, batches = torch.randn(60, 4), [rows(1, 5), rows(7), rows(5, 30, 31)]
    ours = nn.Embedding.from_pretrained(start.clone(), freeze=False)
    ours.wide_weights = lambda: [ours.weight]
    theirs = nn.EmbeddingBag.from_pretrained(start.clone(), freeze=False, mode="sum", sparse=True)
    row_adam, sparse_adam = RowAdam(ours.parameters(), [ours.weight], 0.1), torch.optim.SparseAdam(theirs.parameters(), lr=0.1)
    for batch in batches:
        row_adam.zero_grad()
        sparse_linear(batch, ours.weight, torch.zeros(4)).square().sum().backward()
        row_adam.step()
        sparse_adam.zero_grad()
        theirs(batch.columns, batch.indptr[:-1], per_sample_weights=batch.values).square().sum().backward()
        sparse_adam.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-4, atol=1e-5)
    untouched = torch.ones(60, dtype=torch.bool)
    untouched[torch.cat([batch.columns for batch in batches])] = False
    assert untouched.any()
    assert torch.equal(ours.weight[untouched], start[untouched])


def test_penalty_of_all_batches_is_that_of_the_matrix():
    """With strength l2 / count, the batches of an epoch add up to l2 / 2 * |weight|^2 over the columns that occur."""
    every, weight = rows(), torch.randn(60, 4)
    count = torch.bincount(every.columns, minlength=60)
    strength = 3.0 / count.clamp(min=1)
    parts = sum(entry_l2(weight, every[index], strength) for index in torch.randperm(40).split(7))
    torch.testing.assert_close(parts, 1.5 * weight[count > 0].square().sum())


def test_dense_and_sparse_batches_mix():
    """A sparse input with a dense output, as multinomial autoencoders have: ordinary and row gradients add up."""
    ours, theirs = module(tied=True), module(tied=True)
    batch = rows(2, 4, 8)
    row_adam, adam = RowAdam(ours.parameters(), ours.wide_weights(), 0.1), torch.optim.Adam(theirs.parameters(), lr=0.1)
    for network, optimiser, x in ((ours, row_adam, batch), (theirs, adam, batch.dense())):
        optimiser.zero_grad()
        network(x).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(ours.input_weight, theirs.input_weight, rtol=1e-4, atol=1e-5)


def test_two_batches_in_one_row_gradient_are_an_error():
    gradient = DeferredGradient()
    gradient.add(rows(1), rows(1).values, torch.ones(1, 3))
    with pytest.raises(RuntimeError, match="of one batch"):
        gradient.add(rows(1), rows(1).values, torch.ones(1, 3))


def test_after_the_step_gradients_are_ordinary_again():
    network = module()
    optimiser = RowAdam(network.parameters(), network.wide_weights(), 0.1)
    optimiser.zero_grad()
    objective(network, rows(1)).backward()
    optimiser.step()
    assert not hasattr(network.input_weight, "deferred_gradient")
    objective(network, rows(1)).backward()
    assert network.input_weight.grad is not None
