import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ae.data.cards import RatingsCard, read_card
from recsys_ae.data.ratings import load_given_split, load_ratings, read_history, read_interactions
from recsys_ae.errors import ConfigError, DataError, UnknownIdError
from recsys_ae.ids import IdMap
from recsys_ae.splitting import leave_last

CARD = """
name: mine
kind: ratings
files:
  - {path: all.csv, columns: {user: u, item: i, rating: r}}
splits:
  flagged: {flags: flags.parquet, column: test}
  files: {train: a.csv, test: b.csv}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "mine.yaml").write_text(CARD)
    (tmp_path / "all.csv").write_text("u,i,r\n3,x,1\n1,y,2\n1,x,3\n2,z,4\n")
    (tmp_path / "a.csv").write_text("u,i,r\n3,x,1\n1,y,2\n")
    (tmp_path / "b.csv").write_text("u,i,r\n1,x,3\n2,z,4\n")
    pd.DataFrame({"test": [False, False, True, True]}).to_parquet(tmp_path / "flags.parquet")
    return read_card(str(tmp_path / "mine.yaml"))


def test_own_card(own):
    data = load_ratings(*own).interactions
    assert data.users.values.tolist() == [1, 2, 3]
    assert data.items.values.tolist() == ["x", "y", "z"]


def test_given_splits_as_files_and_as_flags_are_the_same(own):
    files, flags = load_given_split(*own, "files"), load_given_split(*own, "flagged")
    assert files.digest == flags.digest
    assert files.test.to_frame()["rating"].tolist() == [3.0, 4.0]


def test_a_shuffle_is_the_published_one(own, tmp_path):
    """Against NumPy's global generator, as scripts of publications use it; the rows are in the order of the file."""
    rows = [(user, item, 1 + (user + item) % 5) for user in (7, 3, 9, 1) for item in range(6)]
    (tmp_path / "all.csv").write_text("u,i,r\n" + "".join(f"{u},x{i},{r}\n" for u, i, r in rows))
    (tmp_path / "mine.yaml").write_text(CARD + "  shuffled: {shuffle: {seed: 1234, test: 0.3}}\n")
    np.random.seed(1234)  # noqa: NPY002 - the point of the test
    order = np.arange(24)
    np.random.shuffle(order)  # noqa: NPY002
    split = load_given_split(*read_card(str(tmp_path / "mine.yaml")), "shuffled")
    found = split.test.to_frame()[["user_id", "item_id", "rating"]]
    assert sorted(found.itertuples(index=False, name=None)) == sorted(
        (rows[i][0], f"x{rows[i][1]}", rows[i][2]) for i in order[:7]
    )
    assert len(split.train) == 17


def test_flags_must_fit(own, tmp_path):
    pd.DataFrame({"test": [False, True]}).to_parquet(tmp_path / "flags.parquet")
    with pytest.raises(DataError, match="has 2 rows, but the ratings have 4"):
        load_given_split(*own, "flagged")


@pytest.mark.parametrize("good", [[False, False, True, True], [0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]])
def test_flags_are_booleans_or_0_and_1(own, tmp_path, good):
    pd.DataFrame({"test": good}).to_parquet(tmp_path / "flags.parquet")
    assert load_given_split(*own, "flagged").test.to_frame()["rating"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("bad", "row", "value"),
    [
        ([True, None, True, True], 2, "None"),
        ([0, 1, 2, 1], 3, "2"),
        ([0, 1, -1, 1], 3, "-1"),
        (pa.array([0.0, 1.0, float("nan"), 1.0]), 3, "nan"),
        ([0.0, 1.0, 0.5, 1.0], 3, "0.5"),
        (["false", "false", "true", "true"], 1, "'false'"),
        (["0", "0", "1", "1"], 1, "'0'"),
    ],
)
def test_other_flags_are_errors(own, tmp_path, bad, row, value):
    pq.write_table(pa.table({"test": bad}), tmp_path / "flags.parquet")
    with pytest.raises(DataError, match=rf"flags.parquet, row {row}: test {value} is not a flag"):
        load_given_split(*own, "flagged")


