import io
import itertools
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from recsys_ae import Interactions
from recsys_ae.data.cards import declared_folder
from recsys_ae.data.detection import guess_table
from recsys_ae.data.layouts import Columns, Table
from recsys_ae.data.tables import read_table
from recsys_ae.data.text import STAND_IN, Dialect, _Cleaned
from recsys_ae.errors import DataError
from recsys_ae.splitting import leave_last

SAMPLES = declared_folder("datasets") / "samples"
CSV = Table(path="x.csv", columns=Columns(user="u", item="i", rating="r", time="t"))


def write(folder: Path, text: str, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "first", "rows"),
    [
        ("ratings.csv", (1, 31, 2.5, 1260759144_000_000), 4),
        ("events.tsv", ("anna", "book-7", 1767340800_000_000), 3),
        ("ratings.dat", (1, 1193, 5.0, 978300760_000_000), 3),
        ("u.data", (196, 242, 3.0, 881250949_000_000), 3),
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
    assert read_table(path, CSV).to_dict("records") == [{"user_id": 3, "item_id": 7, "rating": 1.5, "time": 5_000_000}]


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
        ("u,i,r,t\n1,2,view,4\n1,3,buy,5\n", r"r 'view' is not a number \(replace types of events by a number for each\) \("),
        ("u,i,r,t\n1,2,3,4\n1,3,,5\n", "line 3: r '' is not a number"),
        ("u,i,r,t\n1,2,3,4\n\n1,3,nan,5\n", "line 4: r 'nan' is not finite"),
        ("u,i,r,t\n1,2,inf,4\n", "line 2: r 'inf' is not finite"),
        ("u,i,r,t\n1,2,3,4\n1,3,7,5\n", "line 3: r '7' is outside the scale 1 to 5"),
        ("u,i,r,t\n1,2,3,4\n1,3,2\n", "line 3: expected 4 fields, got 3: '1,3,2'"),
        ("u,i,r,t\n1,2,3,4\n1,3,2,5,6\n", "line 3: expected 4 fields, got 5"),
        ("u,i,r,t\n1,2,3,4\n1,3,2,soon\n", "line 3: t 'soon' is not a number, unlike the first one"),
        ("u,i,r,t\n1,2,3,4\n1,3,2,\n", "line 3: t '' is not a number"),
        ("u,i,r,t\n1,2,3,4\n1,3,2,nan\n", "line 3: t 'nan' is not a Unix time in s"),
        (
            "u,i,r,t\n1,2,3,4\n1,3,2,1396867869000\n",
            r"line 3: t '1396867869000' is not a Unix time in s .*time_unit: ms",
        ),
        ("u,i,r,t\n1,2,3,2014-04-07\n1,3,2,2300-01-01\n", "line 3: t '2300-01-01' is not an ISO 8601 date"),
        ("u,i,r,t\na,2,3,4\n,2,3,4\n", "line 3: u '' is empty"),
        ("u,i,r,t\n", "the file has no rows"),
        ("", "the file is empty"),
        ("user,i,r,t\n1,2,3,4\n", "there is no column 'u'; known are: i, r, t, user"),
    ],
)
def test_bad_line_is_named_with_its_content(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, text), CSV, scale=(1, 5))


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("2026-01-01T00:00:00.75Z", "s"),
        ("2026-01-01T01:00:00.750+01:00", "s"),
        ("2026-01-01 00:00:00.75", "s"),
        ("2026-01-01 00:00:00.750000999", "s"),
        ("1767225600.75", "s"),
        ("1767225600750", "ms"),
        ("1767225600750000", "us"),
        ("1767225600750000999", "ns"),
    ],
)
def test_times_become_unix_microseconds(tmp_path, written, unit):
    table = CSV.model_copy(update={"time_unit": unit})
    assert read_table(write(tmp_path, f"u,i,r,t\n1,2,3,{written}\n"), table)["time"].tolist() == [1767225600_750_000]


def test_dates_without_a_time_are_midnight(tmp_path):
    assert read_table(write(tmp_path, "u,i,r,t\n1,2,3,2026-01-01\n"), CSV)["time"].tolist() == [1767225600_000_000]


def test_whole_and_fractional_seconds_may_mix(tmp_path):
    path = write(tmp_path, "u,i,r,t\n1,2,3,5\n1,3,3,5.25\n1,4,3,1.5e1\n")
    assert read_table(path, CSV)["time"].tolist() == [5_000_000, 5_250_000, 15_000_000]


