import numpy as np
import torch
from builders import SMALL, planted
from sklearn.linear_model import Ridge

from recsys_ae import IdMap, Interactions, build_model
from recsys_ae.core.sparse import SparseRows
from recsys_ae.models.bias import Biases
from recsys_ae.models.mf import Factors


def test_prediction_is_the_equation():
    data = planted()
    module = Factors(torch.randn(12), torch.randn(7), 3, 1.0, torch.Generator().manual_seed(0))
    batch = SparseRows.from_arrays(data.matrix.indptr, data.matrix.indices, data.matrix.data, 7).take(torch.tensor([9, 2]))
    dense = module.users @ module.items.T + module.item_bias + module.user_bias[:, None]
    torch.testing.assert_close(module(batch, batch), dense[[9, 2]][batch.row_of_entry(), batch.columns])


def test_scores_of_known_users_are_the_learned_factors():
    data = planted()
    model = build_model("mf", SMALL["mf"]).fit(data, seed=0)
    arrays = model.fitted.arrays
    expected = arrays["mean"] + arrays["users"] @ arrays["items"].T + arrays["item_bias"] + arrays["user_bias"][:, None]
    np.testing.assert_allclose(model.scores(data, np.arange(12)), expected, rtol=1e-5)


def test_new_user_is_a_ridge_regression_on_the_items_factors():
    data = planted()
    model = build_model("mf", {**SMALL["mf"], "l2": 2.0}).fit(data, seed=0)
    stranger = Interactions(data.matrix[[9]], IdMap(["stranger"]), data.items)
    biases = Biases.from_arrays(model.fitted)
    left = biases.residuals(stranger.matrix)
    ridge = Ridge(alpha=1.0, fit_intercept=False).fit(model.fitted.arrays["items"][left.indices], left.data)
    expected = biases.block(stranger, np.array([0]))[0] + ridge.predict(model.fitted.arrays["items"])
    np.testing.assert_allclose(model.scores(stranger, np.array([0]))[0], expected, rtol=1e-3)


def test_item_without_ratings_has_no_factors():
    data = planted()
    train = data.where(data.item_rows() != 5)
    model = build_model("mf", SMALL["mf"]).fit(train, seed=0)
    assert not model.fitted.arrays["items"][5].any()
