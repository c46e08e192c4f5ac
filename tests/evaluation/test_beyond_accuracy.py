"""Metrics beyond accuracy, AUC and propensities against slow, obvious computations for one user at a time."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from builders import random_interactions
from sklearn.metrics import roc_auc_score

from recsys_ae import Interactions, build_model, evaluate, evaluate_recommendations, recommend
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.evaluation.metrics import exposure
from recsys_ae.evaluation.metrics.propensity import GAMMA
from recsys_ae.features import FeatureTable
from recsys_ae.ids import IdMap
from recsys_ae.interactions import ones
from recsys_ae.models.baselines import Popularity
from recsys_ae.split import Split
from recsys_ae.splitting import per_user

N_ITEMS, K = 17, 4
VECTORS = np.random.default_rng(1).normal(size=(N_ITEMS, 3)) * (np.arange(N_ITEMS) != 6)[:, None]  # item 6 has none
TAGS = [[["x"], ["x", "y"], ["z", "y"], ["w"], []][number % 5] for number in range(N_ITEMS)]


def split(repeats: str = "excluded") -> Split:
    """31 users with 17 items, of which one is new in the test part, and one has neither tags nor a size."""
    data = random_interactions(seed=4, n_users=31, n_items=N_ITEMS, share=0.5, times=False)
    parts = per_user(data, test=0.4)
    new = parts.train.item_rows() == 11
    parts = Split(parts.train.filter(~new), parts.valid, parts.test, repeats=repeats)
    sizes = np.where(np.arange(N_ITEMS) == 8, np.nan, np.arange(N_ITEMS) ** 2 % 13)
    frame = pd.DataFrame({"id": data.items.values, "tags": TAGS, "size": sizes}).drop(8)
    table = FeatureTable.from_frame(frame, {"tags": "multi_label", "size": "numeric"}, ids=data.items)
    parts_with = {name: with_items(part, table) for name, part in parts.parts().items()}
    return Split(**parts_with, repeats=repeats)


def with_items(data: Interactions, table: FeatureTable) -> Interactions:
    return Interactions(data.matrix, data.users, data.items, item_features=table)


class Random(Popularity):
    """Scores drawn for each user; the last users get few items, since all others cannot be scored."""

    def scores(self, history, rows):
        scores = np.random.default_rng(9).normal(size=(history.n_users, history.n_items)).astype(np.float32)
        scores[28:, 3:] = -np.inf
        return scores[rows]


def live(names: list[str], parts: Split, k: int = K, **options):
    return evaluate(Random().fit(parts.train), parts, [f"{name}@{k}" for name in names], item_vectors=VECTORS, **options)


class User:
    """What the definitions speak of, for one user."""

    def __init__(self, parts: Split, row: int, k: int = K) -> None:
        lists = recommend(Random().fit(parts.train), parts.train, k=k, exclude_seen=parts.repeats == "excluded")
        self.items = [item for item in lists.item_rows[row].tolist() if item >= 0]
        self.seen = set(parts.train.matrix[[row]].indices.tolist())
        self.wanted = set(parts.test.matrix[[row]].indices.tolist())
        self.counts = np.bincount(parts.train.matrix.indices, minlength=N_ITEMS)
        self.excluded = self.seen if parts.repeats == "excluded" else set()


def intra_list(user: User, cosine) -> float:
    pairs = list(combinations(user.items, 2))
    return 1 - sum(cosine(*pair) for pair in pairs) / len(pairs) if pairs else np.nan


def cosine_of(vectors: np.ndarray):
    def cosine(one: int, other: int) -> float:
        lengths = np.linalg.norm(vectors[one]) * np.linalg.norm(vectors[other])
        return vectors[one] @ vectors[other] / lengths if lengths else 0.0

    return cosine


def slow_feature_diversity(user: User, parts: Split) -> float:
    table = parts.train.item_features.to_frame().to_numpy(np.float64)
    kept = [not name.endswith(":missing") for name in parts.train.item_features.columns]
    return intra_list(user, cosine_of(table[:, kept]))


def slow_vector_diversity(user: User, parts: Split) -> float:
    return intra_list(user, cosine_of(VECTORS))


def slow_audience_diversity(user: User, parts: Split) -> float:
    return intra_list(user, cosine_of(ones(parts.train.matrix).toarray().T.astype(float)))


def slow_miscalibration(user: User, parts: Split) -> float:
    def shares(items) -> dict[str, float]:
        found: dict[str, float] = {}
        for item in items:
            tags = TAGS[item] if item != 8 else []
            for tag in tags:
                found[tag] = found.get(tag, 0) + 1 / len(tags)
        total = sum(found.values())
        return {tag: value / total for tag, value in found.items()}

    p, q = shares(user.seen), shares(user.items)
    return sum(share * np.log(share / (0.99 * q.get(tag, 0) + 0.01 * share)) for tag, share in p.items()) if q and p else np.nan


def slow_popularity_lift(user: User, parts: Split) -> float:
    if not user.items or not user.seen:
        return np.nan
    return np.mean(user.counts[user.items]) / np.mean(user.counts[list(user.seen)]) - 1


def slow_serendipity(user: User, parts: Split) -> float:
    unseen = [item for item in range(N_ITEMS) if item not in user.excluded]
    expected = {item for item in unseen if sum(user.counts[other] > user.counts[item] for other in unseen) < K}
    return len({*user.items} & user.wanted - expected) / K


def slow_auc(user: User, parts: Split) -> float:
    pool = ({*np.flatnonzero(user.counts)} - user.excluded) | {*user.items} | user.wanted
    rank = {item: place for place, item in enumerate(user.items)}
    place = [rank.get(item, N_ITEMS) for item in pool]
    wanted = [item in user.wanted for item in pool]
    return roc_auc_score(wanted, -np.array(place)) if not all(wanted) else np.nan


def slow_weights(user: User) -> dict[int, float]:
    return {item: max(user.counts[item], 1) ** (-(GAMMA + 1) / 2) for item in user.wanted}


def slow_ipw_recall(user: User, parts: Split) -> float:
    weights = slow_weights(user)
    return sum(weights.get(item, 0) for item in user.items) / sum(weights.values())


def slow_ipw_dcg(user: User, parts: Split) -> float:
    weights = slow_weights(user)
    return sum(weights.get(item, 0) / np.log2(place + 2) for place, item in enumerate(user.items)) / sum(weights.values())


def slow_ipw_ndcg(user: User, parts: Split) -> float:
    ideal = sorted(slow_weights(user).values(), reverse=True)[:K]
    best = sum(weight / np.log2(place + 2) for place, weight in enumerate(ideal))
    return slow_ipw_dcg(user, parts) * sum(slow_weights(user).values()) / best


SLOW = {name.removeprefix("slow_"): function for name, function in globals().items() if name.startswith("slow_")}
del SLOW["weights"]


@pytest.mark.parametrize("repeats", ["excluded", "wanted"])
@pytest.mark.parametrize("name", SLOW)
def test_values_are_those_of_the_definition(name, repeats):
    parts = split(repeats)
    report = live([name], parts)
    rows = parts.test.users.rows(report.users)
    expected = [SLOW[name](User(parts, row), parts) for row in rows]
    assert len({round(value, 9) for value in expected if not np.isnan(value)}) > 1
    np.testing.assert_allclose(report.per_user[f"{name}@{K}"], expected, rtol=1e-12, atol=1e-14)
    missing = int(np.isnan(expected).sum())
    assert report.counts.get(f"undefined:{name}@{K}", 0) == missing
    assert report.metrics[f"{name}@{K}"] == pytest.approx(np.nanmean(expected))


def test_a_list_of_all_candidates_has_the_exact_auc():
    parts = split()
    report = live(["auc"], parts, N_ITEMS)
    scores, expected = Random().fit(parts.train).scores(parts.train, np.arange(28)), {}
    for row in parts.test.users.rows(report.users):
        if row < 28:  # the others have items that cannot be scored
            user = User(parts, row)
            pool = sorted({*range(N_ITEMS)} - user.seen)
            expected[parts.test.users.values[row]] = roc_auc_score([item in user.wanted for item in pool], scores[row, pool])
    found = dict(zip(report.users, report.per_user[f"auc@{N_ITEMS}"], strict=True))
    assert {user: found[user] for user in expected} == pytest.approx(expected)


def test_auc_of_sampled_candidates_is_among_them():
    parts = split()
    candidates = Candidates.sample(parts, "test", 2, seed=3)
    report = live(["auc"], parts, N_ITEMS, candidates=candidates)
    scores = Random().fit(parts.train).scores(parts.train, np.arange(31))
    for user, value in zip(report.users, report.per_user[f"sampled_auc@{N_ITEMS}"], strict=True):
        row = int(parts.test.users.rows([user])[0])
        sampled, wanted = candidates.matrix[[row]].indices, parts.test.matrix[[row]].indices
        if row < 28:
            truth = np.r_[np.ones(len(wanted)), np.zeros(len(sampled))]
            assert value == pytest.approx(roc_auc_score(truth, scores[row, np.r_[wanted, sampled]]))


def test_a_users_only_items_leave_no_auc():
    """Both items are relevant to the first user; the second has one of each kind."""
    frame = pd.DataFrame({"user_id": [1, 1, 2, 3], "item_id": [1, 2, 1, 9], "rank": [1, 2, 1, 1]})
    truth, known = frame[["user_id", "item_id"]][:3], pd.DataFrame({"user_id": [7, 7], "item_id": [1, 2]})
    report = evaluate_recommendations(frame, truth, ["auc@2", "hit_rate@2"], list_length=2, history=known)
    assert report.metrics == {"auc@2": 1.0, "hit_rate@2": 1.0}
    assert report.counts["undefined:auc@2"] == 1
    only = evaluate_recommendations(frame, truth[:2], "auc@2", list_length=2, history=known)
    assert only.metrics == {"auc@2": None}


def test_lists_that_hold_seen_items_have_no_auc_above_one():
    frame = pd.DataFrame({"user_id": [1] * 4, "item_id": [4, 3, 1, 2], "rank": [1, 2, 3, 4]})
    known = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [3, 4, 1, 2]})
    report = evaluate_recommendations(frame, frame[["user_id", "item_id"]][2:3], "auc@4", list_length=4, history=known)
    assert report.metrics == {"auc@4": pytest.approx(1 / 3)}  # below the two seen items, above one other


def test_audiences_of_large_catalogues_are_added_in_parts(monkeypatch):
    parts = split()
    whole = live(["audience_diversity"], parts).per_user
    monkeypatch.setattr("recsys_ae.evaluation.metrics.diversity.PLACES", 50)
    np.testing.assert_array_equal(
        live(["audience_diversity"], parts).per_user["audience_diversity@4"], whole["audience_diversity@4"]
    )


def test_gini_is_half_the_relative_mean_difference(rng):
    times = rng.integers(0, 40, 23)
    found = exposure.gini(exposure.Exposure(times, np.ones(23, int)))
    assert found == pytest.approx(np.abs(times[:, None] - times).mean() / times.mean() / 2)
    assert exposure.gini(exposure.Exposure(np.full(9, 5), np.ones(9, int))) == 0
    assert exposure.gini(exposure.Exposure(np.array([0, 0, 0, 8]), np.ones(4, int))) == 3 / 4


def test_nothing_listed_is_no_diversity():
    nothing = exposure.Exposure(np.zeros(3, int), np.ones(3, int))
    assert (exposure.coverage(nothing), exposure.gini(nothing), exposure.entropy(nothing)) == (0, 0, 0)


def test_high_ratings_do_not_overflow():
    """Ratings may be counts: 2^100000 is no number, but the ratio is that of the two ranks."""
    frame = pd.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "rank": [2, 1], "rating": [100_000.0, 5]})
    report = evaluate_recommendations(frame, frame, ["exponential_ndcg@2", "graded_ndcg@2"], list_length=2, relevant_at=1)
    assert report.metrics["exponential_ndcg@2"] == pytest.approx(1 / np.log2(3))
    assert report.metrics["graded_ndcg@2"] == pytest.approx((5 + 1e5 / np.log2(3)) / (1e5 + 5 / np.log2(3)))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("coverage@1", "metrics of the catalogue need the history"),
        ("auc@1", "popularity of items needs the history"),
        ("ipw_recall@1", "popularity of items needs the history"),
        ("serendipity@1", "popularity of items needs the history"),
        ("popularity_lift@1", "popularity of items needs the history"),
        ("audience_diversity@1", "needs the history"),
        ("feature_diversity@1", "feature_diversity needs features of the items, but there are none; declare features.items"),
        ("miscalibration@1", "miscalibration needs features of the items"),
        ("vector_diversity@1", r"vector_diversity needs vectors of the items; give evaluate\(..., item_vectors=...\)"),
    ],
)
def test_what_metrics_need(metric, message):
    frame = pd.DataFrame({"user_id": [1], "item_id": [1], "rank": [1]})
    with pytest.raises(ConfigError, match=message):
        evaluate_recommendations(frame, frame, metric, list_length=1)


def test_numbers_are_no_categories():
    ids = IdMap([1])
    table = FeatureTable.from_frame(pd.DataFrame({"id": [1], "size": [2.0]}), {"size": "numeric"}, ids=ids)
    frame = pd.DataFrame({"user_id": [1], "item_id": [1], "rank": [1]})
    known = pd.DataFrame({"user_id": [1], "item_id": [2]})
    with pytest.raises(ConfigError, match="miscalibration needs a feature of items of the kind category or multi_label"):
        evaluate_recommendations(frame, frame, "miscalibration@1", list_length=1, item_features=table, history=known)


def test_vectors_must_fit_the_items():
    parts = split()
    for wrong in (VECTORS[:5], VECTORS[0], np.where(VECTORS > 0, np.nan, VECTORS)):
        with pytest.raises(DataError, match=r"item_vectors must be finite numbers of shape \(17, any\)"):
            evaluate(build_model("popularity").fit(parts.train), parts, "vector_diversity@3", item_vectors=wrong)
