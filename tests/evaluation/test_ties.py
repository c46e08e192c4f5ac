"""The interval of metrics over all orders of tied scores, against every order of small cases."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from builders import random_interactions
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from recsys_ae import Interactions, Split, build_model, evaluate, evaluate_recommendations
from recsys_ae.evaluation.metrics import RANKING_METRICS, parse_metrics
from recsys_ae.evaluation.metrics.catalogue import Catalogue
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.evaluation.tally import Tally
from recsys_ae.ranking import top_k_and_ties
from recsys_ae.splitting import per_user

ACCURACY = [metric.name for metric in parse_metrics([f"{name}@1" for name in RANKING_METRICS]) if metric.best_by_rating]
METRICS = [name.replace("@1", f"@{k}") for name in ACCURACY for k in (1, 2, 4)]


def every_order(scores: np.ndarray) -> list[tuple[int, ...]]:
    """All rankings of the items with a score above -inf, best first, that the scores allow."""
    listed = [item for item in range(len(scores)) if scores[item] > -np.inf]
    groups = [[item for item in listed if scores[item] == level] for level in sorted(set(scores[listed]), reverse=True)]
    return [sum(order, ()) for order in product(*(permutations(group) for group in groups))]


def all_known(truth: csr_array) -> Catalogue:
    return Catalogue(np.ones(truth.shape[1], np.int64))


def tallied(scores: np.ndarray, truth: csr_array, k: int) -> Tally:
    columns, values, tied = top_k_and_ties(scores, min(k, scores.shape[1]), truth)
    tally = Tally(parse_metrics([name for name in METRICS if int(name.split("@")[1]) <= k]))
    lists = RankedLists.of(columns, truth, k, scores=values, tied=tied, catalogue=all_known(truth))
    tally.add(lists, np.arange(len(scores)))
    return tally


@st.composite
def scored_users(draw):
    """Scores of a few levels, some -inf, and ratings of the relevant items, which are above 0; some items are not relevant."""
    n_users, n_items = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    levels = st.sampled_from([-np.inf, -1.0, 0.0, -0.0, 2.5])
    scores = [draw(st.lists(levels, min_size=n_items, max_size=n_items)) for _ in range(n_users)]
    ratings = [draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items)) for _ in range(n_users)]
    for own in ratings:
        own[draw(st.integers(0, n_items - 1))] = 2
    return np.array(scores, np.float32), csr_array(np.array(ratings, np.float32))


@settings(max_examples=60)
@given(data=scored_users(), k=st.sampled_from([1, 2, 4]))
def test_ends_are_those_of_all_orders(data, k):
    scores, truth = data
    report = tallied(scores, truth, k).report(np.arange(len(scores)), np.arange(len(scores)), {})
    lows, highs = {}, {}
    for user, own in enumerate(scores):
        orders = [[*order[:k], *[-1] * (min(k, len(own)) - len(order))] for order in every_order(own)]
        wanted = csr_array(np.repeat(truth[[user]].toarray(), len(orders), axis=0))
        lists = RankedLists.of(np.array(orders, np.int64), wanted, k, catalogue=all_known(truth))
        for metric in parse_metrics(list(report.metrics)):
            values = metric.compute(lists.top(metric.k))
            lows.setdefault(metric.name, []).append(values.min())
            highs.setdefault(metric.name, []).append(values.max())
    for name, value in report.metrics.items():
        if value is None:  # nothing is irrelevant to any user
            assert np.isnan(lows[name]).all()
            continue
        assert report.ties[name] == pytest.approx((np.nanmean(lows[name]), np.nanmean(highs[name])), abs=1e-12)
        assert report.ties[name][0] <= value <= report.ties[name][1]
    assert (report.counts["users_tied"] > 0) >= any(low < high for low, high in report.ties.values())


def test_without_ties_both_ends_are_the_value(rng):
    scores = rng.permutation(60).reshape(6, 10).astype(np.float32)
    report = tallied(scores, csr_array(np.eye(6, 10, dtype=np.float32)), 4).report(np.arange(6), np.arange(6), {})
    assert report.ties == {name: (value, value) for name, value in report.metrics.items()}
    assert report.counts["users_tied"] == 0


def test_a_model_whose_items_all_tie():
    """Ten items with one user each; of the nine unseen, the user wants two: by luck none or both are in the first three."""
    users, items = np.repeat(np.arange(10), 2), np.array([0, 1, *np.repeat(np.arange(2, 10), 2), 0, 1])
    data = Interactions.from_frame(pd.DataFrame({"user_id": users[:18], "item_id": items[:18]}).drop_duplicates(), rating=None)
    own = data.user_rows()
    test = (own == 0) & (data.item_rows() == 1)
    parts = Split(data.filter(~test), data.filter(np.zeros(len(data), bool)), data.filter(test))
    report = evaluate(build_model("popularity", {}).fit(parts.train), parts, ["hit_rate@3", "mrr@100", "novelty@3"])
    assert report.ties.keys() == {"hit_rate@3", "mrr@100"}
    assert report.ties["hit_rate@3"][0] == 0


class TestGivenLists:
    """Scores 3, 2, 2, 1, 1 at ranks 1 to 5; relevant are the items at ranks 3 and 4."""

    LISTS = pd.DataFrame({"user_id": 1, "rank": [1, 2, 3, 4, 5], "item_id": list("abcde"), "score": [3.0, 2, 2, 1, 1]})
    TRUTH = pd.DataFrame({"user_id": [1, 1, 2], "item_id": ["c", "d", "zzz"]})

    def test_ties_within_the_lists(self):
        report = evaluate_recommendations(self.LISTS, self.TRUTH, ["mrr@5", "recall@4", "recall@2"], list_length=5)
        assert report.ties["mrr@5"] == ((1 / 3) / 2, (1 / 2) / 2)
        assert report.ties["recall@4"] == (0.5 / 2, 1 / 2)
        assert report.ties["recall@2"] == (0, 0.5 / 2)
        assert report.counts["users_tied"] == 1

    @pytest.mark.parametrize(("rows", "high"), [(5, 0.5), (3, 0.5), (2, 0)])
    def test_rows_beyond_the_cut_count_as_far_as_the_file_goes(self, rows, high):
        truth = self.TRUTH.assign(item_id=["c", "a", "zzz"])
        report = evaluate_recommendations(self.LISTS[:rows], truth, ["recall@2"], list_length=5)
        assert report.ties["recall@2"] == (0.25, 0.25 + high / 2)

    def test_without_scores_ties_are_unknown(self):
        report = evaluate_recommendations(self.LISTS.drop(columns="score"), self.TRUTH, ["mrr@5"], list_length=5)
        assert report.ties == {}
        assert "users_tied" not in report.counts


@pytest.mark.parametrize("name", ["popularity", "sparse_ease"])
def test_blocks_do_not_change_the_ends(name):
    parts = per_user(random_interactions(n_users=50, seed=2), test=0.4)
    model = build_model(name, {}).fit(parts.train)
    reports = [evaluate(model, parts, METRICS, batch_users=size) for size in (1, 7, 1000)]
    assert reports[0].ties == reports[1].ties == reports[2].ties
    assert reports[0].counts == reports[2].counts
