import numpy as np
import pytest
import torch
from builders import SMALL, from_dense, planted, random_interactions
from sklearn.linear_model import Ridge
from torch import nn

from recsys_ae import IdMap, Interactions, build_model, load_model, save_model
from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.errors import ConfigError
from recsys_ae.models.autorec import AutoRec
from recsys_ae.models.baselines import Biases
from recsys_ae.models.rating_autoencoder import Widths
from recsys_ae.models.training import ObservedError, autoencoder_l2, observed_rows


@pytest.mark.parametrize("hidden", [[6], [6, 3]])
def test_objective_matches_the_usual_dense_one(hidden):
    """Same loss and gradients as with dense rows, dense output and a mask, observed zeros included."""
    data = random_interactions()
    module = Autoencoder(25, hidden, generator=torch.Generator().manual_seed(0))
    rows = observed_rows(data.matrix)
    objective = ObservedError(autoencoder_l2(0.7, rows))
    ours, penalty = objective.loss(module, rows, torch.Generator()), objective.penalty(module, rows)
    (ours.total + penalty).backward()
    gradients = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()

    mask = torch.zeros(data.matrix.shape)
    mask[data.user_rows(), data.item_rows()] = 1
    x = torch.tensor(data.matrix.toarray())
    loss = (mask * (module(x) - x) ** 2).sum()
    loss = loss + 0.35 * sum((weight**2).sum() for weight in module.parameters() if weight.ndim == 2)
    loss.backward()
    torch.testing.assert_close(ours.total + penalty, loss, rtol=1e-5, atol=1e-4)
    assert ours.count == len(data)
    for mine, parameter in zip(gradients, module.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-4)


def test_training_is_adam_on_that_objective():
    """Ten epochs of whole-matrix batches against a training loop written with nn.Linear and a mask."""
    data = planted()
    params = {**SMALL["autorec"], "axis": "user", "batch_size": 100, "epochs": 10, "l2": 2.0}
    model = build_model("autorec", params).fit(data, seed=3)

    (start,) = AutoRec(**{**params, "hidden": (8,)})._module(Widths(7, 12), torch.Generator().manual_seed(3)).networks
    encoder, decoder = nn.Linear(7, 8), nn.Linear(8, 7)
    with torch.no_grad():
        encoder.weight.copy_(start.input_weight.T)
        encoder.bias.zero_()
        decoder.weight.copy_(start.output_weight)
        decoder.bias.fill_(data.matrix.data.mean())
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=params["learning_rate"])
    x, mask = torch.tensor(data.matrix.toarray()), torch.tensor(data.matrix.toarray() > 0)
    for _ in range(10):
        optimiser.zero_grad()
        predicted = decoder(torch.sigmoid(encoder(x)))
        loss = ((predicted - x)[mask] ** 2).sum() + (encoder.weight.square().sum() + decoder.weight.square().sum())
        loss.backward()
        optimiser.step()
    expected = decoder(torch.sigmoid(encoder(x))).detach().numpy()
    np.testing.assert_allclose(model.scores(data, np.arange(12)), expected, rtol=1e-4)


def test_folded_in_user_is_the_ridge_regression_on_the_items_vectors():
    data = planted()
    model = build_model("autorec", {**SMALL["autorec"], "l2": 3.0}).fit(data, seed=0)
    ratings = np.array([[5, 4, 0, 0, 1, 0, 0]], np.float32)
    stranger = from_dense(ratings, ratings > 0)
    stranger = Interactions(stranger.matrix, IdMap(["stranger"]), data.items)
    hidden = model.fitted.arrays["item_factors"][:, :-2]
    ridge = Ridge(alpha=1.5).fit(hidden[[0, 1, 4]], [5, 4, 1])
    np.testing.assert_allclose(model.scores(stranger, np.array([0]))[0], ridge.predict(hidden), rtol=1e-3)


