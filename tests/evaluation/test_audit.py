import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from recsys_ae import Split
from recsys_ae.errors import DataError
from recsys_ae.evaluation.metrics.exposure import gini_coefficient
from recsys_ae.evaluation.protocols import near_duplicates
from recsys_ae.evaluation.protocols.audit import Audit, Heaviest, audit
from recsys_ae.evaluation.protocols.audit_lines import audit_lines, percent
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.splitting import leave_last, per_user, time_cut

KNOWN = pd.DataFrame(  # user 3 and item g are in the test part only, item f in neither
    [
        ("u1", "a", 5, 10), ("u1", "b", 1, 20), ("u1", "c", 3, 40),
        ("u2", "a", 4, 10), ("u2", "b", 2, 30), ("u2", "c", 3, 30),
        ("u4", "a", 3, 5), ("u4", "d", 3, 6), ("u4", "e", 3, 7),
    ],
    columns=["user_id", "item_id", "rating", "time"],
)  # fmt: skip
TESTED = pd.DataFrame(
    [("u1", "d", 5, 30), ("u1", "e", 5, 50), ("u2", "d", 5, 30), ("u2", "g", 5, 60), ("u3", "a", 4, 25)],
    columns=KNOWN.columns,
)


@pytest.fixture
def planted() -> Split:
    return Split.from_frames(KNOWN, TESTED, time="time")


def test_every_finding_by_hand(planted):
    found = audit(planted, looks=7)
    assert (found.part, found.digest, found.looks) == ("test", Protocol.of(planted).test, 7)
    assert (found.users, found.pairs, found.events, found.median_pairs, found.single_users) == (3, 5, 5, 2.0, 1)
    assert (found.repeats, found.cold_users, found.cold_user_pairs) == (0, 1, 0.2)
    assert (found.cold_items, found.cold_item_pairs) == (1, 0.2)
    timing = found.timing
    assert timing.later == 3 / 9  # at 30, 30 and 40, after 25
    assert timing.users_with_later == 1  # u1 at 40, after its 30
    assert timing.tied == 1 / 5  # u2 at 30
    assert timing.tied_in_all == 3 / 14
    assert (found.ratings.train_mean, found.ratings.tested_mean) == (3.0, 4.8)
    assert found.ratings.in_deviations == pytest.approx(1.8 / np.std(KNOWN["rating"]))
    assert audit(Split.from_frames(KNOWN, TESTED, time="time", duplicates="sum")).ratings is None  # longer parts, larger sums
    popular = found.popularity  # by training pairs: a 3, b 2, c 2, d 1, e 1; tested: a 1, d 2, e 1, g 1
    assert (popular.head_items, popular.head) == (1, 0.2)
    assert (popular.top_hundredth, popular.top_tenth) == (0.2, 0.2)
    assert popular.gini == pytest.approx(gini_coefficient(np.array([0, 0, 1, 1, 1, 2])))
    assert (popular.hits_10, popular.hits_100) == (1.0, 1.0)
    assert (found.relevant_users, found.relevant_pairs) == (3, 5)


def test_popular_lists_are_measured_on_relevant_pairs():
    """12 popular items; u0 has the first in both parts, in the test part also the second (rated 2) and an unpopular one."""
    known = [(user, item, 5) for user in range(1, 5) for item in range(11)] + [(0, 0, 5), (0, 12, 5)]
    tested = [(0, 0, 5), (0, 1, 2), (0, 2, 5), (0, 3, 5), (0, 11, 5), (1, 11, 2)]
    parts = [pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]) for rows in (known, [*tested, (2, 12, 5)])]
    cases = [
        (None, "excluded", 3, 6, 2, 5 / 6),
        (4, "excluded", 2, 4, 1, 3 / 4),
        (4, "wanted", 2, 5, 1, 3 / 5),
        (6, "excluded", 0, 0, 0, 0),
    ]
    for relevant_at, repeats, users, pairs, single, hits in cases:
        found = audit(Split.from_frames(*parts, repeats=repeats, duplicates="last"), relevant_at=relevant_at)
        assert (found.relevant_users, found.relevant_pairs, found.single_users) == (users, pairs, single)
        assert found.popularity.hits_10 == hits
    assert not any("lists of" in line or "recall@K" in line for line in audit_lines(found))


