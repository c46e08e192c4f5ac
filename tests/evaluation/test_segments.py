"""Groups of users and items: planted ones, and values against an evaluation of the group alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from builders import random_interactions

from recsys_ae import IdMap, Interactions, Split, build_model, evaluate, evaluate_recommendations, recommend
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics.lists import Catalogue
from recsys_ae.evaluation.segments import gaps, item_groups, parse_segments, user_groups
from recsys_ae.features import FeatureTable
from recsys_ae.reporting.evaluation import segment_table
from recsys_ae.splitting import per_user, time_cut

METRICS = ["ndcg@3", "recall@5", "capped_recall@2", "rmse", "mae"]
COMPUTED = ["history_length", "item_popularity"]


def with_tables(parts: Split) -> Split:
    """The split with an age and a gender of users, and a year and genres of items."""
    users, items = parts.train.users, parts.train.items
    n, m = len(users), len(items)
    of_users = pd.DataFrame(
        {"id": users.values, "age": 10.0 * (np.arange(n) % 4), "gender": np.where(np.arange(n) % 3, "F", "M")}
    )
    of_users.loc[5, "gender"] = None
    genres = [[["a", "b"], ["b"], [], ["c", "a"]][number % 4] for number in range(m)]
    of_items = pd.DataFrame({"id": items.values, "year": 1990.0 + np.arange(m), "genres": genres})
    of_items.loc[3, "year"] = np.nan
    tables = {
        "user_features": FeatureTable.from_frame(of_users, {"age": "numeric", "gender": "category"}, ids=users),
        "item_features": FeatureTable.from_frame(of_items, {"year": "numeric", "genres": "multi_label"}, ids=items),
    }
    return replace(parts, **{name: replace(part, **tables, merged=True) for name, part in parts.parts().items()})


def split() -> Split:
    return with_tables(per_user(random_interactions(seed=2), test=0.3, valid=0.1))


def found(parts: Split, segments: list[str], **options):
    return evaluate(build_model("bias").fit(parts.train), parts, METRICS, segments=segments, **options)


def test_groups_by_popularity():
    """Of 100 pairs: 15 and 15 are on the two most popular items, of which both begin below 20 %, 50 on five, 20 on others."""
    counts = np.array([1, 10, 15, 10, 0, 10, 15, 10, 10, 9, 9, 1])
    groups = item_groups(parse_segments("item_popularity"), Catalogue(counts))["item_popularity"]
    assert {name: np.flatnonzero(members).tolist() for name, members in groups.items()} == {
        "head": [2, 6],
        "middle": [1, 3, 5, 7, 8],
        "tail": [0, 9, 10, 11],
        "new": [4],
    }


def test_groups_by_history_length():
    lengths = np.array([0, 1, 4, 5, 19, 20, 99, 100, 499, 500, 10_000])
    groups = user_groups(parse_segments("history_length"), lengths, None, np.arange(11))["history_length"]
    assert list(groups) == ["0", "1-4", "1-4", "5-19", "5-19", "20-99", "20-99", "100-499", "100-499", "500+", "500+"]


def test_groups_by_features():
    table = split().train.item_features
    groups = item_groups(parse_segments(["items.year", "items.genres"]), Catalogue(np.ones(25, int), table))
    assert {name: np.flatnonzero(of).tolist() for name, of in groups["items.year"].items()} == {
        "<=1996": [0, 1, 2, 4, 5, 6],
        "1996 to 2002": [7, 8, 9, 10, 11, 12],
        "2002 to 2008": [13, 14, 15, 16, 17, 18],
        ">2008": [19, 20, 21, 22, 23, 24],
        "missing": [3],
    }
    by_genre = {name: set(np.flatnonzero(of) % 4) for name, of in groups["items.genres"].items()}
    assert by_genre == {"a": {0, 3}, "b": {0, 1}, "c": {3}, "unknown": set(), "missing": set()}
    of_users, rows = split().train.user_features, np.array([0, 5, 2])
    groups = user_groups(parse_segments(["users.age", "users.gender"]), np.zeros(3, int), of_users, rows)
    assert {name: list(labels) for name, labels in groups.items()} == {
        "users.age": ["<=0", "0 to 10", "10 to 20"],
        "users.gender": ["M", "missing", "F"],
    }


def test_small_groups_are_merged():
    ids = IdMap(np.arange(100))
    labels = [f"{max(number - 50, 0):02d}" for number in range(100)]  # 51 ids with 00, and 49 with labels of their own
    table = FeatureTable.from_frame(pd.DataFrame({"id": ids.values, "kind": labels}), {"kind": "category"}, ids=ids)
    groups = item_groups(parse_segments("items.kind"), Catalogue(np.ones(100, int), table))["items.kind"]
    assert {name: int(members.sum()) for name, members in groups.items() if members.sum() > 1} == {"00": 51, "other": 30}
    assert len(groups) == 20 + len(["other", "unknown", "missing"])


def test_labels_with_the_names_of_other_groups():
    """Of 23 labels, the last three are rare and form a group; one id has a label that is new, and one has none."""
    kinds = [*("other", "unknown", "missing", "(other)"), *(f"kind {number:02d}" for number in range(19))]
    labels = [label for at, label in enumerate(kinds) for _ in range(1 if at >= 20 else 2)]
    fitted = FeatureTable.from_frame(pd.DataFrame({"id": np.arange(len(labels)), "kind": labels}), {"kind": "category"})
    frame = pd.DataFrame({"id": np.arange(len(labels) + 2), "kind": [*labels, "new", None]})
    table = FeatureTable.from_frame(frame, fitted.features)
    groups = item_groups(parse_segments("items.kind"), Catalogue(np.ones(len(frame), int), table))["items.kind"]
    found = {name: frame["kind"][members].fillna("-").tolist() for name, members in groups.items()}
    collecting = {"((other))": kinds[20:], "(unknown)": ["new"], "(missing)": ["-"]}
    assert found == {**{label: [label] * 2 for label in kinds[:20]}, **collecting}


@pytest.mark.parametrize("segment", ["history_length", "users.age", "users.gender"])
def test_values_of_user_groups_are_those_of_their_users_alone(segment):
    parts = split()
    report = found(parts, [segment])
    frame = report.to_frame()
    assert list(report.segments) == [segment]
    seen = 0
    for group, values in report.segments[segment].items():
        own = frame[f"segment:{segment}"] == group
        rows = parts.test.users.rows(frame["user_id"][own])
        alone = replace(parts, test=parts.test.filter(np.isin(parts.test.user_rows(), rows)))
        expected = found(alone, [])
        assert {name: values[name] for name in METRICS} == pytest.approx(expected.metrics, abs=1e-12)
        assert {values[f"users:{name}"] for name in METRICS} == {expected.counts["users_evaluated"]} == {own.sum()}
        seen += own.sum()
    assert seen == report.counts["users_evaluated"]


@pytest.mark.parametrize("segment", ["item_popularity", "items.year", "items.genres"])
def test_values_of_item_groups_are_those_of_their_items_as_the_only_relevant_ones(segment):
    parts = split()
    report = found(parts, [segment])
    frame, history = report.to_frame(), parts.history("test")
    counts = np.bincount(history.matrix.indices, minlength=25)
    members = item_groups(parse_segments(segment), Catalogue(counts, parts.train.item_features))[segment]
    assert set(report.segments[segment]) == {name for name, of in members.items() if of.any()}
    for group, values in report.segments[segment].items():
        alone = found(replace(parts, test=parts.test.filter(members[group][parts.test.item_rows()])), [])
        users = {f"users:{name}": len(alone.users) for name in METRICS[:3]}
        assert values == pytest.approx({**{name: alone.metrics[name] for name in METRICS[:3]}, **users})
        own = frame.set_index("user_id")[f"ndcg@3|{segment}={group}"].dropna()
        assert own.to_dict() == pytest.approx(alone.to_frame().set_index("user_id")["ndcg@3"].to_dict())


def test_blocks_do_not_matter_and_lists_give_the_same():
    parts, segments = split(), [*COMPUTED, "users.gender", "items.year"]
    model = build_model("pca").fit(parts.train)
    whole, blocks = (evaluate(model, parts, METRICS[:3], segments=segments, batch_users=size) for size in (1000, 3))
    pd.testing.assert_frame_equal(whole.to_frame(), blocks.to_frame())
    assert whole.segments == blocks.segments
    history = parts.history("test")
    lists, features = recommend(model, history, k=5).to_frame(), (history.user_features, history.item_features)
    options = {"history": history.to_frame(), **dict(zip(["user_features", "item_features"], features, strict=True))}
    given = evaluate_recommendations(lists, parts.test.to_frame(), METRICS[:3], list_length=5, segments=segments, **options)
    pd.testing.assert_frame_equal(given.to_frame(), whole.to_frame())
    assert given.segments == whole.segments


def test_next_events_are_grouped_by_what_came_before_each():
    """Users 0 and 1 have one item before the cut; then user 0 has two more, and user 1 one. Nobody had item 3 before."""
    events = {"user_id": [0, 1, 2, 0, 0, 1], "item_id": [1, 2, 1, 2, 3, 1], "time": range(6), "rating": 1}
    parts = time_cut(Interactions.from_frame(pd.DataFrame(events), time="time"), at=3, predict="next")
    report = evaluate(build_model("popularity").fit(parts.train), parts, "recall@2", segments=COMPUTED)
    frame = report.to_frame()
    assert frame["user_id"].tolist() == [0, 1, 0]
    assert frame["segment:history_length"].tolist() == ["1-4"] * 3
    assert {group: values["users:recall@2"] for group, values in report.segments["item_popularity"].items()} == {
        "head": 1,
        "middle": 1,
        "new": 1,
    }


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ("histroy_length", "unknown segment 'histroy_length'; did you mean 'history_length'"),
        (["item_popularity"] * 2, "segment 'item_popularity' is given twice"),
        ([3], "a segment is given by name, such as 'history_length', got 3"),
        ("users.height", "segment users.height: the users have no feature 'height'; known are: age, gender"),
        ("items.yaer", "segment items.yaer: the items have no feature 'yaer'; did you mean 'year'"),
    ],
)
def test_segments_that_do_not_exist(segments, message):
    with pytest.raises(ConfigError, match=message):
        found(split(), segments)


def test_what_segments_need():
    bare = per_user(random_interactions(seed=2), test=0.3)
    with pytest.raises(ConfigError, match=r"users.age needs features of users, but there are none; declare features.users"):
        found(bare, ["users.age"])
    several = FeatureTable.from_frame(
        pd.DataFrame({"id": bare.train.users.values, "tag": [["x", "y"]] * 40}), {"tag": "multi_label"}, ids=bare.train.users
    )
    parts = {name: replace(part, user_features=several, merged=True) for name, part in bare.parts().items()}
    with pytest.raises(ConfigError, match=r"segment users.tag: its labels put a user into several groups"):
        found(replace(bare, **parts), ["users.tag"])
    lists, truth = pd.DataFrame({"user_id": [1], "item_id": [2], "rank": [1]}), pd.DataFrame({"user_id": [1], "item_id": [2]})
    for segment, missing in (("history_length", "the history"), ("items.year", "features of items, but there are none")):
        with pytest.raises(ConfigError, match=f"segment {segment} needs {missing}"):
            evaluate_recommendations(lists, truth, "recall@1", list_length=1, segments=[segment])


def test_users_count_by_metric():
    """All four users have a rating of item 2 in the test part, but only those of users 0 and 3 are relevant."""
    users, items = [0, 1, 1, 2, 2, 3, 3, 0, 1, 2, 3], [0, 0, 1, 0, 1, 0, 1, 2, 2, 2, 2]
    ratings = [1, 5, 2, 4, 3, 1, 5, 5, 1, 2, 5]
    data = Interactions.from_frame(pd.DataFrame({"user_id": users, "item_id": items, "rating": ratings}))
    last = data.item_rows() == 2
    parts, model = Split(data.filter(~last), data.filter(last & ~last), data.filter(last)), build_model("bias")
    for metrics, columns, numbers in (
        (["ndcg@1", "rmse"], ["users", "ndcg@1", "users", "rmse"], ["2", "4"]),
        (["ndcg@1", "recall@1"], ["users", "ndcg@1", "recall@1"], ["2"]),
    ):
        report = evaluate(model.fit(parts.train), parts, metrics, relevant_at=4, segments="history_length")
        expected = {"users:ndcg@1": 2, f"users:{metrics[1]}": int(numbers[-1])}
        assert report.segments["history_length"]["1-4"].items() >= expected.items()
        table = segment_table(report, "history_length").columns
        assert [column.header for column in table] == ["history_length", *columns]
        assert [next(iter(column.cells)) for column in table if column.header == "users"] == numbers


def test_gaps_between_groups():
    report = found(split(), ["users.gender", "history_length"])
    values = [group["ndcg@3"] for group in report.segments["users.gender"].values()]
    assert gaps(report.segments)["users.gender"]["ndcg@3"] == max(values) - min(values) > 0
    assert set(gaps(report.segments)["users.gender"]) == set(METRICS)


def test_no_segments_cost_no_columns():
    report = found(split(), [])
    assert (report.segments, report.groups) == ({}, {})
    assert list(report.to_frame()) == ["user_id", *METRICS[:3], "rmse", "mae", "ratings"]
