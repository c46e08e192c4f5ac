"""Metrics against trec_eval, scikit-learn and SciPy on odd small lists, to 1e-9.

Lists are shorter than K or empty, K is beyond the catalogue, everything or nothing listed is relevant, ratings and scores tie.
`benchmarks/metric_agreement.py` compares with four more libraries.
"""

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array
from scipy.stats import entropy as scipy_entropy, kendalltau
from sklearn.metrics import dcg_score, roc_auc_score

from recsys_ae import evaluate_recommendations
from recsys_ae.errors import DataError
from recsys_ae.evaluation.metrics import RANKING_METRICS
from recsys_ae.evaluation.metrics.catalogue import Catalogue
from recsys_ae.evaluation.metrics.exposure import Exposure, entropy
from recsys_ae.evaluation.metrics.lists import RankedLists

N_ITEMS = 9
OF_TREC_EVAL = {
    "precision": "P.{k}",
    "recall": "recall.{k}",
    "ndcg": "ndcg_cut.{k}",
    "uncapped_map": "map_cut.{k}",
    "hit_rate": "success.{k}",
    "mrr": "recip_rank",  # of a run that ends at K, as that of R-precision
    "r_precision": "Rprec",
}


@st.composite
def users(draw):
    """The lists of a few users, and their ratings of the relevant items, at least one each."""
    lists, ratings = [], []
    for _ in range(draw(st.integers(1, 4))):
        lists.append(draw(st.permutations(range(N_ITEMS)))[: draw(st.integers(0, N_ITEMS))])
        own = draw(st.lists(st.integers(0, 5), min_size=N_ITEMS, max_size=N_ITEMS))
        ratings.append(own if any(own) else [0] * (N_ITEMS - 1) + [draw(st.integers(1, 5))])
    return lists, np.array(ratings, np.float32), draw(st.integers(1, N_ITEMS + 3))


def values(name: str, lists: list[list[int]], ratings: np.ndarray, k: int) -> np.ndarray:
    items = np.full((len(lists), min(k, N_ITEMS)), -1)
    for user, own in enumerate(lists):
        items[user, : len(own[:k])] = own[:k]
    known = Catalogue(np.ones(N_ITEMS, np.int64))
    return RANKING_METRICS.get(name)(RankedLists.of(items, csr_array(ratings), k, catalogue=known))


def assert_close(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=150)
@given(data=users())
def test_trec_eval(data):
    lists, ratings, k = data
    graded = {str(user): {str(item): int(own[item]) for item in np.flatnonzero(own)} for user, own in enumerate(ratings)}
    binary = {user: dict.fromkeys(own, 1) for user, own in graded.items()}
    runs = {str(user): {str(item): float(-place) for place, item in enumerate(own[:k])} for user, own in enumerate(lists)}
    runs = {user: own or {"none": 1.0} for user, own in runs.items()}  # trec_eval skips users without a list
    measures = {name: theirs.format(k=k) for name, theirs in OF_TREC_EVAL.items()}
    found = pytrec_eval.RelevanceEvaluator(binary, set(measures.values())).evaluate(runs)
    for name, theirs in measures.items():
        assert_close(
            values(name, lists, ratings, k), [found[str(user)][theirs.replace(".", "_")] for user in range(len(lists))]
        )
    rated = pytrec_eval.RelevanceEvaluator(graded, {f"ndcg_cut.{k}"}).evaluate(runs)
    assert_close(values("graded_ndcg", lists, ratings, k), [rated[str(user)][f"ndcg_cut_{k}"] for user in range(len(lists))])


@settings(max_examples=100)
@given(data=users())
def test_scikit_learn(data):
    """A list is handed over as falling scores; items beyond it have equal ones, whose gains are not counted."""
    lists, ratings, k = data
    scores = np.zeros(ratings.shape)
    for user, own in enumerate(lists):
        scores[user, own[:k]] = np.arange(len(own[:k]), 0, -1)
    for name, gains in (("ndcg", (ratings > 0) * 1.0), ("graded_ndcg", ratings), ("exponential_ndcg", 2.0**ratings - 1)):
        found = [dcg_score(gains[[user]], scores[[user]], k=min(k, len(own))) if own else 0 for user, own in enumerate(lists)]
        ideal = [dcg_score(gains[[user]], gains[[user]], k=k) for user in range(len(lists))]
        assert_close(values(name, lists, ratings, k), np.divide(found, ideal))
    both = [0 < np.count_nonzero(own) < N_ITEMS for own in ratings]
    areas = [
        roc_auc_score(own > 0, given) if defined else np.nan for own, given, defined in zip(ratings, scores, both, strict=True)
    ]
    assert_close(values("auc", lists, ratings, k), areas)


@given(times=st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_scipy(times):
    """The Shannon entropy; and the AUC is Kendall's tau-b of a binary variable without ties of the scores, rescaled."""
    exposure = Exposure(np.array(times), np.ones(len(times), np.int64))
    assert entropy(exposure) == pytest.approx(scipy_entropy(times, base=2) if any(times) else 0, abs=1e-9)
    wanted = np.array(times) % 2
    if 0 < wanted.sum() < len(wanted) <= N_ITEMS:
        ratings = np.zeros((1, N_ITEMS), np.float32)
        ratings[0, : len(wanted)] = wanted
        pairs = int(wanted.sum()) * (N_ITEMS - int(wanted.sum()))
        tau = kendalltau(ratings[0], -np.arange(N_ITEMS)).statistic
        right_less_wrong = tau * np.sqrt(pairs * N_ITEMS * (N_ITEMS - 1) / 2)
        assert_close(values("auc", [[*range(N_ITEMS)]], ratings, N_ITEMS), [(right_less_wrong / pairs + 1) / 2])


def test_an_item_twice_in_a_list_is_refused():
    """RecTools and LensKit give numbers for such lists; the dictionaries of trec_eval and ranx cannot hold them."""
    lists = pd.DataFrame({"user_id": [1, 1, 1], "item_id": [5, 5, 6], "rank": [1, 2, 3]})
    with pytest.raises(DataError, match="one item twice"):
        evaluate_recommendations(lists, pd.DataFrame({"user_id": [1], "item_id": [5]}), "recall@3", list_length=3)


def test_a_user_with_nothing_relevant_does_not_count():
    lists = pd.DataFrame({"user_id": [1, 2], "item_id": [5, 5], "rank": [1, 1]})
    truth = pd.DataFrame({"user_id": [1, 2], "item_id": [5, 5], "rating": [4, 2]})
    report = evaluate_recommendations(lists, truth, "recall@1", list_length=1, relevant_at=3)
    assert report.metrics == {"recall@1": 1.0}
    assert (report.counts["users_evaluated"], report.counts["users_skipped"]) == (1, 1)
