"""Values that are the same to the last bit, however the users are divided into blocks and whoever made the lists."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from builders import for_threads

from recsys_ae import Report, Split, build_model, evaluate, evaluate_recommendations, recommend
from recsys_ae.evaluation.metrics import CATALOGUE_METRICS, RANKING_METRICS
from recsys_ae.evaluation.metrics.catalogue import Catalogue
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.models.base import finite_scores

MODELS = {
    **{name: {} for name in ("popularity", "bias", "ease", "sparse_ease", "itemknn")},
    **{name: {"factors": 8, "epochs": 1} for name in ("pca", "mf", "als", "bpr", "elsa")},
    "multdae": {"hidden": [24, 8], "epochs": 1},
    "autorec": {"hidden": [8], "epochs": 1},
    "cdae": {"hidden": 3, "epochs": 1, "mapping": "sigmoid"},
}
MODELS["pca"] = {"factors": 8}
ALONE = {"ease", "mf", "multdae"}  # are also evaluated user by user, which is slow; others by pieces of seven
METRICS = [f"{name}@{k}" for name in (*RANKING_METRICS, *CATALOGUE_METRICS) if name != "vector_diversity" for k in (1, 7, 40)]
SEGMENTS = ["history_length", "item_popularity", "users.age", "items.kind"]


@cache
def split() -> Split:
    """Users 0 to 19 are cold; a fifth of the items of users 20 to 99 are tested."""
    data, rng = for_threads(), np.random.default_rng(0)
    users = data.user_rows()
    test = (users < 20) | ((users < 100) & (rng.random(len(data)) < 0.2))
    none = np.zeros(len(data), bool)
    return Split(data.filter(~test), data.filter(none), data.filter(test))


@cache
def model(name: str):
    return build_model(name, MODELS[name]).fit(split().train, seed=0)


def assert_equal(report: Report, expected: Report) -> None:
    """The order of the users may differ."""
    assert report.metrics == expected.metrics
    found, wanted = (one.to_frame().set_index("user_id").sort_index() for one in (report, expected))
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_and_threads_do_not_change_values(name, threads):
    expected = reference(name)
    for size in (1, 7, 1000) if threads == 1 and name in ALONE else (7, 1000):
        found = evaluate(model(name), split(), METRICS, segments=SEGMENTS, batch_users=size)
        assert_equal(found, expected)
        assert (found.ties, found.counts, found.segments) == (expected.ties, expected.counts, expected.segments)


@cache
def reference(name: str) -> Report:
    return evaluate(model(name), split(), METRICS, segments=SEGMENTS)


@pytest.mark.parametrize("name", MODELS)
def test_exported_lists_give_the_same_values(name):
    history = split().history("test")
    lists = recommend(model(name), history, k=40).to_frame()
    known = {"history": history.to_frame(), "user_features": history.user_features, "item_features": history.item_features}
    found = evaluate_recommendations(lists, split().test.to_frame(), METRICS, list_length=40, segments=SEGMENTS, **known)
    assert_equal(found, reference(name))
    assert found.segments == reference(name).segments


@pytest.mark.parametrize("name", ["als", "elsa", "multdae", "autorec", "cdae"])
def test_the_scores_of_a_user_do_not_depend_on_the_others(name):
    history, rows = split().train, np.arange(40, 600)
    together = finite_scores(model(name), history, rows)
    for size in (1, 2, 5, 13, 100):
        np.testing.assert_array_equal(finite_scores(model(name), history, rows[:size]), together[:size])


@pytest.mark.parametrize("name", RANKING_METRICS)
def test_empty_places_that_are_stored_do_not_change_values(name, rng):
    """Lists of 1 to 9 items in arrays of 9, 30 and 200 places, in either layout of memory."""
    truth = split().test.matrix[:40]
    items = np.argsort(rng.random(truth.shape), axis=1)[:, :9]
    items[np.arange(9) > rng.integers(0, 9, (40, 1))] = -1
    history = split().train.matrix
    short, *others = [np.pad(items, ((0, 0), (0, width - 9)), constant_values=-1) for width in (9, 30, 200)]
    expected = value(name, short, truth, history)
    for places in (*others, np.asfortranarray(others[0])):
        np.testing.assert_array_equal(value(name, places, truth, history), expected)


def value(name, items, truth, history):
    counts = np.bincount(history.indices, minlength=history.shape[1])
    vectors = np.random.default_rng(0).normal(size=(len(counts), 5))
    catalogue = Catalogue(counts, split().train.item_features, history, vectors)
    return RANKING_METRICS.get(name)(RankedLists.of(items, truth, 200, seen=history[:40], catalogue=catalogue))
