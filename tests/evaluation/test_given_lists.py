"""Lists in parts have the values of all their rows together, to the last bit."""

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pytest
from builders import peak_memory
from hypothesis import given, settings, strategies as st
from list_shop import METRICS, Shop, assert_same, shop

from recsys_ae import Report, evaluate_recommendations
from recsys_ae.errors import DataError
from recsys_ae.evaluation.given_lists import evaluate_given_lists
from recsys_ae.evaluation.listed import PartByPart


def parts_of(lists: pd.DataFrame, number_of: dict, n: int) -> dict[str, pd.DataFrame]:
    """The rows of each user in the part of the user's number."""
    numbers = lists["user_id"].map(number_of)
    return {f"part {number}": lists[numbers == number] for number in range(n)}


def in_parts(data: Shop, parts: dict[str, pd.DataFrame], **options) -> Report:
    return evaluate_given_lists(PartByPart(parts), data.truth, METRICS, **{**data.options, **options})


def whole(data: Shop, **options) -> Report:
    return evaluate_recommendations(data.lists, data.truth, METRICS, **{**data.options, **options})


@settings(max_examples=8)
@given(st.data(), st.booleans(), st.booleans(), st.integers(1, 5))
def test_no_partition_changes_anything(data, text_users, text_items, n):
    """Parts may be empty; their users, and the rows within a part, are in any order."""
    given_shop = shop(text_users, text_items, seed=data.draw(st.integers(0, 3)))
    users = given_shop.lists["user_id"].unique()
    numbers = data.draw(st.lists(st.integers(0, n - 1), min_size=len(users), max_size=len(users)))
    number_of = dict(zip(users, numbers, strict=True))
    shuffled = given_shop.lists.sample(frac=1, random_state=data.draw(st.integers(0, 9)))
    assert_same(in_parts(given_shop, parts_of(shuffled, number_of, n)), whole(given_shop))


@pytest.mark.parametrize(
    "options",
    [
        {"without_list": "skip"},
        {"relevant_at": 3.0},
        {"repeats": "wanted"},
        {"segments": ()},
        {"repeats": "wanted", "relevant_at": 4.0, "without_list": "skip"},
    ],
)
def test_no_option_makes_a_difference(options):
    data = shop()
    numbers = {user: at % 7 % 3 for at, user in enumerate(data.lists["user_id"].unique())}
    found = in_parts(data, parts_of(data.lists, numbers, 3), **options)
    assert_same(found, whole(data, **options))
    assert found.counts["users_without_list"] > 0
    assert found.counts["users_tied"] > 0


def test_lists_without_scores_have_no_ties():
    data = shop()
    data.lists = data.lists.drop(columns="score")
    numbers = {user: at % 2 for at, user in enumerate(data.lists["user_id"].unique())}
    found = in_parts(data, parts_of(data.lists, numbers, 2))
    assert_same(found, whole(data))
    assert found.ties == {}
    assert "users_tied" not in found.counts


def test_values_by_hand():
    """Of four users the last has no list: the hits, and the three of five items that are listed."""
    parts = {
        "b": pd.DataFrame({"user_id": [3, 3], "rank": [2, 1], "item_id": [12, 10]}),
        "a": pd.DataFrame({"user_id": [1, 2, 2], "rank": [1, 1, 2], "item_id": [10, 11, 10]}),
    }
    truth = pd.DataFrame({"user_id": [1, 2, 2, 3, 4], "item_id": [10, 10, 13, 11, 10]})
    history = pd.DataFrame({"user_id": [1, 2, 9], "item_id": [13, 14, 12]})
    metrics = ["recall@2", "mrr@2", "coverage@2", "coverage@1"]
    report = evaluate_given_lists(PartByPart(parts), truth, metrics, list_length=2, history=history)
    assert report.users.tolist() == [1, 2, 3, 4]
    assert report.per_user["recall@2"].tolist() == [1, 0.5, 0, 0]
    assert report.per_user["mrr@2"].tolist() == [1, 0.5, 0, 0]
    assert report.metrics == {"recall@2": 0.375, "mrr@2": 0.375, "coverage@2": 3 / 5, "coverage@1": 2 / 5}


