import numpy as np
import pandas as pd
import pytest
from builders import events, from_dense, planted, random_interactions
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from recsys_ae import IdMap, Interactions, Split, read_interactions
from recsys_ae.errors import ConfigError, DataError

logs = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("xyz"), st.integers(-3, 5)), min_size=1, unique_by=lambda row: row[:2]
)


class TestFromFrame:
    def test_ids_are_sorted_and_zeros_are_ratings(self):
        data = Interactions.from_frame(events()[1:3], time="time")
        assert data.users.values.tolist() == ["a", "b"]
        assert data.items.values.tolist() == [7, 9]
        assert len(data) == 2
        assert data.matrix.data.tolist() == [0.0, 2.0]
        assert data.times.tolist() == [10_000_000, 20_000_000]

    @pytest.mark.parametrize(
        ("policy", "a7", "b7"), [("last", 3.0, 1.0), ("mean", 1.5, 2.5), ("max", 3.0, 4.0), ("sum", 3.0, 5.0)]
    )
    def test_duplicates_follow_the_declared_policy(self, policy, a7, b7):
        data = Interactions.from_frame(events(), time="time", duplicates=policy)
        assert data.to_frame()["rating"].tolist() == [a7, b7, 2.0]
        assert data.times.tolist() == [10_000_000, 30_000_000, 20_000_000]
        assert (len(data), data.n_events) == (3, 5)

    def test_last_without_times_is_the_last_row(self):
        assert Interactions.from_frame(events(), duplicates="last").matrix.data.tolist() == [3.0, 4.0, 2.0]

    def test_duplicates_are_an_error_by_default(self):
        with pytest.raises(DataError, match="user 'a' and item 7 occur together more than once \\(2 repeated"):
            Interactions.from_frame(events())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rating": [1, 2, np.nan, 1, 1]}, "rating nan in row 2 of the table"),
            ({"rating": [1, np.inf, 2, 1, 1]}, "rating inf in row 1 of the table"),
            ({"rating": [1.0, 2.0, 3.0, 1e39, 1.0]}, r"rating 1e\+39 in row 3 of the table must be .* at most 1e\+09"),
            ({"rating": [1, 2, 3, 4, -2_000_000_000]}, "rating -2000000000 in row 4 of the table must be a finite"),
            ({"rating": list("abcde")}, "must be numbers"),
            ({"user_id": ["a", None, "b", "c", "d"]}, "no id in row 1"),
            ({"time": [1, 2, None, 3, 4]}, "has no time in row 2"),
            ({"time": [True] * 5}, "must be numbers, dates or ISO 8601 text"),
            (
                {"time": ["2026-01-01", "soon"] * 2 + ["2026"]},
                "time 'soon' in row 1 of column 'time' of the table is not a number, a date",
            ),
            ({"time": [1_700_000_000_000] * 5}, r"not a Unix time in s \(beyond the year 2262\); declare time_unit: ms"),
        ],
    )
    def test_bad_values_name_their_place(self, change, message):
        with pytest.raises(DataError, match=message):
            Interactions.from_frame(events().assign(**change), time="time", duplicates="last")

    def test_sums_may_not_be_too_large_either(self):
        with pytest.raises(
            DataError, match=r"rating 1.6e\+09 of user 'b' for item 7 must be a finite number of at most 1e\+09"
        ):
            Interactions.from_frame(events().assign(rating=[8e8, 1, 1, 8e8, 1]), duplicates="sum")

    def test_missing_column_suggests_one(self):
        with pytest.raises(ConfigError, match="no column 'user'; did you mean 'user_id'"):
            Interactions.from_frame(events(), user="user")

    def test_no_rows(self):
        with pytest.raises(DataError, match="there is no data"):
            Interactions.from_frame(events().iloc[:0])

    def test_rating_outside_the_scale(self):
        with pytest.raises(DataError, match="rating 0 of user 'a' for item 7 must be between 1 and 5"):
            Interactions.from_frame(events()[1:3], scale=(1, 5))

    @settings(deadline=None)
    @given(logs, st.randoms())
    def test_rows_of_distinct_times_may_come_in_any_order(self, rows, random):
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]).assign(time=np.arange(len(rows)))
        shuffled = frame.sample(frac=1, random_state=random.randrange(1000))
        assert Interactions.from_frame(frame, time="time").digest == Interactions.from_frame(shuffled, time="time").digest

    @settings(deadline=None)
    @given(logs)
    def test_frame_round_trip(self, rows):
        data = Interactions.from_frame(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]))
        assert sorted(data.to_frame().itertuples(index=False, name=None)) == sorted(rows)
        again = Interactions.from_frame(data.to_frame())
        assert (again.matrix != data.matrix).nnz == 0
        assert Interactions.from_frame(again.to_frame()).digest == again.digest


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("xyz"), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=30
)
POLICIES = {"last": "last", "mean": "mean", "max": "max", "sum": "sum"}


def log_frame(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "time"])


