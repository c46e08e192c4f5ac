import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics import BEYOND_ACCURACY, RANKING_METRICS
from recsys_ae.evaluation.metrics.accuracy import (
    capped_recall,
    recall,
)
from recsys_ae.evaluation.metrics.beyond_accuracy import average_popularity, novelty
from recsys_ae.evaluation.metrics.lists import Catalogue, RankedLists

ACCURACY = [name for name in RANKING_METRICS if name not in BEYOND_ACCURACY]


def ranked(hits: np.ndarray, relevant: np.ndarray) -> RankedLists:
    """Lists whose item at each rank is the rank itself; item i has i + 1 users, and relevant items not listed come last."""
    users, k = hits.shape
    wanted = np.zeros((users, k + 10), np.float32)
    wanted[:, :k] = hits
    for user, missed in enumerate(relevant - hits.sum(axis=1)):
        wanted[user, k : k + missed] = 1
    catalogue = Catalogue(np.arange(1, k + 11))
    return RankedLists.of(np.tile(np.arange(k), (users, 1)), csr_array(wanted), k, catalogue=catalogue)


@st.composite
def lists(draw):
    """Hits of a few users and the number of relevant items of each, which is at least the number of hits."""
    length = draw(st.integers(1, 12))
    rows = draw(st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=1, max_size=6))
    hits = np.array(rows)
    missed = np.array(draw(st.lists(st.integers(0, 9), min_size=len(rows), max_size=len(rows))))
    return hits, np.maximum(hits.sum(axis=1) + missed, 1)


@pytest.mark.parametrize("name", ACCURACY)
class TestEveryMetric:
    @settings(max_examples=30)
    @given(data=lists())
    def test_between_zero_and_one(self, name, data):
        values = RANKING_METRICS.get(name)(ranked(*data))
        assert values.shape == (len(data[0]),)
        assert values.dtype == np.float64
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()

    @settings(max_examples=30)
    @given(data=lists())
    def test_zero_exactly_without_hits(self, name, data):
        hits, relevant = data
        if name == "r_precision":
            hits = hits & (np.arange(hits.shape[1]) < relevant[:, None])
        if name != "auc":  # to which the items that are not listed contribute
            np.testing.assert_array_equal(RANKING_METRICS.get(name)(ranked(*data)) > 0, hits.any(axis=1))

    def test_perfect_list(self, name):
        hits, relevant = np.ones((2, 4), bool), np.array([4, 4])
        highest = {"rbp": 1 - 0.8**4}.get(name, 1.0)
        if name != "ipw_dcg":  # which has no ideal
            assert RANKING_METRICS.get(name)(ranked(hits, relevant)).tolist() == pytest.approx([highest, highest])

    @settings(max_examples=30)
    @given(data=lists())
    def test_moving_a_hit_up_never_hurts(self, name, data):
        hits, relevant = data
        better = -np.sort(-hits.astype(int), axis=1) > 0
        metric = RANKING_METRICS.get(name)
        if name.startswith("ipw"):  # where it matters which item it is
            return
        assert (metric(ranked(better, relevant)) >= metric(ranked(hits, relevant)) - 1e-12).all()

    def test_one_user_does_not_influence_another(self, name):
        hits, relevant = np.array([[True, False], [False, True]]), np.array([3, 1])
        metric = RANKING_METRICS.get(name)
        for user in range(2):
            assert metric(ranked(hits, relevant))[user] == metric(ranked(hits[[user]], relevant[[user]]))[0]


def test_denominators_of_the_two_recalls():
    hits, relevant = np.array([[True, True]]), np.array([8])
    assert recall(ranked(hits, relevant))[0] == 0.25
    assert capped_recall(ranked(hits, relevant))[0] == 1.0


def beyond(items: list[list[int]], counts: list[int]) -> RankedLists:
    truth = csr_array(np.ones((len(items), max(len(counts), 1)), np.float32))
    return RankedLists.of(np.array(items), truth, len(items[0]), catalogue=Catalogue(np.array(counts, int)))


def test_popularity_by_hand():
    """Of 16 pairs the items have 8, 4, none (which counts as one) and 4."""
    lists = beyond([[0, 1], [3, 2], [2, -1], [-1, -1]], [8, 4, 0, 4])
    assert average_popularity(lists).tolist() == [6, 2, 0, 0]
    np.testing.assert_allclose(novelty(lists), [1.5, 3.0, 4.0, 0.0])
    assert novelty(lists.top(1)).tolist() == [1, 2, 4, 0]


@pytest.mark.parametrize("metric", [novelty, average_popularity])
def test_popularity_needs_the_history(metric):
    with pytest.raises(ConfigError, match="popularity of items needs the history"):
        metric(beyond([[0, 1]], []))
