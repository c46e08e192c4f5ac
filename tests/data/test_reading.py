"""Text files as people bring them: ids, quotation marks, encodings and compression."""

import bz2
import csv
import gzip
import io
import zipfile

import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings, strategies as st
from log_files import HEADER, put, read, users

from recsys_ae.data import reading, text
from recsys_ae.data.content import TEXT
from recsys_ae.data.text import Dialect, lines
from recsys_ae.errors import ConfigError, DataError


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
