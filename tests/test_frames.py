"""Data frames of any library at the door, and what may stand in their columns."""

import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

from recsys_ae import Interactions, Split, evaluate_recommendations
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.features import FeatureTable
from recsys_ae.frames import LAST_RANK, ranks, read_frame

DAY = 86_400_000_000  # microseconds
LOG = {
    "user_id": ["b", "a", "b", "c"],
    "item_id": [7, 7, 9, 8],
    "rating": [1.0, 0.0, 2.5, 4.0],
    "time": [datetime.datetime(1970, 1, day) for day in (2, 3, 4, 5)],
}
MAKERS = {
    "pandas": pd.DataFrame,
    "polars": polars.DataFrame,
    "polars lazy": polars.LazyFrame,
    "polars categories": lambda data: polars.DataFrame(data).with_columns(polars.col("user_id").cast(polars.Categorical)),
    "arrow": pa.table,
    "arrow batch": pa.RecordBatch.from_pydict,
    "arrow stream": lambda data: pa.table(data).to_reader(),
    "arrow types in pandas": lambda data: pa.table(data).to_pandas(types_mapper=pd.ArrowDtype),
    "nullable types in pandas": lambda data: pd.DataFrame(data).convert_dtypes(),
    "objects in pandas": lambda data: pd.DataFrame(data).astype(object),
    "categories in pandas": lambda data: pd.DataFrame(data).astype({"user_id": "category", "item_id": "category"}),
    "named rows in pandas": lambda data: pd.DataFrame(data, index=[5, 5, 1, 0]),
}


class TestAnyFrame:
    @pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
    def test_gives_the_same_interactions(self, make):
        data = Interactions.from_frame(make(LOG), time="time")
        assert data.users.values.tolist() == ["a", "b", "c"]
        assert data.items.values.tolist() == [7, 8, 9]
        assert data.matrix.toarray().tolist() == [[0, 0, 0], [1, 0, 2.5], [0, 4, 0]]
        assert data.times.tolist() == [2 * DAY, DAY, 3 * DAY, 4 * DAY]
        assert len(data) == 4  # the rating of 0 is stored

    def test_of_several_libraries_make_one_split(self):
        train, test = polars.DataFrame(LOG)[:3], pa.table(LOG)[3:]
        split = Split.from_frames(train, test, time="time")
        assert [len(part) for part in split.parts().values()] == [3, 0, 1]
        assert split.test.to_frame()["user_id"].tolist() == ["c"]

    def test_lists_and_truth(self):
        lists = polars.DataFrame({"user_id": [1, 1, 2], "rank": [1, 2, 1], "item_id": ["a", "b", "a"], "score": [2, 1, 1]})
        truth, history = (
            pa.table({"user_id": [1, 2], "item_id": ["b", "c"]}),
            polars.LazyFrame({"user_id": [2], "item_id": ["c"]}),
        )
        report = evaluate_recommendations(lists, truth, "mrr@2", list_length=2, history=history)
        assert report.per_user["mrr@2"].tolist() == [0.5]
        assert report.counts["repeats"] == 1

    def test_features(self):
        """Integers with gaps stay integers, lists stay lists."""
        columns = {"id": [3, 4, 5], "age": [20, None, 40], "shop": [7, None, 8], "tags": [["x"], ["x", "y"], None]}
        columns["born"] = [datetime.date(1970, 1, 2), None, datetime.date(1970, 1, 4)]
        kinds = {"age": "numeric", "shop": "category", "tags": "multi_label", "born": "date"}
        tables = [FeatureTable.from_frame(make(columns), kinds) for make in (polars.DataFrame, pa.table)]
        assert tables[0].digest == tables[1].digest
        assert [name for name in tables[0].columns if "=" in name] == ["shop=7", "shop=8", "tags=x", "tags=y"]
        assert tables[0].matrix[:, [0, 1]].toarray().tolist() == [[-1, 0], [0, 1], [1, 0]]


