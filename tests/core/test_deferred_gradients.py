"""Deferred gradients, and the optimiser that uses them, against ordinary autograd and PyTorch's optimisers."""

from collections.abc import Callable

import pytest
import torch
from builders import random_interactions
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from recsys_ae.core import devices
from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.axes import wide_weights
from recsys_ae.core.optimisers import RowAdam
from recsys_ae.core.sparse import DeferredGradient, SparseRows, deferring, entry_l2, one_hot, sampled_linear, sparse_linear

WIDTH, UNITS = 60, 5
IMPLEMENTATIONS = ("kernels", "torch")


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request, monkeypatch) -> str:
    """Both implementations on the CPU; the second is the one that GPUs use."""
    if request.param == "torch":
        monkeypatch.setattr(devices, "uses_kernels", lambda _: False)
    return request.param


def rows(*index: int, share: float = 0.05) -> SparseRows:
    matrix = random_interactions(n_items=WIDTH, share=share).matrix
    every = SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])
    return every[torch.tensor(index)] if index else every


def module(*, tied: bool = False, hidden: tuple[int, ...] = (UNITS,)) -> Autoencoder:
    return Autoencoder(WIDTH, hidden, tied=tied, generator=torch.Generator().manual_seed(0))


def objective(network: Autoencoder, batch: SparseRows) -> Tensor:
    error = (network(batch, batch) - batch.values).square().sum()
    return error + sum(entry_l2(weight, batch, torch.linspace(0.1, 2, WIDTH)) for weight in wide_weights(network))


def step(optimiser, loss: Callable[[], Tensor]) -> None:
    """As the trainer does it."""

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


# A use of a weight: its loss from (weight, sparse rows), and the same loss written with dense PyTorch operations.
def encoded(weight: Tensor, x: SparseRows) -> Tensor:
    return sparse_linear(x, weight, torch.zeros(UNITS)).tanh().square().sum()


def encoded_densely(weight: Tensor, x: SparseRows) -> Tensor:
    return (x.dense() @ weight).tanh().square().sum()


def decoded(weight: Tensor, x: SparseRows) -> Tensor:
    code = torch.linspace(-1, 1, len(x) * UNITS).view(len(x), UNITS)
    return (sampled_linear(code, weight, torch.zeros(WIDTH), x) - 1).square().sum()


def decoded_densely(weight: Tensor, x: SparseRows) -> Tensor:
    code = torch.linspace(-1, 1, len(x) * UNITS).view(len(x), UNITS)
    return ((code @ weight.T)[x.row_of_entry(), x.columns] - 1).square().sum()


def charged(weight: Tensor, x: SparseRows) -> Tensor:
    return entry_l2(weight, x, torch.linspace(0.1, 2, WIDTH))


def charged_densely(weight: Tensor, x: SparseRows) -> Tensor:
    strength = torch.linspace(0.1, 2, WIDTH) * torch.bincount(x.columns, minlength=WIDTH)
    return (strength[:, None] * weight.square()).sum() / 2


def dense_use(weight: Tensor, x: SparseRows) -> Tensor:
    return (weight.sum(0) ** 2).sum() / 10


USES = {"encoded": encoded, "decoded": decoded, "charged": charged, "dense": dense_use}
WRITTEN_OUT = {"encoded": encoded_densely, "decoded": decoded_densely, "charged": charged_densely, "dense": dense_use}
A, B = (3, 9, 20), (9, 1, 30, 31)
CASES = [
    *([("encoded", A)] * n for n in (1, 2, 3, 4)),
    *([("charged", A)] * n for n in (1, 2, 3, 4)),
    [("encoded", A), ("decoded", A)],
    [("encoded", A), ("decoded", B)],
    [("encoded", A), ("encoded", B), ("encoded", (5,))],
    [("encoded", A), ("decoded", A), ("charged", B)],
    [("encoded", A), ("charged", B), ("charged", (5,)), ("charged", A)],
    [("charged", A), ("charged", B)],
    [("encoded", A), ("decoded", A), ("charged", A), ("charged", A)],
    [("encoded", A), ("dense", ()), ("charged", B), ("decoded", (5,))],
    [("dense", ()), ("charged", A), ("charged", A)],
]


