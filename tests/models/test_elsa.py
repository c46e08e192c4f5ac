"""ELSA against a dense definition."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from builders import clicks, from_dense, random_interactions
from torch.nn import functional

from recsys_ae import build_model
from recsys_ae.core.corruption import Masking
from recsys_ae.interactions import ones
from recsys_ae.models.elsa import Cosine, Network, chance_of_others
from recsys_ae.models.training import column_counts, observed_rows


@pytest.mark.parametrize(("dropout", "exponent"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.5)])
def test_loss_and_gradient_are_those_of_whole_rows(dropout, exponent):
    rows = observed_rows(ones(random_interactions().matrix))
    network = Network(25, 6, torch.Generator().manual_seed(0))
    objective = Cosine(dropout, column_counts(rows), len(rows), exponent, unit=2.0)
    found = objective.loss(network, rows, torch.Generator().manual_seed(3))
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


def test_chance_of_others_is_hypergeometric():
    counts = torch.arange(12.0)
    for batch in (1, 4, 12):
        lacked = scipy.stats.hypergeom(11, 11 - counts.numpy(), min(batch, 12) - 1).pmf(batch - 1)
        np.testing.assert_allclose(chance_of_others(counts, batch, 12), 1 - lacked, rtol=1e-5, atol=1e-7)


def test_lengths_of_reconstructions_are_right_on_average_over_batches():
    rows = observed_rows(ones(random_interactions(n_users=9).matrix))
    network = Network(25, 6, torch.Generator().manual_seed(0))
    objective = Cosine(0.0, column_counts(rows), len(rows))
    with_first = [torch.tensor([0, *others]) for others in itertools.combinations(range(1, 9), 3)]
    with torch.no_grad():
        found = [torch.stack(objective.of_reconstructions(network, rows[batch]))[:, 0] for batch in with_first]
        y = network(rows)[0]
    products, lengths = torch.stack(found).T
    assert lengths.std() > 0.01 * lengths.mean()
    torch.testing.assert_close(lengths.mean(), y.square().sum())
    torch.testing.assert_close(products, (rows.dense()[0] @ y).expand(len(products)))


def test_a_batch_moves_the_vectors_of_its_items_only_and_an_item_without_interactions_scores_zero():
    data = from_dense(np.eye(5, 9, dtype=np.float32), np.eye(5, 9) + np.eye(5, 9, 1) > 0)
    one = {"factors": 3, "epochs": 1, "batch_size": 5, "dropout": 0.0}
    all_users = build_model("elsa", one).fit(data)
    start = build_model("elsa", one | {"learning_rate": 1e-12}).fit(data).item_vectors()
    np.testing.assert_array_equal((all_users.item_vectors() != start).any(axis=1), [True] * 6 + [False] * 3)
    np.testing.assert_array_equal(all_users.scores(data, np.arange(5))[:, 6:], 0)
    np.testing.assert_array_equal(all_users.item_weights(np.array([7])), 0)
    again = build_model("elsa", one).fit(data.filter(data.user_rows() < 2), warm_start=all_users)
    kept = (again.item_vectors() == all_users.item_vectors()).all(axis=1)
    np.testing.assert_array_equal(kept, [False] * 3 + [True] * 6)


def test_a_last_batch_of_one_row_works():
    model = build_model("elsa", {"factors": 3, "epochs": 2, "batch_size": 11}).fit(clicks())  # of 12 users
    assert np.isfinite(model.item_vectors()).all()


def test_scores_are_those_of_the_weights_and_an_item_adds_nothing_to_itself():
    data = clicks()
    model = build_model("elsa", {"popularity": 0.0, "factors": 3, "epochs": 5, "batch_size": 4}).fit(data)
    weights = model.item_weights(np.arange(data.n_items))
    np.testing.assert_allclose(np.diag(weights), 0, atol=1e-6)
    np.testing.assert_allclose(weights, weights.T, atol=1e-6)
    np.testing.assert_allclose(model.scores(data, np.arange(12)), ones(data.matrix) @ weights, rtol=1e-4, atol=1e-5)


def test_an_item_that_the_model_to_start_from_did_not_know_is_learned_like_a_new_one():
    data = clicks()
    without = data.filter(data.item_rows() != 2)
    params = {"factors": 3, "epochs": 60, "batch_size": 4, "learning_rate": 0.05, "dropout": 0.0}
    before = build_model("elsa", params).fit(without)
    np.testing.assert_array_equal(before.item_vectors()[2], 0)
    vectors = build_model("elsa", params).fit(data, warm_start=before).item_vectors()
    cosines = vectors[2] @ vectors.T / np.linalg.norm(vectors[2]) / np.linalg.norm(vectors, axis=1)
    assert cosines[[0, 1, 3]].min() > 0.7  # liked by the same users
    assert cosines[4:].max() < 0.5
    assert (
        np.linalg.norm(vectors[2]) > 0.5
    )  # from a vector of length 0 the first step is the last: gradients grow without limit
