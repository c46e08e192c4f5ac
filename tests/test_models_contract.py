"""Contract tests for every registered model; a new model needs a row in `builders`."""

from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from functools import partial
from itertools import product

import builders
import numpy as np
import pytest
from builders import VARIANTS, clicks, held_out, planted, taste
from hypothesis import HealthCheck, given, settings, strategies as st

from recsys_ae import (
    IdMap,
    Rules,
    build_model,
    explain,
    load_model,
    predict,
    recommend,
    save_model,
    similar_items,
    similar_users,
)
from recsys_ae.core.trainer import Callback
from recsys_ae.declaration import parameters
from recsys_ae.errors import ColdUserError, ConfigError, DataError, NotFittedError
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import HasItemVectors, HasUserVectors, KnowsUsers, LinearInHistory, Recommender, finite_scores
from recsys_ae.models.popularity_share import PopularityShare
from recsys_ae.models.side_information import feature_needs, used_features
from recsys_ae.models.storage import model_digest
from recsys_ae.models.training import ranking_validation

BY_USER = ("scores", "score_product", "user_vectors", "can_score")  # methods that take a history and rows of users
FITTED: dict[str, object] = {}


def make(name: str, **changes: object):
    kind, params = VARIANTS[name]
    return build_model(kind, {**params, **changes})


def kind_of(name: str) -> str:
    """The kind of a variant; blends of rankers, which ignore values, are one of their own."""
    return CLICK_BLEND if name in ("blend", "blend-mixture") else VARIANTS[name][0]


def variants(kinds: Container[str]) -> list[str]:
    return [name for name in VARIANTS if kind_of(name) in kinds]


CLICK_BLEND = "blend of rankers"
KINDS = {*MODELS, CLICK_BLEND}


# By kind of model; every list below is checked to hold registered names only.
BY_GRADIENT = {name for name in MODELS if MODELS.get(name).validation_name != "none"} - {"blend"}
OF_ORDER = {"slist", "vsknn", "sequential_rules", "markov", "session_popularity"}  # score the current session without gradients
# Nothing is drawn in these.
CLOSED_FORM = {"ease", "feature_ease", "sparse_ease", "itemknn", "rp3beta", "gf_cf", "chebycf", "bias", "popularity", *OF_ORDER}
FOLLOWING = {"sequential_rules", "markov"}  # score by what came after the last item; in the planted data it is the same for all
RECURRENT = {"gru", "gru_ratings"}  # score what comes next; in the planted data nothing comes after a user's last items
TASTELESS = {"bias", "popularity", "session_popularity", *FOLLOWING}
NO_REPEATS = {"vsknn"}  # ranks the items of the current session last if no session of the training data repeats an item
WITHOUT_VECTORS = {*TASTELESS, *OF_ORDER, "blend", CLICK_BLEND}
RATE = {"autorec", "gru_ratings", "hybrid", "mf", "wide_deep"}  # learn ratings by gradient
OF_CLICKS = {*BY_GRADIENT - RATE, *CLOSED_FORM - TASTELESS, "als", "bpr", CLICK_BLEND}  # ratings are clicks for these
OF_USERS = {"bpr"}  # score only users they were trained on
OF_ANYONE = KINDS - OF_USERS
HAS_USER_VECTORS = KINDS - CLOSED_FORM - {"blend", CLICK_BLEND}
# The weights of these may depend on the number of threads.
THREADS_MATTER = {
    "autorec": "at the ends of a thread's share, torch.sigmoid rounds the last digit differently",
    "hybrid": "as AutoRec",
    "cdae": "so does torch's softplus, for loss: logistic",
    "wide_deep": "PyTorch's dense products and functions, as Mult-DAE and CDAE",
    "elsa": "dense products in bfloat16, on processors that have them",
    "multdae": "dense products in bfloat16, and where MKL has no strict mode",
    "multvae": "as Mult-DAE",
    "gru": "torch's dense products and functions, as Mult-DAE and CDAE",
    "gru_ratings": "torch.tanh, as torch.sigmoid",
    "recvae": "as Mult-DAE",
    "slist": "as EASE",
    "ease": "LAPACK splits the sums of an inverse by threads",
    "feature_ease": "as EASE",
    "blend": "as EASE",
}
TRAINED = variants(BY_GRADIENT)
OF_ITEMS = [name for name in variants({"autorec", "hybrid"}) if make(name).axis == "item"]  # rows that are trained on are items
# Scores of a training user do not depend on the history given: learned for that user, or the same for all.
IGNORES_HISTORY = [*variants({"mf", "bpr", "popularity"}), *OF_ITEMS, "wide-deep-ids", "blend-of-ratings"]
OF_RATINGS = variants(KINDS - OF_CLICKS - TASTELESS - RECURRENT)
PREDICTS_RATINGS = [name for name in VARIANTS if make(name).predicts_ratings]
RANKS_ONLY = [name for name in VARIANTS if name not in PREDICTS_RATINGS]