def test_flags_of_another_type(own, tmp_path):
    pq.write_table(pa.table({"test": [[1]] * 4}), tmp_path / "flags.parquet")
    with pytest.raises(DataError, match="column 'test' holds list"):
        load_given_split(*own, "flagged")


class TestCore:
    """Users 1 to 3 form a 2-core with items x and y; 4 hangs on z, and 5 on 4's item w, which falls when 4 does."""

    PAIRS = "u,i,r\n1,x,1\n1,y,1\n2,x,1\n2,y,1\n3,x,1\n3,y,1\n3,x,5\n4,w,1\n4,z,1\n5,w,1\n"

    def card(self, folder, core: str):
        text = CARD[: CARD.index("splits:")] + f"duplicates: last\nk_core: {core}\n"
        (folder / "mine.yaml").write_text(text)
        (folder / "all.csv").write_text(self.PAIRS)
        return read_card(str(folder / "mine.yaml"))

    @pytest.mark.parametrize(
        ("core", "users", "items"),
        [
            ("2", [1, 2, 3], ["x", "y"]),
            ("{users: 2}", [1, 2, 3, 4], ["w", "x", "y", "z"]),
            ("{items: 3}", [1, 2, 3], ["x", "y"]),
            ("1", [1, 2, 3, 4, 5], ["w", "x", "y", "z"]),
        ],
    )
    def test_what_is_left(self, tmp_path, core, users, items):
        data = load_ratings(*self.card(tmp_path, core)).interactions
        assert data.users.values.tolist() == users
        assert data.items.values.tolist() == items
        frame = data.to_frame().set_index(["user_id", "item_id"])["rating"]
        assert frame[3, "x"] == 5
        assert data.n_events == len(data) + 1

    def test_pairs_count_once_however_often_they_occur(self, tmp_path):
        """User 3 has three events but two items."""
        with pytest.raises(DataError, match="k_core leaves no data: no users have 3 items that have 1 users each"):
            load_ratings(*self.card(tmp_path, "{users: 3}"))

    @pytest.mark.parametrize("core", ["0", "-1", "true", "2.5", "'2'", "{users: 0}", "{user: 2}", "[2]"])
    def test_nonsense(self, tmp_path, core):
        with pytest.raises(ConfigError, match="k_core"):
            self.card(tmp_path, core)

    def test_not_for_published_splits(self, tmp_path):
        (tmp_path / "mine.yaml").write_text(CARD + "k_core: 2\n")
        with pytest.raises(ConfigError, match="`k_core` would change the parts"):
            read_card(str(tmp_path / "mine.yaml"))


def test_rows_that_flags_mark_may_not_be_skipped(tmp_path):
    (tmp_path / "mine.yaml").write_text(CARD.replace("rating: r}", "rating: r}, bad_lines: skip"))
    with pytest.raises(ConfigError, match="`bad_lines: skip` would shift the rows"):
        read_card(str(tmp_path / "mine.yaml"))


def test_given_split_with_merged_duplicates(own, tmp_path):
    (tmp_path / "mine.yaml").write_text(CARD + "duplicates: last\n")
    (tmp_path / "a.csv").write_text("u,i,r\n3,x,1\n3,x,2\n1,y,2\n")
    split = load_given_split(*read_card(str(tmp_path / "mine.yaml")), "files")
    assert split.train.to_frame()["rating"].tolist() == [2.0, 2.0]


def test_repeats_across_the_parts_of_a_given_split(own, tmp_path):
    (tmp_path / "b.csv").write_text("u,i,r\n1,x,3\n1,y,5\n")
    with pytest.raises(DataError, match=r"dataset 'mine': 1 pairs .* more than one part .* declare duplicates"):
        load_given_split(*own, "files")
    (tmp_path / "mine.yaml").write_text(CARD + "duplicates: last\n")
    split = load_given_split(*read_card(str(tmp_path / "mine.yaml")), "files", repeats="wanted")
    assert split.everything.to_frame()["rating"].tolist() == [3.0, 5.0, 1.0]
    assert (split.params, split.repeats) == ({"name": "files"}, "wanted")


def test_unknown_split(own):
    with pytest.raises(ConfigError, match="has no split 'file'; did you mean 'files'"):
        load_given_split(*own, "file")


