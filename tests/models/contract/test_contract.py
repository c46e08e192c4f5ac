"""Contract tests for every registered model; a new model needs a row in `builders`."""

from dataclasses import replace
from functools import partial
from itertools import product

import builders
import numpy as np
import pytest
from builders import VARIANTS, clicks, held_out, planted, taste
from kinds_of_models import (
    BY_GRADIENT,
    CLOSED_FORM,
    KINDS,
    NO_REPEATS,
    OF_ANYONE,
    OF_CLICKS,
    OF_RATINGS,
    OF_USERS,
    PREDICTS_RATINGS,
    RANKS_ONLY,
    RECURRENT,
    TASTELESS,
    THREADS_MATTER,
    everything,
    fitted_on_clicks,
    make,
    over,
    short,
    variants,
)

from recsys_ae import IdMap, load_model, predict, save_model
from recsys_ae.declaration import parameters
from recsys_ae.errors import ColdUserError, ConfigError, DataError, NotFittedError
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import LinearInHistory, finite_scores
from recsys_ae.models.storage import model_digest

BY_USER = ("scores", "score_product", "user_vectors", "can_score")  # methods that take a history and rows of users


def test_every_model_has_a_variant():
    assert {kind for kind, _ in VARIANTS.values()} == set(MODELS)
    assert BY_GRADIENT | CLOSED_FORM | OF_CLICKS | OF_USERS | set(THREADS_MATTER) <= KINDS
    assert not BY_GRADIENT & CLOSED_FORM


def test_scores_have_a_row_per_user_and_a_column_per_item(model):
    scores = model.scores(planted(), np.array([3, 11, 3]))
    assert scores.shape == (3, 7)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    first, _, again = finite_scores(model, planted(), np.array([3, 11, 3]))
    np.testing.assert_array_equal(first, again)


def test_scores_may_be_overwritten(model):
    """Evaluation sets those of seen items to -inf in place."""
    scores = model.scores(planted(), np.arange(12))
    if scores.flags.writeable:
        expected = scores.copy()
        scores[:] = -np.inf
        np.testing.assert_array_equal(model.scores(planted(), np.arange(12)), expected)


def test_batch_equals_single(model):
    together = model.scores(planted(), everything(planted()))
    for row in range(12):
        np.testing.assert_allclose(model.scores(planted(), np.array([row]))[0], together[row], rtol=1e-4, atol=1e-5)


@over(OF_RATINGS)
def test_tastes_are_learned(model):
    """Predicted ratings of held-out pairs are on the right side of the middle."""
    scores = model.scores(planted(), everything(planted()))
    hidden = held_out()
    likes = taste() > 3
    for user in range(12):
        own = scores[user][hidden[user]][0]
        liked, disliked = scores[user][likes[user] & ~hidden[user]], scores[user][~likes[user] & ~hidden[user]]
        nearer_liked = abs(own - liked.mean()) < abs(own - disliked.mean())
        assert nearer_liked == likes[user][hidden[user]][0]


@over(variants(OF_CLICKS - RECURRENT))
def test_other_liked_items_are_learned_from_clicks(name):
    """One liked pair per user is held out; it scores above the items the user does not like. Values are ignored."""
    data, model = clicks(), fitted_on_clicks(name)
    scores, likes = model.scores(data, everything(data)), taste() > 3
    for user in range(12):
        left_out = held_out()[user] & likes[user]
        assert (scores[user][left_out] > scores[user][~likes[user]].max()).all()
    louder = replace(data, matrix=3 * data.matrix, scale=None)
    few, loud = (short(name).fit(interactions, seed=0) for interactions in (data, louder))
    np.testing.assert_array_equal(loud.scores(louder, everything(data)), few.scores(data, everything(data)))


@over(RANKS_ONLY)
def test_models_that_only_rank_say_so(model):
    with pytest.raises(ConfigError, match="does not predict ratings"):
        predict(model, planted(), ["u00"], [100])


