"""Lists, explanations and neighbours from every registered model."""

from dataclasses import replace

import builders
import numpy as np
import pytest
from builders import VARIANTS, planted
from hypothesis import HealthCheck, given, settings, strategies as st
from kinds_of_models import (
    FOLLOWING,
    HAS_USER_VECTORS,
    IGNORES_HISTORY,
    KINDS,
    RECURRENT,
    WITHOUT_VECTORS,
    everything,
    make,
    over,
    variants,
)

from recsys_ae import IdMap, Rules, build_model, explain, recommend, similar_items, similar_users
from recsys_ae.errors import ColdUserError, ConfigError
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import HasItemVectors, HasUserVectors, KnowsUsers, LinearInHistory, finite_scores


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    k=st.integers(1, 10),
    candidates=st.none() | st.lists(st.integers(100, 106), unique=True),
    blocked=st.none() | st.lists(st.integers(100, 106)),
    exclude_seen=st.booleans(),
)
def test_recommendations_keep_their_contract(model, k, candidates, blocked, exclude_seen):
    """min(k, items left) distinct items, none seen or blocked, by score and then by row."""
    data = planted()
    rules = Rules.of(data.items, candidates=candidates, blocked=blocked)
    lists = recommend(model, data, k=k, rules=rules, exclude_seen=exclude_seen).to_frame()
    scores = finite_scores(model, data, everything(data))
    expected = []
    for row, user in enumerate(data.users.values):
        allowed = set(range(100, 107)) if candidates is None else set(candidates)
        allowed -= set(blocked or ())
        if exclude_seen:
            allowed -= {100 + int(item) for item in data.matrix[[row]].indices}
        best = sorted(allowed, key=lambda item: (-scores[row, item - 100], item))[:k]
        expected += [(user, rank, item, scores[row, item - 100]) for rank, item in enumerate(best, start=1)]
    assert list(zip(*(lists[column] for column in ("user_id", "rank", "item_id", "score")), strict=True)) == expected


def with_a_cold_user() -> Interactions:
    """The planted data without the interactions of user 3."""
    return planted().filter(planted().user_rows() != 3)


FROM_FEATURES = [name for name in VARIANTS if isinstance(make(name), KnowsUsers) and "user_features" in make(name).needs]


@over(FROM_FEATURES)
def test_users_without_history_are_scored_from_their_features(model):
    history = with_a_cold_user()
    lists = recommend(model, history, k=3, cold="error")
    scores = model.scores(history, np.array([3]))[0]
    assert lists.item_rows[3].tolist() == np.lexsort((np.arange(7), -scores))[:3].tolist()
    unknown = IdMap(["nobody"])
    stranger = replace(builders.of_users(history, [3], ["nobody"]), user_features=history.user_features.align(unknown))
    with pytest.raises(ColdUserError, match="user 'nobody'"):
        recommend(model, stranger, cold="error")


@over(name for name in VARIANTS if name not in FROM_FEATURES)
def test_cold_users_get_what_is_declared(model):
    history = with_a_cold_user()
    everyone = recommend(model, history, k=3)
    counts = np.bincount(planted().item_rows(), minlength=7)
    assert everyone.item_rows[3].tolist() == np.lexsort((np.arange(7), -counts))[:3].tolist()
    skipped = recommend(model, history, k=3, cold="skip").to_frame()
    assert set(skipped["user_id"]) == set(history.users.values) - {"u03"}
    with pytest.raises(ColdUserError, match=r"user 'u03' \(1 of 12 users\)"):
        recommend(model, history, k=3, cold="error")
    others = np.flatnonzero(np.arange(12) != 3)
    np.testing.assert_array_equal(
        everyone.item_rows[others], recommend(model, history, users=history.users.values[others], k=3, cold="error").item_rows
    )


@over(IGNORES_HISTORY)
def test_models_that_ignore_the_history_have_no_explanation(model):
    with pytest.raises(ConfigError, match="the history does not affect"):
        explain(model, planted(), "u09", 101)


@over(name for name in VARIANTS if name not in (*IGNORES_HISTORY, *variants(FOLLOWING)))
def test_explanations_are_of_the_items_in_the_history(model):
    """With the row of no item, contributions add up to a linear score; for others, each is the drop without the item."""
    data = planted()
    found = explain(model, data, "u09", 101)
    of_items = found[found["item_id"].notna()]
    assert sorted(of_items["item_id"]) == sorted(data.items.values[data.matrix[[9]].indices])
    assert (np.diff(of_items["contribution"]) <= 0).all()
    score = model.scores(data, np.array([9]))[0, 1]
    if isinstance(model, LinearInHistory):
        empty = model.scores(data.filter(data.user_rows() != 9), np.array([9]))[0, 1]
        assert found["contribution"].tolist()[len(of_items) :] == ([empty] if empty else [])
        np.testing.assert_allclose(found["contribution"].sum(), score, rtol=1e-4, atol=1e-5)
    else:
        assert len(of_items) == len(found)
        without = data.filter((data.user_rows() != 9) | (data.items.values[data.item_rows()] != found["item_id"].iloc[0]))
        expected = score - model.scores(without, np.array([9]))[0, 1]
        np.testing.assert_allclose(found["contribution"].iloc[0], expected, rtol=1e-4, atol=1e-5)


def test_the_work_of_an_explanation_does_not_grow_with_the_number_of_users(monkeypatch):
    data, sizes = planted(), []
    model = build_model("ease").fit(data)
    expected, scores = explain(model, data, "u09", 101), type(model).scores
    monkeypatch.setattr(
        type(model), "scores", lambda own, history, rows: sizes.append(history.n_users) or scores(own, history, rows)
    )
    assert explain(model, data, "u09", 101).equals(expected)
    assert sizes == [1]


@over(variants(WITHOUT_VECTORS))
def test_similar_items_need_a_representation(model):
    with pytest.raises(ConfigError, match="no item vectors or weights to compare"):
        similar_items(model, [100])


@over(variants(KINDS - WITHOUT_VECTORS - RECURRENT))
def test_similar_items_share_their_audience(of_likes):
    model, _ = of_likes
    assert isinstance(model, HasItemVectors | LinearInHistory)
    found = similar_items(model, [105, 101], k=2)
    assert found["rank"].tolist() == [1, 2, 1, 2]
    assert set(found["similar_id"][found["item_id"] == 105]) <= {104, 106}
    assert set(found["similar_id"][found["item_id"] == 101]) <= {100, 102, 103}
    assert (found.groupby("item_id", sort=False)["similarity"].diff().dropna() <= 0).all()


@over(variants(KINDS - HAS_USER_VECTORS))
def test_similar_users_need_a_representation(model):
    assert not isinstance(model, HasUserVectors)
    with pytest.raises(ConfigError, match="no user vectors to compare"):
        similar_users(model, planted(), ["u00"])


@over(variants(HAS_USER_VECTORS - RECURRENT))
def test_similar_users_share_their_taste(of_likes):
    model, data = of_likes
    assert isinstance(model, HasUserVectors)
    found = similar_users(model, data, ["u09", "u02"], k=3)
    assert set(found["similar_id"][found["user_id"] == "u09"]) == {"u08", "u10", "u11"}
    assert "u02" not in set(found["similar_id"][found["user_id"] == "u02"])
