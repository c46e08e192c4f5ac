import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from recsys_ae import EASE, Bias, Interactions, ItemKNN, Popularity, evaluate, predict
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.next_events import NextEvents
from recsys_ae.split import Split
from recsys_ae.splitting import last_session, latest_sessions, time_cut

LOGS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 6), st.integers(0, 2)), min_size=4, max_size=30)
NAMES = ["user_id", "item_id", "time", "session"]


def split_at(frame: pd.DataFrame, moment: int, repeats: str, *, sessions: bool = True) -> Split:
    data = Interactions.from_frame(frame, rating=None, time="time", session="session" if sessions else None, duplicates="sum")
    return time_cut(data, at=moment, repeats=repeats, predict="next")


def by_hand(frame: pd.DataFrame, moment: int, repeats: str, *, sessions: bool) -> list[tuple[int, int, tuple[int, ...]]]:
    """User, item, and sorted earlier items of each target, event by event."""
    found = []
    ordered = frame.sort_values("time", kind="stable").to_dict("records")
    for number, event in enumerate(ordered):
        before = [one for one in ordered[:number] if one["user_id"] == event["user_id"]]
        follows = [one for one in before if not sessions or one["session"] == event["session"]]
        seen = any(one["item_id"] == event["item_id"] for one in before)
        if event["time"] >= moment and follows and not (seen and repeats == "excluded"):
            found.append((event["user_id"], event["item_id"], tuple(sorted(one["item_id"] for one in before))))
    return found


@settings(deadline=None)
@given(rows=LOGS, moment=st.integers(1, 5), repeats=st.sampled_from(["wanted", "excluded"]), sessions=st.booleans())
def test_targets_and_their_histories_are_those_found_by_hand(rows, moment, repeats, sessions):
    frame = pd.DataFrame(rows, columns=NAMES)
    expected = by_hand(frame, moment, repeats, sessions=sessions)
    try:
        split = split_at(frame, moment, repeats, sessions=sessions)
        targets = NextEvents.of(split, "test")
    except DataError:
        assert not expected or (frame["time"] >= moment).all()
        return
    found = []
    for block, before in targets.blocks(2):
        assert len(set(before.users.values)) == len(block) <= 2
        for row, target in enumerate(block):
            own = before.log.items[before.log.users == row]
            assert before.users.values[row] == split.train.users.values[targets.users[target]]
            earlier = tuple(sorted(split.train.items.values[own].tolist()))
            found.append((before.users.values[row], split.train.items.values[targets.items[target]], earlier))
    assert sorted(found) == sorted(expected)


def clicks() -> Split:
    """Users 1 and 2 have a session each in training; user 3, who is new, has one in the test part, as have users 1 and 2."""
    train = pd.DataFrame({"user_id": [1, 1, 1, 2, 2], "item_id": list("abcab"), "time": range(5), "session": [1, 1, 1, 2, 2]})
    test = pd.DataFrame(
        {
            "user_id": [1, 1, 2, 2, 3, 3, 3],
            "item_id": list("dacbada"),
            "time": [10, 11, 12, 13, 14, 15, 16],
            "session": [3, 3, 4, 4, 5, 5, 5],
        }
    )
    options = {"rating": None, "time": "time", "session": "session", "duplicates": "sum"}
    return Split.from_frames(train, test, repeats="wanted", predict="next", **options)


def test_metrics_are_means_over_the_targets():
    split = clicks()
    report = evaluate(Popularity().fit(split.train), split, ["recall@2", "mrr@4"])
    # a and b are the most popular; the targets are a (user 1), b (user 2), d and a (user 3)
    assert report.metrics == {"recall@2": 0.75, "mrr@4": pytest.approx((1 + 1 / 2 + 1 / 4 + 1) / 4)}
    assert sorted(report.users) == [1, 2, 3, 3]
    assert report.counts["relevant"] == report.counts["ratings"] == 4
    assert (report.counts["hot"], report.counts["warm"], report.counts["cold"]) == (2, 2, 0)
    assert report.counts["repeats"] == 3


def test_each_target_is_predicted_from_everything_before_it():
    """Compared with the model asked for one target after another."""
    split = clicks()
    model = ItemKNN(similarity="cosine").fit(split.train)
    report = evaluate(model, split, "mrr@4", batch_users=1)
    assert report.metrics == evaluate(model, split, "mrr@4").metrics
    ranks = []
    everything = split.everything.log
    for user, items in ((0, "abcd"), (1, "abc"), (2, "a"), (2, "ad")):
        log = everything[(everything.users == user) & (np.cumsum(everything.users == user) <= len(items))]
        history = Interactions.from_events(log, split.train.users, split.train.items, "sum")
        target = {"abcd": 0, "abc": 1, "a": 3, "ad": 0}[items]
        scores = model.scores(history, np.array([user]))[0]
        ranks.append(1 + (scores > scores[target]).sum() + (scores[:target] == scores[target]).sum())
    assert report.metrics["mrr@4"] == pytest.approx(np.mean(1 / np.array(ranks)))


