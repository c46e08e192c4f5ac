"""Digests of what is predicted from what, and the published values beside it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from builders import complete, events, planted, random_interactions

from recsys_ae import Interactions, Split
from recsys_ae.data.cards import read_card
from recsys_ae.data.ratings import load_given_split
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.evaluation.protocols.protocol import Protocol, content_digest
from recsys_ae.evaluation.protocols.published import ML_1M_RANDOM, ML_100K_U1, published_for
from recsys_ae.ids import IdMap
from recsys_ae.splitting import leave_last, random

LOG = pd.DataFrame({"user_id": ["b", "a", "b"], "item_id": [7, 9, 8], "rating": [1.0, 0.0, 2.0], "time": [3, 1, 2]})


class TestContentDigest:
    def test_neither_the_order_of_rows_and_ids_nor_other_ids_times_and_features_matter(self):
        data = Interactions.from_frame(LOG, rating="rating")
        found = content_digest(data)
        users, items = IdMap(["c", "b", "a"]), IdMap(np.array([9, 1, 8, 7]))
        others = Interactions.from_frame(LOG[::-1], rating="rating", time="time", users=users, items=items)
        assert content_digest(others) == content_digest(complete(data)) == found

    @pytest.mark.parametrize(("column", "value"), [("user_id", "c"), ("item_id", 5), ("rating", 3.0)])
    def test_every_pair_and_rating_matters(self, column, value):
        changed = LOG.copy()
        changed.loc[0, column] = value
        one, other = (Interactions.from_frame(log, rating="rating") for log in (LOG, changed))
        assert content_digest(one) != content_digest(other)
        assert content_digest(one) != content_digest(Interactions.from_frame(LOG[1:], rating="rating"))

    def test_users_and_items_are_told_apart(self):
        log = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 2]})
        swapped = log.rename(columns={"user_id": "item_id", "item_id": "user_id"})
        assert content_digest(Interactions.from_frame(log, rating=None)) != content_digest(
            Interactions.from_frame(swapped, rating=None)
        )

    def test_the_order_of_events_matters_on_request(self):
        options = {"rating": "rating", "time": "time", "duplicates": "sum"}
        later = events().assign(time=[30, 10, 20, 10, 40])
        one, other = (Interactions.from_frame(log, **options) for log in (events(), later))
        assert content_digest(one) == content_digest(other)
        swapped = events().assign(time=[20, 10, 30, 10, 10])
        assert content_digest(one, ordered=True) != content_digest(Interactions.from_frame(swapped, **options), ordered=True)


class TestProtocol:
    split = random(random_interactions(2), test=0.3, valid=0.1, seed=5)

    def test_the_same_data_and_settings_give_the_same_digest(self):
        again = replace(self.split, params={}, protocol="other")
        assert Protocol.of(self.split, relevant_at=4).digest == Protocol.of(again, relevant_at=4.0).digest

    @pytest.mark.parametrize(
        ("options", "difference"),
        [
            ({"relevant_at": 3}, ["relevant_at"]),
            ({"part": "valid"}, ["the test part", "what was known before"]),
            ({"candidates": Candidates.sample(split, "test", 3)}, ["the sampled candidates"]),
        ],
    )
    def test_what_differs_is_named(self, options, difference):
        first, second = Protocol.of(self.split), Protocol.of(self.split, **options)
        assert first.digest != second.digest
        assert first.differences(second) == difference
        assert first.differences(first) == []

    def test_policies_are_part_of_it(self):
        data = random_interactions(4)
        one, other = (Protocol.of(leave_last(data, repeats=repeats)) for repeats in ("excluded", "wanted"))
        assert one.differences(other) == ["repeats"]

    def test_moving_validation_data_to_training_changes_nothing(self):
        moved = replace(
            self.split, train=self.split.history("test"), valid=self.split.valid.filter(np.zeros(len(self.split.valid), bool))
        )
        assert Protocol.of(moved) == Protocol.of(self.split)


class TestPublished:
    @pytest.mark.data("ml-100k")
    def test_a_fixed_split_is_recognised_by_its_content(self):
        split = load_given_split(*read_card("ml-100k"), "u1")
        protocol = Protocol.of(split)
        assert published_for(protocol, "any", {}, ["rmse", "ndcg@10"]) == [ML_100K_U1]
        assert published_for(protocol, "any", {}, ["ndcg@10"]) == []
        assert published_for(Protocol.of(load_given_split(*read_card("ml-100k"), "u2")), "ml-100k", {}, ["rmse"]) == []

    def test_another_draw_is_recognised_by_dataset_and_settings(self):
        protocol = Protocol.of(random(planted(), test=0.1))
        settings = {"split.kind": "random", "split.test": 0.1, "split.valid": 0.05, "positive_at": None}
        assert published_for(protocol, "ml-1m", settings, ["rmse"]) == [ML_1M_RANDOM]
        assert published_for(protocol, "ml-100k", settings, ["rmse"]) == []
        assert published_for(protocol, "ml-1m", {**settings, "split.test": 0.2}, ["rmse"]) == []


def test_given_splits_are_equal_however_they_are_made():
    train, test = LOG[:2], LOG[2:]
    split = Split.from_frames(train, test)
    parts = Protocol.of(split)
    assert parts.history == content_digest(Interactions.from_frame(train, rating="rating"))
    assert parts.test == content_digest(Interactions.from_frame(test, rating="rating"))
