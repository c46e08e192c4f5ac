from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import SMALL, from_dense, of_users, planted, random_interactions

from recsys_ae import IdMap, build_model, load_model, save_model
from recsys_ae.core import devices
from recsys_ae.core.attributes import attribute_products
from recsys_ae.core.hybrid import Attributes, HybridEnsemble, HybridNetwork
from recsys_ae.core.ordinal import Ordinal
from recsys_ae.core.sparse import unit_pattern
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.features import FeatureTable
from recsys_ae.interactions import Interactions
from recsys_ae.models.baselines import Biases
from recsys_ae.models.hybrid_objective import HybridError, SidePenalty
from recsys_ae.models.side_information import SideFeatures
from recsys_ae.models.training import sparse_rows
from recsys_ae.splitting import cold_items, cold_users

ROWS, COLUMNS, F, G, K = 40, 25, 6, 4, 3


def random_side(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    """float32 [n, width], a third of it 0."""
    return (rng.standard_normal((n, width)) * (rng.random((n, width)) < 2 / 3)).astype(np.float32)


def as_rows(dense: np.ndarray):
    return sparse_rows(from_dense(dense, dense != 0).matrix)


@pytest.mark.parametrize(("kernels", "networks"), [(True, 1), (True, 3), (False, 3)])
def test_products_with_attributes_are_those_of_dense_matrices(kernels, networks, monkeypatch):
    monkeypatch.setattr(devices, "uses_kernels", lambda _: kernels)
    rng = np.random.default_rng(0)
    attributes, at = random_side(rng, 9, 5), sparse_rows(random_interactions(1, 7, 9).matrix)
    table = torch.randn(networks, 7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ours = attribute_products(table, as_rows(attributes), at)
    expected = (table @ torch.tensor(attributes).T)[:, at.row_of_entry(), at.columns]
    torch.testing.assert_close(ours, expected)
    weight = torch.arange(ours.numel()).float().view(ours.shape)
    own, other = (torch.autograd.grad((out * weight).sum(), table)[0] for out in (ours, expected))
    torch.testing.assert_close(own, other)
    with pytest.raises(ValueError, match="9 columns need attributes"):
        attribute_products(table, as_rows(attributes[:8]), at)


def dense_loss(network, model, ratings, mask, f, g, cold_rows, cold_columns, row_bias, priors):
    """The objective of `HybridError` and `SidePenalty` for one batch of all rows, with dense matrices throughout."""
    f, g = (
        torch.cat([f * ~cold_rows[:, None], f * cold_rows[:, None]], 1),
        torch.cat([g * ~cold_columns[:, None], g * cold_columns[:, None]], 1),
    )
    n_row, n_column = mask.sum(1, keepdim=True), mask.sum(0)
    x = ratings * (50 / n_row).sqrt() * ~cold_rows[:, None]
    z = x @ network.input_weight + network.biases[0] + f @ network.feature_weights[0]
    code = torch.sigmoid(z * (1 + f @ network.film_weight))
    code = torch.cat([code, f @ network.feature_weights[1]], 1)
    who = (mask / n_column.sqrt()).T
    own = network.output_weight + who @ network.who_factors @ network.projection
    bias = network.output_bias + who @ network.who_bias
    own, bias = torch.where(cold_columns[:, None], 0, own), torch.where(cold_columns, priors[1], bias)
    output = code @ (own + g @ network.feature_factors @ network.projection).T + bias + g @ network.feature_bias
    output = output + torch.where(cold_rows, priors[0], row_bias)[:, None]
    weight = torch.where(cold_rows[:, None] | cold_columns, model.alpha, model.beta)
    loss = (weight * mask * (output - ratings) ** 2).sum()

    def charge_by_feature(weights, ratings):
        """The first half of the weights is for rows with ratings, the second for rows without."""
        return sum(charge(half, ratings, l2) for half, l2 in zip(weights.chunk(2), (model.l2, model.feature_l2), strict=True))

    def charge(weights, ratings, l2):
        weights = weights if weights.ndim == 2 else weights[:, None]
        return (l2 / 2 * ((ratings + 25) / 100) ** model.l2_exponent @ weights.square()).sum()

    of_f, of_g = (n @ (x[:, : x.shape[1] // 2] + x[:, x.shape[1] // 2 :]).square() for n, x in ((n_row.T[0], f), (n_column, g)))
    loss = loss + charge(network.input_weight, n_column, model.l2) + charge(network.output_weight, n_column, model.l2)
    loss = loss + charge(network.who_factors, n_row.T[0], model.who_l2) + charge(network.who_bias, n_row.T[0], model.who_l2)
    loss = loss + model.who_l2 / 2 * network.projection.square().sum()
    for part in (*network.feature_weights, network.film_weight):
        loss = loss + charge_by_feature(part, of_f)
    return loss + charge_by_feature(network.feature_factors, of_g) + charge_by_feature(network.feature_bias, of_g)


def test_objective_matches_a_dense_one():
    rng, torch_rng = np.random.default_rng(3), torch.Generator().manual_seed(3)
    data = random_interactions()
    f, g = random_side(rng, ROWS, F), random_side(rng, COLUMNS, G)
    params = {"axis": "user", "hidden": 5, "factors": K, "film": True, "alpha": 0.7, "beta": 0.4, "cold": 0.4, "l2": 3.0}
    model = build_model("hybrid", params)
    sizes = {"who": True, "row_features": 2 * F, "column_features": 2 * G, "factors": K, "film": True}
    networks = [HybridNetwork(COLUMNS, ROWS, [5], **sizes, initial=0.5, generator=torch_rng) for _ in range(2)]
    module = HybridEnsemble(networks)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch_rng)
    rows = sparse_rows(data.matrix)
    attributes = Attributes(unit_pattern(sparse_rows(data.matrix.T.tocsr())), as_rows(g))
    row_bias, priors = torch.randn(ROWS), (torch.randn(ROWS), torch.randn(COLUMNS))
    penalty = SidePenalty.of(model, data.matrix, attributes, as_rows(f))
    objective = HybridError(model, attributes, as_rows(f), row_bias, *priors, 2.5, penalty)
    total = objective.loss(module, rows, torch.Generator().manual_seed(9)).total + objective.penalty(module, rows)
    ours = torch.autograd.grad(total, list(module.parameters()))

    again = torch.Generator().manual_seed(9)
    cold_rows, cold_columns = (torch.rand(n, generator=again) < 0.4 for n in (ROWS, COLUMNS))
    mask = torch.zeros(ROWS, COLUMNS)
    mask[data.user_rows(), data.item_rows()] = 1
    sides = torch.tensor(data.matrix.toarray()), mask, torch.tensor(f), torch.tensor(g)
    known = cold_rows, cold_columns, row_bias, priors
    expected = sum(dense_loss(network, model, *sides, *known) for network in networks)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-4)
    theirs = torch.autograd.grad(expected, list(module.parameters()))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-3)


def with_tastes(n_users: int = 90, n_items: int = 60) -> Interactions:
    """Two kinds of users and two kinds of items, both known from features: ratings are 5 where they agree, else 1."""
    rng = np.random.default_rng(0)
    user, item = np.arange(n_users) % 3 == 0, np.arange(n_items) % 2 == 0
    data = from_dense(np.where(user[:, None] == item, 5.0, 1.0), rng.random((n_users, n_items)) < 0.4, scale=(1.0, 5.0))

    def table(ids: IdMap, kind: np.ndarray) -> FeatureTable:
        return FeatureTable.from_frame(pd.DataFrame({"id": ids.values, "kind": kind.astype(str)}), {"kind": "category"})

    return replace(data, user_features=table(data.users, user), item_features=table(data.items, item))


OF_TASTES = {"hidden": 12, "factors": 6, "epochs": 40, "learning_rate": 0.03, "batch_size": 16, "l2": 3.0, "feature_l2": 0.7}


@pytest.mark.parametrize(("axis", "loss"), [("item", "squared_error"), ("user", "ordinal")])
@pytest.mark.parametrize("protocol", [cold_items, cold_users])
def test_users_and_items_without_ratings_are_scored_from_features(axis, loss, protocol):
    split = protocol(with_tastes(), test=0.2)
    model = build_model("hybrid", {**OF_TASTES, "axis": axis, "loss": loss, "cold": 0.3}).fit(split.train)
    test = split.test
    predicted = model.predict_rows(split.train, test.user_rows(), test.item_rows())
    assert np.sqrt(np.mean((predicted - test.matrix.data) ** 2)) < 0.5
    without = build_model("hybrid", {**OF_TASTES, "axis": axis, "features": "none", "epochs": 3}).fit(split.train)
    pairs = split.train, test.user_rows(), test.item_rows()
    expected = Biases.fit(split.train, popularity=True).pairs(*pairs)
    np.testing.assert_allclose(without.predict_rows(*pairs), expected, rtol=1e-5)


def test_a_new_user_is_scored_by_features_then_by_ratings():
    data = with_tastes()
    model = build_model("hybrid", {**OF_TASTES, "cold": 0.3}).fit(data)
    nobody = of_users(data, [3], ["new"])
    nobody = nobody.filter(np.zeros(len(nobody), bool))
    like = model.scores(nobody, np.array([0]))[0]
    assert like[::2].min() > 4 > 2 > like[1::2].max()
    other = of_users(data, [4], ["new"])
    contradicting = replace(other, user_features=replace(nobody.user_features, ids=other.users))
    scores = model.scores(contradicting, np.array([0]))[0]
    assert scores[1::2].min() > scores[::2].max()


def test_features_of_training_users_are_kept_and_others_are_missing(tmp_path):
    data = with_tastes()
    save_model(build_model("hybrid", {**OF_TASTES, "axis": "user", "epochs": 3}).fit(data), tmp_path / "model")
    model = load_model(tmp_path / "model")
    bare = replace(data, user_features=None, item_features=None)
    np.testing.assert_array_equal(model.scores(bare, np.arange(5)), model.scores(data, np.arange(5)))
    strangers = replace(bare, users=IdMap([f"new{row}" for row in range(data.n_users)]))
    missing = replace(strangers, user_features=data.user_features.align(strangers.users))
    np.testing.assert_array_equal(model.scores(strangers, np.arange(5)), model.scores(missing, np.arange(5)))
    assert not np.array_equal(model.scores(strangers, np.arange(5)), model.scores(data, np.arange(5)))
    frame = pd.DataFrame({"id": data.users.values, "age": 1.0})
    elsewhere = replace(data, user_features=FeatureTable.from_frame(frame, {"age": "numeric"}))
    with pytest.raises(DataError, match="encoded differently"):
        model.scores(elsewhere, np.array([0]))


@pytest.mark.parametrize("axis", ["item", "user"])
def test_items_without_any_feature_or_rating_get_the_baseline(axis):
    data = planted()
    described = IdMap(np.delete(data.items.values, 5))
    train = replace(data.filter(data.item_rows() != 5), item_features=data.item_features.align(described).align(data.items))
    model = build_model("hybrid", {**SMALL["hybrid"], "axis": axis, "features": "items", "epochs": 3}).fit(train)
    baseline = Biases.from_arrays(model.fitted).block(train, np.arange(12))
    scores = model.scores(train, np.arange(12))
    np.testing.assert_array_equal(scores[:, 5], baseline[:, 5])
    assert (scores[:, :5] != baseline[:, :5]).all()


def test_ordinal_loss_and_expectation_are_those_of_the_probabilities():
    values = torch.tensor([1.0, 2.0, 2.0, 5.0, 5.0, 5.0, 4.0, 2.0])
    ordinal = Ordinal(4)
    ordinal.start_from(values)
    thresholds = ordinal.thresholds()
    torch.testing.assert_close(torch.sigmoid(thresholds), torch.tensor([1 / 8, 4 / 8, 5 / 8]))
    output = torch.linspace(-3, 3, 8, requires_grad=True)
    below = torch.cat([torch.zeros(8, 1), torch.sigmoid(thresholds - output[:, None]), torch.ones(8, 1)], 1)
    probabilities = below.diff()
    classes = torch.tensor([1.0, 2.0, 4.0, 5.0])
    torch.testing.assert_close(ordinal.expected(output), probabilities @ classes)
    expected = -probabilities[torch.arange(8), torch.searchsorted(classes, values)].log()
    torch.testing.assert_close(ordinal.loss(output, values), expected)
    gradients = [
        torch.autograd.grad(loss.sum(), output, retain_graph=True)[0] for loss in (ordinal.loss(output, values), expected)
    ]
    torch.testing.assert_close(*gradients)
    far = ordinal.loss(torch.tensor([200.0, -200.0]), torch.tensor([1.0, 5.0]))
    assert torch.isfinite(far).all()
    torch.testing.assert_close(torch.sigmoid(ordinal.middles() - ordinal.thresholds()[1]).round(), torch.tensor([0.0, 0, 1, 1]))


def test_too_many_distinct_ratings_for_classes_are_refused():
    data = from_dense(np.arange(120.0).reshape(12, 10))
    with pytest.raises(ConfigError, match="needs 2 to 100 distinct ratings, got 120"):
        build_model("hybrid", {"features": "none", "loss": "ordinal"}).fit(data)


def test_numbers_are_also_given_by_tenths_of_the_training_values():
    ids = IdMap(np.arange(23))
    values = np.r_[np.arange(20.0), np.nan, 1e6, -1e6]
    table = FeatureTable.from_frame(pd.DataFrame({"id": ids.values, "size": values}), {"size": "numeric"})
    side = SideFeatures(table, np.arange(23) < 21)  # the last two are not in the training data
    dense = side.matrix.toarray()
    np.testing.assert_array_equal(dense[:, :2], table.matrix.toarray())
    tenths = dense[:, 2:]
    np.testing.assert_array_equal(tenths[:20].argmax(axis=1), np.arange(20) // 2)
    assert tenths.sum(axis=1).tolist() == [1.0] * 20 + [0, 1, 1]
    assert (tenths[21].argmax(), tenths[22].argmax()) == (9, 0)
    assert side.has_features().tolist() == [True] * 20 + [False, True, True]


def test_a_warm_start_needs_the_same_classes_of_ratings():
    rows = np.arange(40).reshape(8, 5) % 3
    first, other = (from_dense(values[rows], scale=(1.0, 5.0)) for values in (np.array([1.0, 3, 5]), np.array([1.0, 4, 5])))
    options = {"features": "none", "loss": "ordinal", "hidden": 4, "epochs": 1}
    model = build_model("hybrid", options).fit(first)
    build_model("hybrid", options).fit(first, warm_start=model)
    with pytest.raises(ConfigError, match="has other classes of ratings"):
        build_model("hybrid", options).fit(other, warm_start=model)
