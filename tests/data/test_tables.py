import io
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from recsys_ae.data import tables
from recsys_ae.data.cards import Columns, Table
from recsys_ae.data.locations import declared_folder
from recsys_ae.data.tables import guess_table, read_table
from recsys_ae.errors import DataError

SAMPLES = declared_folder("datasets") / "samples"
CSV = Table(path="x.csv", columns=Columns(user="u", item="i", rating="r", time="t"))


def write(folder: Path, text: str, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "first", "rows"),
    [
        ("ratings.csv", (1, 31, 2.5, 1260759144), 4),
        ("events.tsv", ("anna", "book-7", 1767340800), 3),
        ("ratings.dat", (1, 1193, 5.0, 978300760), 3),
        ("u.data", (196, 242, 3.0, 881250949), 3),
    ],
)
def test_samples_of_all_formats_are_recognised(name, first, rows):
    frame = read_table(SAMPLES / name, guess_table(SAMPLES / name))
    assert len(frame) == rows
    assert tuple(frame.iloc[0]) == first
    assert frame["time"].dtype == np.int64


def test_explicit_zero_is_read(tmp_path):
    assert read_table(write(tmp_path, "u,i,r,t\n1,2,0,5\n"), CSV)["rating"].tolist() == [0.0]


def test_columns_may_come_in_any_order_and_number(tmp_path):
    path = write(tmp_path, "x,t,r,i,y,u\na,5,1.5,7,b,3\n")
    assert read_table(path, CSV).to_dict("records") == [{"user_id": 3, "item_id": 7, "rating": 1.5, "time": 5}]


def test_quoted_ids_may_hold_the_separator(tmp_path):
    path = write(tmp_path, 'u,i,r,t\n"Smith, J",x,1,2\n')
    assert read_table(path, CSV)["user_id"].tolist() == ["Smith, J"]


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    assert len(read_table(write(tmp_path, "\ufeffu,i,r,t\r\n1,2,3,4\r\n"), CSV)) == 1


def test_leading_zeros_make_an_id_text(tmp_path):
    assert read_table(write(tmp_path, "u,i,r,t\n007,2,3,4\n"), CSV)["user_id"].tolist() == ["007"]


def test_declared_types_win(tmp_path):
    frame = read_table(write(tmp_path, "u,i,r,t\n7,2,3,4\n"), CSV, {"user": "str", "item": "int"})
    assert frame["user_id"].tolist() == ["7"]
    assert frame["item_id"].tolist() == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u,i,r,t\n1,2,3,4\n1,3,x,5\n", "line 3: r 'x' is not a number: '1,3,x,5'"),
        ("u,i,r,t\n1,2,3,4\n1,3,,5\n", "line 3: r '' is not a number"),
        ("u,i,r,t\n1,2,3,4\n\n1,3,nan,5\n", "line 4: r 'nan' is not finite"),
        ("u,i,r,t\n1,2,inf,4\n", "line 2: r 'inf' is not finite"),
        ("u,i,r,t\n1,2,3,4\n1,3,7,5\n", "line 3: r '7' is outside the scale 1 to 5"),
        ("u,i,r,t\n1,2,3,4\n1,3,2\n", "line 3: expected 4 fields, got 3: '1,3,2'"),
        ("u,i,r,t\n1,2,3,4\n1,3,2,5,6\n", "line 3: expected 4 fields, got 5"),
        ("u,i,r,t\n1,2,3,4\n1,3,2,soon\n", "line 3: t 'soon' is not an integer"),
        ("u,i,r,t\n" + "1,2,3,4\n" * 1200 + "1,b,3,4\n", r"line 1202: i 'b' is not an integer \(declare ids: {item: str}"),
        ("u,i,r,t\n99999999999999999999,2,3,4\n", "line 2: u '99999999999999999999' is not an integer"),
        ("u,i,r,t\na,2,3,4\n,2,3,4\n", "line 3: u '' is empty"),
        ("u,i,r,t\n", "the file has no rows"),
        ("", "the file is empty"),
        ("user,i,r,t\n1,2,3,4\n", "no column 'u' for the user; known are: i, r, t, user"),
    ],
)
def test_bad_line_is_named_with_its_content(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, text), CSV, scale=(1, 5))


