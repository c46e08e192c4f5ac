"""Several networks side by side, and the biases on which rating autoencoders fall back."""

import numpy as np
import pytest
import torch
from builders import SMALL, from_dense, of_users, planted, random_interactions

from recsys_ae import IdMap, Interactions, build_model
from recsys_ae.core.ensemble import output_terms, scaled
from recsys_ae.core.optimisers import RowAdam, make_optimiser
from recsys_ae.models import rating_scorers
from recsys_ae.models.baselines import ITEM_REG, USER_REG, Biases
from recsys_ae.models.rating_autoencoder import Widths
from recsys_ae.models.rating_scorers import output_factors
from recsys_ae.models.training import Penalties, sparse_rows

ONE_BATCH = {"epochs": 3, "batch_size": 100, "learning_rate": 0.02}
KINDS = {
    "autorec-item": ("autorec", {"axis": "item"}),
    "autorec-user": ("autorec", {"axis": "user", "hidden": [5, 3]}),
    "hybrid-item": ("hybrid", {"axis": "item", "features": "none"}),
    "hybrid-user": ("hybrid", {"axis": "user"}),
}


def predicted(model, data):
    return model.scores(data, np.arange(data.n_users))


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_those_trained_one_by_one(kind, monkeypatch):
    """The mean of the scores of networks that start like those of the ensemble and are trained alone."""
    name, own = KINDS[kind]
    params = {**SMALL[name], **ONE_BATCH, "centring": "bias", **own}
    together = build_model(name, {**params, "networks": 3}).fit(planted(), seed=5)
    alone = []
    for number in range(3):
        model = build_model(name, params)
        build = model._module

        def start(widths, generator, build=build, number=number):
            if generator is not None:
                for _ in range(number):  # the draws of the networks before
                    build(widths, generator)
            return build(widths, generator)

        monkeypatch.setattr(model, "_module", start)
        alone.append(predicted(model.fit(planted(), seed=5), planted()))
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(predicted(together, planted()), np.mean(alone, axis=0), rtol=1e-4, atol=1e-4)


def test_factors_of_some_columns_do_not_take_those_of_all(monkeypatch):
    """The whole output layer would be copied for every block of users; -1, the row of an unknown user, is the last column."""
    module = build_model("autorec", {"hidden": [4], "networks": 2})._module(Widths(9, 5), torch.Generator().manual_seed(0))
    for network in module.networks:
        torch.nn.init.normal_(network.output_bias, generator=torch.Generator().manual_seed(1))
    everything, columns, computed = output_factors(module), np.array([7, -1, 2, 7]), []

    def watched(weights, biases):
        computed.extend(map(len, (*weights, *biases)))
        return output_terms(weights, biases)

    monkeypatch.setattr(rating_scorers, "output_terms", watched)
    np.testing.assert_array_equal(output_factors(module, columns), everything[columns])
    assert computed == [4] * 4
    assert everything.shape == (9, 2 * 4 + 2)
    assert output_factors(module, columns[:0]).shape == (0, 2 * 4 + 2)


@pytest.mark.parametrize("name", ["autorec", "hybrid"])
def test_a_folded_in_user_has_the_mean_of_all_networks(name):
    """Each network's column minimises its own objective; a solution by the normal equations, with the bias as one of them."""
    params = {**SMALL[name], "centring": "bias", "networks": 2, "l2": 3.0, "l2_exponent": 0.0, "epochs": 5}
    params |= {"features": "none", "who": False} if name == "hybrid" else {}
    data = planted()
    model = build_model(name, params).fit(data, seed=0)
    ratings = np.array([[5, 4, 0, 0, 1, 0, 0]], np.float32)
    stranger = Interactions(from_dense(ratings, ratings > 0).matrix, IdMap(["stranger"]), data.items)
    items, mean = model.fitted.arrays["item_factors"], Biases.from_arrays(model.fitted).mean
    hidden, row_bias = items[:, :-2].astype(np.float64), items[:, -1]
    expected = []
    for own in np.split(hidden, 2, axis=1):
        known = np.c_[own, np.ones(7)][[0, 1, 4]]
        penalty = np.diag([*np.full(own.shape[1], 1.5), USER_REG])
        left = np.array([5, 4, 1]) - mean - row_bias[[0, 1, 4]]
        expected.append(np.c_[own, np.ones(7)] @ np.linalg.solve(known.T @ known + penalty, known.T @ left) + mean + row_bias)
    np.testing.assert_allclose(model.scores(stranger, np.array([0]))[0], np.mean(expected, axis=0), rtol=1e-3)


