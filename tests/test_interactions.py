import numpy as np
import pandas as pd
import pytest
from builders import events, from_dense, planted, random_interactions
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from recsys_ae import IdMap, Interactions, Split
from recsys_ae.errors import ConfigError, DataError, UnknownIdError

ids = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=1, unique=True), st.lists(st.text(min_size=1), min_size=1, unique=True)
)
logs = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("xyz"), st.integers(-3, 5)), min_size=1, unique_by=lambda row: row[:2]
)


class TestIdMap:
    @given(ids)
    def test_rows_and_values_are_inverse(self, external):
        ids = IdMap(external)
        assert ids.rows(external).tolist() == list(range(len(external)))
        assert ids.values.tolist() == external

    def test_unknown_id_is_named(self):
        with pytest.raises(UnknownIdError, match=r"unknown id 9 \(1 of 2"):
            IdMap([3, 5]).rows([5, 9])

    def test_find_says_minus_one(self):
        assert IdMap(["a", "b"]).find(["b", "c"]).tolist() == [1, -1]

    @pytest.mark.parametrize(("known", "asked"), [([1, 2], ["1"]), (["1", "2"], [1])])
    def test_id_of_another_type_is_refused(self, known, asked):
        with pytest.raises(DataError, match="ids here are of type"):
            IdMap(known).find(asked)

    @pytest.mark.parametrize("bad", [[1, "a"], [1.5, 2.0], [True, False], [None, "a"], [1, 1]])
    def test_ids_must_be_unique_and_of_one_type(self, bad):
        with pytest.raises(DataError):
            IdMap(bad)

    def test_digest_distinguishes_types_and_boundaries(self):
        assert len({IdMap([1]).digest, IdMap(["1"]).digest, IdMap(["ab", "c"]).digest, IdMap(["a", "bc"]).digest}) == 4


class TestFromFrame:
    def test_ids_are_sorted_and_zeros_are_ratings(self):
        data = Interactions.from_frame(events()[1:3], time="time")
        assert data.users.values.tolist() == ["a", "b"]
        assert data.items.values.tolist() == [7, 9]
        assert len(data) == 2
        assert data.matrix.data.tolist() == [0.0, 2.0]
        assert data.times.tolist() == [10, 20]

    @pytest.mark.parametrize(
        ("policy", "a7", "b7"), [("last", 3.0, 1.0), ("mean", 1.5, 2.5), ("max", 3.0, 4.0), ("sum", 3.0, 5.0)]
    )
    def test_duplicates_follow_the_declared_policy(self, policy, a7, b7):
        data = Interactions.from_frame(events(), time="time", duplicates=policy)
        assert data.to_frame()["rating"].tolist() == [a7, b7, 2.0]
        assert data.times.tolist() == [10, 30, 20]

    def test_last_without_times_is_the_last_row(self):
        assert Interactions.from_frame(events(), duplicates="last").matrix.data.tolist() == [3.0, 4.0, 2.0]

    def test_duplicates_are_an_error_by_default(self):
        with pytest.raises(DataError, match="user 'a' and item 7 occur together more than once \\(2 repeated"):
            Interactions.from_frame(events())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rating": [1, 2, np.nan, 1, 1]}, "row 2 of the table is nan"),
            ({"rating": [1, np.inf, 2, 1, 1]}, "row 1 of the table is inf"),
            ({"rating": list("abcde")}, "must be numbers"),
            ({"user_id": ["a", None, "b", "c", "d"]}, "no id in row 1"),
            ({"time": [0.5] * 5}, "must be integers or dates"),
        ],
    )
    def test_bad_values_name_their_place(self, change, message):
        with pytest.raises(DataError, match=message):
            Interactions.from_frame(events().assign(**change), time="time", duplicates="last")

    def test_missing_column_suggests_one(self):
        with pytest.raises(ConfigError, match="no column 'user'; did you mean 'user_id'"):
            Interactions.from_frame(events(), user="user")

    def test_no_rows(self):
        with pytest.raises(DataError, match="there is no data"):
            Interactions.from_frame(events().iloc[:0])

    def test_rating_outside_the_scale(self):
        with pytest.raises(DataError, match="rating 0 of user 'a' for item 7 must be between 1 and 5"):
            Interactions.from_frame(events()[1:3], scale=(1, 5))

    @given(logs, st.randoms())
    def test_order_of_rows_does_not_matter(self, rows, random):
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
        shuffled = frame.sample(frac=1, random_state=random.randrange(1000))
        assert Interactions.from_frame(frame).digest == Interactions.from_frame(shuffled).digest

    @given(logs)
    def test_frame_round_trip(self, rows):
        data = Interactions.from_frame(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]))
        assert sorted(data.to_frame().itertuples(index=False, name=None)) == sorted(rows)
        assert Interactions.from_frame(data.to_frame()).digest == data.digest


class TestInteractions:
    def test_shape_must_agree_with_the_ids(self):
        data = planted()
        with pytest.raises(DataError, match=r"matrix is \(12, 7\), the id maps say \(7, 12\)"):
            Interactions(data.matrix, data.items, data.users)

    def test_unsorted_matrix_is_refused_and_left_alone(self):
        matrix = csr_array((np.array([1, 2], np.float32), np.array([1, 0]), np.array([0, 2])), shape=(1, 2))
        with pytest.raises(DataError, match="must be in order"):
            Interactions(matrix, IdMap(["a"]), IdMap([5, 6]), np.array([10, 20]))
        assert matrix.indices.tolist() == [1, 0]

    def test_transpose_swaps_everything_and_keeps_zeros(self):
        data = random_interactions()
        turned = data.T
        assert turned.matrix.shape == (25, 40)
        assert turned.users is data.items
        assert len(turned) == len(data)
        np.testing.assert_array_equal(turned.matrix.toarray(), data.matrix.toarray().T)
        assert turned.T.digest == data.digest

    @settings(max_examples=30)
    @given(st.integers(0, 100))
    def test_where_parts_and_plus_joins(self, seed):
        data = random_interactions(seed)
        keep = np.random.default_rng(seed).random(len(data)) < 0.4
        kept, rest = data.filter(keep), data.filter(~keep)
        assert len(kept) == keep.sum()
        assert kept.matrix.shape == data.matrix.shape
        assert kept.union(rest).digest == data.digest

    def test_positives_are_what_was_rated_highly(self):
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
            data.T,
        ]
        assert len({data.digest, *(one.digest for one in changed)}) == 6
        assert len(data.digest) == 32


class TestSplit:
    def test_parts_must_be_disjoint(self):
        data = planted()
        with pytest.raises(DataError, match="in more than one part"):
            Split(data, data.filter(np.zeros(len(data), bool)), data)

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