def test_findings_are_plain_values(planted):
    found = audit(planted)
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["timing"]["later"] == 3 / 9


def test_without_times_and_with_equal_ratings():
    split = Split.from_frames(KNOWN, TESTED, rating=None)
    found = audit(split)
    assert (found.timing, found.ratings, found.looks) == (None, None, None)
    assert audit_lines(found)[0].startswith("There are no times, so it is unknown")


def test_the_history_of_the_validation_part_is_the_training_part(planted):
    split = Split.from_frames(KNOWN, TESTED.iloc[2:], TESTED.iloc[:2], time="time")
    valid, test = audit(split, "valid"), audit(split)
    assert (valid.part, valid.users, valid.pairs, valid.median_pairs) == ("valid", 1, 2, 2.0)
    assert valid.timing.later == 1 / 9
    assert test.timing.later == 5 / 11
    assert test.digest != valid.digest
    with pytest.raises(DataError, match="the valid part is empty, so there is nothing to audit"):
        audit(planted, "valid")


def test_repeats_are_counted_by_pair_and_take_no_place_in_lists():
    again = pd.concat([TESTED, KNOWN.iloc[[0, 0, 4]].assign(time=99)])
    for repeats, hits in (("excluded", 1.0), ("wanted", 1.0)):
        found = audit(Split.from_frames(KNOWN, again, time="time", duplicates="last", repeats=repeats))
        assert (found.repeats, found.pairs, found.events) == (2, 7, 8)
        assert found.repeats_wanted == (repeats == "wanted")
        assert found.popularity.hits_10 == hits
        sentence = next(line for line in audit_lines(found) if "in the history already" in line)
        assert sentence.startswith("28.6 % of the test pairs are in the history already, so ")
        assert ("is rewarded" in sentence) == found.repeats_wanted


def test_copies_of_users():
    """Users 0 to 3 have the same six items, of which a different one is tested; 4 has ten, 5 nine of these, 6 others."""
    rows = [(user, item, item == user) for user in range(4) for item in range(6)]
    rows += [(4, item, item == 20) for item in range(20, 30)] + [(5, item, False) for item in range(21, 30)]
    rows += [(6, item, False) for item in range(40, 50)] + [(7, item, False) for item in range(4)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "test"])
    found = audit(Split.from_frames(frame[~frame.test], frame[frame.test], rating=None))
    assert (found.compared_users, found.same_users, found.near_users) == (7, 4, 6)
    assert any("6 of 7 users share at least 90 %" in line and "(4 have exactly" in line for line in audit_lines(found))


def random_split(rng: np.random.Generator, policy: str, seconds: bool) -> Split | None:
    n = int(rng.integers(4, 120))
    scale = 10**6 if seconds else 1
    frame = pd.DataFrame(
        {
            "user_id": rng.integers(0, 7, n),
            "item_id": (30 * rng.random(n) ** 2).astype(int),
            "rating": rng.integers(1, 6, n).astype(float),
            "time": rng.integers(0, 40, n) * scale + 10**15,
        }
    )
    frame = frame if policy == "sum" else frame.drop_duplicates(["user_id", "item_id"])
    part = rng.integers(0, 4, len(frame))
    if not ((part == 0).any() and (part == 3).any()):
        return None
    parts = [frame[part < 2], frame[part == 3], frame[part == 2]]
    return Split.from_frames(*parts, time="time", time_unit="us", duplicates=policy)


