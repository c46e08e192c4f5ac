from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import complete, from_dense, planted, random_interactions
from scipy.sparse import csr_array
from scipy.special import expit

from recsys_ae import IdMap, Interactions, build_model, predict
from recsys_ae.core.entries import Entries, sampled_rows
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.wide_deep import WideDeepNetwork
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.features import FeatureTable
from recsys_ae.models.wide_deep import EntryLoss

SHORT = {"factors": 3, "hidden": [5, 4], "epochs": 4, "batch_size": 32, "learning_rate": 0.02, "init_std": 0.3}


def rated() -> Interactions:
    """Random ratings 0 to 5 with features of both sides; user 3 and item 2 have none."""
    data = complete(random_interactions())
    return data.filter((data.user_rows() != 3) & (data.item_rows() != 2))


def unit(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)


def sums(model, data: Interactions, side: str) -> np.ndarray:
    """Terms [3, n, 1 + K] of the training users' ("rows") or items' vectors: of id, who and features."""
    arrays, seen = model.fitted.arrays, np.zeros(data.matrix.shape)
    seen[data.user_rows(), data.item_rows()] = 1
    table = data.user_features if side == "rows" else data.item_features
    seen = seen if side == "rows" else seen.T
    ids = arrays[f"module.{side}.of_ids"] * seen.any(axis=1)[:, None]
    features = table.matrix.toarray() @ arrays[f"module.{side}.of_features"]
    return np.stack([ids, unit(seen) @ arrays[f"module.{side}.of_who"], features])


