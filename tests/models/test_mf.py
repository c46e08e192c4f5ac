import numpy as np
import pytest
import torch
from builders import SMALL, planted, random_interactions

from recsys_ae import IdMap, Interactions, build_model
from recsys_ae.core.kernels.factorisation import Factors as FactorArrays, by_block, factor_steps
from recsys_ae.models.baselines import ITEM_REG, USER_REG, Biases
from recsys_ae.models.mf import Factors, RatingByRating
from recsys_ae.models.training import observed_rows


def test_steps_are_gradient_descent_on_each_rating():
    """One epoch of the kernel against autograd on single ratings, in the kernel's order."""
    data = random_interactions(n_users=30, n_items=12)
    rng = np.random.default_rng(0)
    row, column, value = data.user_rows(), data.item_rows(), data.matrix.data
    blocks = 3
    row_block, column_block = rng.integers(0, blocks, 30), rng.integers(0, blocks, 12)
    strata = by_block(rng.permutation(len(row)), row, column, row_block, column_block, blocks)
    shapes = [(30, 5), (12, 5), (30,), (12,)]
    weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = [torch.tensor(weight, requires_grad=True) for weight in weights]
    errors, l2 = np.zeros((blocks, blocks)), [rng.random(len(weight)).astype(np.float32) for weight in weights]
    factor_steps(strata, row, column, value, FactorArrays(*weights), np.float32(0.01), FactorArrays(*l2), errors)

    optimiser = torch.optim.SGD(expected, lr=0.01)
    total = 0.0
    for entry in strata.entries:
        optimiser.zero_grad()
        p, q, b, c = (w[i] for w, i in zip(expected, (row[entry], column[entry]) * 2, strict=True))
        error = float(value[entry]) - (p @ q + b + c)
        of_p, of_q, of_b, of_c = (float(s[i]) for s, i in zip(l2, (row[entry], column[entry]) * 2, strict=True))
        (error**2 / 2 + (of_p * p @ p + of_q * q @ q + of_b * b**2 + of_c * c**2) / 2).backward()
        optimiser.step()
        total += float(error.detach()) ** 2
    for mine, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(errors.sum(), total, rtol=1e-5)


def test_parts_of_a_stratum_share_nothing():
    data = random_interactions()
    row, column = data.user_rows(), data.item_rows()
    rng = np.random.default_rng(1)
    blocks = 4
    order = rng.permutation(len(row))
    entries, starts = by_block(order, row, column, rng.integers(0, 4, 40), rng.integers(0, 4, 25), blocks)
    np.testing.assert_array_equal(np.sort(entries), np.arange(len(row)))
    for stratum in range(blocks):
        parts = [entries[slice(*starts[stratum * blocks + p : stratum * blocks + p + 2])] for p in range(blocks)]
        for of_entry in (row, column):
            seen = [set(of_entry[part]) for part in parts]
            assert sum(map(len, seen)) == len(set.union(*seen))


def test_the_order_differs_between_epochs_and_not_between_runs():
    data = random_interactions()
    rows = observed_rows(data.matrix)

    def after(*seeds: int | None) -> torch.Tensor:
        """User factors after one epoch per seed; None keeps the state of the generator."""
        l2 = FactorArrays(*(np.full(n, 0.1, np.float32) for n in (40, 25, 40, 25)))
        generator = torch.Generator()
        module = Factors(np.zeros(40), np.zeros(25), torch.ones(25), 3, 0.1, torch.Generator().manual_seed(0))
        for seed in seeds:
            generator = generator if seed is None else generator.manual_seed(seed)
            RatingByRating(l2).epoch(module, rows, 0.1, generator)
        return module.users.detach()

    assert torch.equal(after(0, None), after(0, None))
    assert not torch.equal(after(0), after(1))
    assert not torch.equal(after(0, None), after(0, 0))


def test_scores_of_known_users_are_the_learned_factors():
    data = planted()
    model = build_model("mf", SMALL["mf"]).fit(data, seed=0)
    arrays = model.fitted.arrays
    products = arrays["users"] @ arrays["items"].T + arrays["item_bias"] + arrays["user_bias"][:, None]
    expected = arrays["mean"] + arrays["item_centre"] + arrays["unit"] * products
    np.testing.assert_allclose(model.scores(data, np.arange(12)), expected, rtol=1e-5)


def test_new_user_is_a_ridge_regression_on_the_items_factors():
    data = planted()
    model = build_model("mf", SMALL["mf"]).fit(data, seed=0)
    stranger = Interactions(data.matrix[[9]], IdMap(["stranger"]), data.items)
    names = ("mean", "unit", "items", "item_bias", "item_centre")
    mean, unit, items, item_bias, centre = (model.fitted.arrays[name] for name in names)
    item_bias = item_bias + centre / unit
    inputs, rated = np.c_[items, np.ones(7)], stranger.matrix.indices
    left = (stranger.matrix.data - mean) / unit - item_bias[rated]
    strengths = np.diag([*np.full(items.shape[1], 0.02 * len(rated)), USER_REG])
    solved = np.linalg.solve(inputs[rated].T @ inputs[rated] + strengths, inputs[rated].T @ left)
    expected = mean + unit * (item_bias + inputs @ solved)
    np.testing.assert_allclose(model.scores(stranger, np.array([0]))[0], expected, rtol=1e-3)


def test_a_known_user_folded_in_is_nearly_what_was_learned():
    data = planted()
    model = build_model("mf", {**SMALL["mf"], "epochs": 2000, "learning_rate": 0.02, "learning_rate_decay": 0.998}).fit(
        data, seed=0
    )
    strangers = Interactions(data.matrix, IdMap([f"new{row}" for row in range(12)]), data.items)
    known, new = (model.scores(history, np.arange(12)) for history in (data, strangers))
    assert np.abs(known - new).max() < 0.1


def test_item_without_ratings_has_no_factors():
    data = planted()
    train = data.filter(data.item_rows() != 5)
    model = build_model("mf", SMALL["mf"]).fit(train, seed=0)
    assert not model.fitted.arrays["items"][5].any()
    assert model.fitted.arrays["item_bias"][5] == pytest.approx(0, abs=1e-12)
    baseline = Biases.fit(train, popularity=True)
    expected = baseline.mean + baseline.item_centre[5] + model.fitted.arrays["unit"] * model.fitted.arrays["user_bias"]
    np.testing.assert_allclose(model.scores(train, np.arange(12))[:, 5], expected, rtol=1e-5)


def test_biases_alone_are_those_of_the_baseline():
    """Without factors both minimise the same objective; in SGD over an order of ratings, nearly."""
    data = random_interactions()
    params = {"factors": 1, "init_std": 1e-9, "epochs": 400, "learning_rate": 0.02, "learning_rate_decay": 0.99}
    model = build_model("mf", params).fit(data, seed=0)
    unit = model.fitted.arrays["unit"]
    baseline = Biases.fit(data, USER_REG, ITEM_REG, popularity=True)
    of_items = model.fitted.arrays["item_bias"] * unit + model.fitted.arrays["item_centre"]
    np.testing.assert_allclose(of_items, baseline.item, atol=0.02)
    np.testing.assert_allclose(model.fitted.arrays["user_bias"] * unit, baseline.of_users(data.matrix), atol=0.02)
