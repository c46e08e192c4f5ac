"""Ratings and times in logs."""

import datetime
from decimal import Decimal

import pyarrow as pa
from robustness.catalogue import cases
from robustness.feeding import HEADER, MANY, ONE, SECOND, TWO_LINES, guess, gz, lines, log, merged, parquet

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
        table={"columns": {"user": "user", "item": "item", "rating": "rating"}},
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


@cases(*VALUES, *TIMES)
def test_log(case, examine):
    examine(case)