def over(names: Iterable[str]) -> pytest.MarkDecorator:
    """The variants that a test applies to."""
    return pytest.mark.parametrize("name", list(names))


@pytest.fixture(params=VARIANTS)
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name):
    if name not in FITTED:
        FITTED[name] = make(name).fit(planted(), seed=0)
    return FITTED[name]


@pytest.fixture
def of_likes(name):
    """The fitted model and its training data: only the liked pairs if the model ignores values."""
    if kind_of(name) in OF_CLICKS:
        return fitted_on_clicks(name), clicks()
    if name not in FITTED:
        FITTED[name] = make(name).fit(planted(), seed=0)
    return FITTED[name], planted()


def fitted_on_clicks(name: str):
    key = f"{name} of clicks"
    if key not in FITTED:
        FITTED[key] = make(name).fit(clicks(), seed=0)
    return FITTED[key]


def short(name: str, epochs: int = 3, **changes: object):
    """The model with fewer epochs, if it has any."""
    own = VARIANTS[name][1].get("epochs")
    return make(name, **changes, **({} if own is None else {"epochs": min(own, epochs)}))


def barely_trained(name: str):
    """A model whose training hardly changes its weights."""
    kind, _ = VARIANTS[name]
    rate = {} if kind == "als" else {"learning_rate": 1e-6}
    return make(name, epochs=1, **rate, **without_popularity(kind))


def without_popularity(kind: str) -> dict[str, float]:
    """Parameters with which only what the model has learned counts, however thin the data are."""
    return {"popularity": 0.0} if issubclass(MODELS.get(kind), PopularityShare) else {}


def everything(data: Interactions) -> np.ndarray:
    return np.arange(data.n_users)


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


def test_fitting_again_gives_the_same_model_and_changes_no_data(name):
    train = planted()
    before = train.matrix.copy()
    model, again = (short(name, 20).fit(train, seed=0) for _ in range(2))
    np.testing.assert_array_equal(train.matrix.data, before.data)
    np.testing.assert_array_equal(train.matrix.indices, before.indices)
    assert model_digest(again) == model_digest(model)


def digests_of_two_seeds(model: Callable[[], Recommender], data: Interactions, **more: object) -> list[str]:
    return [model_digest(model().fit(data, seed=seed, **more)) for seed in (0, 1)]


@over(variants(CLOSED_FORM))
def test_the_seed_changes_nothing_in_closed_form(name):
    assert len(set(digests_of_two_seeds(lambda: make(name), planted()))) == 1


@over(variants(["pca"]))
def test_the_seed_changes_only_the_rounding(name):
    """The seed is only the starting point of an iteration to a unique solution."""
    scores = [make(name).fit(planted(), seed=seed).scores(planted(), np.arange(12)) for seed in (0, 1)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4, atol=1e-4)


@over(variants(KINDS - CLOSED_FORM - {"pca"}))
def test_another_seed_gives_another_model(name):
    assert len(set(digests_of_two_seeds(lambda: short(name), planted()))) == 2


@over(TRAINED)
def test_the_seed_draws_the_initial_weights(name):
    """Compared after one epoch that hardly changes them."""
    models = [barely_trained(name).fit(planted(), seed=seed) for seed in (0, 1)]
    assert np.abs(models[0].item_vectors() - models[1].item_vectors()).mean() > 1e-3


@over([*TRAINED, "bpr"])
def test_the_seed_decides_the_course_of_training(name, model):
    """With the same initial weights: order of rows, dropout and sampling."""
    digests = digests_of_two_seeds(lambda: short(name), planted(), warm_start=model)
    assert len(set(digests)) == 2


