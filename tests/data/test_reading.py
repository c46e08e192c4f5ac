"""Files as people bring them: dialects, encodings, compression, and what is wrong with them."""

import bz2
import csv
import gzip
import io
import logging
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given, settings, strategies as st

from recsys_ae.data import reading, text
from recsys_ae.data.content import TEXT
from recsys_ae.data.detection import guess_table
from recsys_ae.data.lists import read_lists
from recsys_ae.data.ratings import read_interactions
from recsys_ae.data.skipped import SkippedLines
from recsys_ae.data.tables import read_table
from recsys_ae.data.text import Dialect, lines
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.exits import one_line

HEADER = "user,item,rating\n"


def put(folder: Path, content: str | bytes, name: str = "x.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def read(folder: Path, content: str | bytes, name: str = "x.csv", ids=None, **layout) -> dict[str, list]:
    path = put(folder, content, name)
    return read_table(path, guess_table(path, **layout), ids).to_dict("list")


def users(folder: Path, *ids: str) -> list:
    return read(folder, HEADER + "".join(f"{one},1,1\n" for one in ids))["user_id"]


class TestIds:
    @pytest.mark.parametrize("odd", ["007", " 7", "7 ", "+7", "-0", "7.0", "1e3", "", "\uff19", "9223372036854775808"])
    def test_one_odd_spelling_anywhere_makes_all_ids_text(self, tmp_path, odd):
        ids = [str(number) for number in range(1, 2000)]
        if odd == "":
            with pytest.raises(DataError, match="line 2001: user '' is empty"):
                users(tmp_path, *ids, odd)
        else:
            assert users(tmp_path, *ids, odd) == [*ids, odd]
            assert users(tmp_path, odd, *ids) == [odd, *ids]

    def test_the_whole_range_of_64_bits(self, tmp_path):
        ids = [-(2**63), -1, 0, 7, 2**63 - 1]
        assert users(tmp_path, *map(str, ids)) == ids

    def test_declared_integers_must_be_canonical(self, tmp_path):
        with pytest.raises(DataError, match=r"line 3: user '007' is not an integer of 64 bits in plain digits.*: '007,1,1'"):
            read(tmp_path, HEADER + "7,1,1\n007,1,1\n", ids={"user": "int"})
        with pytest.raises(DataError, match=r"line 2: item 'b' is not an integer \(declare ids: \{item: str\}"):
            read(tmp_path, HEADER + "7,b,1\n", ids={"item": "int"})

    def test_text_for_the_sake_of_a_few_is_warned_of(self, tmp_path, caplog):
        users(tmp_path, *map(str, range(50)), "007")
        assert "column 'user': the ids are read as text because 1 of 51 are not integers, such as '007'" in caplog.text

    def test_the_empty_id_of_a_skipped_line_is_no_text(self, tmp_path, caplog):
        rows = "".join(f"{one},1,1\n" for one in [*range(50), "007", ""])
        read(tmp_path, HEADER + rows, bad_lines="skip")
        assert "column 'user': the ids are read as text because 1 of 51 are not integers, such as '007'" in caplog.text

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
    @example(['"', '""', "a,b", "a\nb", "a\r\nb", " ", "#", "\ufeff", "NA", "null", "\x1f"])
    @settings(max_examples=50)
    def test_what_the_csv_module_writes_is_read_exactly(self, tmp_path_factory, ids):
        out = io.StringIO(newline="")
        csv.writer(out).writerows([["user", "item"], *([one, "-"] for one in ids)])
        frame = read(tmp_path_factory.mktemp("csv"), out.getvalue())
        integers = all(one.isascii() and one == str(_integer(one)) for one in ids)
        assert frame["user_id"] == (list(map(int, ids)) if integers else ids)

    @given(st.lists(st.from_regex(r"[ +-]?0?[0-9]{1,3}(\.0)?[ ]?", fullmatch=True), min_size=1), st.randoms())
    @settings(max_examples=50)
    def test_a_shuffled_file_has_the_same_ids(self, tmp_path_factory, ids, random):
        folder, shuffled = tmp_path_factory.mktemp("csv"), random.sample(ids, len(ids))
        found = dict(zip(ids, users(folder, *ids), strict=True))
        assert users(folder, *shuffled) == [found[one] for one in shuffled]
        assert len(set(found.values())) == len(found)


def _integer(value: str) -> int | None:
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


class TestQuotes:
    @pytest.mark.parametrize(("separator", "name"), [("\t", "x.tsv"), ("::", "x.dat"), ("|", "x.txt")])
    def test_a_stray_quote_is_text_where_nothing_is_quoted(self, tmp_path, separator, name):
        rows = [["user", "item"], ['"a', "1"], ["b", "2"], ['"Weird Al" Y', '3"']]
        frame = read(tmp_path, "\n".join(separator.join(row) for row in rows), name)
        assert frame["user_id"] == ['"a', "b", '"Weird Al" Y']
        assert frame["item_id"] == ["1", "2", '3"']

    def test_declared_quotes(self, tmp_path):
        assert read(tmp_path, "user\titem\n'a\tb'\t1\n", quote="'")["user_id"] == ["a\tb"]
        assert read(tmp_path, 'user,item\n"a,1\n', quote="none")["user_id"] == ['"a']
        assert read(tmp_path, 'user::item\n"a::b"::1\n', quote='"')["user_id"] == ["a::b"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('a,1,1\n"b,1,1\nc,1,1\n', "line 3: a quotation mark is never closed"),
            ('a,1,1\n"b,1,1\n"c,1,1\n', "line 3: text follows a closing quotation mark"),
            ('"Weird Al" Y,1,1\n', "line 2: text follows a closing quotation mark"),
            ('"a" ,1,1\n', "line 2: text follows a closing quotation mark"),
        ],
    )
    def test_malformed_quotes_never_swallow_rows(self, tmp_path, content, message):
        for bad_lines in ("error", "skip"):
            with pytest.raises(DataError, match=message):
                read(tmp_path, HEADER + content, bad_lines=bad_lines)

    def test_quotes_inside_of_unquoted_text_stay(self, tmp_path):
        assert users(tmp_path, 'Al "W" Y', '5" disk') == ['Al "W" Y', '5" disk']

    @given(st.text('a",\n', max_size=30), st.integers(1, 7))
    def test_the_strict_check_finds_all_that_is_malformed(self, content, size):
        """Whatever passes the check in blocks is read in the same way by the strict reader of the standard library."""
        quotes = text._Quotes(Dialect(",", '"', None))
        data = content.encode()
        for start in range(0, len(data), size):
            quotes.see(data[start : start + size], last=False)
        quotes.see(b"", last=True)
        if not quotes.odd:
            list(csv.reader(io.StringIO(content, newline=""), strict=True))
            out = io.StringIO(newline="")
            csv.writer(out, lineterminator="\n").writerows(csv.reader(io.StringIO(content, newline="")))
            assert out.getvalue().count('"') % 2 == 0


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    def test_byte_order_marks_decide(self, tmp_path, encoding):
        assert read(tmp_path, (HEADER + "é,1,1\n").encode(encoding))["user_id"] == ["é"]

    @pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis", "utf-16-le", "cp037", "utf-7"])
    def test_declared_encodings(self, tmp_path, encoding):
        word = "é" if encoding in ("latin-1", "cp1252", "cp037") else "語"
        rows = HEADER + f"{word},1,1\n" * 3
        assert read(tmp_path, rows.encode(encoding), encoding=encoding)["user_id"] == [word] * 3

    def test_a_byte_order_mark_of_a_declared_encoding(self, tmp_path):
        assert read(tmp_path, ("\ufeff" + HEADER + "a,1,1\n").encode("utf-16-be"), encoding="utf-16-be")["user_id"] == ["a"]

    @pytest.mark.parametrize(
        ("content", "layout", "message"),
        [
            (
                (HEADER + "a,1,1\né,1,1\n").encode("latin-1"),
                {},
                r"line 3: column 1 holds b'\\xe9', which is not UTF-8; declare the encoding, such as encoding: cp1252: ",
            ),
            (HEADER.encode() + b"a,1,1\n\x84b\x93,1,1\n", {}, r"holds b'\\x84b\\x93', .*such as encoding: cp1252: "),
            (HEADER.encode() + b"a,1,1\n\x81,1,1\n", {"encoding": "cp1252"}, r"which is not cp1252; declare the encoding: "),
            ((HEADER + "a,1\né,1\n").encode("latin-1"), {}, "line 2: expected 3 fields, got 2"),
            ("usér,item\n1,2\n".encode("latin-1"), {}, r"line 1: column 1 holds b'us\\xe9r', which is not UTF-8"),
            (HEADER.encode("utf-16-le"), {}, "line 1: not text: it has a NUL .*declare encoding: utf-16-le"),
            (HEADER.encode("utf-16")[:-1], {"encoding": "utf-16"}, "line 1: not valid utf-16; declare another"),
        ],
    )
    def test_a_wrong_encoding_is_named(self, tmp_path, content, layout, message):
        with pytest.raises(DataError, match=message):
            read(tmp_path, content, **layout)

    def test_columns_that_are_not_read_may_be_in_another_encoding(self, tmp_path):
        assert read(tmp_path, b"user,item,title\n1,2,\xe9\n")["item_id"] == [2]

    @pytest.mark.parametrize("encoding", ["nope", "rot13", "base64", "zip"])
    def test_unknown_encodings(self, tmp_path, encoding):
        with pytest.raises(ConfigError, match=f"encoding: unknown encoding '{encoding}'"):
            read(tmp_path, HEADER, encoding=encoding)