def test_ratings_of_targets_are_predicted_from_what_precedes_them():
    frame = pd.DataFrame(
        {"user_id": [1, 1, 2, 2, 2], "item_id": list("abcab"), "rating": [1.0, 2, 3, 4, 5], "time": [1, 2, 1, 3, 4]}
    )
    split = time_cut(Interactions.from_frame(frame, time="time"), at=3, predict="next")
    model = Bias(user_reg=0, item_reg=0).fit(split.train)
    history = [split.train, split.everything.filter(split.everything.matrix.data != 5)]
    predicted = [predict(model, history[0], [2], ["a"])[0], predict(model, history[1], [2], ["b"])[0]]
    expected = np.sqrt(np.mean((np.array(predicted) - [4, 5]) ** 2))
    assert evaluate(model, split, "rmse").metrics["rmse"] == pytest.approx(expected)


def test_only_liked_targets_count_in_ranking_metrics():
    frame = pd.DataFrame({"user_id": 1, "item_id": list("abcd"), "rating": [1.0, 2, 5, 1], "time": range(4)})
    split = time_cut(Interactions.from_frame(frame, time="time"), at=1, predict="next")
    report = evaluate(Bias().fit(split.train), split, ["rmse", "recall@4"], relevant_at=4)
    assert (report.counts["relevant"], report.counts["ratings"]) == (1, 3)


def test_the_last_session_of_each_user_is_held_out():
    frame = pd.DataFrame(
        {
            "user_id": [1, 1, 1, 2, 2, 1, 3, 1],
            "item_id": list("abcdefgh"),
            "time": range(8),
            "session": [1, 1, 2, 1, 2, 3, 1, 2],
        }
    )
    data = Interactions.from_frame(frame, rating=None, time="time", session="session")
    split = last_session(data)
    assert split.test.to_frame()["item_id"].tolist() == ["c", "h", "e"]  # session 2 of user 1 ends after session 3
    split = last_session(data, valid=1)
    assert split.valid.to_frame()["item_id"].tolist() == ["f"]
    assert split.train.to_frame()["item_id"].tolist() == ["a", "b", "d", "e", "g"]
    assert split.predict == "next"
    assert split.repeats == "wanted"


def test_a_last_session_needs_sessions():
    frame = pd.DataFrame({"user_id": [1, 1], "item_id": list("ab"), "time": range(2)})
    data = Interactions.from_frame(frame, rating=None, time="time")
    with pytest.raises(ConfigError, match="needs sessions; declare a session column, or session_gap"):
        last_session(data)
    with pytest.raises(ConfigError, match="test >= 1"):
        last_session(data.with_sessions(1), test=0)


def test_a_part_without_targets_is_refused():
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": list("ab"), "time": range(2)})
    split = time_cut(Interactions.from_frame(frame, rating=None, time="time"), at=1, predict="next")
    with pytest.raises(DataError, match="no event that follows another in its session"):
        evaluate(EASE().fit(split.train), split, "recall@1")


def test_what_to_predict_is_part_of_the_protocol():
    frame = pd.DataFrame({"user_id": [1, 1], "item_id": list("ab"), "time": range(2)})
    data = Interactions.from_frame(frame, rating=None, time="time")
    splits = [time_cut(data, at=1, repeats="wanted", predict=predict) for predict in ("all", "next")]
    assert splits[0].digest != splits[1].digest
    with pytest.raises(ConfigError, match="predict"):
        time_cut(data, at=1, predict="last")


def test_sessions_by_gap_continue_across_the_parts_of_a_split():
    frame = pd.DataFrame({"user_id": 1, "item_id": list("abcd"), "time": [0, 60, 120, 300]})
    options = {"rating": None, "time": "time"}
    split = Split.from_frames(frame[:2], frame[2:], **options, predict="next").with_sessions(2)
    targets = NextEvents.of(split, "test")
    assert [split.train.items.values[item] for item in targets.items] == ["c"]  # d begins a session
    assert split.everything.digest == Interactions.from_frame(frame, **options).with_sessions(2).digest


def test_the_latest_sessions_are_held_out_whole():
    frame = pd.DataFrame(
        {"user_id": [1, 2, 1, 3, 2, 4], "item_id": list("abcdab"), "time": [0, 1, 9, 3, 4, 2], "session": [1, 2, 1, 3, 2, 4]}
    )
    data = Interactions.from_frame(frame, rating=None, time="time", session="session")
    train, valid = latest_sessions(data, 0.5)
    assert train.to_frame()["user_id"].tolist() == [1, 1, 2, 2]
    assert valid.to_frame()["user_id"].tolist() == [3, 4]
    whole, nothing = latest_sessions(data, 0.0)
    assert (whole.digest, len(nothing)) == (data.digest, 0)
    without = Interactions.from_frame(frame, rating=None, time="time", duplicates="sum")
    assert latest_sessions(without, 0.5)[1].to_frame()["user_id"].tolist() == [3, 4]