class TestNoFrame:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("log.csv", "the table must be a data frame, got 'log.csv'; read_interactions reads files"),
            (None, "the table must be a data frame, got None; pandas.DataFrame makes one"),
            ([(1, 2, 3)], "the table must be a data frame, got list; pandas.DataFrame makes one"),
            (np.ones((2, 3)), "the table must be a data frame, got ndarray"),
            (pd.DataFrame, "the table must be a data frame, got type"),
            (pd.Series([1]), "the table must be a data frame, got Series"),
            (polars.Series([1]), "the table must be a data frame, got Series"),
            (pa.chunked_array([[1]]), "the table must be a data frame, got ChunkedArray"),
        ],
    )
    def test_is_refused(self, given, message):
        with pytest.raises(DataError, match=message):
            Interactions.from_frame(given)

    @pytest.mark.parametrize("make", [pd.DataFrame, polars.DataFrame, polars.LazyFrame, pa.table])
    def test_missing_column(self, make):
        with pytest.raises(ConfigError, match="the table has no column 'user'; did you mean 'user_id'"):
            Interactions.from_frame(make(LOG), user="user")

    def test_columns_of_one_name(self):
        columns = [[1], [2], [3]], ["user_id", "item_id", "item_id"]
        with pytest.raises(ConfigError, match="the table has 2 columns 'item_id'; rename all but one"):
            Interactions.from_frame(pd.DataFrame([[1, 2, 3]], columns=columns[1]), rating=None)
        with pytest.raises(ConfigError, match="the table has two columns of the same name"):
            Interactions.from_frame(pa.table(*columns), rating=None)

    def test_column_in_the_index(self):
        frame = pd.DataFrame(LOG).groupby(["user_id", "item_id"]).sum(numeric_only=True)
        with pytest.raises(ConfigError, match=r"the table has 'user_id' in its index; call its reset_index\(\) first"):
            Interactions.from_frame(frame)

    def test_query_that_fails(self, tmp_path):
        (tmp_path / "bad.csv").write_text("user_id,item_id\n1,2\n1,x\n")
        query = polars.scan_csv(tmp_path / "bad.csv", schema={"user_id": polars.Int64, "item_id": polars.Int64})
        with pytest.raises(DataError, match="the table cannot be read: ComputeError"):
            Interactions.from_frame(query, rating=None)


def log(**change) -> pd.DataFrame:
    return pd.DataFrame(LOG).assign(**change)


