from dataclasses import replace

import builders
import numpy as np
import pandas as pd
import pytest
from builders import SMALL, from_dense, planted

from recsys_ae import Interactions, build_model, limits
from recsys_ae.errors import ConfigError
from recsys_ae.features import FeatureTable
from recsys_ae.models import bayesian_fm

QUICK = {"factors": 3, "epochs": 120, "chains": 2, "samples": 30}
N, M = 90, 60


def fitted(data: Interactions, **changes: object):
    return build_model("bayesian_fm", {**QUICK, **changes}).fit(data)


def in_three_kinds(rng: np.random.Generator, noise: np.ndarray) -> tuple[Interactions, np.ndarray, np.ndarray]:
    """90 x 60 ratings from biases and two factors that depend on the kinds of users and items, a third of them observed.

    Returns the ratings with the kinds as features, all ratings without noise, and which are observed; `noise` is [90].
    """
    user_kind, item_kind = np.arange(N) % 3, np.arange(M) % 3
    p, q = rng.normal(size=(3, 2))[user_kind], rng.normal(size=(3, 2))[item_kind]
    truth = 3 + rng.normal(size=(N, 1)) / 3 + rng.normal(size=M) / 2 + p @ q.T
    observed = rng.random((N, M)) < 0.35
    data = from_dense(truth + noise[:, None] * rng.normal(size=(N, M)), observed)
    tables = [
        FeatureTable.from_frame(pd.DataFrame({"id": ids.values, "kind": kind.astype(str)}), {"kind": "category"}, ids=ids)
        for ids, kind in ((data.users, user_kind), (data.items, item_kind))
    ]
    return replace(data, user_features=tables[0], item_features=tables[1]), truth, observed


def rmse(model: object, data: Interactions, truth: np.ndarray, hidden: np.ndarray) -> float:
    return float(np.sqrt(np.mean((model.scores(data, np.arange(data.n_users)) - truth)[hidden] ** 2)))


def test_factors_and_biases_are_found():
    data, truth, observed = in_three_kinds(np.random.default_rng(0), np.full(N, 0.1))
    bias = rmse(build_model("bias").fit(data), data, truth, ~observed)
    assert rmse(fitted(data), data, truth, ~observed) < 0.07 < bias / 5