def zipped(**members: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return archive.getvalue()


COMPRESS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "zip": lambda content: zipped(log=content.decode()),
}


class TestCompression:
    @pytest.mark.parametrize("ending", COMPRESS)
    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_endings(self, tmp_path, ending, form):
        rows = HEADER + "1,x,2\n" if form == "csv" else '{"user": 1, "item": "x", "rating": 2}\n'
        frame = read(tmp_path, COMPRESS[ending](rows.encode()), f"log.{form}.{ending.upper()}")
        assert frame == {"user_id": [1], "item_id": ["x"], "rating": [2.0]}

    @pytest.mark.parametrize("ending", COMPRESS)
    def test_damaged_files(self, tmp_path, ending):
        whole = COMPRESS[ending]((HEADER + "1,x,2\n" * 500).encode())
        for damaged in (whole[:-9], b"no " + whole):
            if (ending, damaged[:2]) != ("zip", b"no"):  # which zip archives may begin with
                with pytest.raises(DataError, match=r"log.csv.*: cannot be read: "):
                    read(tmp_path, damaged, f"log.csv.{ending}")

    def test_zip_archives_of_one_file(self, tmp_path):
        both = zipped(**{"log.csv": HEADER + "1,2,3\n", "__MACOSX/._log.csv": "?"})
        assert read(tmp_path, both, "log.zip")["user_id"] == [1]
        with pytest.raises(DataError, match="must hold exactly one file, but this one holds 2"):
            read(tmp_path, zipped(a=HEADER, b=HEADER), "log.zip")
        with pytest.raises(DataError, match="must hold exactly one file, but this one holds 0"):
            read(tmp_path, zipped(), "log.zip")
        secret = bytearray(zipped(a=HEADER))
        secret[6] |= 1
        secret[secret.rfind(b"PK\x01\x02") + 8] |= 1
        with pytest.raises(DataError, match="'a' in the zip archive is encrypted"):
            read(tmp_path, bytes(secret), "log.zip")

    @pytest.mark.parametrize("ending", COMPRESS)
    def test_a_file_may_not_expand_without_limit(self, tmp_path, monkeypatch, ending):
        monkeypatch.setattr(reading, "FREE_EXPANSION", 2**20)
        bomb = COMPRESS[ending]((HEADER + "1,2,3\n" * 2**20).encode())
        assert len(bomb) * reading.EXPANSION < 6 * 2**20
        with pytest.raises(DataError, match=r"expands to over \d+ bytes, 200 times its size; if you trust it, unpack it first"):
            read(tmp_path, bomb, f"log.csv.{ending}")

    def test_compressed_parquet_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="a compressed Parquet file cannot be read; unpack it first"):
            read(tmp_path, gzip.compress(b"PAR1"), "log.parquet.gz")


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
        assert (skipped.n_lines, skipped.by_column()) == (7, {"line": 2, "rating": 2, "user": 1})
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


