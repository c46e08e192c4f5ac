"""Logs of ratings, clicks and events, in every form in which people keep them."""

import datetime
import io
import lzma
import zipfile
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
from robustness.catalogue import Case, cases
from robustness.feeding import HEADER, SECOND, events, guess, gz, lines, log, merged, parquet

from recsys_ae import Interactions

ONE = [(1, 7, 5.0, 10 * SECOND)]
TWO = [(1, 7, 5.0, 10 * SECOND), (2, 8, 4.0, 20 * SECOND)]
TWO_LINES = lines("1,7,5,10", "2,8,4,20")
NO_TIME = {"columns": {"user": "user", "item": "item", "rating": "rating"}}
NO_RATING = {"columns": {"user": "user", "item": "item"}}
TEXT = {"user": "str", "item": "str"}
MANY = [f"{user},7,5,{user}" for user in range(1, 1500)]  # more lines than any sample


def zipped(**members: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return target.getvalue()


def compressed(kind: str, text: str) -> bytes:
    import bz2

    return {"bz2": bz2.compress, "zst": pa.Codec("zstd").compress}[kind](text.encode())


def zstd(text: str) -> bytes:
    target = io.BytesIO()
    with pa.CompressedOutputStream(target, "zstd") as stream:
        stream.write(text.encode())
    return target.getvalue() if not target.closed else b""


def zstd_file(path) -> None:
    with pa.OSFile(str(path), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as stream:
        stream.write(TWO_LINES.encode())


ACCEPTED = [
    log("plain", TWO_LINES, rows=TWO),
    log("byte-order-mark", "\ufeff" + TWO_LINES, rows=TWO),
    log("byte-order-mark-of-utf-16", TWO_LINES.encode("utf-16"), rows=TWO),
    log("windows-line-ends", TWO_LINES.replace("\n", "\r\n"), rows=TWO),
    log("no-last-line-end", TWO_LINES.rstrip("\n"), rows=TWO),
    log("blank-lines", HEADER + "\n1,7,5,10\n\n2,8,4,20\n\n", rows=TWO),
    log("more-columns-than-declared", "user,item,rating,time,note\n1,7,5,10,a\n2,8,4,20,\n", rows=TWO),
    log("columns-in-another-order", "time,rating,item,user\n10,5,7,1\n20,4,8,2\n", rows=TWO),
    log("without-header", "1,7,5,10\n2,8,4,20\n", rows=TWO, header=False),
    log("tabs", TWO_LINES.replace(",", "\t"), rows=TWO, table={"separator": "\t"}),
    log("two-colons", TWO_LINES.replace(",", "::"), rows=TWO, table={"separator": "::"}),
    log("semicolons", TWO_LINES.replace(",", ";"), rows=TWO, table={"separator": ";"}),
    log("bars", TWO_LINES.replace(",", "|"), rows=TWO, table={"separator": "|"}),
    log("gzip", gz(TWO_LINES), rows=TWO, path="log.csv.gz"),
    log("gzip-in-two-members", gz(lines("1,7,5,10")) + gz("2,8,4,20\n"), rows=TWO, path="log.csv.gz"),
    log("gzip-with-a-tail", gz(TWO_LINES) + b"garbage", path="log.csv.gz", says=("log.csv.gz", "damaged")),
    log("gzip-without-its-ending", gz(TWO_LINES), says=("log.csv", "gzip", r"\.gz")),
    log("zip-without-its-ending", zipped(log__csv=TWO_LINES), says=("log.csv", "zip")),
    log("spreadsheet", zipped(sheet__xml="<x/>"), path="log.xlsx", says=("log.xlsx", "spreadsheet", "CSV")),
    log("xz", lzma.compress(TWO_LINES.encode()), path="log.csv.xz", says=("log.csv.xz", "xz", "unpack")),
    log("parquet-without-its-ending", parquet(user=[1], item=[7]), path="log.pq", says=("log.pq", "Parquet", r"\.parquet")),
    log("utf-16-big-endian-without-mark", TWO_LINES.encode("utf-16-be"), says=("log.csv", "utf-16-be")),
    guess("json-lines-called-json", '{"user": 1, "item": 7}\n', path="log.json", says=("log.json", r"\.jsonl")),
    guess("no-usual-names", "kunde;titel\n1;7\n", says=("log.csv", "kunde", "card")),
    log("rating-of-zero-is-a-rating", lines("1,7,0,10"), rows=[(1, 7, 0.0, 10 * SECOND)]),
    log("negative-ids", lines("-1,-7,5,10"), rows=[(-1, -7, 5.0, 10 * SECOND)]),
    log("largest-ids", lines(f"{2**63 - 1},{-(2**63)},5,10"), rows=[(2**63 - 1, -(2**63), 5.0, 10 * SECOND)]),
    log("scientific-ratings", lines("1,7,5e0,10"), rows=ONE),
    log("milliseconds", lines("1,7,5,10000"), rows=ONE, table={"time_unit": "ms"}),
    log("fractions-of-seconds", lines("1,7,5,10.25"), rows=[(1, 7, 5.0, 10_250_000)]),
    log("times-before-1970", lines("1,7,5,-10"), rows=[(1, 7, 5.0, -10 * SECOND)]),
    log("dates", lines("1,7,5,1970-01-02"), rows=[(1, 7, 5.0, 86400 * SECOND)]),
    log("dates-with-zone", lines("1,7,5,1970-01-01T02:00:10+02:00"), rows=ONE),
    log("dates-with-z", lines("1,7,5,1970-01-01T00:00:10Z"), rows=ONE),
    log("no-ratings-count-one", "user,item\n1,7\n1,8\n", rows=[(1, 7, 1.0, None), (1, 8, 1.0, None)], table=NO_RATING),
    log("one-user-one-item", lines("1,7,5,10"), rows=ONE),
    log("emoji-ids", lines("\U0001f600,\u00e9,5,10"), rows=[("\U0001f600", "\u00e9", 5.0, 10 * SECOND)]),
    log(
        "decomposed-and-composed-stay-two",
        lines("e\u0301,7,5,1", "\u00e9,7,4,2"),
        then=merged,
        rows=[("e\u0301", 7, 5.0), ("\u00e9", 7, 4.0)],
    ),
    log("ids-like-markup", lines("[bold]x[/],7,5,10"), rows=[("[bold]x[/]", 7, 5.0, 10 * SECOND)]),
    log(
        "ids-called-null",
        lines("null,NA,5,10", "NaN,None,4,20"),
        rows=[("null", "NA", 5.0, 10 * SECOND), ("NaN", "None", 4.0, 20 * SECOND)],
    ),
    log("ids-called-true", lines("true,false,5,10"), rows=[("true", "false", 5.0, 10 * SECOND)]),
    log("declared-text", lines("1,7,5,10"), rows=[("1", "7", 5.0, 10 * SECOND)], ids=TEXT),
    log(
        "uuids",
        lines("6f9619ff-8b86-d011-b42d-00c04fc964ff,7,5,10"),
        rows=[("6f9619ff-8b86-d011-b42d-00c04fc964ff", 7, 5.0, 10 * SECOND)],
    ),
    guess("guessed-commas", TWO_LINES, rows=TWO),
    guess("guessed-tabs-without-header", "1\t7\t5\t10\n2\t8\t4\t20\n", rows=TWO, path="u.data"),
    guess("guessed-two-colons", "1::7::5::10\n2::8::4::20\n", rows=TWO, path="ratings.dat"),
    guess("guessed-movielens", "userId,movieId,rating,timestamp\n1,7,5,10\n2,8,4,20\n", rows=TWO),
    guess(
        "guessed-parquet",
        parquet(user_id=[1, 2], item_id=[7, 8], rating=[5.0, 4.0], timestamp=[10, 20]),
        rows=TWO,
        path="log.parquet",
    ),
    guess("guessed-gzip", gz(TWO_LINES), rows=TWO, path="log.csv.gz"),
]

IDS = [
    # Integers or text is decided by the whole column; an integer has one spelling.
    log("late-leading-zero-makes-text", lines(*MANY, "007,7,4,9999"), then=lambda: late_user(), rows="007"),
    log(
        "early-leading-zero-makes-text",
        lines("007,7,4,0", *MANY),
        then=lambda: {row[0] for row in events_of()} >= {"007", "7"},
        rows=True,
    ),
    log("late-word-makes-text", lines(*MANY, "anna,7,4,9999"), then=lambda: late_user(), rows="anna"),
    log(
        "late-zero-padded-item",
        lines(*(f"1,{item},5,{item}" for item in range(1, 1500)), "2,0070,4,9999"),
        then=lambda: late_user(1),
        rows="0070",
    ),
    log(
        "seven-and-007-stay-two",
        lines("7,1,5,10", "007,1,4,20"),
        rows=[("7", 1, 5.0, 10 * SECOND), ("007", 1, 4.0, 20 * SECOND)],
    ),
    log("leading-space", lines(*MANY, "1, 7,4,9999"), says=("log.csv", "line 1501", "' 7'"), ids={"item": "int"}),
    log("trailing-space", lines(*MANY, "1,7 ,4,9999"), says=("log.csv", "line 1501", "'7 '"), ids={"item": "int"}),
    log("declared-integer-007", lines("1,7,5,10", "007,8,4,20"), says=("log.csv", "line 3", "'007'"), ids={"user": "int"}),
    log("declared-integer-plus", lines("1,7,5,10", "+7,8,4,20"), says=("log.csv", "line 3", r"'\+7'"), ids={"user": "int"}),
    log("declared-integer-minus-zero", lines("1,7,5,10", "-0,8,4,20"), says=("log.csv", "line 3", "'-0'"), ids={"user": "int"}),
    log("declared-integer-float", lines("1,7,5,10", "2.0,8,4,20"), says=("log.csv", "line 3", r"'2\.0'"), ids={"user": "int"}),
    log("declared-integer-underscore", lines("1,7,5,10", "1_000,8,4,20"), says=("line 3", "1_000"), ids={"user": "int"}),
    log("declared-integer-arabic-digits", lines("1,7,5,10", "\u0661,8,4,20"), says=("line 3",), ids={"user": "int"}),
    log(
        "declared-integer-beyond-64-bits",
        lines("1,7,5,10", f"{2**63},8,4,20"),
        says=("line 3", str(2**63)),
        ids={"user": "int"},
    ),
    log("undeclared-beyond-64-bits-is-text", lines(f"{2**64},7,5,10"), rows=[(str(2**64), 7, 5.0, 10 * SECOND)]),
    log("empty-user", lines("1,7,5,10", ",8,4,20"), says=("log.csv", "line 3")),
    log("empty-item", lines("1,7,5,10", "a,,4,20"), says=("log.csv", "line 3")),
    log("quoted-empty-user", lines("a,7,5,10", '"",8,4,20'), says=("log.csv", "line 3")),
    log(
        "parquet-null-id",
        parquet(user=[1, None], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 2", "user"),
    ),
    log(
        "parquet-empty-text-id",
        parquet(user=["a", ""], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 2", "user"),
    ),
    log(
        "parquet-integral-floats",
        parquet(user=[1.0, 2.0], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=TWO,
    ),
    log(
        "parquet-floats-of-32-bits-that-skip-integers",
        parquet(user=pa.array(np.array([16_777_216, 16_777_217], np.float32)), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 1", "user", "16777216"),
    ),
    log(
        "parquet-floats-of-64-bits-that-skip-integers",
        parquet(user=[2.0**53, 2.0**53 + 1], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("row 1", "user", "9007199254740992"),
    ),
    log(
        "parquet-floats-of-16-bits",
        parquet(user=pa.array(np.array([1, 2], np.float16)), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=TWO,
    ),
    log(
        "json-lines-floats-that-skip-integers",
        '{"user": 9007199254740993.0, "item": 7, "rating": 5, "time": 10}\n',
        path="log.jsonl",
        says=("log.jsonl", "line 1", "9007199254740992"),
    ),
    log(
        "parquet-fractional-ids",
        parquet(user=[1.0, 2.5], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", r"2\.5"),
    ),
    log(
        "parquet-unsigned",
        parquet(user=pa.array([1, 2], pa.uint64()), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=TWO,
    ),
    log(
        "parquet-beyond-64-bits",
        parquet(user=pa.array([1, 2**63], pa.uint64()), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", str(2**63)),
    ),
    log(
        "parquet-boolean-ids",
        parquet(user=[True, False], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", "bool"),
    ),
    log(
        "parquet-list-ids",
        parquet(user=[[1], [2]], item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        says=("user", "list"),
    ),
    log(
        "parquet-dictionary-ids",
        parquet(user=pa.array(["a", "b"]).dictionary_encode(), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=[("a", *TWO[0][1:]), ("b", *TWO[1][1:])],
    ),
    log(
        "parquet-large-strings",
        parquet(user=pa.array(["a", "b"], pa.large_string()), item=[7, 8], rating=[5.0, 4.0], time=[10, 20]),
        path="log.parquet",
        rows=[("a", *TWO[0][1:]), ("b", *TWO[1][1:])],
    ),
]


def events_of():
    from robustness.feeding import from_card

    return from_card()


def late_user(place: int = 0):
    """The user (or item) of the last event."""
    return events_of()[-1][place]


QUOTES = [
    log("quoted-fields", HEADER + '"a","7","5","10"\n', rows=[("a", 7, 5.0, 10 * SECOND)]),
    log("quoted-separator", lines('"Smith, Anna",7,5,10'), rows=[("Smith, Anna", 7, 5.0, 10 * SECOND)]),
    log("doubled-quotes", lines('"Weird ""Al"" Yankovic",7,5,10'), rows=[('Weird "Al" Yankovic', 7, 5.0, 10 * SECOND)]),
    log(
        "quoted-line-end",
        lines('"two\nlines",7,5,10', "b,8,4,20"),
        rows=[("two\nlines", 7, 5.0, 10 * SECOND), ("b", 8, 4.0, 20 * SECOND)],
    ),
    log(
        "stray-quote-in-tabs",
        lines('"a,7,5,10', "b,8,4,20", 'c",9,3,30').replace(",", "\t"),
        rows=[('"a', 7, 5.0, 10 * SECOND), ("b", 8, 4.0, 20 * SECOND), ('c"', 9, 3.0, 30 * SECOND)],
        table={"separator": "\t"},
    ),
    log(
        "stray-quote-in-two-colons",
        lines('"a,7,5,10', "b,8,4,20", 'c",9,3,30').replace(",", "::"),
        rows=[('"a', 7, 5.0, 10 * SECOND), ("b", 8, 4.0, 20 * SECOND), ('c"', 9, 3.0, 30 * SECOND)],
        table={"separator": "::"},
    ),
    log(
        "name-with-quotes-in-tabs",
        lines('"Weird Al" Yankovic,7,5,10').replace(",", "\t"),
        rows=[('"Weird Al" Yankovic', 7, 5.0, 10 * SECOND)],
        table={"separator": "\t"},
    ),
    log("quote-left-open", lines('"a,7,5,10', "b,8,4,20", "c,9,3,30"), says=("log.csv", "line 2")),
    log(
        "quote-in-the-middle",
        lines('5" floppy,7,5,10', "b,8,4,20"),
        rows=[('5" floppy', 7, 5.0, 10 * SECOND), ("b", 8, 4.0, 20 * SECOND)],
    ),
    log(
        "text-after-a-quote",
        lines('"Weird Al" Yankovic,7,5,10', "b,8,4,20"),
        says=("log.csv", "line 2", "quotation", "quote: none"),
    ),
    guess(
        "guessed-tabs-with-stray-quote",
        '"a\t7\t5\t10\nb\t8\t4\t20\nc"\t9\t3\t30\n',
        rows=[('"a', 7, 5.0, 10 * SECOND), ("b", 8, 4.0, 20 * SECOND), ('c"', 9, 3.0, 30 * SECOND)],
        path="u.data",
    ),
    guess(
        "guessed-two-colons-with-stray-quote",
        '"a::7::5::10\nb::8::4::20\n',
        rows=[('"a', 7, 5.0, 10 * SECOND), ("b", 8, 4.0, 20 * SECOND)],
        path="u.dat",
    ),
]

VALUES = [
    log("word-as-rating", lines("1,7,5,10", "2,8,five,20"), says=("log.csv", "line 3", "'five'")),
    log("empty-rating", lines("1,7,5,10", "2,8,,20"), says=("log.csv", "line 3", "rating")),
    log("nan-rating", lines("1,7,5,10", "2,8,nan,20"), says=("log.csv", "line 3", "nan")),
    log("infinite-rating", lines("1,7,5,10", "2,8,-inf,20"), says=("log.csv", "line 3", "inf")),
    log("rating-beyond-float", lines("1,7,5,10", "2,8,1e39,20"), says=("log.csv", "line 3", "1e39")),
    log("rating-outside-the-scale", lines("1,7,5,10", "2,8,6,20"), says=("log.csv", "line 3", "6", "scale"), scale=[1, 5]),
    log(
        "decimal-comma",
        lines("1;7;4,5;10", header="user;item;rating;time\n"),
        says=("line 2", "4,5", "decimal"),
        table={"separator": ";"},
    ),
    log("hexadecimal-rating", lines("1,7,5,10", "2,8,0x5,20"), says=("line 3", "0x5")),
    log("underscore-rating", lines("1,7,5,10", "2,8,1_0,20"), says=("line 3", "1_0")),
    log(
        "parquet-null-rating",
        parquet(user=[1, 2], item=[7, 8], rating=[5.0, None], time=[10, 20]),
        path="log.parquet",
        says=("row 2", "rating"),
    ),
    log(
        "parquet-nan-rating",
        parquet(user=[1, 2], item=[7, 8], rating=[5.0, float("nan")], time=[10, 20]),
        path="log.parquet",
        says=("row 2", "rating", "nan"),
    ),
    log(
        "parquet-text-ratings",
        parquet(user=[1, 2], item=[7, 8], rating=["5", "x"], time=[10, 20]),
        path="log.parquet",
        says=("rating", "row 2|string"),
    ),
    log(
        "parquet-decimal-ratings", parquet(user=[1], item=[7], rating=[Decimal("5.0")], time=[10]), path="log.parquet", rows=ONE
    ),
    log("too-few-fields", lines("1,7,5,10", "2,8"), says=("log.csv", "line 3", "2,8")),
    log("too-many-fields", lines("1,7,5,10", "2,8,4,20,9"), says=("log.csv", "line 3", "2,8,4,20,9")),
    log("missing-column", "user,item,stars,time\n1,7,5,10\n", says=("log.csv", "'rating'", "stars")),
    log("repeated-column", "user,item,rating,rating,time\n1,7,5,4,10\n", says=("log.csv", "'rating'")),
    log("place-beyond-the-columns", "1,7\n2,8\n", header=False, says=("log.csv", "3|2")),
    log("empty-file", "", says=("log.csv", "empty")),
    log("header-only", HEADER, says=("log.csv", "no rows")),
    log("blank-lines-only", "\n\n\n", says=("log.csv",)),
    log("spaces-only", "   \n   \n", says=("log.csv",)),
    log("repeated-pair", lines("1,7,5,10", "1,7,4,20"), says=("duplicates", "1", "7")),
    log("nul-bytes", lines("1,7,5,10") + "\0\0\0\n", says=("log.csv", "line 3")),
    log("binary", bytes(range(256)) * 20, says=("log.csv",)),
    log("latin-1", lines("Andr\u00e9,7,5,10").encode("latin-1"), says=("log.csv", "line 2", "encoding")),
    log("late-latin-1", (lines(*MANY) + "Andr\u00e9,7,5,10\n").encode("latin-1"), says=("log.csv", "line 1501", "encoding")),
    log("utf-16-without-mark", TWO_LINES.encode("utf-16-le"), says=("log.csv",)),
    log(
        "very-long-field",
        lines("1,7,5,10", f"{'a' * 200_000},8,4,20"),
        rows=[("1", 7, 5.0, 10 * SECOND), ("a" * 200_000, 8, 4.0, 20 * SECOND)],
    ),
    log("very-long-bad-line", lines("1,7,5,10", f"2,8,{'x' * 200_000},20"), says=("log.csv", "line 3", r"\.\.\.")),
    log("very-long-short-line", lines("1,7,5,10", "y" * 300_000), says=("log.csv", "line 3")),
    log("very-many-fields", lines("1,7,5,10", ",".join("2" for _ in range(50_000))), says=("log.csv", "line 3")),
    log("truncated-gzip", gz(TWO_LINES * 500)[:-20], path="log.csv.gz", says=("log.csv.gz",)),
    log(
        "damaged-gzip",
        gz(TWO_LINES * 500)[:40] + b"\xff" * 40 + gz(TWO_LINES * 500)[80:],
        path="log.csv.gz",
        says=("log.csv.gz",),
    ),
    log("gzip-in-name-only", TWO_LINES, path="log.csv.gz", says=("log.csv.gz", "gzip|header")),
    log("parquet-in-name-only", TWO_LINES, path="log.parquet", says=("log.parquet", "Parquet")),
    log(
        "parquet-cut-in-half",
        parquet(user=list(range(1000)), item=list(range(1000)), rating=[5.0] * 1000, time=[10] * 1000)[:3000],
        path="log.parquet",
        says=("log.parquet", "Parquet"),
    ),
    log(
        "parquet-empty",
        parquet(
            user=pa.array([], pa.int64()),
            item=pa.array([], pa.int64()),
            rating=pa.array([], pa.float32()),
            time=pa.array([], pa.int64()),
        ),
        path="log.parquet",
        says=("log.parquet", "no rows"),
    ),
    log("parquet-no-bytes", b"", path="log.parquet", says=("log.parquet",)),
    log("folder-instead-of-file", lambda path: path.mkdir(), says=("log.csv",)),
    log("link-to-nothing", lambda path: path.symlink_to("nowhere"), says=("log.csv",)),
    log("wrong-checksum", TWO_LINES, checksums={"log.csv": "0" * 32}, says=("log.csv", "checksum")),
    guess("guessed-one-column", "1\n2\n3\n", says=("log.csv", "line 1")),
    guess("guessed-unknown-header", "who,what\n1,7\n", says=("log.csv", "who, what")),
    guess("guessed-empty", "", says=("log.csv", "empty")),
    guess("guessed-spaces", "1 7 5 10\n2 8 4 20\n", says=("log.csv", "1 7 5 10")),
    guess("guessed-json", '[{"user": 1, "item": 7}]', says=("log.csv",)),
    guess("guessed-html", "<html><body>404 not found, sorry</body></html>\n", says=("log.csv",)),
]

TIMES = [
    log("milliseconds-taken-for-seconds", lines("1,7,5,1262304000000"), says=("line 2", "1262304000000", "time_unit: ms")),
    log("empty-time", lines("1,7,5,10", "2,8,4,"), says=("log.csv", "line 3", "time")),
    log("word-as-time", lines("1,7,5,10", "2,8,4,soon"), says=("log.csv", "line 3", "soon")),
    log("infinite-time", lines("1,7,5,10", "2,8,4,inf"), says=("log.csv", "line 3", "inf")),
    log("zones-mixed", lines("1,7,5,2010-01-01T00:00:00Z", "2,8,4,2010-01-01T00:00:00"), says=("log.csv", "line 3", "zone")),
    log("numbers-then-dates", lines("1,7,5,10", "2,8,4,2010-01-01"), says=("log.csv", "line 3", "2010-01-01")),
    log("february-30", lines("1,7,5,2010-01-01", "2,8,4,2010-02-30"), says=("log.csv", "line 3", "2010-02-30")),
    log("dates-of-other-form", lines("1,7,5,31.12.2009"), says=("log.csv", "line 2", r"31\.12\.2009", "date_format")),
    log("dates-american", lines("1,7,5,12/31/2009"), says=("log.csv", "line 2", "12/31/2009", "date_format")),
    log("float-times", lines("1,7,5,10.5", "2,8,4,20.25"), rows=[(1, 7, 5.0, 10_500_000), (2, 8, 4.0, 20_250_000)]),
    log(
        "parquet-times-in-32-bits",
        parquet(user=[1], item=[7], rating=[5.0], time=pa.array([1.7e9], pa.float32())),
        path="log.parquet",
        says=("log.parquet", "time", "float"),
    ),
    log(
        "parquet-unknown-zone",
        parquet(user=[1], item=[7], rating=[5.0], time=pa.array([10], pa.timestamp("s", "Mars/Olympus"))),
        path="log.parquet",
        rows=ONE,
    ),
    log(
        "date-format-with-zone",
        lines("1,7,5,01/Jan/1970:02:00:10 +0200"),
        rows=ONE,
        table={"date_format": "%d/%b/%Y:%H:%M:%S %z"},
    ),
    log("float-nanoseconds", lines("1,7,5,10.5"), says=("line 2", r"10\.5"), table={"time_unit": "ns"}),
    log(
        "sub-second-order",
        lines("1,7,5,1970-01-01T00:00:00.200Z", "1,8,4,1970-01-01T00:00:00.000Z", "1,9,3,1970-01-01T00:00:00.100Z"),
        rows=[(1, 8, 4.0, 0), (1, 9, 3.0, 100_000), (1, 7, 5.0, 200_000)],
    ),
    log(
        "sub-second-parquet",
        parquet(user=[1, 1, 1], item=[7, 8, 9], rating=[5.0, 4.0, 3.0], time=pa.array([200, 0, 100], pa.timestamp("ms"))),
        path="log.parquet",
        rows=[(1, 8, 4.0, 0), (1, 9, 3.0, 100_000), (1, 7, 5.0, 200_000)],
    ),
    log(
        "sub-second-milliseconds",
        lines("1,7,5,200", "1,8,4,0", "1,9,3,100"),
        rows=[(1, 8, 4.0, 0), (1, 9, 3.0, 100_000), (1, 7, 5.0, 200_000)],
        table={"time_unit": "ms"},
    ),
    log(
        "equal-times-keep-the-order",
        lines("1,9,5,10", "1,7,4,10", "1,8,3,10"),
        rows=[(1, 9, 5.0, 10 * SECOND), (1, 7, 4.0, 10 * SECOND), (1, 8, 3.0, 10 * SECOND)],
    ),
    log(
        "no-times-keep-the-order",
        "user,item,rating\n1,9,5\n1,7,4\n",
        rows=[(1, 9, 5.0, None), (1, 7, 4.0, None)],
        table=NO_TIME,
    ),
    log(
        "last-by-sub-second",
        lines("1,7,5,1970-01-01T00:00:00.200Z", "1,7,4,1970-01-01T00:00:00.100Z"),
        then=merged,
        rows=[(1, 7, 5.0)],
        duplicates="last",
    ),
    log("last-by-order-of-equal-times", lines("1,7,5,10", "1,7,4,10"), then=merged, rows=[(1, 7, 4.0)], duplicates="last"),
    log(
        "microseconds",
        lines("1,7,5,1970-01-01T00:00:00.000002Z", "1,7,4,1970-01-01T00:00:00.000001Z"),
        then=merged,
        rows=[(1, 7, 5.0)],
        duplicates="last",
    ),
    log("mean-of-repeated", lines("1,7,5,10", "1,7,4,20"), then=merged, rows=[(1, 7, 4.5)], duplicates="mean"),
    log("sum-of-repeated", lines("1,7,5,10", "1,7,4,20"), then=merged, rows=[(1, 7, 9.0)], duplicates="sum"),
    log("sum-beyond-float", lines("1,7,3e38,10", "1,7,3e38,20"), duplicates="sum", says=(r"3e\+?38|finite|large",)),
    log(
        "parquet-dates",
        parquet(user=[1], item=[7], rating=[5.0], time=[datetime.date(1970, 1, 2)]),
        path="log.parquet",
        rows=[(1, 7, 5.0, 86400 * SECOND)],
    ),
    log(
        "parquet-time-of-day",
        parquet(user=[1], item=[7], rating=[5.0], time=[datetime.time(10, 0)]),
        path="log.parquet",
        says=("time",),
    ),
    log(
        "parquet-null-time",
        parquet(user=[1, 2], item=[7, 8], rating=[5.0, 4.0], time=[10, None]),
        path="log.parquet",
        says=("row 2", "time"),
    ),
    log(
        "parquet-zoned",
        parquet(user=[1], item=[7], rating=[5.0], time=pa.array([10], pa.timestamp("s", "Europe/Berlin"))),
        path="log.parquet",
        rows=ONE,
    ),
    log("year-10000", lines("1,7,5,10000-01-01"), says=("line 2", "10000")),
    log("year-1", lines("1,7,5,0001-01-01"), says=("line 2", "0001")),
]

WANTED = [
    log(
        "declared-encoding",
        lines("Andr\u00e9,7,5,10").encode("latin-1"),
        rows=[("Andr\u00e9", 7, 5.0, 10 * SECOND)],
        table={"encoding": "latin-1"},
    ),
    log("declared-utf-16", TWO_LINES.encode("utf-16"), rows=TWO, table={"encoding": "utf-16"}),
    log("unknown-encoding", TWO_LINES, code=2, says=("encoding", "klingon"), table={"encoding": "klingon"}),
    log("encoding-that-is-no-text", TWO_LINES, code=2, says=("encoding", "base64"), table={"encoding": "base64"}),
    log(
        "wrong-encoding",
        b"user,item,rating,time\n\xff\xff,7,5,10\n",
        says=("log.csv", "line 2|shift"),
        table={"encoding": "shift_jis"},
    ),
    log(
        "declared-decimal",
        "user;item;rating;time\n1;7;4,5;10\n",
        rows=[(1, 7, 4.5, 10 * SECOND)],
        table={"separator": ";", "decimal": ","},
    ),
    log(
        "decimal-is-the-separator",
        TWO_LINES,
        code=2,
        says=("decimal", "separator"),
        table={"separator": ",", "decimal": ",", "quote": "none"},
    ),
    log(
        "decimal-is-the-separator-in-quotes",
        lines('1,7,"4,5",10', '2,8,"1,5",20'),
        rows=[(1, 7, 4.5, 10 * SECOND), (2, 8, 1.5, 20 * SECOND)],
        table={"separator": ",", "decimal": ","},
    ),
    log(
        "decimal-is-the-separator-without-quotes",
        lines("1,7,4,5,10"),
        says=("log.csv", "line 2", "4.*5"),
        table={"separator": ",", "decimal": ","},
    ),
    log(
        "declared-date-format", lines("1,7,5,02.01.1970"), rows=[(1, 7, 5.0, 86400 * SECOND)], table={"date_format": "%d.%m.%Y"}
    ),
    log(
        "date-format-that-does-not-fit",
        lines("1,7,5,02.01.1970", "1,8,4,1970-01-02"),
        says=("log.csv", "line 3", "1970-01-02"),
        table={"date_format": "%d.%m.%Y"},
    ),
    log("bz2", compressed("bz2", TWO_LINES), rows=TWO, path="log.csv.bz2"),
    log("zstd", zstd_file, rows=TWO, path="log.csv.zst"),
    log("zip", zipped(log__csv=TWO_LINES), rows=TWO, path="log.csv.zip"),
    log("zip-of-two", zipped(a__csv=TWO_LINES, b__csv=TWO_LINES), path="log.csv.zip", says=("log.csv.zip", "one")),
    log("truncated-bz2", compressed("bz2", TWO_LINES * 500)[:-20], path="log.csv.bz2", says=("log.csv.bz2",)),
    log("truncated-zip", zipped(log__csv=TWO_LINES)[:-30], path="log.csv.zip", says=("log.csv.zip",)),
    log("zip-in-name-only", TWO_LINES, path="log.csv.zip", says=("log.csv.zip",)),
    log(
        "json-lines",
        '{"user": 1, "item": 7, "rating": 5, "time": 10}\n{"user": 2, "item": 8, "rating": 4, "time": 20}\n',
        rows=TWO,
        path="log.jsonl",
    ),
    log(
        "json-lines-text-ids",
        '{"user": "007", "item": "a", "rating": 5, "time": 10}\n',
        rows=[("007", "a", 5.0, 10 * SECOND)],
        path="log.jsonl",
    ),
    log(
        "json-lines-missing-key",
        '{"user": 1, "item": 7, "rating": 5, "time": 10}\n{"user": 2, "rating": 4, "time": 20}\n',
        path="log.jsonl",
        says=("log.jsonl", "line 2", "item"),
    ),
    log(
        "json-lines-not-json",
        '{"user": 1, "item": 7, "rating": 5, "time": 10}\nnot json\n',
        path="log.jsonl",
        says=("log.jsonl", "line 2"),
    ),
    log("json-lines-list", "[1, 7, 5, 10]\n", path="log.jsonl", says=("log.jsonl")),
    log("json-array", '[{"user": 1, "item": 7}]', path="log.jsonl", says=("log.jsonl", "one per line", "begins with")),
    log("json-lines-latin-1", b'{"user": "Andr\xe9", "item": 7}\n', path="log.jsonl", says=("log.jsonl", "UTF-8", "Andr")),
    log("json-lines-utf-16", '{"user": 1}\n'.encode("utf-16"), path="log.jsonl", says=("log.jsonl", "UTF-8")),
    log(
        "json-lines-nested-id",
        '{"user": {"id": 1}, "item": 7, "rating": 5, "time": 10}\n',
        path="log.jsonl",
        says=("log.jsonl", "user"),
    ),
    log(
        "json-lines-mixed-ids",
        '{"user": 1, "item": 7, "rating": 5, "time": 10}\n{"user": "b", "item": 8, "rating": 4, "time": 20}\n',
        path="log.jsonl",
        says=("log.jsonl", "user", "line 2|row 2"),
    ),
    log(
        "json-lines-null-id",
        '{"user": null, "item": 7, "rating": 5, "time": 10}\n',
        path="log.jsonl",
        says=("log.jsonl", "user"),
    ),
    log("json-lines-deep", "[" * 100_000 + "\n", path="log.jsonl", says=("log.jsonl",)),
    guess("guessed-json-lines", '{"user_id": 1, "item_id": 7, "rating": 5, "timestamp": 10}\n', rows=ONE, path="log.jsonl"),
    guess(
        "recbole-header",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t7\t5\t10\n",
        rows=ONE,
        path="own.inter",
    ),
    guess(
        "recbole-unknown-type",
        "user_id:token\titem_id:token\trating:colour\n1\t7\t5\n",
        path="own.inter",
        says=("own.inter", "rating:colour", "'colour'", "float"),
    ),
    log(
        "skip-bad-lines",
        lines("1,7,5,10", "2,8", "3,9,x,30", "4,7,2,40"),
        rows=[ONE[0], (4, 7, 2.0, 40 * SECOND)],
        table={"bad_lines": "skip"},
    ),
    log("skip-when-none-is-good", lines("x", "y"), says=("log.csv", "2|no"), table={"bad_lines": "skip"}),
    log("bad-lines-perhaps", TWO_LINES, code=2, says=("bad_lines", "perhaps"), table={"bad_lines": "perhaps"}),
    log("separator-detected-with-a-card", TWO_LINES.replace(",", "\t"), rows=TWO),
    log(
        "k-core",
        lines("1,7,5,10", "1,8,5,11", "2,7,5,12", "2,8,5,13", "3,9,5,14"),
        then=merged,
        rows=[(1, 7, 5.0), (1, 8, 5.0), (2, 7, 5.0), (2, 8, 5.0)],
        k_core=2,
    ),
    log("k-core-leaves-nothing", TWO_LINES, k_core=3, says=("k_core", "3")),
]


def of(**columns):
    """The events of a data frame with these columns."""
    options = {"time": "time"} if "time" in columns else {}
    frame = pd.DataFrame(columns)
    options["rating"] = "rating" if "rating" in columns else None
    return events(Interactions.from_frame(frame, **options))


def from_python(name, columns, *, rows=..., says=(), code=None, **more) -> Case:
    code = (0 if rows is not ... else 1) if code is None else code
    return Case(
        name,
        lambda: of(**{key: make() if callable(make) else make for key, make in columns.items()}),
        {},
        code,
        says,
        gives=rows,
        **more,
    )


ITEMS = [7, 8]
FRAMES = [
    from_python("frame-plain", {"user_id": [1, 2], "item_id": ITEMS}, rows=[(1, 7, 1.0, None), (2, 8, 1.0, None)]),
    from_python(
        "frame-categorical",
        {"user_id": pd.Categorical(["b", "a"]), "item_id": ITEMS},
        rows=[("b", 7, 1.0, None), ("a", 8, 1.0, None)],
    ),
    from_python(
        "frame-categorical-with-unused",
        {"user_id": pd.Categorical(["b", "a"], categories=["a", "b", "c"]), "item_id": ITEMS},
        rows=[("b", 7, 1.0, None), ("a", 8, 1.0, None)],
    ),
    from_python(
        "frame-nullable-integers",
        {"user_id": pd.array([1, 2], "Int64"), "item_id": ITEMS},
        rows=[(1, 7, 1.0, None), (2, 8, 1.0, None)],
    ),
    from_python(
        "frame-nullable-missing", {"user_id": pd.array([1, None], "Int64"), "item_id": ITEMS}, says=("user_id", "row 1|row 2")
    ),
    from_python(
        "frame-integral-floats", {"user_id": [1.0, 2.0], "item_id": ITEMS}, rows=[(1, 7, 1.0, None), (2, 8, 1.0, None)]
    ),
    from_python(
        "frame-floats-of-32-bits-that-skip-integers",
        {"user_id": np.array([16_777_216, 16_777_217], np.float32), "item_id": ITEMS},
        says=("user_id", "16777216", "row 0"),
    ),
    from_python(
        "frame-floats-of-64-bits-that-skip-integers",
        {"user_id": [2.0**53, 2.0**53 + 1], "item_id": ITEMS},
        says=("user_id", "9007199254740992", "row 0"),
    ),
    from_python(
        "frame-times-in-32-bits",
        {"user_id": [1, 2], "item_id": ITEMS, "time": np.array([1_700_000_001, 1_700_000_002], np.float32)},
        says=("time", "float32"),
    ),
    from_python("frame-fractional-floats", {"user_id": [1.0, 2.5], "item_id": ITEMS}, says=("user_id", r"2\.5")),
    from_python("frame-nan-ids", {"user_id": [1.0, float("nan")], "item_id": ITEMS}, says=("user_id", "row 1|row 2")),
    from_python("frame-mixed-ids", {"user_id": [1, "b"], "item_id": ITEMS}, says=("user_id",)),
    from_python(
        "frame-uuid",
        {"user_id": lambda: __import__("uuid").UUID(int=5), "item_id": [7]},
        rows=[("00000000-0000-0000-0000-000000000005", 7, 1.0, None)],
    ),
    from_python("frame-bytes-ids", {"user_id": [b"a", b"b"], "item_id": ITEMS}, says=("user_id", "b'a'|bytes")),
    from_python("frame-tuple-ids", {"user_id": [(1, 2), (3, 4)], "item_id": ITEMS}, says=("user_id", "tuple|mixed|\\(1, 2\\)")),
    from_python("frame-list-ids", {"user_id": [[1], [2]], "item_id": ITEMS}, says=("user_id",)),
    from_python("frame-boolean-ids", {"user_id": [True, False], "item_id": ITEMS}, says=("bool",)),
    from_python("frame-ids-beyond-64-bits", {"user_id": [1, 2**70], "item_id": ITEMS}, says=(str(2**70) + "|64",)),
    from_python(
        "frame-lone-surrogate",
        {"user_id": pd.Series(["a", "\ud800"], dtype=object), "item_id": ITEMS},
        says=("user_id", "d800|surrogate"),
    ),
    from_python("frame-complex-ratings", {"user_id": [1, 2], "item_id": ITEMS, "rating": [1j, 2j]}, says=("rating", "complex")),
    from_python(
        "frame-text-ratings",
        {"user_id": [1, 2], "item_id": ITEMS, "rating": ["5", "good"]},
        says=("rating", "good|string|str|object"),
    ),
    from_python("frame-nan-ratings", {"user_id": [1, 2], "item_id": ITEMS, "rating": [5.0, float("nan")]}, says=("rating",)),
    from_python(
        "frame-nullable-ratings",
        {"user_id": [1, 2], "item_id": ITEMS, "rating": pd.array([5, 4], "Int8")},
        rows=[(1, 7, 5.0, None), (2, 8, 4.0, None)],
    ),
    from_python(
        "frame-decimal-ratings",
        {"user_id": [1, 2], "item_id": ITEMS, "rating": [Decimal("5"), Decimal("4")]},
        rows=[(1, 7, 5.0, None), (2, 8, 4.0, None)],
    ),
    from_python("frame-empty", {"user_id": [], "item_id": []}, says=("no data|no rows",)),
    from_python(
        "frame-dates", {"user_id": [1], "item_id": [7], "time": [datetime.date(1970, 1, 2)]}, rows=[(1, 7, 1.0, 86400 * SECOND)]
    ),
    from_python(
        "frame-datetimes",
        {"user_id": [1], "item_id": [7], "time": [datetime.datetime(1970, 1, 2)]},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-zoned-datetimes",
        {"user_id": [1], "item_id": [7], "time": [pd.Timestamp("1970-01-02T01:00", tz="Europe/Berlin")]},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-periods",
        {"user_id": [1], "item_id": [7], "time": pd.period_range("1970-01-02", periods=1, freq="D")},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-numpy-days",
        {"user_id": [1], "item_id": [7], "time": np.array(["1970-01-02"], "datetime64[D]")},
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python(
        "frame-arrow-timestamps",
        {
            "user_id": [1],
            "item_id": [7],
            "time": pd.array(pd.to_datetime(["1970-01-02"]), dtype=pd.ArrowDtype(pa.timestamp("ms"))),
        },
        rows=[(1, 7, 1.0, 86400 * SECOND)],
    ),
    from_python("frame-durations", {"user_id": [1], "item_id": [7], "time": pd.to_timedelta([5], unit="s")}, says=("time",)),
    from_python(
        "frame-missing-time",
        {"user_id": [1, 2], "item_id": ITEMS, "time": [pd.Timestamp(0), pd.NaT]},
        says=("time", "row 1|row 2"),
    ),
    Case(
        "frame-is-a-dictionary",
        lambda: Interactions.from_frame({"user_id": [1], "item_id": [7]}),
        code=1,
        says=("frame", "dict"),
    ),
    Case(
        "frame-without-the-column",
        lambda: Interactions.from_frame(pd.DataFrame({"user": [1], "item_id": [7]})),
        code=2,
        says=("user_id",),
    ),
    Case(
        "frame-arrow-table",
        lambda: events(Interactions.from_frame(pa.table({"user_id": [1], "item_id": [7]}), rating=None)),
        gives=[(1, 7, 1.0, None)],
    ),
    Case(
        "frame-two-columns-of-one-name",
        lambda: Interactions.from_frame(pd.DataFrame([[1, 2, 7]], columns=["user_id", "user_id", "item_id"]), rating=None),
        code=2,
        says=("user_id",),
    ),
    Case(
        "frame-sparse-ratings",
        lambda: of(user_id=[1, 2], item_id=ITEMS, rating=pd.arrays.SparseArray([5.0, 4.0])),
        gives=[(1, 7, 5.0, None), (2, 8, 4.0, None)],
    ),
]


@cases(*ACCEPTED, *IDS, *QUOTES, *VALUES, *TIMES, *WANTED, *FRAMES)
def test_log(case, examine):
    examine(case)