@pytest.mark.parametrize("form", ["text", "parquet", "parquet-text", "milliseconds", "seconds", "decimal"])
def test_order_below_a_second_survives_every_form(tmp_path, form):
    """Three clicks in the order last, first, second: the last is item 8 in all formats of times."""
    moments = pd.to_datetime(["2014-04-07 10:51:09.200", "2014-04-07 10:51:09.000", "2014-04-07 10:51:09.100"])
    frame = pd.DataFrame({"u": 1, "i": [8, 7, 9], "r": 1.0, "t": moments})
    table, seconds = CSV, moments.as_unit("ms").astype(np.int64) / 1000
    if form == "text":
        frame["t"] = moments.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    elif form == "parquet-text":
        frame["t"] = moments.strftime("%Y-%m-%dT%H:%M:%S.%fZ").astype("category")
    elif form == "milliseconds":
        frame["t"], table = (seconds * 1000).astype(np.int64), CSV.model_copy(update={"time_unit": "ms"})
    elif form == "seconds":
        frame["t"] = seconds
    elif form == "decimal":
        frame["t"] = [Decimal(str(second)) for second in seconds]
    if form.startswith("parquet") or form == "decimal":
        table = CSV.model_copy(update={"path": "x.parquet"})
    path = tmp_path / table.path
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    data = Interactions.from_frame(read_table(path, table), time="time", time_unit="us")
    assert data.items.values[data.log.items].tolist() == [7, 9, 8]
    assert leave_last(data).test.to_frame()["item_id"].tolist() == [8]


@pytest.mark.parametrize(
    ("zones", "row", "message"),
    [
        ("-ZZ", 1, "t '2026-01-01T00:00:00' is without a time zone, unlike 2 with one such as '2026-01-02T00:00:00Z'; give"),
        ("Z--", 1, "t '2026-01-01T00:00:00Z' is with a time zone, unlike 2 without one such as '2026-01-02T00:00:00'; give"),
        ("Z-", 2, "t '2026-01-02T00:00:00' is without a time zone, unlike 1 with one"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_dates_with_and_without_zone_do_not_mix(tmp_path, zones, row, message, suffix):
    times = [f"2026-01-0{day}T00:00:00{zone.strip('-')}" for day, zone in enumerate(zones, 1)]
    frame, path = pd.DataFrame({"u": 1, "i": range(len(times)), "r": 3, "t": times}), tmp_path / f"x.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)
    place = f"line {row + 1}" if suffix == "csv" else f"row {row}"
    with pytest.raises(DataError, match=f"{place}: {message}"):
        read_table(path, CSV.model_copy(update={"path": path.name}))


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_table(tmp_path / "absent.csv", CSV)


@given(st.text("ab:\n"), st.lists(st.integers(1, 5), min_size=1))
def test_separator_of_two_characters_at_every_block_border(text, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys_ae.data.text.BLOCK", 5)
        stream = _Cleaned(io.BytesIO(text.encode()), Dialect("::", None, None), Path("x"))
        blocks = iter(lambda: stream.read(sizes[next(counter) % len(sizes)]), b"")
        counter = itertools.count()
        end = "\n" if text and not text.endswith("\n") else ""
        assert b"".join(blocks) == (text.replace("::", STAND_IN) + end).encode()


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

    def test_types_come_from_the_file_and_dates_become_microseconds(self, tmp_path):
        self.frame().to_parquet(tmp_path / "x.parquet")
        frame = read_table(tmp_path / "x.parquet", self.TABLE)
        assert frame["user_id"].tolist() == ["a", "b"]
        assert frame["item_id"].dtype == np.int64
        assert frame["time"].tolist() == [1767225600_000_000, 1767312000_000_000]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"r": [1.0, np.nan]}, "row 2: column 'r' has no value"),
            ({"r": [1.0, 9.0]}, "row 2: r 9.0 is outside the scale 0 to 5"),
            ({"r": ["x", "y"]}, "column 'r' holds .*string, expected numbers"),
            ({"t": ["x", "y"]}, "row 1: t 'x' is neither a number nor an ISO 8601 date"),
            ({"t": [1, 1396867869000]}, "row 2: t 1396867869000 is not a Unix time in s .* declare time_unit: ms"),
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
    with pytest.raises(DataError, match=r"no column is .* the user id; .*; the columns are who, what"):
        guess_table(write(tmp_path, "who,what\na,b\n"))