@pytest.mark.parametrize("text", [False, True])
def test_a_user_in_two_parts_is_noticed(text):
    data = shop(text_users=text)
    user = data.truth["user_id"].iloc[-1]
    lists = data.lists[data.lists["user_id"] != user]
    one, two = (pd.DataFrame({"user_id": [user], "rank": [n], "item_id": [7], "score": [1.0]}) for n in (1, 2))
    parts = {"first": pd.concat([lists, one]), "second": lists[:0], "third": two}
    shown = re.escape(repr(user if text else int(user)))
    with pytest.raises(DataError, match=rf"^user {shown} has rows in first and in third, but a list must be in one part; "):
        in_parts(data, parts)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("rank", 0.5, r"ranks must be whole numbers from 1, got 0\.5 in row 5 of the lists"),
        ("score", np.inf, r"scores must be finite numbers, got inf in row 5 of the lists"),
        ("rank", 1, r"the lists have two items at one rank for user 2, such as 8 \(1 such row\)"),
        ("item_id", 7, r"the lists have one item twice for user 2, such as 7 \(1 such row\)"),
    ],
)
def test_problems_in_a_later_part_are_those_of_all_rows(column, value, problem):
    lists = pd.DataFrame({"user_id": np.repeat([1, 2, 3], 2), "rank": [1, 2] * 3, "item_id": [7, 8] * 3, "score": 1.0})
    lists["rank"] = lists["rank"].astype(float)
    lists.loc[5 if column == "score" or value == 0.5 else 3, column] = value
    truth = pd.DataFrame({"user_id": [1, 2, 3], "item_id": 7})
    for parts in ({"all": lists}, {"a": lists[:2], "b": lists[2:4], "c": lists[4:]}):
        with pytest.raises(DataError, match=problem):
            evaluate_given_lists(PartByPart(parts), truth, ["recall@2"], list_length=2)


def test_ids_of_several_types():
    one, two = (pd.DataFrame({"user_id": [user], "rank": 1, "item_id": 7}) for user in (1, "2"))
    truth = pd.DataFrame({"user_id": [1, 2], "item_id": 7})
    problem = "column 'user_id' of the lists mixes ids of several types, such as 1 and, in row 1, '2'"
    with pytest.raises(DataError, match=problem):
        evaluate_given_lists(PartByPart({"a": one, "b": two}), truth, ["recall@1"], list_length=1)


class Made(Mapping[str, pd.DataFrame]):
    """Parts that are made when they are asked for: 2,000 users each, with lists of 20 out of 500 items."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __getitem__(self, name: str) -> pd.DataFrame:
        users, places = np.repeat(np.arange(2000) + 2000 * int(name), 20), np.tile(np.arange(20), 2000)
        items = (7 * users + places) % 500
        return pd.DataFrame({"user_id": users, "rank": places + 1, "item_id": items, "score": 1.0 / (places + 1)})

    def __iter__(self) -> Iterator[str]:
        return map(str, range(self.n))

    def __len__(self) -> int:
        return self.n


def test_memory_of_lists_is_that_of_one_part():
    """Only users of the first part are in the truth, so that nothing is kept of the others but their ids."""
    truth = pd.DataFrame({"user_id": np.arange(2000), "item_id": 3})
    options = {"list_length": 20, "history": truth, "repeats": "wanted"}

    def peak(parts: Mapping[str, pd.DataFrame]) -> int:
        return peak_memory(lambda: evaluate_given_lists(PartByPart(parts), truth, ["ndcg@20", "coverage@20"], **options))

    peak(Made(1))  # what is imported and compiled counts once
    few, many = peak(Made(3)), peak(Made(24))
    together = peak({"all": pd.concat([*Made(24).values()])})
    assert many < 1.5 * few
    assert together > 5 * many
