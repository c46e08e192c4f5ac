from dataclasses import replace

import numpy as np
import pytest
from builders import from_dense, planted
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recsys_ae import IdMap, Interactions, build_model, export_recommendations, recommend
from recsys_ae.errors import ConfigError, DataError, TrainingError, UnknownIdError
from recsys_ae.models import base
from recsys_ae.models.base import BATCH_USERS, BLOCK_SCORES, users_per_block
from recsys_ae.models.recommend import recommend_blocks
from recsys_ae.ranking import top_k

values = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=values), st.integers(1, 11))
def test_top_k_is_a_stable_sort(scores, k):
    columns, best = top_k(scores, k)
    assert columns.shape == best.shape == (len(scores), k)
    for row, own in enumerate(scores):
        expected = [column for column in np.argsort(-own, kind="stable") if own[column] > -np.inf][:k]
        padding = k - len(expected)
        assert columns[row].tolist() == expected + [-1] * padding
        np.testing.assert_array_equal(best[row], np.r_[own[expected], [np.nan] * padding].astype(np.float32))


def test_user_who_has_seen_everything_gets_nothing():
    data = from_dense(np.ones((3, 4)), np.arange(4) <= np.array([[0], [3], [1]]))
    lists = recommend(build_model("popularity", {}).fit(data), data, k=10).to_frame()
    assert lists["user_id"].tolist() == ["u00"] * 3 + ["u02"] * 2


def test_asked_users_in_asked_order():
    data = planted()
    lists = recommend(build_model("bias", {}).fit(data), data, users=["u11", "u02"], k=1)
    assert lists.users.tolist() == ["u11", "u02"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"users": ["nobody"]}, UnknownIdError),
        ({"k": 0}, ConfigError),
    ],
)
def test_wrong_requests(options, error):
    data = planted()
    with pytest.raises(error):
        recommend(build_model("popularity", {}).fit(data), data, **options)


def test_a_model_that_cannot_score_an_item_does_not_recommend_it():
    class Unsure:
        predicts_ratings = False

        def __init__(self, fitted):
            self.fitted = fitted

        def scores(self, history, rows):
            return np.tile(np.array([unknown, 1, unknown, 2, 0, 3, 1], np.float32), (len(rows), 1))

    data, unknown = planted(), -np.inf
    model = Unsure(build_model("popularity", {}).fit(data).fitted)
    lists = recommend(model, data, users=["u00"], k=9, exclude_seen=False)
    assert lists.to_frame()["item_id"].tolist() == [105, 103, 101, 106, 104]
    for unknown in (np.nan, np.inf):  # noqa: B007 - `scores` uses it
        with pytest.raises(TrainingError, match="Unsure returned scores that are NaN or infinite; fit the model again"):
            recommend(model, data, k=1)


def test_a_block_of_scores_has_a_bounded_size(monkeypatch):
    assert users_per_block(7) == users_per_block(BLOCK_SCORES // BATCH_USERS) == BATCH_USERS
    assert users_per_block(1_000_000) * 1_000_000 <= BLOCK_SCORES
    assert users_per_block(2 * BLOCK_SCORES) == 1
    monkeypatch.setattr(base, "BLOCK_SCORES", 21)
    model, data = build_model("popularity", {}).fit(planted()), planted()
    blocks = list(recommend_blocks(model, data, np.arange(10), 100))
    assert [block.item_rows.shape for block in blocks] == [(3, 7), (3, 7), (3, 7), (1, 7)]


@pytest.mark.parametrize("part", ["valid", "valid_history"])
def test_parts_with_other_ids_are_refused(part):
    data = planted()
    other = replace(data, items=IdMap(data.items.values[::-1]), item_features=None)
    with pytest.raises(DataError, match=f"{part} has other users or items than train"):
        build_model("popularity").fit(data, **{part: other})
    with pytest.raises(DataError, match=f"{part} must be Interactions, got DataFrame"):
        build_model("popularity").fit(data, **{part: data.to_frame()})


@pytest.mark.parametrize("turned", ["users", "items"])
def test_what_was_seen_must_have_the_ids_of_the_history(turned, tmp_path):
    data = planted()
    ids = {side: getattr(data, side) for side in ("users", "items")}
    seen = Interactions(data.matrix, **{**ids, turned: IdMap(ids[turned].values[::-1])})
    model = build_model("popularity", {}).fit(data)
    with pytest.raises(DataError, match="`seen` has other users or items than the history"):
        list(recommend_blocks(model, data, np.arange(12), 3, seen=seen))
    with pytest.raises(DataError, match="`seen` has other users or items than the history"):
        export_recommendations(model, data, tmp_path / "out", 3, seen=seen)
    assert not list(tmp_path.iterdir())