@over([name for name in (*TRAINED, "als", "bpr") if name not in OF_ITEMS])
def test_the_seed_draws_the_parameters_of_new_items_in_a_warm_start(name, model):
    """Only the vector of the new item is random: it differs between seeds, the others hardly do."""
    vectors = [barely_trained(name).fit(one_more(), seed=seed, warm_start=model).item_vectors() for seed in (0, 1)]
    difference = np.abs(vectors[0] - vectors[1]).mean(axis=1)
    assert difference[7] > 1e-3
    assert difference[7] > 3 * difference[:7].mean()


@pytest.mark.parametrize("size", ["small", "large"])
def test_the_number_of_threads_does_not_matter(name, size, two_threads):
    """On data too small for several threads, and on data that is large enough. It never does for the scores of a model."""
    kind, _ = VARIANTS[name]
    if kind == "blend" and size == "large":
        pytest.skip("its members have large tests of their own")
    data = planted() if size == "small" else builders.for_threads()
    models = []
    for threads in (1, 2):
        two_threads(threads)
        models.append(short(name, 2, **(builders.WIDE.get(kind, {}) if size == "large" else {})).fit(data, seed=0))
    two_threads(1)
    if kind in THREADS_MATTER:
        one, two = (model.scores(data, everything(data)) for model in models)
        assert np.abs(one - two).mean() < 0.02 * one.std()
    else:
        assert model_digest(models[0]) == model_digest(models[1])
    alone = models[0].scores(data, everything(data))
    two_threads(2)
    assert np.array_equal(models[0].scores(data, everything(data)), alone)


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


def test_training_users_and_items_without_ratings(name):
    """Rows and columns that are empty in training, as after a split, give finite scores and no warnings."""
    data = planted()
    train = data.filter((data.user_rows() != 2) & (data.item_rows() != 5))
    model = short(name, 20).fit(train, seed=0)
    everyone = everything(data)
    if VARIANTS[name][0] in OF_USERS:
        everyone = everyone[everyone != 2]
    assert np.isfinite(model.scores(train, everyone)).all()
    assert np.isfinite(model.scores(data, everyone)).all()


@over(variants(BY_GRADIENT - OF_CLICKS))
def test_validation_decides_when_to_stop(name):
    """If the validation ratings contradict the training data, early stopping keeps other weights than training to the end."""
    kind, params = VARIANTS[name]
    data = planted()
    part = np.arange(len(data)) % 5 == 0
    wrong = data.filter(part)
    wrong = replace(wrong, matrix=wrong.matrix.copy())
    wrong.matrix.data[:] = 6 - wrong.matrix.data
    train = data.filter(~part)
    stopped = build_model(kind, {**params, "patience": 3}).fit(train, valid=wrong, seed=0)
    to_the_end = build_model(kind, params).fit(train, seed=0)
    everyone = np.arange(12)
    errors = [
        np.abs(model.scores(train, everyone)[wrong.user_rows(), wrong.item_rows()] - wrong.matrix.data).mean()
        for model in (stopped, to_the_end)
    ]
    assert errors[0] < errors[1]


@over(variants(BY_GRADIENT & OF_CLICKS - RECURRENT))
def test_validation_on_a_ranking_decides_when_to_stop(name):
    """If the validation items are those nobody likes, early stopping keeps weights that rank them higher."""
    kind, params = VARIANTS[name]
    slow = {**params, **without_popularity(kind), "learning_rate": params["learning_rate"] / 5}
    train, wrong = clicks(), planted().filter(planted().matrix.data == 1)
    stopped = build_model(kind, {**slow, "patience": 3}).fit(train, valid=wrong, seed=0)
    to_the_end = build_model(kind, slow).fit(train, seed=0)
    errors = [ranking_validation(model.scores, train, wrong)() for model in (stopped, to_the_end)]
    assert errors[0] < errors[1]


@over(TRAINED)
def test_held_out_users_are_validated_with_their_history(name):
    """Users held out of training are validated with their fold-in history; otherwise early stopping would have no signal."""
    kind, params = VARIANTS[name]
    data = clicks() if kind in OF_CLICKS else planted()
    held, target = data.user_rows() % 4 == 3, np.arange(len(data)) % 3 == 0
    train, fold_in, valid = data.filter(~held), data.filter(held & ~target), data.filter(held & target)
    seen: list[float] = []

    class Watch(Callback):
        def on_epoch(self, training):
            seen.append(training.history[-1].valid)

    short = {**params, "epochs": 8}
    build_model(kind, short).fit(train, valid=valid, valid_history=train.union(fold_in), seed=0, callbacks=[Watch()])
    assert len(set(seen)) > (1 if kind in OF_CLICKS else 7)  # a ranking of seven items has few values


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


