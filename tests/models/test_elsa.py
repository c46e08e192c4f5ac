"""ELSA against its definition written densely."""

import numpy as np
import pytest
import torch
from builders import clicks, random_interactions
from torch.nn import functional

from recsys_ae import build_model
from recsys_ae.core.corruption import Masking
from recsys_ae.interactions import ones
from recsys_ae.models.elsa import Cosine, Network
from recsys_ae.models.training import observed_rows


@pytest.mark.parametrize(("dropout", "exponent"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.5)])
def test_loss_and_gradient_are_those_of_whole_rows(dropout, exponent):
    rows = observed_rows(ones(random_interactions().matrix))
    network = Network(25, 6, torch.Generator().manual_seed(0))
    found = Cosine(dropout, exponent, unit=2.0).loss(network, rows, torch.Generator().manual_seed(3))
    found.total.backward()
    gradient, network.input_weight.grad = network.input_weight.grad, None

    x = rows.dense()
    shown = Masking(dropout, rescale=False)(rows, torch.Generator().manual_seed(3)).dense() if dropout else x
    A = functional.normalize(network.input_weight, dim=1)  # noqa: N806 - as in the paper
    counts = x.sum(1) ** exponent / 2
    expected = (counts * (1 - functional.cosine_similarity(x, shown @ A @ A.T - shown, dim=1))).sum()
    expected.backward()
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(gradient, network.input_weight.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.count, counts.sum())


def test_scores_are_those_of_the_weights_and_an_item_adds_nothing_to_itself():
    data = clicks()
    model = build_model("elsa", {"factors": 3, "epochs": 5, "batch_size": 4}).fit(data)
    weights = model.item_weights(np.arange(data.n_items))
    np.testing.assert_allclose(np.diag(weights), 0, atol=1e-6)
    np.testing.assert_allclose(weights, weights.T, atol=1e-6)
    np.testing.assert_allclose(model.scores(data, np.arange(12)), ones(data.matrix) @ weights, rtol=1e-4, atol=1e-5)