@given(st.text('ab", \n\r', max_size=80), st.sampled_from(['"', None]), st.booleans())
@settings(max_examples=300)
def test_both_readers_divide_text_in_the_same_way(tmp_path_factory, content, quote, header):
    """In blocks as short as can be, so that everything happens at their borders."""
    path, dialect = put(tmp_path_factory.mktemp("csv"), content), Dialect(",", quote, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", 100)
        try:
            expected = list(lines(path, dialect))
        except DataError:
            with pytest.raises(DataError):
                text.read_columns(path, dialect, 2, 0, {0: TEXT, 1: TEXT}, ".", lenient=True)
            return
        assume(expected)
        skip = expected[0].number if header else 0
        found = text.read_columns(path, dialect, 2, skip, {0: TEXT, 1: TEXT}, ".", lenient=True)
    kept = [line.fields for line in expected[int(skip > 0) :] if len(line.fields) == 2]
    assert list(map(list, zip(*(found.by_place[place].to_pylist() for place in (0, 1)), strict=True))) == kept
    assert found.left_out == len(expected) - int(skip > 0) - len(kept)


@pytest.mark.parametrize("stray", ['5" disk', 'a "b" c'])
def test_stray_quotes_and_quoted_line_ends_in_many_blocks(tmp_path, stray):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["user", "item"]])
    csv.writer(out, quoting=csv.QUOTE_NONE, quotechar=None).writerows([[stray, "x"]])
    csv.writer(out).writerows([["a\nb", 'c"d']] * 90_000)
    csv.writer(out, quoting=csv.QUOTE_NONE, quotechar=None).writerows([[stray, "x"]] * 90_000)
    frame = read(tmp_path, out.getvalue())
    assert frame["user_id"] == [stray, *["a\nb"] * 90_000, *[stray] * 90_000]


def test_a_quote_that_is_never_closed_in_a_long_file(tmp_path):
    with pytest.raises(DataError, match="line 5002: a quotation mark is never closed"):
        read(tmp_path, HEADER + "1,2,3\n" * 5000 + '"1,2,3\n' + "1,2,3\n" * 500_000)


def test_lines_counts_those_of_quoted_fields(tmp_path):
    path = put(tmp_path, 'a,"b\nc"\n\nd,e\n')
    assert [(line.number, line.fields) for line in lines(path, Dialect(",", '"', None))] == [
        (1, ["a", "b\nc"]),
        (4, ["d", "e"]),
    ]


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