class TestIds:
    @pytest.mark.parametrize(
        ("column", "found"),
        [
            (np.array([3, 1, 2, 3], np.int8), [1, 2, 3]),
            (np.array([3, 1, 2, 3], np.uint64), [1, 2, 3]),
            (np.array([3, 1, 2, 3], np.float16), [1, 2, 3]),
            ([3.0, 1.0, 2.0, -0.0], [0, 1, 2, 3]),
            (pd.array([3, 1, 2, 3], "Int32"), [1, 2, 3]),
            (pd.array([3, 1, 2, 3], "Float64"), [1, 2, 3]),
            (pd.Series([3, 1.0, np.int16(2), 3], dtype=object), [1, 2, 3]),
            ([Decimal(3), Decimal(1), Decimal(2), Decimal(3)], [1, 2, 3]),
            (pd.Categorical([3.0, 1.0, 2.0, 3.0]), [1, 2, 3]),
            (pd.array(["y", "x", "x", "y"], "string[python]"), ["x", "y"]),
            (pd.Series(["y", "x", "x", "y"], dtype=object), ["x", "y"]),
            (pd.Categorical(["y", "x", "x", "y"], categories=["z", "y", "x"]), ["x", "y"]),
            (pd.Series(["y", "x", "x", "y"], dtype=pd.ArrowDtype(pa.large_string())), ["x", "y"]),
            ([UUID(int=number) for number in (2, 1, 1, 2)], [str(UUID(int=1)), str(UUID(int=2))]),
        ],
    )
    def test_are_integers_or_text_however_they_are_stored(self, column, found):
        data = Interactions.from_frame(log(user_id=column), duplicates="last")
        assert data.users.values.tolist() == found

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (["a", None, "b", "c"], "column 'user_id' of the table has no id in row 1"),
            (["a", "b", "", "c"], "column 'user_id' of the table has no id in row 2"),
            (pd.array([1, 2, 3, None], "Int64"), "has no id in row 3"),
            (pd.Categorical(["a", None, "b", "c"]), "has no id in row 1"),
            ([1.0, np.nan, 2.0, 3.0], "has no id in row 1"),
            ([1.0, 2.5, 2.0, 3.0], "got 2.5 in row 1; of floats, only whole numbers"),
            ([1.0, np.inf, 2.0, 3.0], "got inf in row 1"),
            ([1.0, 2.0**60, 2.0, 3.0], r"only whole numbers below 2\^53"),
            (pd.Series([1, "a", 2, 3], dtype=object), "mixes ids of several types, such as 1 and, in row 1, 'a'"),
            (pd.Series([1, 1.0, True, 3], dtype=object), "mixes ids of several types, such as 1 and, in row 1, 1.0"),
            ([True, False, True, True], r"must hold integers or text, got True \(bool\); convert them to text"),
            (pd.array([True, False, True, True], "boolean"), r"got True \(bool\)"),
            ([b"a", b"b", b"c", b"d"], r"got b'a' \(bytes\); decode them to text"),
            ([(1, 2)] * 4, r"got \(1, 2\) \(tuple\)"),
            ([[1]] * 4, r"got \[1\] \(list\)"),
            ([datetime.date(2020, 1, 1)] * 4, r"got datetime.date\(2020, 1, 1\) \(date\)"),
            (pd.to_datetime(["2020-01-01"] * 4), r"\(Timestamp\); convert them to text"),
            (
                np.array([1, 2, 3, 2**63], np.uint64),
                "signed 64-bit integers, got 9223372036854775808; convert the ids to text",
            ),
            (
                pd.Series([1, 2, 3, -(2**70)], dtype=object),
                "signed 64-bit integers, got -1180591620717411303424",
            ),
            (pd.Series(["a", "\ud800", "b", "c"], dtype=object), r"an id that is not valid Unicode text: '\\ud800'"),
        ],
    )
    def test_of_other_kinds_are_refused_in_one_sentence(self, column, message):
        with pytest.raises(DataError, match=message) as error:
            Interactions.from_frame(log(user_id=column), duplicates="last")
        assert "\n" not in str(error.value)

    def test_types_must_agree_between_the_parts_of_a_split(self):
        test = pd.DataFrame(LOG).assign(item_id=["7", "7", "9", "8"])
        message = "'item_id': the train table has integers such as 7, but the test table has text such as '7'"
        with pytest.raises(DataError, match=message):
            Split.from_frames(pd.DataFrame(LOG), test)

    def test_bad_value_of_a_part_names_the_part(self):
        test = pd.DataFrame(LOG).assign(rating=[1, 2, np.inf, 3])
        with pytest.raises(DataError, match="rating inf in row 2 of the test table"):
            Split.from_frames(pd.DataFrame(LOG), test)


class TestTimes:
    @pytest.mark.parametrize(
        "column",
        [
            pd.Series(pd.to_datetime(["1970-01-02"] * 4)).astype("datetime64[s]"),
            pd.Series(pd.to_datetime(["1970-01-02"] * 4)).astype("datetime64[ns]"),
            pd.Series(pd.to_datetime(["1970-01-02 01:00"] * 4)).dt.tz_localize("Europe/Berlin"),
            pd.Series(pd.to_datetime(["1970-01-02"] * 4)).astype(pd.ArrowDtype(pa.timestamp("us", "UTC"))),
            pd.Series([datetime.date(1970, 1, 2)] * 4),
            pd.Series([datetime.date(1970, 1, 2)] * 4, dtype=pd.ArrowDtype(pa.date32())),
            pd.Series([datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC)] * 4, dtype=object),
            pd.Series(pd.period_range("1970-01-02", periods=1, freq="D").repeat(4)),
            pd.Series(["1970-01-02", "1970-01-02T01:00+01:00", "1970-01-02 00:00Z", "1970-01-02T00:00"]),
            pd.Series(["1970-01-02"] * 4, dtype="category"),
            pd.Series([86_400] * 4, dtype=object),
            pd.Series([Decimal(86_400)] * 4),
            pd.Series([86_400] * 4, dtype="category"),
            pd.Series([86_400.0] * 4, dtype="Float64"),
        ],
    )
    def test_of_every_kind(self, column):
        assert Interactions.from_frame(log(time=column), time="time").times.tolist() == [DAY] * 4

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (pd.to_datetime(["1970-01-02", None, "1970-01-02", "1970-01-02"]), "'time' has no time in row 1 of the table"),
            (
                pd.Series([1, datetime.date(1970, 1, 2), 2, 3], dtype=object),
                "time 1 in row 0 of column 'time' of the table is not a number, a date or ISO 8601 text",
            ),
            (pd.to_timedelta([1, 2, 3, 4], unit="s"), "must be numbers, dates or ISO 8601 text, got timedelta64"),
            ([1j, 2j, 3j, 4j], "must be numbers, dates or ISO 8601 text, got complex128"),
            ([(1, 2)] * 4, r"time \(1, 2\) in row 0 .* is not a number, a date"),
            (np.array(["300000-01-01"] * 4, "datetime64[s]"), "is not a date between the years 1678 and 2262"),
            ([datetime.time(1)] * 4, "is not a number, a date or ISO 8601 text"),
        ],
    )
    def test_of_other_kinds_are_refused(self, column, message):
        with pytest.raises(DataError, match=message):
            Interactions.from_frame(log(time=column), time="time")

    def test_unknown_unit(self):
        with pytest.raises(ConfigError, match="time_unit must be one of s, ms, us, ns, got 'h'"):
            Interactions.from_frame(log(time=[1, 2, 3, 4]), time="time", time_unit="h")