@over(PREDICTS_RATINGS)
def test_predictions_are_within_the_scale_and_agree_with_the_scores(model):
    users, items = np.divmod(np.arange(12 * 7)[::-1], 7)
    data = planted()
    predicted = predict(model, data, data.users.values[users], data.items.values[items])
    scores = model.scores(data, everything(data))[users, items]
    np.testing.assert_allclose(predicted, np.clip(scores, 1, 5), rtol=1e-4, atol=1e-5)


@over(PREDICTS_RATINGS)
def test_the_scale_of_ratings_does_not_matter(name):
    data, factor, shift = planted(), 5, -10
    matrix = data.matrix.copy()
    matrix.data = factor * matrix.data + shift
    elsewhere = replace(data, matrix=matrix, scale=(factor + shift, 5 * factor + shift))
    model, other = (short(name, 40).fit(interactions, seed=0) for interactions in (data, elsewhere))
    expected = factor * model.scores(data, everything(data)) + shift
    np.testing.assert_allclose(other.scores(elsewhere, everything(data)), expected, atol=0.05 * factor)


def test_user_without_history_gets_finite_scores(model):
    data = planted()
    keep = data.user_rows() != 4
    scores = model.scores(data.filter(keep), np.array([4, 5]))
    assert np.isfinite(scores).all()


def a_stranger(data: Interactions) -> Interactions:
    """The history of user 9, who belongs to the minority, under another id."""
    return builders.of_users(data, [9], ["stranger"])


@over(variants(OF_USERS))
def test_models_of_training_users_refuse_new_users(model):
    with pytest.raises(ColdUserError, match="cannot score user 'stranger'"):
        model.scores(a_stranger(planted()), np.array([0]))


@over(variants(OF_ANYONE))
def test_new_users_are_scored(model):
    assert np.isfinite(model.scores(a_stranger(planted()), np.array([0]))).all()


@over(variants(OF_ANYONE - TASTELESS - NO_REPEATS - RECURRENT))
def test_new_users_get_the_items_of_similar_users(of_likes):
    model, data = of_likes
    scores = model.scores(a_stranger(data), np.array([0]))[0]
    assert scores[4:].min() > scores[:4].max()


def test_scores_follow_the_ids_of_the_users_not_their_rows(model):
    data = planted()
    order = [7, 0, 11, 3]
    shuffled = builders.of_users(data, order)
    np.testing.assert_allclose(model.scores(shuffled, np.arange(4)), model.scores(data, np.array(order)), rtol=1e-4, atol=1e-4)


def test_saved_and_loaded_is_bit_identical(model, tmp_path):
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert parameters(loaded) == parameters(model)
    assert model_digest(loaded) == model_digest(model)
    data = planted()
    np.testing.assert_array_equal(loaded.scores(data, everything(data)), model.scores(data, everything(data)))
    assert {path.suffix for path in (tmp_path / "model").iterdir()} <= {".json", ".safetensors", ".parquet"}


def test_not_fitted(name):
    with pytest.raises(NotFittedError, match="not fitted"):
        make(name).scores(planted(), np.array([0]))


def test_history_with_other_items_is_refused(model):
    data = planted()
    other = replace(data, items=IdMap(np.arange(7)), item_features=None)
    with pytest.raises(DataError, match=r"history has other items \(7\)"):
        model.scores(other, np.array([0]))


def test_row_numbers_out_of_range_are_refused(model):
    """A negative number would stand for a row from the end, and so for another user."""
    data, first = planted(), np.zeros(2, np.int64)
    users = [partial(getattr(model, name), data) for name in BY_USER if hasattr(model, name)]
    items = [model.item_weights] if isinstance(model, LinearInHistory) else []
    if model.predicts_ratings:
        users.append(lambda rows: model.predict_rows(data, rows, first))
        items.append(lambda rows: model.predict_rows(data, first, rows))
    for calls, beyond, message in ((users, 12, "^rows are from 0 to 11"), (items, 7, "^rows of items are from 0 to 6")):
        for call, wrong in product(calls, (-1, beyond)):
            with pytest.raises(DataError, match=message):
                call(np.array([0, wrong]))


def test_small_parameters_cover_all_models():
    assert set(builders.SMALL) == set(MODELS)
