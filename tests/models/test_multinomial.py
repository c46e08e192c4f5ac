import numpy as np
import pytest
import torch
from builders import SMALL, clicks, planted, random_interactions
from torch.nn import functional

from recsys_ae import build_model, evaluate
from recsys_ae.core.losses import multinomial
from recsys_ae.core.sparse import SparseRows
from recsys_ae.models.multinomial import CountingVAE, Variational
from recsys_ae.models.neural import l2_normalise
from recsys_ae.models.training import observed_rows, ranking_validation
from recsys_ae.split import Split
from recsys_ae.splitting import random


def test_loss_is_the_cross_entropy_of_each_item():
    data = random_interactions()
    rows = observed_rows(data.matrix)
    logits = torch.randn(len(rows), data.n_items)
    found = multinomial(logits, rows)
    expected = functional.cross_entropy(logits[rows.row_of_entry()], rows.columns, reduction="sum")
    torch.testing.assert_close(found.total, expected)
    assert found.count == len(data)


def test_unit_rows_have_length_one_and_empty_ones_stay_empty():
    rows = SparseRows.from_arrays([0, 3, 3, 5], [0, 1, 4, 2, 3], [1.0, 2.0, 2.0, 0.0, 0.0], 6)
    torch.testing.assert_close(l2_normalise(rows).dense()[0], torch.tensor([1 / 3, 2 / 3, 0, 0, 2 / 3, 0]))
    assert torch.isfinite(l2_normalise(rows).values).all()


def test_weight_of_the_divergence_rises_and_is_remembered():
    rows = observed_rows(random_interactions().matrix)
    module = CountingVAE(25, (6, 2), "tanh", torch.Generator().manual_seed(0))

    def nothing(_) -> torch.Tensor:
        return torch.zeros(())

    def loss(objective: Variational) -> float:
        return float(objective.loss(module, rows, torch.Generator().manual_seed(0)).total.detach())

    without = loss(Variational(0.0, 0.0, 0, nothing))
    module.batches.zero_()
    quarter, half = loss(Variational(0.0, 1.0, 4, nothing)), loss(Variational(0.0, 1.0, 4, nothing))
    assert half - without == pytest.approx(2 * (quarter - without), rel=1e-3)
    assert int(module.batches) == 2
    assert "batches" in module.state_dict()


def test_validation_is_one_minus_the_ndcg_of_the_evaluation():
    data = random_interactions(n_users=60, n_items=200)
    parts = random(data, test=0.3, seed=0)
    nothing = parts.test.filter(parts.test.user_rows() < 0)
    model = build_model("multdae", {"hidden": 4, "epochs": 2}).fit(parts.train)
    error = ranking_validation(model.scores, parts.train, parts.test)
    expected = evaluate(model, Split(parts.train, nothing, parts.test), ["ndcg@100"]).metrics["ndcg@100"]
    assert error() == pytest.approx(1 - expected)


@pytest.mark.parametrize("name", ["multdae", "multvae", "recvae"])
def test_an_item_exponent_multiplies_likelihoods_by_a_power_of_the_popularity(name):
    data = clicks()
    plain, popular = (
        build_model(name, {**SMALL[name], "epochs": 2, "popularity": 0.0, "item_exponent": a}).fit(data) for a in (0.0, 0.5)
    )
    logits, scores = (model.scores(data, np.arange(data.n_users)) for model in (plain, popular))
    n = np.bincount(data.item_rows(), minlength=data.n_items)
    ratio = torch.softmax(torch.from_numpy(scores), 1).numpy() / torch.softmax(torch.from_numpy(logits), 1).numpy()
    expected = np.maximum(n, 1) ** 0.5
    np.testing.assert_allclose(ratio / ratio[:, :1], np.broadcast_to(expected / expected[0], ratio.shape), rtol=1e-4)


@pytest.mark.parametrize("name", ["multdae", "multvae"])
def test_a_user_without_history_gets_the_same_list_as_all_such_users(name):
    data = planted()
    hidden = {"multdae": [4], "multvae": [6, 3]}[name]
    model = build_model(name, {"hidden": hidden, "epochs": 3}).fit(data)
    nothing = data.filter(data.user_rows() < 0)
    scores = model.scores(nothing, np.arange(12))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, np.tile(scores[0], (12, 1)), atol=1e-6)
