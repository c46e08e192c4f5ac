"""How every registered model is fitted: seeds, threads, validation, and warm starts."""

from collections.abc import Callable
from dataclasses import replace

import builders
import numpy as np
import pytest
from builders import VARIANTS, clicks, planted
from kinds_of_models import (
    BY_GRADIENT,
    CLOSED_FORM,
    KINDS,
    OF_CLICKS,
    OF_ITEMS,
    OF_USERS,
    RECURRENT,
    THREADS_MATTER,
    TRAINED,
    barely_trained,
    everything,
    kind_of,
    make,
    one_more,
    over,
    short,
    variants,
    without_popularity,
)

from recsys_ae import build_model
from recsys_ae.core.trainer import Callback
from recsys_ae.errors import ConfigError
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender
from recsys_ae.models.side_information import feature_needs, used_features
from recsys_ae.models.storage import model_digest
from recsys_ae.models.training import ranking_validation


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