def test_users_seen_in_training_keep_their_learned_row():
    """Folding in a known user's training history nearly gives the learned row: both minimise the same objective."""
    data = planted()
    params = {**SMALL["autorec"], "l2": 1.0, "epochs": 1500, "batch_size": 7}
    model = build_model("autorec", params).fit(data, seed=0)
    strangers = Interactions(data.matrix, IdMap([f"new{row}" for row in range(12)]), data.items)
    known, new = (model.scores(history, np.arange(12)) for history in (data, strangers))
    assert np.abs(known - new).max() < 0.2


def test_items_without_training_ratings_get_the_baseline():
    data = planted()
    train = data.filter(data.item_rows() != 5)
    for axis in ("item", "user"):
        model = build_model("autorec", {**SMALL["autorec"], "axis": axis}).fit(train, seed=0)
        baseline = Biases.fit(train, popularity=True).block(train, np.arange(12))
        np.testing.assert_allclose(model.scores(train, np.arange(12))[:, 5], baseline[:, 5], rtol=1e-5)


def test_single_number_for_hidden_is_one_layer():
    assert AutoRec(hidden=7).hidden == (7,)
    assert build_model("autorec", {"hidden": 7}).hidden == (7,)


def test_centred_ratings_do_not_fit_a_sigmoid():
    with pytest.raises(ConfigError, match="centring: none"):
        build_model("autorec", {"output": "sigmoid", "centring": "bias"})


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("axis", ["item", "user"])
def test_one_user_or_one_item(shape, axis):
    data = from_dense(np.full(shape, 4.0))
    model = build_model("autorec", {**SMALL["autorec"], "axis": axis, "epochs": 3}).fit(data)
    assert model.scores(data, np.arange(shape[0])).shape == shape


def test_loaded_model_needs_no_training_data(tmp_path):
    save_model(build_model("autorec", {**SMALL["autorec"], "axis": "user"}).fit(planted()), tmp_path / "model")
    stranger = from_dense(np.array([[5.0, 5, 5, 1, 1, 1, 1]]))
    loaded = load_model(tmp_path / "model")
    scores = loaded.scores(Interactions(stranger.matrix, stranger.users, loaded.fitted.ids["items"]), np.array([0]))
    assert scores.shape == (1, 7)


@pytest.mark.parametrize("axis", ["item", "user"])
def test_user_who_rated_only_unknown_items_gets_the_baseline(axis):
    data = planted()
    train = data.filter(data.item_rows() != 5)
    model = build_model("autorec", {**SMALL["autorec"], "axis": axis}).fit(train, seed=0)
    only = Interactions(data.filter(data.item_rows() == 5).matrix, IdMap([f"new{row}" for row in range(12)]), data.items)
    baseline = Biases.fit(train, popularity=True).block(only, np.arange(12))
    np.testing.assert_allclose(model.scores(only, np.arange(12)), baseline, rtol=1e-6)


def test_dropout_hides_inputs_in_training():
    params = {**SMALL["autorec"], "axis": "user", "epochs": 3}
    plain, hidden = (build_model("autorec", {**params, "dropout": rate}).fit(planted(), seed=0) for rate in (0.0, 0.5))
    assert not np.allclose(plain.scores(planted(), np.arange(12)), hidden.scores(planted(), np.arange(12)))


@pytest.mark.parametrize(("params", "hint"), [({"activation": "rleu"}, "relu"), ({"optimiser": "adan"}, "adam")])
def test_unknown_names_are_refused_before_training(params, hint):
    with pytest.raises(ConfigError, match=f"did you mean '{hint}'"):
        build_model("autorec", params)


@pytest.mark.parametrize("optimiser", ["lbfgs", "rprop"])
def test_full_batch_optimisers_learn(optimiser):
    rate = 1.0 if optimiser == "lbfgs" else 0.01
    params = {**SMALL["autorec"], "axis": "user", "optimiser": optimiser, "learning_rate": rate, "epochs": 60}
    model = build_model("autorec", params).fit(planted(), seed=0)
    errors = (model.scores(planted(), np.arange(12)) - planted().matrix.toarray())[planted().matrix.toarray() > 0]
    assert np.sqrt(np.mean(errors**2)) < 0.5
