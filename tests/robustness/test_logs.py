"""Logs of ratings, clicks and events, in every form of file in which people keep them."""

import bz2
import io
import lzma
import zipfile

import pyarrow as pa
from robustness.catalogue import cases
from robustness.feeding import HEADER, ONE, SECOND, TWO, TWO_LINES, guess, gz, lines, log, merged, parquet

TEXT = {"user": "str", "item": "str"}


def zipped(**members: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return target.getvalue()


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
    log(
        "no-ratings-count-one",
        "user,item\n1,7\n1,8\n",
        rows=[(1, 7, 1.0, None), (1, 8, 1.0, None)],
        table={"columns": {"user": "user", "item": "item"}},
    ),
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
    log("bz2", bz2.compress(TWO_LINES.encode()), rows=TWO, path="log.csv.bz2"),
    log("zstd", zstd_file, rows=TWO, path="log.csv.zst"),
    log("zip", zipped(log__csv=TWO_LINES), rows=TWO, path="log.csv.zip"),
    log("zip-of-two", zipped(a__csv=TWO_LINES, b__csv=TWO_LINES), path="log.csv.zip", says=("log.csv.zip", "one")),
    log("truncated-bz2", bz2.compress((TWO_LINES * 500).encode())[:-20], path="log.csv.bz2", says=("log.csv.bz2",)),
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


@cases(*ACCEPTED, *QUOTES, *WANTED)
def test_log(case, examine):
    examine(case)