def reference_step(weight: Tensor, gradient: Tensor, touched: Tensor, state: dict[str, Tensor], rate: float) -> None:
    """Adam as published, on the touched rows."""
    state["step"] += 1
    mean, square = 0.9 * state["mean"] + 0.1 * gradient, 0.999 * state["square"] + 0.001 * gradient**2
    change = mean / (1 - 0.9 ** state["step"]) / ((square / (1 - 0.999 ** state["step"])).sqrt() + 1e-8)
    for tensor, new in ((weight, weight - rate * change), (state["mean"], mean), (state["square"], square)):
        tensor[touched] = new[touched]


def after_steps(case: list[tuple[str, tuple[int, ...]]], n: int = 4) -> tuple[Tensor, Tensor]:
    """The weight after `n` steps of RowAdam, and after those of the reference with gradients by ordinary autograd."""
    start = torch.randn(WIDTH, UNITS, generator=torch.Generator().manual_seed(3))
    ours, theirs = nn.Parameter(start.clone()), start.clone()
    optimiser = RowAdam([ours], [ours], 0.05)
    state = {"step": 0, "mean": torch.zeros_like(theirs), "square": torch.zeros_like(theirs)}
    # rows are selected once for equal indices, so that uses have one pattern as they do in a batch
    patterns = {index: rows(*index) if index else rows() for _, index in case}
    for number in range(n):
        shown = {index: x.with_values(x.values + number) for index, x in patterns.items()}
        step(optimiser, lambda shown=shown: sum(USES[use](ours, shown[index]) for use, index in case))
        copy = theirs.clone().requires_grad_()
        sum(WRITTEN_OUT[use](copy, shown[index]) for use, index in case).backward()
        touched = torch.zeros(WIDTH, dtype=torch.bool)
        for use, index in case:
            touched[slice(None) if use == "dense" else patterns[index].columns] = True
        reference_step(theirs, copy.grad, touched, state, 0.05)
    return ours.detach(), theirs


@pytest.mark.parametrize("case", CASES, ids=lambda case: "+".join(f"{use}{len(index)}" for use, index in case))
def test_a_weight_used_any_number_of_times_trains_as_with_autograd(case, implementation):
    mine, other = after_steps(case)
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=2e-5)


use = st.tuples(st.sampled_from(sorted(USES)), st.sampled_from([A, B, (5,), (20, 20, 3)]))


@settings(max_examples=40, deadline=None)
@given(st.lists(use, min_size=1, max_size=4))
def test_any_combination_of_uses_trains_as_with_autograd(case):
    mine, other = after_steps(case, n=2)
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=2e-5)