def by_pandas(split: Split) -> dict[str, float]:
    known, tested = (
        pd.DataFrame({"user": log.users, "item": log.items, "time": log.times})
        for log in (split.history("test").log, split.test.log)
    )
    first = tested.groupby("user")["time"].min()
    later_own = known[known["time"] > known["user"].map(first).fillna(np.inf)]
    moments = set(zip(known["user"], known["time"], strict=True))
    everything = pd.concat([known, tested])
    popularity = split.train.to_frame()["item_id"].value_counts()
    counts = [popularity.get(item, 0) for item in split.train.items.values]
    ranked = sorted(range(len(counts)), key=lambda item: (-counts[item], item))
    pairs = tested[["user", "item"]].drop_duplicates()
    seen = {user: set(own["item"]) for user, own in known.groupby("user")}
    lists = {user: [item for item in ranked if item not in seen.get(user, set())] for user in set(pairs["user"])}
    fresh = [(user, item) for user, item in pairs.to_numpy() if item not in seen.get(user, set())]
    hits = [item in lists[user][:10] for user, item in fresh]
    return {
        "later": (known["time"] > tested["time"].min()).mean(),
        "users_with_later": later_own["user"].nunique(),
        "tied": np.mean([moment in moments for moment in zip(tested["user"], tested["time"], strict=True)]),
        "tied_in_all": everything.duplicated(["user", "time"], keep=False).mean(),
        "hits_10": np.mean(hits) if hits else 0,
        "repeats": sum(item in seen.get(user, set()) for user, item in pairs.to_numpy()),
        "cold_users": len(set(pairs["user"]) - set(known["user"])),
    }


@pytest.mark.parametrize("block", [3, near_duplicates.BLOCK])
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), policy=st.sampled_from(["error", "sum"]), seconds=st.booleans())
def test_agrees_with_pandas(block, seed, policy, seconds):
    split = random_split(np.random.default_rng(seed), policy, seconds)
    if split is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "BLOCK", block)
        found = audit(split)
    flat = {**asdict(found), **asdict(found.timing), **asdict(found.popularity)}
    expected = by_pandas(split)
    assert {name: flat[name] for name in expected} == pytest.approx(expected)


def test_times_of_any_resolution_and_range():
    """Microseconds over 500 years and many users do not fit into one number with the user."""
    users, times = np.arange(60_000).repeat(2), np.tile([-7 * 10**15, 8 * 10**15 + 1], 60_000)
    times[[1, -1]] = times[[0, -2]]
    frame = pd.DataFrame({"user_id": users, "item_id": np.tile([0, 1], 60_000), "time": times})
    found = audit(Split.from_frames(frame.iloc[::2], frame.iloc[1::2], rating=None, time="time", time_unit="us"))
    assert found.timing.tied == 2 / 60_000
    assert found.timing.tied_in_all == 4 / 120_000


