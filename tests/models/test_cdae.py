"""CDAE: sampled outputs, user nodes and the four variants, against a dense definition."""

import numpy as np
import pytest
import torch
from builders import random_interactions
from hypothesis import given, strategies as st
from torch.nn import functional

from recsys_ae import build_model
from recsys_ae.core.sparse import with_negatives
from recsys_ae.interactions import ones
from recsys_ae.models.cdae import Network, SampledOutputs, learn_fold_in
from recsys_ae.models.neural import l2_normalise
from recsys_ae.models.training import observed_rows


def rows():
    return l2_normalise(observed_rows(ones(random_interactions().matrix)))


@given(st.integers(1, 7), st.integers(0, 10))
def test_drawn_columns_follow_each_entry_and_count_unless_they_are_entries(ratio, seed):
    batch = rows()[torch.tensor([3, 0, 3, 17])]
    drawn, weights = with_negatives(batch, ratio, torch.Generator().manual_seed(seed))
    assert drawn.indptr.tolist() == [(1 + ratio) * start for start in batch.indptr]
    columns = drawn.columns.reshape(-1, 1 + ratio)
    assert columns[:, 0].tolist() == batch.columns.tolist()
    assert drawn.values.reshape(-1, 1 + ratio).tolist() == [[1] + [0] * ratio] * len(batch.columns)
    observed = batch.dense() > 0
    is_entry = observed[drawn.row_of_entry(), drawn.columns].reshape(-1, 1 + ratio)
    assert weights.reshape(-1, 1 + ratio)[:, 1:].tolist() == (~is_entry[:, 1:]).float().tolist()
    assert (weights.reshape(-1, 1 + ratio)[:, 0] == 1).all()


def test_all_columns_are_drawn_equally_often():
    drawn, _ = with_negatives(rows(), 200, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn.columns[drawn.values == 0], minlength=25)
    assert counts.min() > 0.9 * counts.float().mean()


@pytest.mark.parametrize("mapping", ["identity", "sigmoid"])
@pytest.mark.parametrize("loss", ["square", "logistic"])
def test_loss_and_gradients_are_those_of_the_definition(mapping, loss):
    batch = rows()[torch.tensor([5, 2, 30])]
    network = Network(25, 40, 4, mapping, torch.Generator().manual_seed(1))
    found = SampledOutputs(loss, 0.0, 3, 0.1).loss(network, batch, torch.Generator().manual_seed(2))
    found.total.backward()
    names = ("input_weight", "output_weight", "user_weight", "input_bias", "output_bias")
    gradients = [getattr(network, name).grad for name in names]
    network.zero_grad()

    drawn, weights = with_negatives(batch, 3, torch.Generator().manual_seed(2))
    hidden = batch.dense() @ network.input_weight + network.input_bias + network.user_weight[batch.row_ids]
    hidden = hidden.sigmoid() if mapping == "sigmoid" else hidden
    outputs = (hidden @ network.output_weight.T + network.output_bias)[drawn.row_of_entry(), drawn.columns]
    if loss == "square":
        expected = (weights * (outputs - drawn.values).square()).sum()
    else:
        expected = functional.binary_cross_entropy(outputs.sigmoid(), drawn.values, weights, reduction="sum")
    touched = (network.input_weight[batch.columns], network.output_weight[drawn.columns], network.user_weight[batch.row_ids])
    expected = expected + 0.05 * sum(vectors.square().sum() for vectors in touched)
    expected.backward()
    torch.testing.assert_close(found.total, expected)
    for gradient, name in zip(gradients, names, strict=True):
        torch.testing.assert_close(gradient, getattr(network, name).grad, rtol=1e-4, atol=1e-5)


def test_the_node_of_a_new_user_follows_from_the_history():
    """Planted nodes are a linear map of the projected rows, which the fold-in has to recover."""
    network = Network(25, 40, 3, "identity", torch.Generator().manual_seed(1))
    everyone = rows()
    with torch.no_grad():
        network.input_weight.mul_(20)  # so that the ridge hardly shrinks
        nodes = network.projected(everyone) @ torch.tensor([[0.0, 1, 0], [2, 0, 0], [0, 0, -1]]) + 0.5
        network.user_weight.copy_(nodes)
        learn_fold_in(network, everyone)
        new = everyone[torch.tensor([4, 9])]
        as_known = network.encode(new)
        as_new = network.encode(type(new)(torch.tensor([-1, -1]), new.indptr, new.columns, new.values, new.width))
    torch.testing.assert_close(as_new, as_known, rtol=0.05, atol=0.05)


def test_users_are_known_by_their_ids():
    data = random_interactions()
    model = build_model("cdae", {"hidden": 4, "epochs": 3}).fit(data)
    assert model.fitted.ids.get("users") == data.users
    order = np.array([7, 3])
    np.testing.assert_allclose(model.scores(data, order)[0], model.scores(data, np.array([7]))[0], rtol=1e-4, atol=1e-5)