class TestRatings:
    @pytest.mark.parametrize(
        "column", [[Decimal("2.5")] * 4, pd.Series([2.5] * 4, dtype=object), pd.array([2.5] * 4, "Float32")]
    )
    def test_are_numbers_however_they_are_stored(self, column):
        assert Interactions.from_frame(log(rating=column)).matrix.data.tolist() == [2.5] * 4

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            ([1e300] * 4, r"rating 1e\+300 in row 0 of the table must be a finite number"),
            ([1j] * 4, "must be numbers, got complex128"),
            (["x" * 500] * 4, r"must be numbers, got .* such as 'x+\.\.\.x+'$"),
        ],
    )
    def test_others_are_refused(self, column, message):
        with pytest.raises(DataError, match=message):
            Interactions.from_frame(log(rating=column))


@pytest.mark.parametrize("column", [[1.0, 2.0, 1e300], pd.array([1, 2, 2**60], "Int64"), np.array([1, 2, 2**63], np.uint64)])
def test_ranks_may_be_floats_and_of_any_size(column):
    assert ranks(pd.DataFrame({"rank": column})).tolist() == [1, 2, LAST_RANK]


@pytest.mark.parametrize("rank", [0, -1, 1.5, np.nan, np.inf, None, True, "1", "2020-01-01"])
def test_invalid_ranks_are_named(rank):
    with pytest.raises(DataError, match="ranks must be whole numbers from 1, got"):
        ranks(pd.DataFrame({"rank": [rank]}))


@pytest.mark.parametrize("make", [polars.DataFrame, pa.table, lambda data: pd.DataFrame(data, dtype=object)])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("rating", "rating (None|nan) in row 1 of the table must be a finite number"),
        ("time", "column 'time' has no time in row 1 of the table"),
        ("rank", "ranks must be whole numbers from 1, got (None|nan) in row 1 of the lists"),
    ],
)
def test_a_missing_integer_is_named_with_its_row(make, column, message):
    whole = {"user_id": [1, 2], "item_id": [1, 2], "rank": [1, 1], "rating": [1, 2], "time": [1, 2]}
    frame = make({**whole, column: [1, None]})
    asked = ranks if column == "rank" else partial(Interactions.from_frame, time="time")
    with pytest.raises(DataError, match=message):
        asked(read_frame(frame, {name: name for name in whole}))


def test_large_integers_stay_exact():
    """As objects and as categories, which nanoseconds in floats would not."""
    moment = 1_700_000_000_123_456_789
    for kind in (object, "category", "Int64"):
        column = pd.Series([moment] * 4).astype(kind)
        assert Interactions.from_frame(log(time=column), time="time", time_unit="ns").times.tolist() == [moment // 1000] * 4


def test_only_the_columns_asked_for_are_read():
    frame = read_frame(polars.DataFrame({"a": [1], "b": [object()], "c": [2]}), {"one": "a", "none": None}, optional=["c", "d"])
    assert list(frame) == ["a", "c"]
