"""What is wrong with a file: lines that are skipped, and the fault that is reported of many."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings, strategies as st
from log_files import HEADER, put, read

from recsys_ae.data.detection import guess_table
from recsys_ae.data.ratings import read_interactions
from recsys_ae.data.skipped import SkippedLines
from recsys_ae.data.tables import read_table
from recsys_ae.errors import DataError
from recsys_ae.exits import one_line


class TestSkipping:
    CONTENT = HEADER + '1,2,3\nx,2\n4,5,6,7\n8,"9",z\n10,11,inf\n\n,13,5\n12,13,5\n'

    def test_skipped_lines_are_counted_and_listed(self, tmp_path, caplog):
        skipped = SkippedLines()
        with caplog.at_level(logging.WARNING):
            data = read_interactions(put(tmp_path, self.CONTENT), bad_lines="skip", skipped=skipped)
        assert data.users.values.tolist() == [1, 12]
        assert (
            "skipped 5 invalid lines, kept 2; for example, line 3: expected 3 fields, got 2 (malformed record in 2 of 7 "
            "lines): 'x,2'; invalid rating in 2 (first in line 5), empty user in 1 (first in line 8)" in caplog.text
        )
        assert [(one.number, one.problem) for one in skipped.faults] == [
            (3, "expected 3 fields, got 2"),
            (4, "expected 3 fields, got 4"),
            (5, "rating 'z' is not a number"),
            (6, "rating 'inf' is not finite"),
            (8, "user '' is empty"),
        ]
        assert [(one.column, one.user, one.item) for one in skipped.faults] == [
            (None, None, None),
            (None, None, None),
            ("rating", 8, 9),
            ("rating", 10, 11),
            ("user", None, None),
        ]
        assert (sum(skipped.lines.values()), skipped.by_column()) == (7, {"line": 2, "rating": 2, "user": 1})
        skipped.write(tmp_path / "skipped.csv")
        assert pd.read_csv(tmp_path / "skipped.csv")["number"].tolist() == [3, 4, 5, 6, 8]
        assert [path.name for path in tmp_path.iterdir()] == ["x.csv", "skipped.csv"] or len(list(tmp_path.iterdir())) == 2

    def test_bad_lines_are_errors_unless_declared(self, tmp_path):
        with pytest.raises(DataError, match="line 3: expected 3 fields, got 2"):
            read(tmp_path, self.CONTENT)

    def test_a_file_of_bad_lines_only(self, tmp_path):
        with pytest.raises(DataError, match="none of the 1 lines is valid; for example, line 2: rating 'x' is not a number"):
            read(tmp_path, HEADER + "1,2,x\n", bad_lines="skip")

    @pytest.mark.parametrize("bad_lines", ["error", "skip"])
    def test_a_file_without_a_whole_line(self, tmp_path, bad_lines):
        with pytest.raises(DataError, match=r"line 2: expected 4 fields, got 2 \(malformed record in 2 of 2 lines\): '1,2'"):
            read(tmp_path, "user,item,rating,time\n1,2\n3\n", bad_lines=bad_lines)

    def test_lines_in_another_encoding(self, tmp_path):
        assert read(tmp_path, (HEADER + "é,1,1\n7,1,1\né,1\n").encode("latin-1"), bad_lines="skip")["user_id"] == [7]

    def test_rows_of_parquet(self, tmp_path):
        pd.DataFrame({"user": ["a", "", "c"], "item": [1, 2, 3], "rating": [1, 2, np.nan]}).to_parquet(tmp_path / "x.parquet")
        skipped = SkippedLines()
        read_interactions(tmp_path / "x.parquet", bad_lines="skip", skipped=skipped)
        assert [(one.number, one.user, one.item) for one in skipped.faults] == [(2, None, None), (3, "c", 3)]

    def test_ids_of_skipped_lines_are_those_of_the_file(self, tmp_path):
        """Also if they are not valid numbers, missing, or not in any other line."""
        skipped = SkippedLines()
        content = HEADER + "1,a,5\n007,b,\n2,,x\n,a,x\n3,é,9\n4,c,x\n"
        read_table(put(tmp_path, content), guess_table(put(tmp_path, content), bad_lines="skip"), None, (1, 5), skipped=skipped)
        assert [(one.column, one.user, one.item) for one in skipped.faults] == [
            ("rating", None, None),
            ("rating", None, None),
            ("rating", None, None),
            ("rating", 3, "é"),
            ("rating", 4, "c"),
        ]

    @pytest.mark.parametrize(
        ("bad", "good", "layout", "way_out"),
        [
            # 0.41 x 300 < 123 in doubles
            (123, 177, {}, "If the declaration is right, declare skip_at_most: 0.42 to skip them"),
            (101, 10, {"skip_at_most": 0.9}, "Most lines are invalid, so correct the declaration"),
            (31, 10, {}, ""),
        ],
    )
    def test_the_share_of_skipped_lines_is_limited(self, tmp_path, bad, good, layout, way_out):
        lines = [f"{number},1,5" for number in range(good)] + [f"{number},2,x" for number in range(bad)]
        path = put(tmp_path, HEADER + "\n".join(lines) + "\n")
        if bad <= 100:
            assert read_interactions(path, bad_lines="skip", **layout).n_users == good
            return
        says = rf"{bad} of {good + bad} lines are invalid, more than skip_at_most: 0\.\d+ allows; for example, line"
        with pytest.raises(DataError, match=rf"{says} {good + 2}: rating 'x' is not a number \(.*{way_out}$"):
            read_interactions(path, bad_lines="skip", **layout)
        assert read_interactions(path, bad_lines="skip", skip_at_most=0.42 if good > bad else 1).n_users == good

    def test_numbers_of_lines_have_one_form(self, tmp_path, caplog):
        path = put(tmp_path, HEADER + "1,1,5\n" * 1000 + "1,1,x\n" * 1200)
        with pytest.raises(DataError, match=r"1,200 of 2,200 lines are invalid, more than .* in 1,200 of 2,200 lines"):
            read_interactions(path, bad_lines="skip", duplicates="last")
        read_interactions(path, bad_lines="skip", duplicates="last", skip_at_most=1)
        assert "skipped 1,200 invalid lines, kept 1,000; for example" in caplog.text

    def test_an_empty_value_is_not_advised_to_be_skipped_once_it_is(self, tmp_path, caplog):
        skipped = SkippedLines()
        read_interactions(put(tmp_path, HEADER + "1,1,5\n1,2,\n"), bad_lines="skip", skipped=skipped)
        assert skipped.faults[0].problem == "rating '' is not a number"
        assert "line 3: rating '' is not a number: '1,2,'" in caplog.text
        assert "bad_lines" not in caplog.text


class TestWrongSeparator:
    """The likely separator of a file that stays in one column is named."""

    @pytest.mark.parametrize(
        ("content", "layout", "likely"),
        [
            ("user_id;item_id;stars\n1;2;4\n", {"separator": ","}, ";"),
            ("user_id;item_id;stars\n1;2;4,5\n", {"separator": "\t", "columns": {"user": "user_id", "item": "item_id"}}, ";"),
            ("user_id\titem_id\n1\t2\n", {"separator": ",", "columns": {"user": "user_id", "item": "item_id"}}, "\t"),
            ("1,2\n", {"separator": ";", "header": False, "columns": {"user": 1, "item": 2}}, ","),
            ("user_id#item_id\n1#2\n", {}, "#"),
            ("user item\n1 2\n", {"columns": {"user": "user", "item": "item"}}, " "),
        ],
    )
    def test_it_is_named(self, tmp_path, content, layout, likely):
        path = put(tmp_path, content)
        with pytest.raises(DataError) as caught:
            read_interactions(path, **layout)
        first = content.split("\n")[0]
        assert (
            str(caught.value)
            == f"{path}: the file has only one column, {first!r}; if its separator is {likely!r}, declare it (key separator)"
        )
        assert read_interactions(path, **layout | {"separator": likely}).n_users == 1

    @pytest.mark.parametrize("content", ["user id\n1\n", "anna@shop.example\nbo@shop.example\n"])
    def test_a_single_column_of_users_has_none(self, tmp_path, content):
        with pytest.raises(DataError, match="no column is recognised as the"):
            read_interactions(put(tmp_path, content))

    def test_another_mistake_is_not_taken_for_one(self, tmp_path):
        with pytest.raises(DataError, match="no column is recognised as the item id"):
            read(tmp_path, "user_id\n1\n")
        with pytest.raises(DataError, match="there is no column 'item'; known are: stock, user"):
            read(tmp_path, "user;stock\n1;2\n", columns={"user": "user", "item": "item"})


class TestManyFaults:
    """The most frequent fault is reported, even if others come first, and the others are counted."""

    HEADER = "user,item,rating,time\n"
    DATES = tuple(f"1,{number},{rating},3.{number}.2024" for number, rating in enumerate(["", *"55"] * 5, 1))

    def test_a_wrong_date_format(self, tmp_path):
        path = put(tmp_path, self.HEADER + "\n".join(["1,20", *self.DATES, "1,1,5,2024-01-02"]) + "\n")
        with pytest.raises(DataError) as caught:
            read_interactions(path, date_format="%Y-%m-%d")
        assert str(caught.value) == (
            f"{path}, line 4: time '3.2.2024' is not a date in the format %Y-%m-%d (invalid time in 10 of 17 lines): "
            "'1,2,5,3.2.2024'; empty rating in 5 (first in line 3), malformed record in 1 (first in line 2)"
        )

    def test_a_wrong_decimal_mark_below_empty_ratings(self, tmp_path):
        with pytest.raises(
            DataError, match=r"line 3: rating '4,5' .* \(invalid rating in 2 of 4 lines\): .*; empty rating in 1 "
        ):
            read(tmp_path, "user;item;rating\n1;1;\n1;2;4,5\n1;3;4\n1;4;3,5\n")

    def test_advice_is_about_the_fault_that_is_shown(self, tmp_path):
        with pytest.raises(DataError, match=r"line 3: rating '' .*\(empty rating in 2 of 3 lines.*declare bad_lines: skip$"):
            read(tmp_path, HEADER + "1,1,x\n1,2,\n1,3,\n")
        with pytest.raises(DataError, match=r"line 3: rating 'x' .* empty rating in 1 \(first in line 2\)$"):
            read(tmp_path, HEADER + "1,1,\n1,2,x\n1,3,x\n")

    def test_long_content_and_many_kinds_leave_room_for_the_main_fault(self, tmp_path):
        """Uncut on the command line."""
        names, title = {"user": "Kundennr", "item": "Artikelnr", "rating": "Sterne", "time": "Gekauft am"}, "Titel " * 40
        lines = [f";1;5;01.01.24 00h00;{title}", f"1;;5;01.01.24 00h00;{title}", f"1;1;;01.01.24 00h00;{title}", "1;1"]
        lines += [f"{number};1;5;13.01.24 00h03;{title}" for number in range(300)] + [f"1;1;5;01.13.24 00h03;{title}"] * 99
        content = "\n".join([";".join([*names.values(), "Titel"]), *lines])
        with pytest.raises(DataError) as caught:
            read(tmp_path, content, columns=names, date_format="%m.%d.%y %Hh%M", bad_lines="skip")
        assert str(caught.value).removeprefix(str(tmp_path)) == (
            "/x.csv: 304 of 403 lines are invalid, more than skip_at_most: 0.05 allows; for example, line 6: Gekauft am "
            "'13.01.24 00h03' is not a date in the format %m.%d.%y %Hh%M (invalid Gekauft am in 300 of 403 lines): '0;1;5;"
            "13.01.24 00h03;Titel ...el Titel Titel Titel Titel '; empty Kundennr in 1 (first in line 2), empty Artikelnr in 1 "
            "(first in line 3), other faults in 2. Most lines are invalid, so correct the declaration"
        )
        assert one_line(str(caught.value).removeprefix(str(tmp_path))) == str(caught.value).removeprefix(str(tmp_path))

    def test_too_many_lines_to_skip(self, tmp_path):
        lines = ["1,1,,2024-01-02", *(f"1,{number},5,2.1.2024" for number in range(2, 200)), "1,1,5,2024-01-02"]
        with pytest.raises(
            DataError, match=r"for example, line 3: time '2.1.2024' .* \(invalid time in 198 of 200 lines\): .*; empty rat"
        ):
            read(tmp_path, self.HEADER + "\n".join(lines) + "\n", bad_lines="skip", date_format="%Y-%m-%d")

    def test_rows_of_parquet(self, tmp_path):
        frame = pd.DataFrame({"user": [1, 2, 3, 4], "item": 1, "rating": [np.nan, 9, 9, 1]})
        frame.to_parquet(tmp_path / "x.parquet")
        with pytest.raises(DataError, match=r"row 2: rating 9.0 is outside.* \(invalid rating in 2 of 4 rows"):
            read_interactions(tmp_path / "x.parquet", scale=(1, 5))


@given(st.text("0123456789.,+-eEnaifx_ \t", max_size=6))
@settings(max_examples=200)
@example("nan")
@example("-inf")
@example("1e400")
@example(".")
@example("0x1")
@example("1_0")
@example("infinity")
def test_a_rating_means_the_same_beside_good_lines_and_bad_ones(tmp_path_factory, value):
    """The fast way of reading numbers and the one that finds bad lines agree."""
    folder = tmp_path_factory.mktemp("csv")
    content = f"user;item;rating;time\n1;1;{value};{value}\n"
    try:
        fast = read(folder, content)
    except DataError:
        fast = {"user_id": []}
    both = read(folder, content + "2;1;1;1\n3;1;x;1\n", bad_lines="skip")
    assert both["user_id"] == [*fast["user_id"], 2]
    if fast["user_id"]:
        assert (both["rating"][0], both["time"][0]) == (fast["rating"][0], fast["time"][0])