@pytest.mark.parametrize(("axis", "reg"), [("item", USER_REG), ("user", ITEM_REG)])
@pytest.mark.parametrize("name", ["autorec", "hybrid"])
def test_output_biases_are_charged_like_those_of_the_baseline(name, axis, reg):
    data = random_interactions()
    params = {**SMALL[name], "axis": axis, "centring": "bias", "networks": 2, "l2": 0.0}
    model = build_model(name, {**params, **({"features": "none"} if name == "hybrid" else {})})
    found = []
    monitored = Penalties.__call__

    def watch(self, module, batch):
        total = monitored(self, module, batch)
        biases = torch.stack([network.output_bias.detach() for network in module.networks])
        found.append((len(batch.columns), self.parts[1](module, batch).item(), biases))
        return total

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Penalties, "__call__", watch)
        model.fit(data, seed=0)
    share, value, biases = found[-1]
    rated = np.diff((data.matrix if axis == "item" else data.matrix.T.tocsr()).indptr) > 0
    low, high = model.fitted.meta["scale"]
    unit = (high - low) / 4
    centre = (data.matrix.data.mean() - low + unit) / unit
    of_items = Biases.fit(data, popularity=True).item_centre / unit if axis == "user" else np.zeros(len(rated))
    expected = reg * ((biases.numpy() - centre - of_items)[:, rated] ** 2).sum() * share / len(data)
    assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("name", "axis"), [("autorec", "item"), ("autorec", "user"), ("hybrid", "item")])
def test_where_ratings_are_few_the_defaults_fall_back_on_the_baseline(name, axis):
    """Users and items have biases only, and each user two ratings: there is nothing more to learn."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(0, 0.5, 300), rng.normal(0, 0.5, 60)
    dense = np.clip(3.2 + users[:, None] + items + rng.normal(0, 0.9, (300, 60)), 1, 5)
    few = rng.random((300, 60)).argsort(axis=1) < 2
    train = from_dense(dense, few, scale=(1.0, 5.0))
    test = from_dense(dense, ~few, scale=(1.0, 5.0))

    def rmse(model):
        ratings = model.fit(train).predict_rows(train, test.user_rows(), test.item_rows())
        return np.sqrt(np.mean((ratings - test.matrix.data) ** 2))

    params = {"axis": axis, **({"features": "none"} if name == "hybrid" else {})}
    assert rmse(build_model(name, params)) < 1.002 * rmse(build_model("bias"))


@pytest.mark.parametrize("name", ["autorec", "hybrid"])
def test_batches_update_only_the_rows_of_their_columns(name):
    model = build_model(name)
    network = model._module(Widths(7, 12), torch.Generator())
    assert isinstance(make_optimiser("adam", network, 0.1), RowAdam)


def test_scaled_inputs_depend_on_the_mean_rating_not_on_their_number():
    rows = sparse_rows(random_interactions().matrix)
    dense, n = rows.dense(), rows.lengths.clamp(min=1)[:, None]
    torch.testing.assert_close(scaled(rows).dense(), dense * (50 / n).sqrt())
    data = planted()
    on, off = (
        build_model("autorec", {**SMALL["autorec"], "epochs": 3, "scale_inputs": scale}).fit(data) for scale in (True, False)
    )
    assert not np.allclose(predicted(on, data), predicted(off, data))
    new = of_users(data, [3], ["new"])
    assert on.scores(new, np.array([0])).shape == (1, data.n_items)