def test_history_for_a_model(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,rating\na,1,5\na,1,3\nb,2,4\nb,9,4\n")
    with pytest.raises(UnknownIdError, match=r"does not know item 9 \(1 such row\)"):
        read_history(path, IdMap([1, 2]))
    data, skipped = read_history(path, IdMap([1, 2]), skip_unknown=True)
    assert skipped == 1
    assert data.to_frame()["rating"].tolist() == [3.0, 4.0]


def test_users_of_unknown_items_stay_in_the_history(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id\nb,1\na,9\nb,9\n")
    data, skipped = read_history(path, IdMap([1, 2]), skip_unknown=True)
    assert skipped == 2
    assert data.users.values.tolist() == ["a", "b"]
    assert data.matrix.toarray().tolist() == [[0, 0], [1, 0]]


def test_interactions_from_a_file_without_a_card(tmp_path):
    (tmp_path / "log.tsv").write_text("user\titem\trating\n7\tx\t0\n7\ty\t2\n")
    data = read_interactions(tmp_path / "log.tsv")
    assert data.to_frame().to_dict("list") == {"user_id": [7, 7], "item_id": ["x", "y"], "rating": [0.0, 2.0]}


def test_ids_of_a_history_are_those_of_the_model(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item\n7,1\n007,2\n")
    with pytest.raises(DataError, match="line 3: user '007' is not an integer"):
        read_history(path, IdMap([1, 2]), user_ids="int")
    assert read_history(path, IdMap([1, 2]))[0].users.values.tolist() == ["007", "7"]
    with pytest.raises(UnknownIdError, match="does not know item '1'"):
        read_history(path, IdMap(["01", "2"]))


@pytest.mark.data("ml-100k")
def test_movielens_100k_as_published():
    card, folder = read_card("ml-100k")
    whole = load_ratings(card, folder).interactions
    assert whole.matrix.shape == (943, 1682)
    assert len(whole) == 100_000
    assert whole.times is not None
    for name, n_test in {
        "u1": 20_000,
        "u2": 20_000,
        "u3": 20_000,
        "u4": 20_000,
        "u5": 20_000,
        "ua": 9_430,
        "ub": 9_430,
    }.items():
        split = load_given_split(card, folder, name)
        assert len(split.test) == n_test
        pd.testing.assert_frame_equal(split.everything.to_frame(), whole.to_frame())


@pytest.mark.data("ml-100k")
def test_last_ratings_of_movielens_are_the_last_in_the_file():
    """415 of 943 users have several ratings in their last second."""
    card, folder = read_card("ml-100k")
    path = Path(os.environ["RECSYS_AE_DATA"]) / "ml-100k/u.data"
    rows = pd.read_csv(path, sep="\t", names=["user_id", "item_id", "rating", "time"])
    last = rows.sort_values("time", kind="stable").groupby("user_id").tail(1).sort_values("user_id")
    split = leave_last(load_ratings(card, folder).interactions)
    assert split.test.to_frame()["item_id"].tolist() == last["item_id"].tolist()
    latest = rows["time"] == rows.groupby("user_id")["time"].transform("max")
    assert (latest.groupby(rows["user_id"]).sum() > 1).sum() == 415


@pytest.mark.data("yoochoose")
def test_clicks_of_sessions_with_repeats_and_fractions_of_seconds():
    path = Path(os.environ["RECSYS_AE_DATA"]) / "yoochoose/train.txt"
    card = {
        "name": "clicks",
        "kind": "ratings",
        "files": [{"path": "train.txt", "separator": "\t", "columns": {"user": "SessionId", "item": "ItemId", "time": "Time"}}],
        "duplicates": "sum",
    }
    data = load_ratings(RatingsCard.model_validate({**card, "folder": str(path.parent)}), Path()).interactions
    rows = pd.read_csv(path, sep="\t")
    assert data.n_events == len(rows) == 53_254
    assert data.n_events - len(data) == rows.duplicated(["SessionId", "ItemId"]).sum() > 0
    assert data.users.values[data.log.users].tolist() == rows.sort_values("Time", kind="stable")["SessionId"].tolist()
    assert len(np.unique(data.log.times)) == rows["Time"].nunique()


@pytest.mark.data("ml-1m")
def test_movielens_1m_and_its_fixed_splits():
    card, folder = read_card("ml-1m")
    split = load_given_split(card, folder, "random-90-10")
    assert split.train.matrix.shape == (6040, 3706)
    assert len(split.test) == 100_020
    assert np.bincount(split.train.union(split.test).matrix.data.astype(int))[1:].tolist() == [
        56174,
        107557,
        261197,
        348971,
        226310,
    ]


SESSIONS = """
name: mine
kind: ratings
files:
  - {path: log.csv, columns: {user: u, item: i, time: t%s}}
duplicates: sum%s
splits:
  parts: {train: log.csv, test: later.csv}
"""


@pytest.mark.parametrize(("column", "gap"), [(", session: s", ""), ("", "\nsession_gap: 30")])
def test_sessions_are_given_by_a_column_or_a_gap(tmp_path, monkeypatch, column, gap):
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "mine.yaml").write_text(SESSIONS % (column, gap))
    (tmp_path / "log.csv").write_text("u,i,t,s\n1,a,0,x\n1,b,1799,x\n2,a,0,y\n1,a,3599,z\n")
    (tmp_path / "later.csv").write_text("u,i,t,s\n1,c,3600,z\n1,a,9000,w\n2,b,9000,v\n")
    card = read_card(str(tmp_path / "mine.yaml"))
    sequences = load_ratings(*card).interactions.sequences
    assert (sequences.session_starts.tolist(), sequences.user_starts.tolist()) == ([0, 2, 3, 4], [0, 2, 3])
    split = load_given_split(*card, "parts", predict="next", repeats="wanted")
    assert split.everything.sequences.session_starts.tolist() == [0, 2, 4, 5, 6, 7]


def test_a_card_has_one_rule_for_sessions(tmp_path):
    (tmp_path / "mine.yaml").write_text(SESSIONS % (", session: s", "\nsession_gap: 30"))
    with pytest.raises(ConfigError, match="either from a `session` column or from `session_gap`; remove one"):
        read_card(str(tmp_path / "mine.yaml"))


def test_a_log_of_anonymous_sessions_has_a_user_per_session(tmp_path):
    (tmp_path / "clicks.tsv").write_text(
        "SessionId\tItemId\tTime\n3\t9\t1396437466.94\n3\t8\t1396438212.318\n4\t9\t1396438300.5\n"
    )
    data = read_interactions(tmp_path / "clicks.tsv")
    assert data.users.values.tolist() == [3, 4]
    assert data.sequences.n_sessions == 2
    (tmp_path / "log.tsv").write_text("user_id\tsession_id\titem_id\ttime\n1\t3\t9\t5\n1\t4\t8\t6\n2\t4\t9\t7\n")
    data = read_interactions(tmp_path / "log.tsv")
    assert data.users.values.tolist() == [1, 2]
    assert data.sequences.n_sessions == 3


def test_users_whose_history_has_another_spelling_are_noticed(tmp_path, caplog):
    path = tmp_path / "history.csv"
    path.write_text("user_id,item_id\n000245,1\n000246,1\n")
    read_history(path, IdMap([1]), user_ids="str", users=pd.Series(["000245", "9"]))
    assert not caplog.records
    history, _ = read_history(path, IdMap([1]), user_ids="str", users=pd.Series(["245", "9"]))
    assert sorted(history.users.values) == ["000245", "000246", "245", "9"]
    assert "no history for 2 requested users; 1 of them differs from a known id only in leading zeros" in caplog.text


def test_items_in_another_spelling_than_in_training_are_noticed(tmp_path, caplog):
    path = tmp_path / "history.csv"
    path.write_text("user_id,item_id\n7,1\n7,a\n")
    with pytest.raises(
        UnknownIdError, match=r"does not know item '1' \(1 such row\); 1 of them differs .* '1' from '01'; --skip"
    ):
        read_history(path, IdMap(["01", "a"]))
    read_history(path, IdMap(["01", "a"]), skip_unknown=True)
    assert "left out 1 row with items that the model does not know; 1 of them differs from a known id" in caplog.text