def in_order(data: Interactions) -> list[tuple]:
    """The log with external ids and times in seconds."""
    log = data.log
    users, items = data.users.values[log.users], data.items.values[log.items]
    return list(zip(users.tolist(), items.tolist(), log.ratings.tolist(), (log.times // 10**6).tolist(), strict=True))


class TestLog:
    @settings(deadline=None)
    @given(EVENTS, st.sampled_from(list(POLICIES)))
    def test_log_is_the_frame_by_time_and_the_matrix_is_what_pandas_merges(self, rows, policy):
        frame = log_frame(rows).sort_values("time", kind="stable")
        data = Interactions.from_frame(log_frame(rows), time="time", duplicates=policy)
        assert in_order(data) == list(frame.itertuples(index=False, name=None))
        merged = frame.groupby(["user_id", "item_id"]).agg({"rating": POLICIES[policy], "time": "last"}).reset_index()
        found = data.to_frame().assign(time=data.times // 10**6)
        pd.testing.assert_frame_equal(found, merged, check_dtype=False, rtol=1e-6)
        assert data.n_events - len(data) == frame.duplicated(["user_id", "item_id"]).sum()

    @settings(deadline=None)
    @given(EVENTS, st.sampled_from(list(POLICIES)), st.randoms())
    def test_order_survives_filters_and_unions(self, rows, policy, random):
        data = Interactions.from_frame(log_frame(rows), time="time", duplicates=policy)
        part = np.array([random.randrange(3) for _ in range(data.n_events)])
        parts = [data.with_events(data.log[part == number]) for number in range(3)]
        assert [part.n_events for part in parts] == np.bincount(part, minlength=3).tolist()
        whole = parts[2].union(parts[0]).union(parts[1])
        assert in_order(whole) == in_order(data)
        assert whole.digest == data.digest
        pairs = np.array([random.random() < 0.5 for _ in range(len(data))])
        assert data.filter(pairs).union(data.filter(~pairs)).digest == data.digest

    def test_without_times_the_order_of_the_frame_is_the_order(self):
        frame = log_frame([(1, "x", 1, 0), (0, "z", 2, 0), (0, "x", 3, 0)])
        assert Interactions.from_frame(frame).log.ratings.tolist() == [1, 2, 3]

    def test_times_survive_the_round_trip_through_a_frame(self):
        data = Interactions.from_frame(log_frame([(1, "x", 1, 9.25), (0, "z", 2, 3.5)]), time="time")
        assert Interactions.from_frame(data.to_frame(), time="time").digest == data.digest

    def test_a_log_of_distinct_pairs_costs_nothing(self):
        data = Interactions.from_frame(log_frame([(1, "x", 1, 9), (0, "z", 2, 3), (0, "x", 3, 2)]), time="time")
        assert (data.events, data.order) == (None, None)
        assert data.log.ratings.tolist() == [3, 2, 1]

    def test_digest_sees_the_order_of_equal_times_and_no_other(self):
        rows = [(1, "x", 1, 9), (0, "z", 2, 9), (0, "x", 3, 2), (1, "z", 3, 4)]
        found = [
            Interactions.from_frame(log_frame([rows[place] for place in places]), time="time").digest
            for places in ([0, 1, 2, 3], [3, 2, 0, 1], [1, 0, 2, 3])
        ]
        assert found[0] == found[1] != found[2]

    def test_sessions_keep_the_log(self):
        frame = log_frame([(1, "x", 1, 9), (0, "z", 2, 3), (0, "x", 3, 2)]).assign(visit=["b", "a", "a"])
        data = Interactions.from_frame(frame, time="time", session="visit")
        assert data.log.sessions.tolist() == [0, 0, 1]

    @pytest.mark.parametrize("policy", ["last", "sum"])
    def test_binarise_never_looks_ahead(self, policy):
        """With `sum`, a pair counts from the event at which its running sum reaches the threshold."""
        rows = [("a", "x", 3, 1), ("a", "x", 1, 2), ("b", "x", 2, 1), ("b", "x", 2, 3), ("c", "x", 1, 1)]
        data = Interactions.from_frame(log_frame(rows), time="time", duplicates=policy)
        liked = data.binarise({"last": 2, "sum": 4}[policy])
        last = {"last": {("a", 1), ("b", 1), ("b", 3)}, "sum": {("a", 2), ("b", 3)}}[policy]
        assert {(user, time) for user, _, _, time in in_order(liked)} == last
        assert (liked.matrix.data == 1).all()
        assert liked.union(liked).matrix.data.tolist() == [1.0, 1.0]


class TestInteractions:
    def test_shape_must_agree_with_the_ids(self):
        data = planted()
        with pytest.raises(DataError, match=r"matrix has shape \(12, 7\), but the id maps have \(7, 12\)"):
            Interactions(data.matrix, data.items, data.users)

    def test_unsorted_matrix_is_refused_and_left_alone(self):
        matrix = csr_array((np.array([1, 2], np.float32), np.array([1, 0]), np.array([0, 2])), shape=(1, 2))
        with pytest.raises(DataError, match="unsorted column indices"):
            Interactions(matrix, IdMap(["a"]), IdMap([5, 6]), np.array([10, 20]))
        assert matrix.indices.tolist() == [1, 0]

    @settings(max_examples=30)
    @given(st.integers(0, 100))
    def test_filter_splits_and_union_joins(self, seed):
        data = random_interactions(seed)
        keep = np.random.default_rng(seed).random(len(data)) < 0.4
        kept, rest = data.filter(keep), data.filter(~keep)
        assert len(kept) == keep.sum()
        assert kept.matrix.shape == data.matrix.shape
        assert kept.union(rest).digest == data.digest

    def test_binarise_keeps_high_ratings(self):
        data = random_interactions()
        liked = data.binarise(4)
        assert set(zip(liked.user_rows(), liked.item_rows(), strict=True)) == {
            (u, i) for u, i, r in zip(data.user_rows(), data.item_rows(), data.matrix.data, strict=True) if r >= 4
        }
        assert (liked.matrix.data == 1).all()
        assert (liked.scale, liked.users, len(liked.times)) == (None, data.users, len(liked))

    def test_digest_sees_every_part(self):
        data = random_interactions()
        other_rating = data.matrix.copy()
        other_rating.data[3] += 1
        changed = [
            Interactions(other_rating, data.users, data.items, data.times),
            Interactions(data.matrix, data.users, data.items, data.times + 1),
            Interactions(data.matrix, data.users, data.items),
            Interactions(data.matrix, data.users, IdMap(np.arange(25)), data.times),
        ]
        assert len({data.digest, *(one.digest for one in changed)}) == 5
        assert len(data.digest) == 32


class TestSplit:
    def test_parts_must_be_disjoint_without_a_policy(self):
        data = planted()
        with pytest.raises(DataError, match="in more than one part of the split; if that is intended, declare duplicates"):
            Split(data, data.filter(np.zeros(len(data), bool)), data)

    def test_repeats_of_a_given_split_are_merged_in_its_history(self):
        train = log_frame([(1, "a", 1, 5), (1, "b", 2, 6), (1, "a", 5, 7)])
        valid, test = log_frame([(1, "b", 4, 8)]), log_frame([(1, "a", 3, 9), (1, "c", 1, 9)])
        split = Split.from_frames(train, test, valid, time="time", duplicates="mean")
        assert split.history("valid").matrix.toarray().tolist() == [[3, 2, 0]]
        assert split.history("test").matrix.toarray().tolist() == [[3, 3, 0]]
        assert split.everything.matrix.toarray().tolist() == [[3, 3, 1]]
        assert split.everything.n_events == 6
        assert split.test.shared_with(split.history("test")).tolist() == [True, False]
        with pytest.raises(DataError, match="user 1 and item 'a' occur together more than once"):
            Split.from_frames(train, test, time="time")
        with pytest.raises(DataError, match="1 pairs of user and item are in more than one part"):
            Split.from_frames(train[1:], test, time="time")

    def test_everything_is_all_parts_together(self):
        data = random_interactions()
        part = np.arange(len(data)) % 4
        train, valid, test, fold_in = (data.filter(part == number) for number in range(4))
        assert Split(train, valid, test, fold_in=fold_in).everything.digest == data.digest

    def test_digest_sees_the_policies(self):
        frames = log_frame([(1, "a", 1, 5), (1, "b", 2, 6)]), log_frame([(1, "c", 1, 9)])
        options = [{}, {"duplicates": "last"}, {"duplicates": "sum"}, {"repeats": "wanted"}]
        assert len({Split.from_frames(*frames, time="time", **option).digest for option in options}) == 4

    def test_from_frames_gives_test_only_items_a_row(self):
        train = pd.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"], "rating": [1, 2]})
        test = pd.DataFrame({"user_id": [1], "item_id": ["c"], "rating": [3]})
        split = Split.from_frames(train, test)
        assert split.train.matrix.shape == (2, 3)
        assert len(split.valid) == 0
        assert split.test.to_frame()["item_id"].tolist() == ["c"]

    def test_history_grows_with_the_part(self):
        data = random_interactions()
        part = np.arange(len(data)) % 3
        split = Split(*(data.filter(part == number) for number in range(3)))
        assert split.history("valid") is split.train
        assert split.history("test").digest == data.filter(part != 2).digest


def test_one_user_and_one_item_are_data():
    assert len(from_dense(np.array([[3.0]]))) == 1


@pytest.mark.parametrize("read", ["frame", "split", "file"])
def test_negative_ratings_without_a_scale_are_warned_of(tmp_path, caplog, read):
    """Goods that were returned count as positive events in rankings."""
    frame = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [5, 6, 5], "rating": [2.0, -3.0, 0.0]})
    frame.to_csv(path := tmp_path / "log.csv", index=False)

    def messages(**options):
        caplog.clear()
        if read == "split":
            Split.from_frames(frame[:2], frame[2:], **options)
        else:
            read_interactions(path, **options) if read == "file" else Interactions.from_frame(frame, **options)
        return caplog.messages

    (message,) = messages()
    assert message.startswith("1 negative rating among 3: rankings take every event as positive, unless ")
    assert not messages(scale=(-5, 5))
    frame.loc[1, "rating"] = 3.0
    frame.to_csv(path, index=False)
    assert not messages()
