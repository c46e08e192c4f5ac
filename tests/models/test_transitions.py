from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from session_logs import LOGS, current_items, from_rows, popularity, sessions_of

from recsys_ae import build_model, recommend
from recsys_ae.errors import DataError

KINDS = ["session_popularity", "markov", "sequential_rules", "vsknn", "slist"]


def rules_by_hand(rows, steps: int, kept: int | None) -> dict[int, dict[int, float]]:
    """The weight of each rule, by item and follower."""
    rules: dict[int, dict[int, float]] = {}
    for _, _, items in sessions_of(rows):
        for p, first in enumerate(items):
            for q in range(p + 1, min(len(items), p + steps + 1)):
                own = rules.setdefault(first, {})
                own[items[q]] = own.get(items[q], 0) + 1 / (q - p)
    counts = popularity(rows)
    for first, own in rules.items():
        order = sorted(own, key=lambda item: (-round(own[item], 9), -counts[item], item))[:kept]
        rules[first] = {item: own[item] for item in order}
    return rules


@pytest.mark.parametrize(
    ("kind", "steps", "kept"), [("markov", 1, None), ("sequential_rules", 3, 2), ("sequential_rules", 2, 9)]
)
@settings(deadline=None, max_examples=30)
@given(rows=LOGS, now=LOGS)
def test_transitions_are_counted_as_by_hand(kind, steps, kept, rows, now):
    params = {"smoothing": 0.25, **({} if kept is None else {"steps": steps, "neighbours": kept})}
    model = build_model(kind, params).fit(from_rows(rows))
    rules, counts, history = rules_by_hand(rows, steps, kept), np.array(popularity(rows)), from_rows(now)
    for user, items in current_items(now).items():
        expected = 0.25 * counts / counts.sum()
        for item, weight in rules.get(items[-1], {}).items():
            expected[item] += weight
        np.testing.assert_allclose(model.scores(history, history.users.rows([user]))[0], expected, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(rows=LOGS, now=LOGS)
def test_session_popularity_counts_the_session_then_the_users(rows, now):
    model, counts, history = build_model("session_popularity", {}).fit(from_rows(rows)), popularity(rows), from_rows(now)
    for user, items in current_items(now).items():
        best = sorted(range(6), key=lambda item: (-items.count(item), -counts[item], item))
        assert recommend(model, history, [user], k=6, exclude_seen=False).item_rows[0].tolist() == best


def test_the_default_smoothing_only_decides_ties():
    """Item 0 is most popular, but never follows item 1; items 2 and 3 follow it once each, and 3 is more popular."""
    sessions = [[0], [0], [0], [1, 2], [1, 3], [3]]
    rows = [(user, 0, item, hour) for user, items in enumerate(sessions) for hour, item in enumerate(items)]
    for kind in ("markov", "sequential_rules"):
        model = build_model(kind, {}).fit(from_rows(rows))
        found = recommend(model, from_rows([(0, 0, 1, 0)]), k=6, exclude_seen=False)
        assert found.item_rows[0].tolist() == [3, 2, 0, 1, 4, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_last_session_counts(kind):
    rows = [(user, 0, item, hour) for user in range(3) for hour, item in enumerate([user, user + 1, user + 2])]
    model = build_model(kind, {}).fit(from_rows(rows))
    with_past, alone = from_rows([(0, 0, 3, 1), (0, 0, 4, 2), (0, 1, 1, 9)]), from_rows([(0, 1, 1, 9)])
    np.testing.assert_array_equal(model.scores(with_past, np.array([0])), model.scores(alone, np.array([0])))


@pytest.mark.parametrize("kind", KINDS)
def test_training_without_times_is_refused(kind):
    data = from_rows([(0, 0, 1, 0)])
    with pytest.raises(DataError, match="needs training data with times; declare them"):
        build_model(kind, {}).fit(replace(data, times=None, events=None))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=8)
@given(rows=LOGS, now=LOGS, block=st.integers(1, 3))
def test_scores_of_a_user_do_not_depend_on_the_others(kind, rows, now, block):
    model, history = build_model(kind, {}).fit(from_rows(rows)), from_rows(now)
    together = model.scores(history, np.arange(history.n_users))
    for row in range(history.n_users):
        np.testing.assert_array_equal(model.scores(history, np.full(block, row)), together[np.full(block, row)])