def test_users_who_rate_at_random_count_less():
    """A third of the users have ten times the noise of the others, who are predicted."""
    rng = np.random.default_rng(1)
    noise = np.where(np.arange(N) < N // 3, 3.0, 0.3)
    data, truth, observed = in_three_kinds(rng, noise)
    hidden = ~observed & (noise < 1)[:, None]
    errors = {kind: rmse(fitted(data, noise=kind), data, truth, hidden) for kind in ("user", "shared")}
    assert errors["user"] < 0.75 * errors["shared"]


def test_features_predict_users_and_items_without_ratings():
    data, truth, observed = in_three_kinds(np.random.default_rng(2), np.full(N, 0.2))
    user, item = np.divmod(np.flatnonzero(observed.ravel()), M)
    cold = np.zeros((N, M), bool)
    cold[-9:], cold[:, -6:] = True, True
    train = data.filter(~cold[user, item])
    with_features = fitted(train, features="both")
    assert rmse(with_features, train, truth, cold) < 0.65 < 0.8 * rmse(fitted(train), train, truth, cold)  # biases: 0.6
    assert with_features.can_score(train, np.array([0, N - 1])).all()
    assert fitted(train).can_score(train, np.array([0, N - 1])).tolist() == [True, False]


def test_who_rated_what_tells_something():
    """Users rate only items that they like or, half of them, only those they do not; a few ratings are known to all alike."""
    rng = np.random.default_rng(3)
    kind, taste = np.arange(N) % 2, np.arange(M) % 2
    truth = 3.0 + np.where(kind[:, None] == taste, 1, -1)
    observed = (rng.random((N, M)) < 0.2) & (kind[:, None] == taste)
    ratings = truth + rng.normal(size=(N, M))
    some = rng.random((N, M)) < 0.03
    data = from_dense(ratings, observed | some)
    hidden = ~(observed | some)
    errors = {who: rmse(fitted(data, who=who), data, truth, hidden) for who in (True, False)}
    assert errors[True] < 0.9 * errors[False]


def test_a_new_user_is_predicted_like_a_trained_one_with_the_same_history():
    data = planted()
    model = build_model("bayesian_fm", {**SMALL["bayesian_fm"], "features": "items"}).fit(data)
    own, stranger = model.scores(data, np.array([9])), builders.of_users(data, [9], ["stranger"])
    np.testing.assert_array_equal(model.scores(stranger, np.array([0])), own)


def test_new_ratings_count_at_once():
    data, truth, observed = in_three_kinds(np.random.default_rng(4), np.full(N, 0.2))
    user = np.nonzero(observed)[0]
    before = data.filter((user > 0) | (np.arange(len(user)) < 1))
    model = fitted(before)
    hidden = np.zeros((N, M), bool)
    hidden[0] = ~observed[0]
    assert rmse(model, data, truth, hidden) < 0.8 * rmse(model, before, truth, hidden)


def test_items_without_ratings_have_the_mean_of_all_items():
    data = planted()
    train = data.filter(data.item_rows() != 5)
    model = fitted(train)
    scores = model.scores(train, np.arange(12))
    others = np.delete(scores, 5, axis=1)
    assert (others.min(axis=1) < scores[:, 5]).all()
    assert (scores[:, 5] < others.max(axis=1)).all()


@pytest.mark.parametrize(
    ("samples", "chains", "epochs", "kept"), [(30, 2, 120, 30), (30, 2, 10, 14), (5, 2, 100, 6), (1, 1, 1, 1)]
)
def test_samples_are_kept_from_all_chains(samples, chains, epochs, kept):
    model = fitted(planted(), samples=samples, chains=chains, epochs=epochs)
    assert model.fitted.arrays["items"].shape == (7, kept, 4)
    of_chains = model.fitted.arrays["items"].reshape(7, chains, -1, 4)
    assert len(np.unique(of_chains[0, :, 0, 0])) == chains


def test_more_samples_leave_less_to_chance():
    data, _, observed = in_three_kinds(np.random.default_rng(5), np.full(N, 0.5))

    def difference(**changes: int) -> float:
        models = [build_model("bayesian_fm", {**QUICK, **changes}).fit(data, seed=seed) for seed in (0, 1)]
        scores = [model.scores(data, np.arange(N))[~observed] for model in models]
        return float(np.sqrt(np.mean((scores[0] - scores[1]) ** 2)))

    assert difference(samples=60, chains=4) < 0.5 * difference(samples=1, chains=1)


def test_users_with_ratings_of_untrained_items_only_cannot_be_scored():
    observed = np.ones((4, 3), bool)
    observed[:, 2] = False
    observed[3] = False
    ratings = np.arange(12.0).reshape(4, 3) % 5 + 1
    model = build_model("bayesian_fm", {**QUICK, "epochs": 5}).fit(from_dense(ratings, observed, scale=(1.0, 5.0)))
    observed[3, 2] = True
    assert model.can_score(from_dense(ratings, observed, scale=(1.0, 5.0)), np.arange(4)).tolist() == [True, True, True, False]


def test_users_with_new_items_only_are_predicted_from_the_features_of_these():
    """Users 75 and later and items 48 and later are new."""
    data, truth, _ = in_three_kinds(np.random.default_rng(0), np.full(N, 0.2))
    new_user, new_item = np.arange(N) >= 75, np.arange(M) >= 48
    user, item = data.user_rows(), data.item_rows()
    train = data.filter(~new_user[user] & ~new_item[item])
    hidden = new_user[:, None] & ~new_item
    model, history = fitted(train, features="items"), data.filter(~new_user[user] | new_item[item])
    assert rmse(model, history, truth, hidden) < 0.85 * rmse(model, train, truth, hidden)
    np.testing.assert_array_equal(model.can_score(history, np.arange(N)), np.diff(history.matrix.indptr) > 0)
    assert not model.can_score(train, np.flatnonzero(new_user)).any()
    assert not fitted(train).can_score(history, np.flatnonzero(new_user)).any()


def test_new_items_do_not_count_where_something_else_is_known():
    data, _, _ = in_three_kinds(np.random.default_rng(0), np.full(N, 0.2))
    train = data.filter(data.item_rows() < 48)
    everyone = np.arange(N)
    for features in ("items", "both"):  # with features of users, also where there are no other ratings
        model = fitted(train, features=features, epochs=30)
        np.testing.assert_array_equal(model.scores(data, everyone), model.scores(train, everyone))
    new = data.filter(data.item_rows() >= 48)
    np.testing.assert_array_equal(model.scores(new, everyone), model.scores(new.filter(np.zeros(len(new), bool)), everyone))


def test_memory_and_time_are_logged_before_anything_is_drawn(monkeypatch, caplog):
    data = planted()
    with caplog.at_level("INFO", logger="recsys_ae"):
        fitted(data, epochs=2)
    assert not caplog.records  # both are small
    # two chains, one after the other, of 90 epochs: 10 factors and biases times four passes over the ratings and two over the
    # attributes, which are the ids of 12 users and 7 items
    entries = 2 * 90 * (8 + 2) * (4 * len(data) + 2 * (12 + 7))
    monkeypatch.setattr(bayesian_fm, "ENTRIES", entries / 100)
    monkeypatch.setattr(bayesian_fm.numba, "get_num_threads", lambda: 1)
    with caplog.at_level("INFO", logger="recsys_ae"):
        fitted(data, epochs=90, factors=8, who=False)
    assert f"bayesian_fm on {len(data)} ratings: 1 MB of memory, about 100 s" in caplog.text
    monkeypatch.setattr(limits, "available_memory", lambda: 12_000)  # enough for the parameters alone
    with pytest.raises(ConfigError, match=rf"bayesian_fm on {len(data)} ratings needs"):
        fitted(data, epochs=2, samples=1)
