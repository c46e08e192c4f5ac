import numpy as np
import torch
from builders import random_interactions
from hypothesis import given, strategies as st

from recsys_ae.core.sparse import SparseRows, sampled_linear, sparse_linear


def sparse(seed: int = 0) -> SparseRows:
    matrix = random_interactions(seed).matrix
    return SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])


@given(st.integers(0, 20), st.lists(st.integers(0, 39)))
def test_rows_are_selected_by_index(seed, index):
    rows = sparse(seed)
    taken = rows[torch.tensor(index, dtype=torch.int64)]
    np.testing.assert_array_equal(taken.dense(), rows.dense()[index])
    assert taken.row_ids.tolist() == index
    assert len(taken.values) == sum(rows.lengths[index])


def test_dense_marks_nothing_that_is_not_stored():
    matrix = random_interactions().matrix
    np.testing.assert_array_equal(sparse().dense(), matrix.toarray())


def test_sparse_and_dense_layers_agree_in_values_and_gradients():
    torch.manual_seed(0)
    rows = sparse()[torch.tensor([5, 3, 3, 17])]
    place = rows.row_of_entry(), rows.columns
    results = []
    for is_sparse in (True, False):
        torch.manual_seed(1)
        weight, output, bias = (torch.randn(shape, requires_grad=True) for shape in ((25, 6), (25, 6), (25,)))
        hidden = sparse_linear(rows if is_sparse else rows.dense(), weight, torch.zeros(6)).tanh()
        values = sampled_linear(hidden, output, bias, rows) if is_sparse else sampled_linear(hidden, output, bias)[place]
        (values - rows.values).square().sum().backward()
        results.append([values.detach(), weight.grad, output.grad, bias.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
