"""Models evaluated on a split: values, counts, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import scipy
from builders import VARIANTS, complete, peak_memory, planted, random_interactions, taste
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix

from recsys_ae import Interactions, Split, build_model, evaluate, evaluate_recommendations, recommend
from recsys_ae.errors import ColdUserError, ConfigError, DataError, TrainingError
from recsys_ae.evaluation.metrics import CATALOGUE_METRICS, NEEDS, RANKING_METRICS, parse_metric
from recsys_ae.splitting import per_user, random, time_cut

RANKING = [f"{name}@{k}" for name in (*RANKING_METRICS, *CATALOGUE_METRICS) for k in (1, 3, 10)]
ALL = ["rmse", "mae", *RANKING]
VECTORS = np.random.default_rng(3).normal(size=(25, 4))


def split() -> Split:
    return per_user(complete(random_interactions(seed=2)), test=0.3, valid=0.1)


def fitted(name: str = "bias"):
    kind, params = VARIANTS[name]
    return build_model(kind, params).fit(split().train)


@pytest.mark.parametrize("name", ["bias", "popularity", "pca"])
def test_batches_do_not_influence_values(name):
    model = fitted(name)
    reports = [evaluate(model, split(), ALL, item_vectors=VECTORS, batch_users=size) for size in (1, 7, 1000)]
    for report in reports[1:]:
        assert report.metrics == pytest.approx(reports[0].metrics, abs=1e-12)


@pytest.mark.parametrize("relevant_at", [None, 3.0])
def test_exported_lists_give_the_same_values(relevant_at):
    model, parts = fitted("pca"), split()
    ranking = [name for name in RANKING if not name.startswith("vector_diversity")]
    live = evaluate(model, parts, ranking, relevant_at=relevant_at)
    lists = recommend(model, parts.history("test"), k=10).to_frame()
    known = {"history": parts.history("test").to_frame(), "item_features": parts.train.item_features}
    filed = evaluate_recommendations(lists, parts.test.to_frame(), ranking, list_length=10, relevant_at=relevant_at, **known)
    assert filed.metrics == pytest.approx(live.metrics, abs=1e-12)
    assert filed.counts["users_evaluated"] == live.counts["users_evaluated"]


def test_rating_metrics_by_hand():
    data = planted()
    part = np.arange(len(data)) % 4 == 0
    parts = Split(data.filter(~part), data.filter(np.zeros(len(data), bool)), data.filter(part))
    model = build_model("bias", {}).fit(parts.train)
    predicted = np.clip(model.scores(parts.history("test"), np.arange(12)), 1, 5)
    errors = (predicted - taste())[parts.test.matrix.toarray() > 0]
    metrics = evaluate(model, parts, ["rmse", "mae"]).metrics
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-6)
    assert metrics["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-6)


@pytest.mark.skipif(
    tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 17), reason="older scipy refuses the way implicit indexes histories"
)
def test_agrees_with_implicit():
    """implicit recommends and counts hits itself; its precision divides by min(k, relevant), as our capped recall does."""
    model, parts = fitted("pca"), split()
    history = parts.history("test")

    class Shim:
        def recommend(self, userid, user_items, N, **_):  # noqa: N803 - implicit's name
            rows = np.asarray(userid)
            lists = recommend(model, history, users=history.users.values[rows], k=N)
            return lists.item_rows.astype(np.int32), lists.scores

    theirs = ranking_metrics_at_k(Shim(), binary(history.matrix), binary(parts.test.matrix), K=5, show_progress=False)
    ours = evaluate(model, parts, ["ndcg@5", "map@5", "capped_recall@5"])
    relevant = np.diff(parts.test.matrix.indptr)
    hits = ours.per_user["capped_recall@5"] * np.minimum(5, relevant[relevant > 0])
    assert theirs["ndcg"] == pytest.approx(ours.metrics["ndcg@5"], rel=1e-6)
    assert theirs["map"] == pytest.approx(ours.metrics["map@5"], rel=1e-6)
    assert theirs["precision"] == pytest.approx(hits.sum() / np.minimum(5, relevant).sum(), rel=1e-6)


def binary(matrix):
    """The pattern in the format of implicit: ones, 32-bit indices."""
    indices, indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return csr_matrix((np.ones(matrix.nnz, np.float32), indices, indptr), shape=matrix.shape)


def test_who_was_counted_is_part_of_the_report():
    data = random_interactions(seed=2)
    parts = random(data, test=0.02)
    report = evaluate(fitted(), parts, ["ndcg@5", "rmse"])
    tested = np.diff(parts.test.matrix.indptr) > 0
    assert report.counts == {
        "users_evaluated": tested.sum(),
        "users_skipped": 40 - tested.sum(),
        "relevant": len(parts.test),
        "ratings": len(parts.test),
        "repeats": 0,
        "events": len(parts.test),
        "hot": tested.sum(),
        "warm": 0,
        "cold": 0,
        "users_tied": 0,
    }
    assert report.users.tolist() == data.users.values[tested].tolist()
    assert report.metrics["ndcg@5"] == pytest.approx(report.per_user["ndcg@5"].mean())
    values = ", ".join(f"{name}: {value:.4f}" for name, value in report.metrics.items())
    assert repr(report) == f"Report({values}; {tested.sum()} users)"


def test_hot_warm_and_cold_users_are_counted_separately():
    data = random_interactions(seed=2)
    users = data.user_rows()
    target = np.arange(len(data)) % 4 == 0
    split = Split(
        train=data.filter(~target & (users >= 8)),
        valid=data.filter(np.zeros(len(data), bool)),
        test=data.filter(target),
        fold_in=data.filter(~target & (users >= 3) & (users < 8)),
    )
    model = build_model("popularity", {}).fit(split.train)
    tested = np.unique(users[target])
    kinds = {"cold": (tested < 3).sum(), "warm": ((tested >= 3) & (tested < 8)).sum(), "hot": (tested >= 8).sum()}
    report = evaluate(model, split, ["recall@5"])
    assert {name: report.counts[name] for name in kinds} == kinds
    assert report.counts["users_evaluated"] == len(tested)
    skipping = evaluate(model, split, ["recall@5"], cold="skip")
    assert skipping.counts["users_evaluated"] == len(tested) - kinds["cold"]
    np.testing.assert_array_equal(skipping.per_user["recall@5"], report.per_user["recall@5"][tested >= 3])
    with pytest.raises(ColdUserError):
        evaluate(model, split, ["recall@5"], cold="error")
    of_users = build_model("bpr", {"factors": 2, "epochs": 1}).fit(split.train)
    assert evaluate(of_users, split, ["recall@5"]).counts["cold"] == kinds["cold"] + kinds["warm"]


def test_ranking_model_has_no_rating_error():
    assert evaluate(fitted("popularity"), split(), ["rmse", "ndcg@3"]).metrics["rmse"] is None


def test_empty_test_part():
    data = random_interactions()
    with pytest.raises(DataError, match="the test part of the random split is empty"):
        evaluate(fitted(), random(data, test=0.0), ["rmse"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ndgc@10", "did you mean 'ndcg'"),
        ("ndcg", "needs a list length"),
        ("ndcg@0", "needs a list length"),
        ("ndcg@x", "needs a list length"),
        ("rmse@10", "takes neither a list length nor candidates"),
        ("ndcg@-1", "needs a list length"),
        ("ndcg@1e3", "needs a list length"),
        ("ndcg@²", "needs a list length"),
        ("ndcg@100001", "needs a list length from 1 to 100000"),
        ("ndcg@" + "9" * 5000, "needs a list length"),
        ("", "unknown metric ''"),
    ],
)
def test_unknown_metrics(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        evaluate(fitted(), split(), [name])
    assert len(str(caught.value)) < 400


def test_a_metric_given_twice_is_an_error():
    with pytest.raises(ConfigError, match="metric 'ndcg@10' is given twice"):
        evaluate(fitted(), split(), ["ndcg@10", "rmse", "ndcg@010"])


def test_that_nothing_is_relevant_is_said(caplog):
    evaluate(fitted(), split(), ["ndcg@10"], relevant_at=77)
    assert "nothing is relevant: relevant_at is 77, and the highest rating is 5" in caplog.messages


@pytest.mark.parametrize("relevant_at", [float("nan"), float("inf")])
def test_a_threshold_must_be_finite(relevant_at):
    with pytest.raises(ConfigError, match="must be a finite number, got"):
        evaluate(fitted(), split(), ["ndcg@10"], relevant_at=relevant_at)
    with pytest.raises(ConfigError, match="must be a finite number, got"):
        planted().binarise(relevant_at)


def test_which_values_are_better():
    lower = {name for name in ALL if parse_metric(name).lower_is_better}
    families = ("average_popularity", "popularity_lift", "miscalibration", "gini")
    assert lower == {"rmse", "mae", *(f"{name}@{k}" for name in families for k in (1, 3, 10))}


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_are_errors(wrong):
    class Broken(type(fitted())):
        def scores(self, history, rows):
            return super().scores(history, rows) + np.float32(wrong) * (np.arange(history.n_items) == 3)

        def predict_rows(self, *pairs):
            return super().predict_rows(*pairs) * np.float32(wrong)

    model = Broken().fit(split().train)
    for metric, message in (("ndcg@3", "Broken returned scores"), ("rmse", "Broken predicted ratings")):
        with pytest.raises(TrainingError, match=f"{message} that are NaN or infinite; fit the model again"):
            evaluate(model, split(), [metric])


def test_memory_depends_neither_on_users_nor_on_the_length_asked_for():
    def peak(n_users: int, metric: str) -> int:
        parts = per_user(random_interactions(n_users=n_users, n_items=50, share=0.2, times=False), test=0.3)
        model = build_model("popularity", {}).fit(parts.train)
        parts.history("test")
        return peak_memory(lambda: evaluate(model, parts, [metric]))

    few = peak(1000, "ndcg@50")
    assert peak(1000, "ndcg@100000") < 1.5 * few + 2_000_000
    assert peak(4000, "ndcg@50") < 1.5 * few + 4000 * 50 * 8  # the interactions themselves grow


def test_lists_longer_than_the_catalogue():
    report = evaluate(fitted(), split(), ["recall@25", "recall@1000", "precision@1000"])
    assert report.metrics["recall@1000"] == report.metrics["recall@25"] == 1
    assert report.metrics["precision@1000"] < 0.1


LOG = pd.DataFrame(
    {
        "user_id": [1, 1, 2, 2, 3, 1, 2, 2, 2, 3],
        "item_id": ["a", "b", "a", "c", "a", "c", "a", "d", "a", "a"],
        "rating": [5, 4, 1, 5, 2, 5, 3, 4, 4, 2],
        "time": np.arange(10),
    }
)


class TestRepeats:
    """Before the cut at 5, item a has three users, b and c one each. Then 1 has c, 2 has a (twice) and d, 3 has a again."""

    def split(self, **options) -> Split:
        return time_cut(Interactions.from_frame(LOG, time="time", duplicates="last"), at=5, **options)

    def test_are_counted_and_not_relevant_where_seen_items_are_excluded(self):
        split = self.split()
        model = build_model("popularity", {}).fit(split.train)
        report = evaluate(model, split, ["recall@2", "average_popularity@1"])
        assert report.users.tolist() == [1, 2]  # of user 3 everything is a repeat
        assert report.per_user["recall@2"].tolist() == [1, 1]
        expected = {"users_evaluated": 2, "users_skipped": 1, "relevant": 2, "repeats": 2, "ratings": 4, "events": 5}
        assert {name: report.counts[name] for name in expected} == expected
        assert report.per_user["average_popularity@1"].tolist() == [1, 1]

    def test_are_relevant_where_they_are_wanted(self):
        split = self.split(repeats="wanted")
        model = build_model("popularity", {}).fit(split.train)
        report = evaluate(model, split, ["recall@1", "average_popularity@1"])
        assert report.users.tolist() == [1, 2, 3]
        assert report.per_user["recall@1"].tolist() == [0, 0.5, 1]
        assert (report.counts["relevant"], report.counts["repeats"]) == (4, 2)
        assert report.per_user["average_popularity@1"].tolist() == [3, 3, 3]

    def test_are_ratings_to_predict(self):
        split = self.split()
        model = build_model("bias", {}).fit(split.train)
        history = split.history("test")
        predicted = model.predict_rows(history, split.test.user_rows(), split.test.item_rows())
        actual = np.array([5, 4, 4, 2])  # of user 2 and item a the last rating of the test part
        assert evaluate(model, split, ["mae"]).metrics["mae"] == pytest.approx(np.abs(predicted - actual).mean())

    @pytest.mark.parametrize("repeats", ["excluded", "wanted"])
    def test_exported_lists_are_evaluated_in_the_same_way(self, repeats):
        split = self.split(repeats=repeats)
        model = build_model("popularity", {}).fit(split.train)
        names = [f"{name}@{k}" for name in (*RANKING_METRICS, *CATALOGUE_METRICS) if name not in NEEDS for k in (1, 3)]
        live = evaluate(model, split, names)
        lists = recommend(model, split.history("test"), k=3, exclude_seen=repeats == "excluded").to_frame()
        options = {"list_length": 3, "history": LOG[:5], "repeats": repeats}
        filed = evaluate_recommendations(lists, LOG[5:], names, **options)
        assert filed.metrics == pytest.approx(live.metrics, abs=1e-12)
        assert filed.counts["repeats"] == live.counts["repeats"] == 2
        assert filed.users.tolist() == live.users.tolist()

    def test_without_the_history_repeats_are_unknown(self):
        lists = pd.DataFrame({"user_id": [1], "rank": [1], "item_id": ["c"]})
        report = evaluate_recommendations(lists, LOG[5:], ["recall@1"], list_length=1)
        assert "repeats" not in report.counts
        assert report.counts["relevant"] == 4
        with pytest.raises(ConfigError, match="popularity of items needs the history"):
            evaluate_recommendations(lists, LOG[5:], ["novelty@1"], list_length=1)

    def test_nothing_but_repeats(self):
        lists = pd.DataFrame({"user_id": [3], "rank": [1], "item_id": ["c"]})
        with pytest.raises(DataError, match=r"none of the .* pairs of the truth is relevant"):
            evaluate_recommendations(lists, LOG[9:], ["recall@1"], list_length=1, history=LOG[:5])
