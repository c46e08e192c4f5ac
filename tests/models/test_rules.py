"""Business rules against a reference that makes each list in plain Python, and their errors."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from builders import from_dense, planted
from hypothesis import given, settings, strategies as st

from recsys_ae import IdMap, Rules, build_model, recommend
from recsys_ae.errors import ConfigError, DataError, UnknownIdError
from recsys_ae.fitted import Fitted
from recsys_ae.models import categories
from recsys_ae.models.recommend import recommend_blocks

N_USERS, N_ITEMS = 6, 9
USERS, ITEMS = [f"u{number:02d}" for number in range(N_USERS)], list(range(100, 100 + N_ITEMS))
SEEN = np.random.default_rng(0).random((N_USERS, N_ITEMS)) < 0.3
DATA = from_dense(np.ones((N_USERS, N_ITEMS)), SEEN)


class Given:
    """A model with given scores [N, M] of the users of `DATA`."""

    predicts_ratings = False

    def __init__(self, scores):
        self._scores = scores
        popularity = np.arange(N_ITEMS, dtype=np.float32)
        self.fitted = Fitted({"popularity": popularity}, {"items": DATA.items}, {"user_ids": "str", "accepted": None})

    def scores(self, history, rows):
        return self._scores[rows].copy()

    def can_score(self, history, rows):
        return np.ones(len(rows), bool)


def contains(given, user, item, every):
    """Whether the pair is in the items for everyone and (if `every`) or in those of the user."""
    parts = [item in part if kind == "items" else (user, item) in part for kind, part in given.items()]
    return all(parts) if every else any(parts)


def reference(scores, k, seen, candidates, blocked, repeatable, categories, cap):
    """The list of every user: [(user, item, score)], from the definitions."""

    found = []
    for row, user in enumerate(USERS):
        count = Counter()
        order = sorted(range(N_ITEMS), key=lambda column: (-scores[row][column], column))
        chosen = 0
        for column in order:
            item, own = ITEMS[column], categories.get(ITEMS[column], set())
            fits = scores[row][column] > -np.inf and contains(candidates, user, item, True)
            fits = fits and not contains(blocked, user, item, False)
            fits = fits and not (seen and SEEN[row, column] and not contains(repeatable, user, item, False))
            if fits and chosen < k and all(count[category] < cap for category in own):
                chosen += 1
                count.update(own)
                found.append((user, item, scores[row][column]))
    return found


items_given = st.lists(st.sampled_from(ITEMS), max_size=8)
pairs_given = st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS)), max_size=25)
rule = st.fixed_dictionaries({}, optional={"items": items_given, "pairs": pairs_given})
score = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, 3.0])
matrix_of_scores = st.lists(st.lists(score, min_size=N_ITEMS, max_size=N_ITEMS), min_size=N_USERS, max_size=N_USERS)
item_categories = st.none() | st.lists(st.tuples(st.sampled_from(ITEMS), st.sampled_from("abc")), max_size=20)


def pairs(given):
    return pd.DataFrame(given, columns=["user_id", "item_id"]).astype({"user_id": "str", "item_id": "int64"})


def labels(given):
    return pd.DataFrame(given, columns=["item_id", "category"]).astype({"item_id": "int64", "category": "str"})


def sets(role, given):
    """The items for everyone and for single users of one role, which `Rules.of` takes one at a time."""
    shared = getattr(Rules.of(DATA.items, **{role: given.get("items")}), role)
    own = getattr(Rules.of(DATA.items, **{role: pairs(given["pairs"]) if "pairs" in given else None}), role)
    return replace(own, shared=shared.shared) if own and shared else own or shared


@settings(max_examples=200, deadline=None)
@given(
    matrix_of_scores, st.integers(1, 10), st.booleans(), rule, rule, rule, item_categories, st.integers(1, 3), st.integers(1, 7)
)
def test_lists_are_those_of_the_reference(scores, k, seen, candidates, blocked, repeatable, categories, cap, block):
    capped = {}
    if categories is not None:
        capped = {"categories": labels(categories), "cap": cap}
    given = {"candidates": candidates, "blocked": blocked, "repeatable": repeatable}
    rules = replace(Rules.of(DATA.items, **capped), **{role: sets(role, parts) for role, parts in given.items()})
    model, rows = Given(np.array(scores, np.float32)), np.arange(N_USERS)
    blocks = recommend_blocks(model, DATA, rows, k, rules=rules, exclude_seen=seen, batch_users=block)
    lists = [(one.users, one.item_rows) for one in blocks]
    assert not any(rules.violations(items, users).any() for users, items in lists)
    found = pd.concat([one.to_frame() for one in recommend_blocks(model, DATA, rows, k, rules=rules, exclude_seen=seen)])
    groups = {}
    for item, category in categories or []:
        groups.setdefault(item, set()).add(category)
    expected = reference(scores, k, seen, *given.values(), groups, cap)
    assert list(zip(found["user_id"], found["item_id"], found["score"], strict=True)) == expected
    ranks = found.groupby("user_id", sort=False)["rank"]
    assert all(own.tolist() == list(range(1, len(own) + 1)) for _, own in ranks)


@settings(max_examples=100)
@given(
    rule, rule, item_categories, st.integers(1, 3), st.lists(st.lists(st.sampled_from(range(N_ITEMS)), max_size=5), max_size=6)
)
def test_items_against_the_rules_are_found(candidates, blocked, categories, cap, lists):
    """In any lists: all that are not allowed, and those before which a category is full."""
    capped = {} if categories is None else {"categories": labels(categories), "cap": cap}
    given = {"candidates": candidates, "blocked": blocked}
    rules = replace(Rules.of(DATA.items, **capped), **{role: sets(role, parts) for role, parts in given.items()})
    rows = np.full((len(lists), 5), -1)
    expected = []
    for number, own in enumerate(lists):
        rows[number, : len(own)] = own
        user, count = USERS[number], Counter()
        for item in (ITEMS[column] for column in own):
            kinds = {category for other, category in categories or [] if other == item}
            full = any(count[category] >= cap for category in kinds)
            expected.append(not contains(candidates, user, item, True) or contains(blocked, user, item, False) or full)
            count.update(kinds)
    found = rules.violations(rows, np.array(USERS[: len(lists)], object))
    assert found[rows >= 0].tolist() == expected
    assert not found[rows < 0].any()


def test_rules_are_the_same_in_any_order_and_any_library():
    frame = pairs([("u03", 101), ("u01", 104), ("u03", 101)])
    other = pl.from_pandas(frame.iloc[[1, 0]])
    first, second = Rules.of(DATA.items, blocked=frame), Rules.of(DATA.items, blocked=other)
    assert first.digest == second.digest
    assert first.counts == second.counts == {"blocked": {"users": 2, "pairs": 2}}
    kinds = pd.DataFrame({"item_id": [101, 102], "category": [7, 8]})
    different = [
        Rules.of(DATA.items),
        Rules.of(DATA.items, repeatable=frame),
        Rules.of(DATA.items, blocked=frame[:1]),
        Rules.of(DATA.items, blocked=[101, 104]),
        Rules.of(DATA.items, blocked=[101]),
        Rules.of(DATA.items, candidates=[]),
        Rules.of(DATA.items, categories=kinds, cap=1),
        Rules.of(DATA.items, categories=kinds, cap=2),
        Rules.of(DATA.items, categories=kinds.assign(category=7), cap=2),
        Rules.of(IdMap([*ITEMS, 7]), blocked=[101]),
    ]
    assert len({first.digest, *(rules.digest for rules in different)}) == 11
    assert different[-3].counts == {"categories": {"items": 2, "categories": 2, "cap": 2}}


def test_rules_for_integer_users_and_text_items():
    data = planted()
    data = replace(data, users=IdMap(np.arange(12) * 5), items=IdMap(list("abcdefg")), user_features=None, item_features=None)
    model = build_model("popularity").fit(data)
    asked = pd.DataFrame({"user_id": [55, 15, 55], "item_id": ["b", "c", "a"]})
    lists = recommend(model, data, rules=Rules.of(data.items, candidates=asked), exclude_seen=False).to_frame()
    assert sorted(zip(lists["user_id"], lists["item_id"], strict=True)) == [(15, "c"), (55, "a"), (55, "b")]
    with pytest.raises(DataError, match="expected ids that are text, such as '15', got 0"):
        recommend(model, data, rules=Rules.of(data.items, candidates=asked.astype({"user_id": "str"})))


def test_rules_may_name_users_without_a_list():
    asked = pairs([("stranger", 101)])
    lists = recommend(Given(np.zeros((N_USERS, N_ITEMS), np.float32)), DATA, rules=Rules.of(DATA.items, blocked=asked), k=1)
    assert len(lists.to_frame()) == N_USERS


def labelled(item, category):
    return pd.DataFrame({"item_id": [item], "category": [category]})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"candidates": [101, 7, 8]},
            UnknownIdError,
            r"candidates: the model does not know item 7 \(such items in 2 of 3 rows",
        ),
        ({"blocked": ["a"]}, DataError, "expected ids that are integers, such as 100, got 'a'"),
        ({"blocked": [None]}, DataError, "blocked has no id in row 0"),
        ({"repeatable": pd.DataFrame({"item": [101]})}, ConfigError, "the table of repeatable has no column 'item_id'"),
        ({"cap": 2}, ConfigError, "a cap needs categories"),
        ({"categories": pd.DataFrame({"item_id": [101], "category": "a"})}, ConfigError, "categories need a cap"),
        (
            {"categories": pd.DataFrame({"item_id": [101], "category": "a"}), "cap": 0},
            ConfigError,
            "cap must be a whole number",
        ),
        ({"categories": pd.DataFrame({"item_id": [101], "category": [None]}), "cap": 1}, DataError, "has no id in row 0"),
        ({"categories": pd.DataFrame({"item_id": [1], "category": "a"}), "cap": 1}, UnknownIdError, "does not know item 1"),
    ],
)
def test_invalid_rules(given, error, message):
    with pytest.raises(error, match=message):
        Rules.of(DATA.items, **given)


def test_unknown_items_are_left_out_if_asked_for():
    frame = pairs([("u01", 7), ("u01", 101), ("u02", 8)])
    kinds = pd.DataFrame({"item_id": [101, 7], "category": ["a", "b"]})
    rules = Rules.of(DATA.items, candidates=[7, 101], blocked=frame, categories=kinds, cap=1, skip_unknown=True)
    known = Rules.of(DATA.items, candidates=[101], blocked=frame[1:2], categories=kinds[:1], cap=1)
    assert rules.digest == known.digest


def test_rules_about_other_items_are_refused():
    with pytest.raises(DataError, match="the rules are about other items than the history"):
        recommend(Given(np.zeros((N_USERS, N_ITEMS), np.float32)), DATA, rules=Rules.of(IdMap(ITEMS[:-1])))


def test_a_category_of_most_items_costs_few_searches(monkeypatch):
    """Its items are taken out as soon as it is full, however far down the next other item is."""
    searches = []
    search = categories.top_k
    monkeypatch.setattr(categories, "top_k", lambda scores, k: searches.append(len(scores)) or search(scores, k))
    labels = np.where(np.arange(5000) < 4990, "common", "rare")
    matrix = pd.DataFrame({"item_id": np.arange(5000), "category": labels})
    rules = Rules.of(IdMap(np.arange(5000)), categories=matrix, cap=4)
    columns, _ = rules.top_k(-np.tile(np.arange(5000, dtype=np.float32), (3, 1)), 7)
    assert columns.tolist() == [[0, 1, 2, 3, 4990, 4991, 4992]] * 3
    assert searches == [3, 3]
