"""Lists of any origin, judged by what users did afterwards."""

import numpy as np
import pandas as pd
import pytest
from builders import peak_memory

from recsys_ae import evaluate_recommendations
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.metrics import BEYOND_ACCURACY, RANKING_METRICS

ACCURACY = [name for name in RANKING_METRICS if name not in BEYOND_ACCURACY]


class TestLists:
    LISTS = pd.DataFrame({"user_id": [1, 1, 2], "rank": [1, 2, 1], "item_id": ["a", "b", "a"]})
    TRUTH = pd.DataFrame({"user_id": [1, 3], "item_id": ["b", "zzz"]})

    def test_user_without_a_list_has_no_hits(self):
        report = evaluate_recommendations(self.LISTS, self.TRUTH, ["mrr@2", "hit_rate@1"], list_length=2)
        assert report.per_user["mrr@2"].tolist() == [0.5, 0.0]
        assert report.metrics["hit_rate@1"] == 0

    @pytest.mark.parametrize(
        ("metric", "message"), [("rmse", "needs predicted ratings"), ("ndcg@3", "needs lists of length 3, but these have 2")]
    )
    def test_metrics_that_cannot_be_computed_from_lists(self, metric, message):
        with pytest.raises(ConfigError, match=message):
            evaluate_recommendations(self.LISTS, self.TRUTH, [metric], list_length=2)

    def test_two_items_at_one_rank(self):
        with pytest.raises(DataError, match="the lists have two items at one rank for user 1"):
            evaluate_recommendations(self.LISTS.assign(rank=1), self.TRUTH, ["mrr@1"], list_length=2)

    def test_ids_of_another_type(self):
        with pytest.raises(
            DataError,
            match="truth has 2 items such as 1, which are integers, but in the lists there are 2 items such as 'a'",
        ):
            evaluate_recommendations(self.LISTS, self.TRUTH.assign(item_id=[1, 2]), ["mrr@1"], list_length=2)

    def test_an_item_twice_in_a_list(self):
        with pytest.raises(DataError, match="the lists have one item twice for user 1"):
            evaluate_recommendations(self.LISTS.assign(item_id="b"), self.TRUTH, ["mrr@2"], list_length=2)

    @pytest.mark.parametrize(
        ("ranks", "message"),
        [
            ([1.0, 2.5, 1.0], "ranks must be whole numbers from 1, got 2.5 in row 1"),
            (pd.array([1, None, 1], dtype="Int64"), "got <NA> in row 1"),
            (["1", "2", "1"], "ranks must be whole numbers from 1, got '1' in row 0"),
            ([1, 0, 1], "got 0 in row 1"),
            ([1, -(2**63), 1], f"got {-(2**63)} in row 1"),
        ],
    )
    def test_ranks_that_are_not_ranks(self, ranks, message):
        with pytest.raises(DataError, match=message):
            evaluate_recommendations(self.LISTS.assign(rank=ranks), self.TRUTH, ["mrr@2"], list_length=2)

    @pytest.mark.parametrize("absurd", [99_999, 100_000, 2**62, np.uint64(2**64 - 1)])
    def test_an_absurd_rank_costs_nothing_and_changes_nothing(self, absurd):
        """Users 0 to 399 have items 0 and 1 at ranks 1 and 2, but user 7 has item 1 at an absurd rank; item 1 is relevant."""
        users = np.repeat(np.arange(400), 2)
        ranks = np.tile([1, 2], 400).astype(np.asarray(absurd).dtype)
        ranks[15] = absurd
        lists = pd.DataFrame({"user_id": users, "rank": ranks, "item_id": np.tile([0, 1], 400)})
        truth = pd.DataFrame({"user_id": np.arange(400), "item_id": 1})
        metrics = ["mrr@100000", "ndcg@100000", "precision@100000", "hit_rate@2"]
        reports = []
        peak = peak_memory(lambda: reports.append(evaluate_recommendations(lists, truth, metrics, list_length=2**62)))
        assert peak < 100e6
        rank = np.where(np.arange(400) == 7, float(absurd), 2.0)
        found, inside = reports[0].per_user, rank <= 100_000
        np.testing.assert_allclose(found["mrr@100000"], inside / rank)
        np.testing.assert_allclose(found["ndcg@100000"], inside / np.log2(rank + 1))
        np.testing.assert_allclose(found["precision@100000"], inside / 100_000)
        np.testing.assert_array_equal(found["hit_rate@2"], rank == 2)

    def test_blocks_of_lists_do_not_change_values(self, monkeypatch, rng):
        """Lists of 0 to 9 items; one user has more relevant items than places."""
        lists = pd.DataFrame(
            [(user, place + 1, item) for user in range(30) for place, item in enumerate(rng.permutation(20)[: user % 10])]
        )
        lists.columns = ["user_id", "rank", "item_id"]
        truth = pd.DataFrame([(user, item) for user in range(30) for item in rng.permutation(20)[: 1 + 3 * user % 17]])
        truth.columns = ["user_id", "item_id"]
        metrics = [f"{name}@{k}" for name in ACCURACY for k in (1, 5, 50)]
        known = pd.DataFrame({"user_id": 99, "item_id": range(20)})
        whole = evaluate_recommendations(lists, truth, metrics, list_length=50, history=known)
        monkeypatch.setattr("recsys_ae.evaluation.list_truth.BLOCK_PLACES", 11)
        parts = evaluate_recommendations(lists, truth, metrics, list_length=50, history=known)
        assert parts.metrics == whole.metrics
        for user in range(0, 30, 7):  # by the definition of NDCG
            own = lists[lists["user_id"] == user].sort_values("rank")["item_id"].tolist()
            wanted = set(truth[truth["user_id"] == user]["item_id"])
            gain = sum(1 / np.log2(place + 2) for place, item in enumerate(own) if item in wanted)
            best = sum(1 / np.log2(place + 2) for place in range(len(wanted)))
            assert parts.per_user["ndcg@50"][user] == pytest.approx(gain / best)


def test_an_absurd_rank_needs_no_more_memory(monkeypatch):
    """The size of a block of lists is bounded for any ranks."""
    monkeypatch.setattr("recsys_ae.evaluation.list_truth.BLOCK_PLACES", 1000)
    lists = pd.DataFrame({"user_id": [1, 1, 2], "rank": [1, 90_000, 1], "item_id": ["a", "b", "c"]})
    truth = pd.DataFrame({"user_id": [1, 2, 2], "item_id": ["b", "c", "d"]})
    report = evaluate_recommendations(lists, truth, ["mrr@100000", "recall@1", "ndcg@2"], list_length=100_000)
    assert report.per_user["mrr@100000"].tolist() == [1 / 90_000, 1]
    assert report.per_user["recall@1"].tolist() == [0, 0.5]
    assert report.per_user["ndcg@2"].round(4).tolist() == [0, 0.6131]
