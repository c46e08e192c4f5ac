"""Popularity beside what a model has learned: on thin data it keeps every ranker near popularity, on others it does nothing."""

import numpy as np
import pytest
from builders import from_dense, random_interactions, with_item_features

from recsys_ae import build_model
from recsys_ae.core.trainer import Callback
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import finite_scores, item_counts
from recsys_ae.models.popularity_share import PopularityShare, is_thin
from recsys_ae.ranking import exclude, hits, ndcg, top_k

SHARING = [name for name in MODELS if issubclass(MODELS.get(name), PopularityShare)]
CHOOSING = [name for name in MODELS if "popularity" in MODELS.get(name).__dataclass_fields__]
FAR_BELOW = {"bpr", "cdae", "feature_ease", "gf_cf", "itemknn", "multdae", "rp3beta"}  # by what they learn alone
SHORT = {"epochs": 3}


def of_popular_items(users: int = 300, items: int = 60, each: int = 4, seed: int = 0) -> Interactions:
    """Users who choose items by nothing but popularity, which falls from the last item to the first."""
    chances = 1.0 / (items - np.arange(items))
    draws = np.random.default_rng(seed).gumbel(size=(users, items)) + np.log(chances)
    chosen = draws >= np.sort(draws, axis=1)[:, -each, None]
    return with_item_features(from_dense(np.ones(chosen.shape), chosen), 3)


def build(name: str, **changes: object):
    epochs = SHORT if "epochs" in MODELS.get(name).__dataclass_fields__ and name not in ("als", "bpr") else {}
    return build_model(name, {**epochs, **changes})


def by_learning_alone(model: PopularityShare, data: Interactions) -> np.ndarray:
    return model._learned_scores(data, np.arange(data.n_users))


def ndcg_on(model, train: Interactions, rest: Interactions) -> float:
    rows = np.arange(train.n_users)
    scores = np.array(finite_scores(model, train, rows))
    exclude(scores, train.matrix)
    return float(ndcg(hits(top_k(scores, 10)[0], rest.matrix), np.diff(rest.matrix.indptr), 10).mean())


@pytest.mark.parametrize("name", CHOOSING)
def test_thin_data_are_ranked_as_well_as_by_popularity(name):
    data = of_popular_items(users=600, items=400)
    held = np.zeros(len(data), bool)
    held[np.arange(0, len(data), 4) + np.random.default_rng(5).integers(0, 4, data.n_users)] = True  # an item of each user
    train, rest = data.filter(~held), data.filter(held)
    assert is_thin(train)
    of_popularity = ndcg_on(build_model("popularity", {}).fit(train), train, rest)
    assert ndcg_on(build(name).fit(train), train, rest) > 0.9 * of_popularity
    if name in FAR_BELOW:
        assert ndcg_on(build(name, popularity=0.0).fit(train), train, rest) < 0.8 * of_popularity


@pytest.mark.parametrize("name", SHARING)
def test_a_given_share_adds_popularity_in_units_of_the_range(name):
    data = of_popular_items()
    model = build(name, popularity=0.25).fit(data)
    learned, everyone = by_learning_alone(model, data), np.arange(data.n_users)
    unit = np.ptp(learned, axis=1).mean() or 1.0
    expected = learned + 0.25 * unit * item_counts(data) / item_counts(data).max()
    np.testing.assert_allclose(model.scores(data, everyone), expected, rtol=1e-4, atol=1e-5 * unit)
    np.testing.assert_array_equal(build(name, popularity=0.0).fit(data).scores(data, everyone), learned)


@pytest.mark.parametrize("name", SHARING)
def test_rich_data_are_left_to_the_model(name):
    data = with_item_features(random_interactions(n_users=200, n_items=9, share=0.8), 2)
    assert not is_thin(data)
    model, alone = (build(name, **share).fit(data) for share in ({}, {"popularity": 0.0}))
    np.testing.assert_array_equal(model.scores(data, np.arange(200)), alone.scores(data, np.arange(200)))
    assert model.fitted.arrays.keys() == alone.fitted.arrays.keys()


@pytest.mark.parametrize("name", [name for name in SHARING if "batch_size" in MODELS.get(name).__dataclass_fields__])
def test_callbacks_follow_the_training_on_all_data_only(name):
    seen: list[int] = []

    class Watch(Callback):
        def on_epoch(self, training):
            seen.append(len(training.history))

    data = of_popular_items()
    build(name).fit(data, callbacks=[Watch()])
    assert seen == [1, 2, 3]


def test_data_are_thin_by_the_pairs_of_an_item():
    """With 5 users of 3 items each, an item has 5 * 3 * 2 / 3 = 10 pairs; items that nobody has do not count."""
    chosen = np.zeros((5, 40), bool)
    chosen[:, 7:10] = True
    assert is_thin(from_dense(np.ones(chosen.shape), chosen))
    assert is_thin(from_dense(np.ones((99, 40)), np.repeat(chosen[:1], 99, axis=0)))  # 198 pairs
    assert not is_thin(from_dense(np.ones((100, 40)), np.repeat(chosen[:1], 100, axis=0)))


@pytest.mark.parametrize("name", ["elsa", "sparse_ease", "feature_ease"])
def test_weights_between_items_are_those_of_the_learned_scores(name):
    data = of_popular_items()
    model = build(name, popularity=1.0).fit(data)
    weighted = data.matrix @ model.item_weights(np.arange(data.n_items))
    scores = model.scores(data, np.arange(data.n_users))
    np.testing.assert_allclose(scores - model.fitted.arrays["popularity_term"], weighted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["als", "bpr"])
def test_products_of_vectors_are_the_learned_scores(name):
    data = of_popular_items()
    model = build(name, popularity=1.0).fit(data)
    everyone = np.arange(data.n_users)
    products = model.user_vectors(data, everyone) @ model.item_vectors().T
    np.testing.assert_allclose(
        model.scores(data, everyone) - model.fitted.arrays["popularity_term"], products, rtol=1e-3, atol=1e-4
    )


def test_popularity_decides_if_no_user_has_two_items(caplog):
    data = of_popular_items(each=1)
    with caplog.at_level("INFO", logger="recsys_ae"):
        model = build_model("als", {}).fit(data)
    assert model.fitted.meta["popularity"] == 30.0
    assert "popularity weight: 30 (chosen on held-out training data)" in caplog.text


def test_a_fit_that_starts_from_a_model_keeps_its_weight():
    data = of_popular_items()
    before = build("multvae", popularity=0.3).fit(data)
    assert build("multvae").fit(data, warm_start=before).fitted.meta["popularity"] == 0.3


@pytest.mark.parametrize("name", ["als", "sparse_ease"])
def test_data_without_interactions(name):
    data = of_popular_items()
    nothing = data.filter(np.zeros(len(data), bool))
    assert not build_model(name, {"popularity": 0.5}).fit(nothing).scores(nothing, np.arange(3)).any()