@pytest.mark.parametrize(
    "written", ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01 00:00:00.75", "2026-01-01"]
)
def test_dates_become_unix_seconds(tmp_path, written):
    assert read_table(write(tmp_path, f"u,i,r,t\n1,2,3,{written}\n"), CSV)["time"].tolist() == [1767225600]


def test_dates_with_and_without_zone_do_not_mix(tmp_path):
    with pytest.raises(DataError, match="line 3: t '2026-01-02T00:00:00' is not an ISO 8601 date with a time zone"):
        read_table(write(tmp_path, "u,i,r,t\n1,2,3,2026-01-01T00:00:00Z\n1,3,3,2026-01-02T00:00:00\n"), CSV)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_table(tmp_path / "absent.csv", CSV)


@given(st.text("ab:\n"), st.lists(st.integers(1, 5), min_size=1))
def test_separator_of_two_characters_at_every_block_border(text, sizes):
    reader = tables._OneSeparator(io.BytesIO(text.encode()), "::")
    blocks = iter(lambda: reader.read(sizes[next(counter) % len(sizes)]), b"")
    counter = itertools.count()
    assert b"".join(blocks) == text.replace("::", tables.UNIT_SEPARATOR).encode()


def test_file_with_two_character_separator(tmp_path, rng):
    ratings = pd.DataFrame({"u": rng.integers(1, 10**6, 500), "i": rng.integers(1, 10**6, 500), "r": rng.integers(1, 6, 500)})
    path = write(tmp_path, "\n".join(f"{u}::{i}::{r}" for u, i, r in ratings.itertuples(index=False)), "x.dat")
    frame = read_table(path, Table(path="x.dat", separator="::", header=False, columns=Columns(user=1, item=2, rating=3)))
    np.testing.assert_array_equal(frame.to_numpy(), ratings.to_numpy())


def test_bad_line_of_a_file_with_two_character_separator(tmp_path):
    table = Table(path="x.dat", separator="::", header=False, columns=Columns(user=1, item=2, rating=3))
    with pytest.raises(DataError, match="line 2: 3 'bad' is not a number: '1::5::bad'"):
        read_table(write(tmp_path, "1::4::3\n1::5::bad\n", "x.dat"), table)


class TestParquet:
    TABLE = CSV.model_copy(update={"path": "x.parquet"})

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({"u": ["a", "b"], "i": [1, 2], "r": [0.5, 4.0], "t": pd.to_datetime(["2026-01-01", "2026-01-02"])})

    def test_types_come_from_the_file_and_dates_become_seconds(self, tmp_path):
        self.frame().to_parquet(tmp_path / "x.parquet")
        frame = read_table(tmp_path / "x.parquet", self.TABLE)
        assert frame["user_id"].tolist() == ["a", "b"]
        assert frame["item_id"].dtype == np.int64
        assert frame["time"].tolist() == [1767225600, 1767312000]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"r": [1.0, np.nan]}, "row 2: column 'r' has no value"),
            ({"r": [1.0, 9.0]}, "a rating is not finite or outside the scale"),
            ({"r": ["x", "y"]}, "column 'r' holds .*string, wanted float"),
        ],
    )
    def test_bad_content(self, tmp_path, change, message):
        self.frame().assign(**change).to_parquet(tmp_path / "x.parquet")
        with pytest.raises(DataError, match=message):
            read_table(tmp_path / "x.parquet", self.TABLE, scale=(0, 5))

    def test_not_parquet(self, tmp_path):
        with pytest.raises(DataError, match="not a readable Parquet file"):
            read_table(write(tmp_path, "u,i\n", "x.parquet"), self.TABLE)


def test_guess_needs_recognisable_columns(tmp_path):
    with pytest.raises(DataError, match="no column looks like the user id; the columns are who, what"):
        guess_table(write(tmp_path, "who,what\na,b\n"))