def test_small_parameters_cover_all_models():
    assert set(builders.SMALL) == set(MODELS)


def with_a_cold_user() -> Interactions:
    """The planted data without the interactions of user 3."""
    return planted().filter(planted().user_rows() != 3)


@pytest.mark.parametrize("name", ["hybrid", "wide_deep", "bayesian_fm"])
@pytest.mark.parametrize("features", ["both", "items", "users", "none"])
def test_available_features_are_those_of_the_training_data(name, features):
    data, params = planted(), {**builders.SMALL[name], "epochs": 2}
    tables = feature_needs(features)
    has = replace(data, **{table: None for table in ("user_features", "item_features") if table not in tables})
    found = build_model(name, {**params, "features": "available"}).fit(has)
    expected = build_model(name, {**params, "features": features}).fit(data)
    assert {table for table in ("user_features", "item_features") if table in found.fitted.meta} == tables
    np.testing.assert_equal(found.fitted.arrays, expected.fitted.arrays)


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


def one_more() -> Interactions:
    """The planted data with one more item, which the minority likes, and one more user, who is like user 9."""
    dense = np.c_[planted().matrix.toarray(), np.r_[np.zeros(8), np.full(4, 5)]]
    dense = np.r_[dense, dense[[9]]]
    return builders.complete(builders.from_dense(dense, dense > 0, scale=(1.0, 5.0)))


@over(variants(KINDS - BY_GRADIENT))
def test_models_without_gradient_training_accept_a_warm_start(name, model):
    more = one_more()
    fresh, warm = make(name).fit(more, seed=0), make(name).fit(more, seed=0, warm_start=model)
    scores = [fitted.scores(more, np.arange(13)) for fitted in (fresh, warm)]
    assert scores[1].shape == (13, 8)
    assert np.array_equal(*scores) == (name not in ("als", "bpr") and "blend" not in name)  # a blend's ALS starts from its own


@over(TRAINED)
def test_a_fit_can_start_from_a_fitted_model(name):
    """Training starts from the weights of the earlier fit."""
    data, more = planted(), one_more()
    model = make(name, **without_popularity(kind_of(name))).fit(data, seed=0)
    warm = barely_trained(name).fit(more, seed=0, warm_start=model)
    fresh = barely_trained(name).fit(more, seed=0)
    expected = model.scores(data, np.arange(12))
    history = more.filter(more.items.values[more.item_rows()] != 107)
    far, near = (np.abs(fitted.scores(history, np.arange(12))[:, :7] - expected).mean() for fitted in (fresh, warm))
    assert near < 0.5 * far
    with pytest.raises(ConfigError, match="cannot start from a Popularity"):
        make(name).fit(more, warm_start=build_model("popularity", {}).fit(data))


OF_FEATURES = [name for name in TRAINED if used_features(make(name), planted()) - {"order"}]


@over(OF_FEATURES)
def test_a_fit_does_not_start_from_a_model_of_other_features(name, model):
    """Also if they have as many columns, whose weights would silently be mixed up."""
    data = planted()
    for need in used_features(make(name), data) - {"order"}:
        table = getattr(data, need)
        other = replace(table, features=tuple(replace(one, name=f"other {one.name}") for one in table.features))
        with pytest.raises(ConfigError, match=f"fitted on other columns of {need}; encode them alike"):
            short(name).fit(replace(data, **{need: other}), warm_start=model)


@over(name for name in OF_FEATURES if getattr(make(name), "features", None) == "available")
def test_a_fit_does_not_start_from_a_model_with_more_or_fewer_features(name, model):
    data = planted()
    fewer = replace(data, user_features=None)
    with pytest.raises(ConfigError, match="was fitted with `features: both`, but this fit would have `features: items`"):
        short(name).fit(fewer, warm_start=model)
    with pytest.raises(ConfigError, match="was fitted with `features: items`, but this fit would have `features: both`"):
        short(name).fit(data, warm_start=short(name).fit(fewer))
