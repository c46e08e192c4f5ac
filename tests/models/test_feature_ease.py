import numpy as np
import pandas as pd
import pytest
from builders import PLAIN_EASE, random_interactions, with_item_features
from scipy.sparse import csr_array

from recsys_ae import build_model
from recsys_ae.core.linear import regression_map
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.features import FeatureTable
from recsys_ae.interactions import Interactions

PARAMS = {"popularity": 0.0, "l2": 3.0, "dropout": 0.4, "user_exponent": 0.0, "item_exponent": 0.0, "features_l2": 2.0}


def seen(data: Interactions) -> np.ndarray:
    dense = np.zeros(data.matrix.shape)
    dense[data.user_rows(), data.item_rows()] = 1
    return dense


def unit_features(data: Interactions) -> np.ndarray:
    table = data.item_features.matrix.toarray().astype(float)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def minimum(x: np.ndarray, ridge: np.ndarray, prior: np.ndarray, weight: float) -> np.ndarray:
    """B of |X - X B|^2 + sum_ij l_i B_ij^2 + w |B - S|^2 with a zero diagonal, one column at a time by least squares."""
    m = x.shape[1]
    found = np.zeros((m, m))
    for item in range(m):
        others = np.arange(m) != item
        rows = np.r_[x[:, others], np.diag(np.sqrt(ridge[others])), np.sqrt(weight) * np.eye(m - 1)]
        target = np.r_[x[:, item], np.zeros(m - 1), np.sqrt(weight) * prior[others, item]]
        found[others, item] = np.linalg.lstsq(rows, target, rcond=None)[0]
    return found


@pytest.mark.parametrize("n_labels", [4, 60], ids=["few features", "more features than items"])
@pytest.mark.parametrize("combine", ["stacked", "added", "prior"])
def test_the_weights_minimise_the_loss(combine, n_labels):
    data = with_item_features(random_interactions(), n_labels)
    x, f, weight = seen(data), unit_features(data), 0.3 if combine == "added" else 7.0
    ridge, none = 3.0 + 0.4 / 0.6 * x.sum(axis=0), np.zeros((25, 25))
    of_features = minimum(f.T, np.full(25, 2.0), none, 0.0)
    expected = {
        "stacked": lambda: minimum(np.r_[x, np.sqrt(weight) * f.T], ridge, none, 0.0),
        "added": lambda: (1 - weight) * minimum(x, ridge, none, 0.0) + weight * of_features,
        "prior": lambda: minimum(x, ridge, of_features, weight),
    }[combine]()
    model = build_model("feature_ease", {**PARAMS, "combine": combine, "weight": weight}).fit(data)
    np.testing.assert_allclose(model.fitted.arrays["weights"], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.scores(data, np.arange(40)), x @ expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("combine", ["stacked", "added", "prior"])
def test_without_weight_the_features_of_warm_items_do_not_matter(combine):
    data = with_item_features(random_interactions(), 4)
    model = build_model("feature_ease", {**PARAMS, "combine": combine, "weight": 0.0}).fit(data)
    plain = build_model("ease", {**PLAIN_EASE, "l2": 3.0, "dropout": 0.4}).fit(data)
    np.testing.assert_allclose(model.fitted.arrays["weights"], plain.fitted.arrays["weights"], rtol=1e-4, atol=1e-6)


def two_tastes(cold: list[int]) -> tuple[Interactions, np.ndarray]:
    """40 users who like either the first 15 items or the last 10, apart from a few; `cold` items have no interactions."""
    rng = np.random.default_rng(0)
    likes = (np.arange(40) < 25)[:, None] == (np.arange(25) < 15)
    observed = rng.random((40, 25)) < np.where(likes, 0.6, 0.05)
    observed[:, cold] = False
    data = random_interactions()
    indptr = np.r_[0, np.cumsum(observed.sum(axis=1))]
    matrix = csr_array((np.ones(observed.sum(), np.float32), np.nonzero(observed)[1].astype(np.int32), indptr), shape=(40, 25))
    frame = pd.DataFrame({"id": data.items.values, "kind": np.where(np.arange(25) < 15, "a", "b")})
    table = FeatureTable.from_frame(frame, {"kind": "category"}, ids=data.items)
    return Interactions(matrix, data.users, data.items, item_features=table), likes


@pytest.mark.parametrize("combine", ["stacked", "added", "prior"])
def test_items_without_interactions_are_ranked_by_their_features(combine):
    data, likes = two_tastes(cold=[3, 20, 21])
    scores = build_model("feature_ease", {"l2": 3.0, "combine": combine}).fit(data).scores(data, np.arange(40))
    assert ((scores[:, 3] > scores[:, 20]) == likes[:, 3]).all()
    np.testing.assert_allclose(scores[:, 20], scores[:, 21], rtol=1e-4)


def test_columns_of_items_without_interactions_are_ridge_regressions_on_features():
    data, _ = two_tastes(cold=[3, 20])
    weights = build_model("feature_ease", PARAMS).fit(data).fitted.arrays["weights"]
    f, warm = unit_features(data), np.setdiff1d(np.arange(25), [3, 20])
    coefficients = np.linalg.solve(f[warm].T @ f[warm] + 2.0 * np.eye(f.shape[1]), f[warm].T @ weights[:, warm].T)
    expected = (f[[3, 20]] @ coefficients).T
    expected[[3, 20], [0, 1]] = 0
    np.testing.assert_allclose(weights[:, [3, 20]], expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() > 0.01


def test_both_forms_of_the_regression_map_agree():
    """With few and with many columns, which are the same features apart from columns of zeros."""
    rng = np.random.default_rng(0)
    inputs, others = csr_array(rng.normal(size=(9, 4))), csr_array(rng.normal(size=(5, 4)))
    wide = [csr_array((part.data, part.indices, part.indptr), shape=(part.shape[0], 30)) for part in (inputs, others)]
    np.testing.assert_allclose(regression_map(inputs, others, 0.7), regression_map(*wide, 0.7), rtol=1e-5, atol=1e-6)


def test_a_share_is_at_most_one():
    build_model("feature_ease", {"weight": 2.0})
    with pytest.raises(ConfigError, match="combine: added needs a weight from 0 to 1, a share, got 2"):
        build_model("feature_ease", {"combine": "added", "weight": 2.0})


def test_data_without_features_is_refused():
    with pytest.raises(DataError, match="FeatureEASE needs training data with features of items"):
        build_model("feature_ease", {}).fit(random_interactions())