def test_rows_of_a_one_hot_matrix_are_another_pattern_than_the_matrix():
    """Both share one array of columns."""
    batch, weight = rows(*A), nn.Parameter(torch.ones(WIDTH, UNITS))
    optimiser = RowAdam([weight], [weight], 0.1)
    reference = nn.Parameter(torch.ones(WIDTH, UNITS))
    ones = one_hot(batch.columns, WIDTH)

    def loss(weight: Tensor, *, dense: bool = False) -> Tensor:
        uses = (encoded_densely, encoded_densely) if dense else (encoded, encoded)
        return sum(use(weight, x) for use, x in zip(uses, (batch, ones), strict=True))

    step(optimiser, lambda: loss(weight))
    adam = torch.optim.Adam([reference], lr=0.1)
    step(adam, lambda: loss(reference, dense=True))
    torch.testing.assert_close(weight, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("hidden", [(5,), (5, 3)])
def test_deferred_gradients_written_out_are_the_gradients(tied, hidden, implementation):
    network, batch = module(tied=tied, hidden=hidden), rows(3, 9, 20)
    objective(network, batch).backward()
    expected = [weight.grad.clone() for weight in network.parameters()]
    network.zero_grad()
    deferred = {id(weight): DeferredGradient() for weight in wide_weights(network)}
    with deferring(deferred):
        objective(network, batch).backward()
    for weight, gradient in zip(network.parameters(), expected, strict=True):
        if id(weight) in deferred:
            assert weight.grad is None
            found = deferred[id(weight)].add_products(torch.zeros_like(weight))
            found += deferred[id(weight)].row_shrinkage(weight)[:, None] * weight
        else:
            found = weight.grad
        torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_where_every_row_is_touched_it_is_adam(tied, implementation):
    ours, theirs = (module(tied=tied, hidden=(5, 3)) for _ in range(2))
    row_adam = RowAdam(ours.parameters(), wide_weights(ours), 0.05)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.05)
    every = rows(share=0.2)
    assert len(every.columns.unique()) == WIDTH
    for _ in range(6):
        for network, optimiser in ((ours, row_adam), (theirs, adam)):
            step(optimiser, lambda network=network: objective(network, every))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_where_rows_are_left_out_it_is_sparse_adam(implementation):
    start, batches = torch.randn(WIDTH, 4), [rows(1, 5), rows(7), rows(5, 30, 31)]
    ours = nn.Parameter(start.clone())
    theirs = nn.EmbeddingBag.from_pretrained(start.clone(), freeze=False, mode="sum", sparse=True)
    row_adam, sparse_adam = RowAdam([ours], [ours], 0.1), torch.optim.SparseAdam(theirs.parameters(), lr=0.1)
    for x in batches:
        step(row_adam, lambda x=x: sparse_linear(x, ours, torch.zeros(4)).square().sum())
        step(sparse_adam, lambda x=x: theirs(x.columns, x.indptr[:-1], per_sample_weights=x.values).square().sum())
    torch.testing.assert_close(ours, theirs.weight, rtol=1e-4, atol=1e-5)
    untouched = torch.ones(WIDTH, dtype=torch.bool)
    untouched[torch.cat([batch.columns for batch in batches])] = False
    assert untouched.any()
    assert torch.equal(ours[untouched], start[untouched])


def test_penalty_of_all_batches_is_that_of_the_matrix():
    """With strength l2 / count, the batches of an epoch add up to l2 / 2 * |weight|^2 over the columns that occur."""
    every, weight = rows(), torch.randn(WIDTH, 4)
    count = torch.bincount(every.columns, minlength=WIDTH)
    strength = 3.0 / count.clamp(min=1)
    parts = sum(entry_l2(weight, every[index], strength) for index in torch.randperm(40).split(7))
    torch.testing.assert_close(parts, 1.5 * weight[count > 0].square().sum())


def test_outside_the_closure_gradients_are_ordinary_and_so_is_the_step():
    ours, theirs = module(), module()
    row_adam, adam = RowAdam(ours.parameters(), wide_weights(ours), 0.1), torch.optim.Adam(theirs.parameters(), lr=0.1)
    for index in ((1,), (2, 8)):
        for network, optimiser in ((ours, row_adam), (theirs, adam)):
            optimiser.zero_grad()
            objective(network, rows(*index)).backward()
            assert network.input_weight.grad is not None
            optimiser.step()
    torch.testing.assert_close(ours.input_weight, theirs.input_weight, rtol=1e-4, atol=1e-5)


def test_only_the_gradients_since_zero_grad_count():
    """A closure may compute gradients twice; after an error in it, no gradients are left."""
    weight = nn.Parameter(torch.ones(WIDTH, UNITS))
    optimiser = RowAdam([weight], [weight], 0.1)

    def fails() -> Tensor:
        (100 * encoded(weight, rows(*B))).backward()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimiser.step(fails)
    encoded(weight, rows(*A)).backward()
    assert weight.grad is not None
    step(optimiser, lambda: encoded(weight, rows(*A)))
    once = nn.Parameter(torch.ones(WIDTH, UNITS))
    step(RowAdam([once], [once], 0.1), lambda: encoded(once, rows(*A)))
    assert torch.equal(weight, once)


@pytest.mark.parametrize("layer", [encoded, decoded, charged])
def test_rows_that_do_not_fit_the_weight_are_an_error(layer):
    with pytest.raises(ValueError, match="rows of 60 columns need a weight with as many rows, got 59"):
        layer(torch.ones(59, UNITS), rows(1))


def test_a_strength_that_lacks_columns_is_refused():
    with pytest.raises(ValueError, match="need a weight with as many rows, got 3"):
        entry_l2(torch.zeros(WIDTH, 2), rows(), torch.ones(3))