class TestLines:
    """What is said about usual splits of one log with tied times."""

    @pytest.fixture
    def log(self):
        from builders import random_interactions

        return random_interactions(n_users=40, n_items=30)

    def test_a_random_split_learns_from_the_future(self, log):
        first = audit_lines(audit(per_user(log, test=0.2)))[0]
        assert "of 40 users have known events later than their own first one" in first
        assert "models learn from the future" in first

    def test_the_last_events_of_users_are_later_than_their_own(self, log):
        found = audit(leave_last(log))
        assert found.timing.users_with_later == 0
        assert "though no user has known events later than their own first one: models" in audit_lines(found)[0]
        assert any("have a single relevant test pair" in line for line in audit_lines(found))

    def test_a_cut_in_time_learns_nothing_from_the_future(self, log):
        found = audit(time_cut(log, test=0.2))
        assert (found.timing.later, found.timing.tied) == (0, 0)
        assert not any("future" in line or "order of the file" in line for line in audit_lines(found))

    def test_ties_at_the_cut(self):
        frame = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 2], "item_id": [1, 2, 3, 1, 2, 4], "time": [1, 2, 2, 5, 6, 7]})
        from recsys_ae import Interactions

        found = audit(leave_last(Interactions.from_frame(frame, rating=None, time="time")))
        (tied,) = [line for line in audit_lines(found) if "order of the file" in line]
        assert tied.startswith("50 % of the test events have the time of a known event of their user (33.3 % of")

    def test_little_is_not_worth_a_sentence(self, planted):
        quiet: Audit = replace(
            audit(planted),
            pairs=10_000, users=5_000, relevant_users=5_000, single_users=10,
            repeats=9, cold_user_pairs=0.0009, cold_item_pairs=0.0009,
            near_users=4, compared_users=5_000, timing=replace(audit(planted).timing, later=0.0, tied=0.009), ratings=None,
            popularity=replace(audit(planted).popularity, top_tenth=0.4, hits_100=0.1),
        )  # fmt: skip
        assert audit_lines(quiet) == []
        assert audit_lines(replace(quiet, looks=0)) == []
        assert audit_lines(replace(quiet, looks=1))[0].startswith("1 other model was tested on this part before")
        assert audit_lines(replace(quiet, looks=12))[0].startswith("12 other models were tested on this part before")

    def test_without_metrics_of_lists_nothing_is_said_about_them(self, planted):
        found = replace(audit(planted), single_users=3, repeats=1)
        lines, of_ratings = audit_lines(found), audit_lines(found, ranked=False)
        about_lists = [line for line in lines if "recall@K" in line or "lists of" in line or "irrelevant" in line]
        assert len(about_lists) == 3
        others = [line for line in lines if line not in about_lists]
        assert others == [line for line in of_ratings if "already seen" not in line]
        assert "20 % of the test pairs are in the history already, so models have already seen a rating of each." in of_ratings

    def test_sentences_end_and_have_no_long_numbers(self, planted):
        lines = audit_lines(audit(planted, looks=3))
        assert len(lines) == 6
        for line in lines:
            assert line.endswith(".")
            assert not any(len(word.strip("%.,")) > 6 for word in line.split() if word[0].isdigit())

    def test_popular_lists_hold_what_a_user_does_not_know_unless_repeats_are_wanted(self, planted):
        popular = replace(audit(planted), popularity=replace(audit(planted).popularity, hits_10=0.18, hits_100=0.41))
        found = "contain 18 % and 41 % of the relevant test pairs"
        for wanted, ones in ((False, "ones that a user does not know yet"), (True, "ones")):
            lines = audit_lines(replace(popular, repeats_wanted=wanted))
            assert any(f"and lists of the 10 and the 100 most popular {ones} {found}, so" in line for line in lines)

    def test_all_users_may_be_cold(self, planted):
        for cold, share in ((9, "part"), (10, "all")):
            lines = audit_lines(replace(audit(planted), users=10, cold_users=cold))
            assert any(f"have no history, so {share} of each number is about users without" in line for line in lines)


def test_shares_in_words():
    assert [percent(share) for share in (0, 0.5, 0.00123456, 1.0, 0.9996)] == ["0 %", "50 %", "0.123 %", "100 %", "99.9 %"]


def shop(bots: int, people: int, events: int, *, predict: str) -> Split:
    """Everyone has 2 events of the test part, bots have many; in the validation part, nobody has more than others."""
    each = [(user, item, user) for user in range(bots + people) for item in range(2)]
    many = [(user, item, user) for user in range(bots) for item in range(2, events)]
    known, tested = (pd.DataFrame(rows, columns=["user_id", "item_id", "time"]) for rows in (each, [*each, *many]))
    return Split.from_frames(
        known,
        tested.assign(time=tested["time"] + 10**6),
        known,
        rating=None,
        time="time",
        duplicates="last",
        repeats="wanted",
        predict=predict,
    )


@pytest.mark.parametrize("predict", ["all", "next"])
def test_few_users_with_much_of_a_part_are_told(predict):
    one, few = shop(1, 99, 66, predict=predict), shop(3, 297, 66, predict=predict)
    found = audit(one)
    assert found.heaviest == {"test": Heaviest(1, 100, 66 / 264), "valid": Heaviest(20, 100, 0.2)}
    unit = "events" if predict == "next" else "pairs"
    assert [line for line in audit_lines(found) if f"1 user has 25 % of the test {unit}, " in line]
    assert [line for line in audit_lines(audit(few)) if line.startswith(f"3 users have 25 % of the test {unit}, ")]
    for split, part in (
        (shop(1, 40, 66, predict=predict), "test"),
        (one, "valid"),
        (shop(5, 295, 30, predict=predict), "test"),
    ):
        assert not any("leave out bots" in line for line in audit_lines(audit(split, part)))


def test_the_audit_of_the_test_part_tells_of_heavy_users_of_the_validation_part():
    split = shop(1, 99, 66, predict="all")
    turned = Split(split.train, split.test, split.valid, split.protocol, split.params, repeats="wanted")
    assert any("1 user has 25 % of the validation pairs, " in line for line in audit_lines(audit(turned)))