def outputs(model, data: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Outputs or logits [N, M, C] of all pairs, and the crosses [N, M], by the equations."""
    arrays = model.fitted.arrays
    users, items = sums(model, data, "rows").sum(axis=0), sums(model, data, "columns").sum(axis=0)
    cross = data.user_features.matrix @ arrays["module.crosses"] @ data.item_features.matrix.toarray().T
    score = users[:, :1] + items[:, 0] + cross + users[:, 1:] @ items[:, 1:].T
    shape = (len(users), len(items), 3)
    hidden = np.concatenate([np.broadcast_to(users[:, None, 1:], shape), np.broadcast_to(items[:, 1:], shape)], axis=2)
    for layer in range(3):
        hidden = np.maximum(hidden, 0) if layer else hidden
        hidden = hidden @ arrays[f"module.weights.{layer}"] + arrays[f"module.biases.{layer}"]
    if "module.slopes" in arrays:
        return score[..., None] * arrays["module.slopes"] + arrays["module.levels"] + hidden, cross
    return score[..., None] + hidden, cross


def probabilities(model, found: np.ndarray) -> np.ndarray:
    """Of the classes, [N, M, C]."""
    if model.loss == "softmax":
        powers = np.exp(found - found.max(axis=2, keepdims=True))
        return powers / powers.sum(axis=2, keepdims=True)
    steps = model.fitted.arrays["module.ordinal.steps"]
    thresholds = np.cumsum(np.r_[steps[0], np.log1p(np.exp(steps[1:]))])
    below = expit(thresholds - found)
    return np.diff(np.concatenate([np.zeros_like(found), below, np.ones_like(found)], axis=2), axis=2)


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "ordinal"])
def test_scores_and_loss_are_those_of_the_equations(loss):
    data = rated()
    model = build_model("wide_deep", {**SHORT, "loss": loss, "l2": 0.2, "cold": 0.0, "dropout": 0.0}).fit(data)
    found, cross = outputs(model, data)
    user, item, mean, std = data.user_rows(), data.item_rows(), data.matrix.data.mean(), data.matrix.data.std()
    value = (data.matrix.data - mean) / std
    if loss == "squared_error":
        expected, losses = found[..., 0], (found[user, item, 0] - value) ** 2
    else:
        chances = probabilities(model, found)
        expected = chances @ ((np.arange(6) - mean) / std)
        losses = -np.log(chances[user, item, data.matrix.data.astype(int)])
    warm = np.arange(40) != 3
    np.testing.assert_allclose(model.scores(data, np.arange(40))[warm], (mean + std * expected)[warm], rtol=1e-3, atol=1e-3)
    penalty = (cross[user, item] ** 2).sum()
    for side, rows in (("rows", user), ("columns", item)):
        penalty += (sums(model, data, side)[:, rows] ** 2).sum()
    network = model._scorer().network
    users, items = (model._known(ratings, model.fitted, side) for ratings, side in both_sides(data))
    batch = Entries(*map(torch.from_numpy, (user, item, value.astype(np.float32))))
    total = EntryLoss(model, users, items).loss(network, batch, torch.Generator())
    assert float(total.count) == len(data)
    np.testing.assert_allclose(total.total.detach(), losses.sum() + 0.2 * penalty, rtol=1e-3)


def both_sides(data: Interactions):
    return (data.matrix, "user"), (data.matrix.T.tocsr(), "item")


def test_new_users_are_fitted_to_their_history():
    """Without hidden layers and with the squared error, a ridge regression on the vectors of the items."""
    data = rated()
    model = build_model("wide_deep", {**SHORT, "hidden": [], "features": "none", "who": False, "l2": 0.1}).fit(data)
    stranger = replace(data, matrix=data.matrix[[5]], users=IdMap(["new"]), times=None, user_features=None)
    ratings, mean, std = stranger.matrix, data.matrix.data.mean(), data.matrix.data.std()
    codes = model.fitted.arrays["item_codes"]
    z = np.c_[np.ones(ratings.nnz), codes[ratings.indices, 1:]]
    target = (ratings.data - mean) / std - codes[ratings.indices, 0]
    vector = np.linalg.solve(z.T @ z + 0.1 * len(z) * np.eye(4), z.T @ target)
    expected = mean + std * (codes[:, 0] + np.c_[np.ones(25), codes[:, 1:]] @ vector)
    np.testing.assert_allclose(model.scores(stranger, np.array([0]))[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "ordinal"])
def test_thresholds_and_levels_start_from_the_frequencies(loss):
    """Without any weights, the expected value is the mean."""
    network = WideDeepNetwork((4, 0, 0), (3, 0, 0), factors=2, hidden=[], loss=loss, classes=3, init_std=0.1)
    values, counts = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([5, 3, 2])
    network.start_from(values.repeat_interleave(counts))
    expected = network.expected(network(torch.zeros(1), torch.zeros(1, 0)))
    mean = 0.0 if loss == "squared_error" else float((values * counts).sum() / 10)
    np.testing.assert_allclose(expected.detach().numpy(), [mean], atol=1e-5)


def two_kinds() -> tuple[Interactions, np.ndarray]:
    """60 users and 30 items of two kinds each: ratings are 5 where the kinds agree and 2 elsewhere, a third observed."""
    kinds = np.arange(60) % 2, np.arange(30) % 3 // 2
    ratings = np.where(kinds[0][:, None] == kinds[1], 5.0, 2.0).astype(np.float32)
    data = from_dense(ratings, np.random.default_rng(0).random((60, 30)) < 0.35, scale=(1.0, 5.0))
    tables = {}
    for side, ids, own in (("user", data.users, kinds[0]), ("item", data.items, kinds[1])):
        frame = pd.DataFrame({"id": ids.values, "kind": np.where(own, "a", "b")})
        tables[f"{side}_features"] = FeatureTable.from_frame(frame, {"kind": "category"}, ids=ids)
    return replace(data, **tables), ratings


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "ordinal"])
def test_users_and_items_without_ratings_are_predicted_from_crossed_features(loss):
    data, ratings = two_kinds()
    train = data.filter((data.user_rows() >= 6) & (data.item_rows() >= 6))
    params = {
        "loss": loss,
        "factors": 4,
        "hidden": [],
        "cold": 0.3,
        "epochs": 30,
        "batch_size": 128,
        "learning_rate": 0.06,
        "l2": 1e-3,
    }
    model = build_model("wide_deep", params).fit(train)
    users, items = np.divmod(np.arange(60 * 30), 30)
    cold = (users < 6) | (items < 6)
    found = predict(model, train, data.users.values[users[cold]], data.items.values[items[cold]])
    assert np.sqrt(np.mean((found - ratings[users[cold], items[cold]]) ** 2)) < 0.3
    blind = build_model("wide_deep", {**params, "features": "none", "epochs": 10}).fit(train)
    found = predict(blind, train, data.users.values[users[cold]], data.items.values[items[cold]])
    assert np.sqrt(np.mean((found - ratings[users[cold], items[cold]]) ** 2)) > 1


def test_too_many_classes_are_refused():
    values = np.random.default_rng(0).random((40, 10)).astype(np.float32)
    with pytest.raises(ConfigError, match="loss: ordinal needs 2 to 100 distinct ratings, got 400"):
        build_model("wide_deep", {"loss": "ordinal", "features": "none"}).fit(from_dense(values))


def test_long_rows_are_sampled_without_bias():
    dense = np.arange(1.0, 31).reshape(3, 10) * ([[0] * 8 + [1] * 2, [1] * 10, [0] * 10])
    matrix = csr_array(dense.astype(np.float32))
    rows = SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data, 10)
    generator, index = torch.Generator().manual_seed(0), torch.tensor([1, 0, 2])
    drawn = [sampled_rows(rows, index, 4, generator) for _ in range(3000)]
    assert drawn[0].lengths.tolist() == [4, 2, 0]
    found = np.zeros((3, 10))
    for sample in drawn:
        np.add.at(found, (sample.row_of_entry().numpy(), sample.columns.numpy()), sample.values.numpy() / 3000)
    np.testing.assert_allclose(found[1:], dense[[0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found[0], dense[1], rtol=0.15)


def test_needs_follow_the_features():
    assert build_model("wide_deep", {"features": "users"}).needs == {"user_features"}
    plain = replace(planted(), user_features=None, item_features=None)
    with pytest.raises(DataError, match="WideAndDeep needs training data with features of items and features of users"):
        build_model("wide_deep", {"features": "both"}).fit(plain)
