"""Forms of files as people bring them: text with numbers and dates, JSON lines, Parquet, and lists."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log_files import put, read

from recsys_ae.data.detection import guess_table
from recsys_ae.data.lists import read_lists
from recsys_ae.data.ratings import read_interactions
from recsys_ae.data.tables import read_table
from recsys_ae.errors import ConfigError, DataError


class TestForms:
    def test_decimal_commas(self, tmp_path):
        content = "user;item;rating;time\n1;2;3,5;1,25\n"
        frame = read(tmp_path, content, decimal=",")
        assert (frame["rating"], frame["time"]) == ([3.5], [1_250_000])
        with pytest.raises(DataError, match=r"line 2: rating '3,5' is not a number \(if ',' is .* declare decimal: ','\)"):
            read(tmp_path, content)
        with pytest.raises(DataError, match=r"line 2: rating '3.5' is not a number \(if '.' is .* declare decimal: '.'\)"):
            read(tmp_path, "user;item;rating\n1;2;3.5\n", decimal=",")
        with pytest.raises(
            DataError, match=r"line 2: rating '' is not a number: .*; to skip such lines, declare bad_lines: skip"
        ):
            read(tmp_path, "user;item;rating\n1;2;\n")

    def test_declared_dates(self, tmp_path):
        content = "user,item,time\n1,2,31.12.2014 10:00\n"
        day = "%d.%m.%Y %H:%M"
        assert read(tmp_path, content, date_format=day)["time"] == [1420020000_000_000]
        with pytest.raises(DataError, match=r"line 3: time '2014' is not a date in the format %d.%m.%Y %H:%M"):
            read(tmp_path, content + "1,3,2014\n", date_format=day)
        with pytest.raises(DataError, match=r"line 2: time '31.12.2014 10:00' is neither .* \(declare date_format"):
            read(tmp_path, content)
        for wrong in ("%d.%m.", "%Q", "no"):
            with pytest.raises(ConfigError, match=r"date_format: .* is not a date format"):
                read(tmp_path, content, date_format=wrong)

    def test_declared_dates_may_be_integers(self, tmp_path):
        pq.write_table(pa.table({"user": [1], "item": [2], "time": [20141231]}), tmp_path / "x.parquet")
        for path in (put(tmp_path, "user,item,time\n1,2,20141231\n"), tmp_path / "x.parquet"):
            assert read_table(path, guess_table(path, date_format="%Y%m%d"))["time"].tolist() == [1419984000_000_000]

    @pytest.mark.parametrize("word", ["now", "today", "2014", "20140407", "07.04.2014", "2014-13-01", "0001-01-01", ""])
    def test_invalid_times(self, tmp_path, word):
        with pytest.raises(DataError, match=f"line 3: time '{word}' is not"):
            read(tmp_path, f"user,item,time\n1,2,2014-04-07T10:00:00.5\n1,3,{word}\n")

    def test_a_plus_sign_of_a_number(self, tmp_path):
        assert read(tmp_path, "user,item,rating,time\n1,2,+7,+1.5\n")["time"] == [1_500_000]
        assert read(tmp_path, "user,item,rating,time\n1,2,+7,+1.5\n1,2,x,1\n", bad_lines="skip")["time"] == [1_500_000]

    def test_recbole(self, tmp_path):
        content = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nanna\t7\t3\t5\n"
        assert read(tmp_path, content, "log.inter") == {"user_id": ["anna"], "item_id": [7], "rating": [3], "time": [5_000_000]}
        assert read(tmp_path, content, columns={"user": "user_id", "item": "item_id"}) == {"user_id": ["anna"], "item_id": [7]}

    @pytest.mark.parametrize("separator", ["::", "\t", ";", ",", "|"])
    def test_the_separator_is_found_with_columns_and_without(self, tmp_path, separator):
        content = f"user{separator}item\n1{separator}x\n"
        assert read(tmp_path, content)["item_id"] == ["x"]
        assert read(tmp_path, content, columns={"user": "user", "item": "item"})["item_id"] == ["x"]
        assert read(tmp_path, f"1{separator}x\n", header=False, columns={"user": 1, "item": 2})["item_id"] == ["x"]

    def test_separators_inside_of_names(self, tmp_path):
        assert read(tmp_path, '"user;id",item,user\n1,2,3\n')["user_id"] == [3]

    @pytest.mark.parametrize(
        "content",
        ["1,2\r3,4\r", "1,2\r\n\r\n3,4", "\n1,2\n\n3,4\n\n", f"1,2\n3,4\n{'x' * 140_000},4\n"],
    )
    def test_lines_of_every_form(self, tmp_path, content):
        end = "\r" if "\r" in content and "\n" not in content else "\n"
        assert list(map(str, read(tmp_path, f"user,item{end}{content}")["user_id"][:2])) == ["1", "3"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("user,item\n1,2\n1\0,2\n", "line 3: not text: it has a NUL"),
            ("1::2\x1f3::4\n", "line 1: not text: it has a NUL or unit separator"),
            ("user,item\n1,2,\n", "line 2: expected 2 fields, got 3: '1,2,'"),
            ("user,item\n1," + "x" * 3 * 2**20 + "\n", "line 2: the line has 3145729 characters, over the limit"),
            ("user,user_id,item\n1,2,3\n", "columns 'user' and 'user_id' could be the user"),
            ("user,item,rating,rating\n1,2,3,4\n", "columns 'rating' and 'rating' could be the rating"),
            ("user,item\n1,2\n" + "x" * 500 + ",,\n", r"line 3: expected 2 fields, got 3: 'x{50,90}\.\.\.x*,,'$"),
            ("\n\n", "the file is empty"),
        ],
    )
    def test_one_sentence_for_what_is_wrong(self, tmp_path, content, message):
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path, content)
        assert str(caught.value).startswith(str(tmp_path / "x.csv"))
        assert len(str(caught.value)) < 600

    def test_an_empty_parquet_file(self, tmp_path):
        (path := tmp_path / "x.parquet").touch()
        with pytest.raises(DataError, match=r"x\.parquet: there is no data: the file is empty$"):
            read_interactions(path)

    def test_repeated_names_of_columns(self, tmp_path):
        assert read(tmp_path, "user,item,x,x\n1,2,3,4\n")["user_id"] == [1]
        with pytest.raises(DataError, match="2 columns are called 'a'"):
            read(tmp_path, "a,a,b\n1,2,3\n", columns={"user": "a", "item": "b"})

    def test_folders_and_long_names(self, tmp_path):
        with pytest.raises(DataError, match="is a folder, expected a file"):
            read_interactions(tmp_path)
        with pytest.raises(DataError, match="name too long"):
            read_interactions(tmp_path / ("x" * 300))


class TestJsonLines:
    def test_types_of_json_are_those_of_ids(self, tmp_path):
        content = '{"user": 7, "item": "007", "rating": 2}\n\n{"item": "8", "user": 8.0, "rating": 2.5, "other": [1]}\n'
        assert read(tmp_path, content, "x.jsonl") == {"user_id": [7, 8], "item_id": ["007", "8"], "rating": [2.0, 2.5]}

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"user": 1}', "line 3: column 'item' has no value"),
            ('{"user": 1, "item": 2}', "line 3: item 2 is neither text nor a whole number, or of another type than the first"),
            ('{"user": "1", "item": "x"}', "line 3: user '1' is not an integer"),
            ('{"user": 1.5, "item": "x"}', "line 3: user 1.5 is not a whole number"),
            ('{"user": 1e30, "item": "x"}', r"line 3: user 1e\+30 is not a whole number"),
            ('{"user": true, "item": "x"}', "line 3: user True is not a whole number"),
            ('{"user": [[1]], "item": "x"}', r"line 3: user \[\[1\]\] is not a whole number"),
            ('{"user": 1, "user": 2, "item": "x"}', "line 3: not a valid JSON object: key 'user' occurs twice"),
            ('{"user": NaN, "item": "x"}', "line 3: not a valid JSON object: 'NaN' is not a finite number"),
            ('{"user": 1, "item": "\\ud800"}', "line 3: item '.ud800' is neither text"),
            ("[1]", "line 3: not a valid JSON object: expected keys and values"),
            ('{"user": 1', "line 3: not a valid JSON object: Expecting ',' delimiter"),
            ("[" * 100_000, "line 3: not a valid JSON object: "),
        ],
    )
    def test_bad_lines(self, tmp_path, line, message):
        content = '{"user": 1, "item": "x"}\n\n' + line
        with pytest.raises(DataError, match=message):
            read(tmp_path, content, "x.ndjson")
        assert read(tmp_path, content, "x.ndjson", bad_lines="skip") == {"user_id": [1], "item_id": ["x"]}

    def test_no_objects(self, tmp_path):
        with pytest.raises(DataError, match="there is no data: the file has no JSON objects"):
            read(tmp_path, "\n", "x.jsonl")


class TestParquet:
    @pytest.mark.parametrize(
        ("stored", "ids"),
        [
            ([1.0, 30.0], [1, 30]),
            (pa.array([1, 30], pa.uint8()), [1, 30]),
            (pa.array(["1", "007"], pa.large_string()), ["1", "007"]),
            (pa.array(["1", "2"]), ["1", "2"]),
            (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
            (pa.DictionaryArray.from_arrays([1, 1], pa.array(["", "a"])), ["a", "a"]),
            (pa.array([b"a", b"b"]), ["a", "b"]),
            (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
            (pa.array([1, 2]).cast(pa.decimal128(30, 2)), [1, 2]),
            (pa.array([bytes(15) + b"\5"] * 2, pa.uuid()), ["00000000-0000-0000-0000-000000000005"] * 2),
        ],
    )
    def test_every_type_of_ids(self, tmp_path, stored, ids):
        pq.write_table(pa.table({"user": stored, "item": [1, 2]}), tmp_path / "x.parquet")
        path = tmp_path / "x.parquet"
        assert read_table(path, guess_table(path))["user_id"].tolist() == ids

    @pytest.mark.parametrize(
        ("stored", "message"),
        [
            ([1.5, 2.0], "row 1: user 1.5 is not a whole number"),
            (pa.array([1.0, float("nan")]), "row 2: user nan is not a whole number"),
            ([1.0, None], "row 2: column 'user' has no value"),
            ([1.0, 2.0**60], "row 2: user 1.1529215046068[0-9]*e.18 is not a whole number, or too large"),
            (pa.array([1, 2**63], pa.uint64()), "row 2: user 9223372036854775808 is not a whole number, or too large"),
            (["a", ""], "row 2: user '' is empty"),
            ([b"a", b"\xff"], r"row 2: user b'\\xff' is neither text nor"),
            ([True, False], "column 'user' holds bool, expected text or whole numbers"),
            ([[1], [2]], "column 'user' holds list<.*>, expected text or numbers"),
            (pd.to_datetime(["2020-01-01"] * 2), "column 'user' holds timestamp.*, expected text or whole numbers"),
        ],
    )
    def test_invalid_ids(self, tmp_path, stored, message):
        pq.write_table(pa.table({"user": stored, "item": [1, 2]}), tmp_path / "x.parquet")
        with pytest.raises(DataError, match=message):
            read_interactions(tmp_path / "x.parquet")

    @pytest.mark.parametrize(
        ("stored", "message"),
        [
            (pa.array([0, 2**40], pa.timestamp("s")), "row 2: time '?.* is not a date between the years 1678 and 2262"),
            (pa.array([0, None], pa.timestamp("us")), "row 2: column 'time' has no value"),
            (pa.array([0, 1], pa.duration("s")), "column 'time' holds duration"),
            ([True, False], "column 'time' holds bool"),
            ([1.5, float("inf")], "row 2: time inf is not a Unix time in s"),
            (["2014-01-01", "now"], "row 2: time 'now' is not an ISO 8601 date"),
        ],
    )
    def test_invalid_times(self, tmp_path, stored, message):
        pq.write_table(pa.table({"user": [1, 1], "item": [1, 2], "time": stored}), tmp_path / "x.parquet")
        with pytest.raises(DataError, match=message):
            read_interactions(tmp_path / "x.parquet")


def test_names_with_dots_and_folders_that_look_like_columns(tmp_path):
    folder = tmp_path / "user=5"
    folder.mkdir()
    pd.DataFrame({"user.id": [1], "user": ["a"], "item": ["b"]}).to_parquet(folder / "x.parquet")
    path = folder / "x.parquet"
    assert read_table(path, guess_table(path))["user_id"].tolist() == ["a"]
    assert read_table(path, guess_table(path, columns={"user": "user.id", "item": "item"}))["user_id"].tolist() == [1]


class TestLists:
    def test_ids_are_those_of_the_file(self, tmp_path):
        path = put(tmp_path, "user_id,rank,item_id,score\n7,1,007,0.5\n7,2,8,0.25\n")
        expected = {"user_id": [7, 7], "rank": [1, 2], "item_id": ["007", "8"], "score": [0.5, 0.25]}
        assert read_lists(path).to_dict("list") == expected

    def test_whole_floats_in_parquet(self, tmp_path):
        pd.DataFrame({"user_id": [30.0], "rank": [1], "item_id": [5.0]}).to_parquet(tmp_path / "x.parquet")
        frame = read_lists(tmp_path / "x.parquet")
        assert (frame["user_id"].tolist(), frame["user_id"].dtype) == ([30], np.int64)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("1,0,2", "line 3: rank '0' is not a rank: ranks start at 1: '1,0,2'"),
            ("1,1.5,2", "line 3: rank '1.5' is not an integer"),
            ("1,,2", "line 3: rank '' is empty"),
            ("1,1", "line 3: expected 3 fields, got 2"),
        ],
    )
    def test_bad_lines(self, tmp_path, line, message):
        with pytest.raises(DataError, match=message):
            read_lists(put(tmp_path, f"user_id,rank,item_id\n1,1,2\n{line}\n"))
