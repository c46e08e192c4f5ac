"""Cards, feature tables, published splits, and what is downloaded and unpacked."""

import gzip
import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from robustness.catalogue import Case, cases
from robustness.feeding import RUN, card, lines, log, parquet, pipeline, run, small_log

from recsys_ae.data.cards import read_card
from recsys_ae.data.fetch import extract_zip
from recsys_ae.data.ratings import load_given_split, load_ratings

LOG = lines("1,7,5,10", "2,8,4,20", "3,9,3,30")
PLANTED = {"name": "p", "kind": "planted-ratings"}


def wrong(name: str, says: tuple[str, ...], text: object, code: int | tuple[int, ...] = 2) -> Case:
    """A card that cannot be read as written."""
    return Case(name, "datasets fetch card.yaml", {"card.yaml": text, "log.csv": LOG}, code, says)


def changed(**keys: object) -> dict:
    return {**card(), **keys}


CARDS = [
    wrong("card-empty", ("card.yaml",), ""),
    wrong("card-list", ("card.yaml", r"\[1\]"), "[1]"),
    wrong("card-without-kind", ("card.yaml", "kind"), {"name": "x"}),
    wrong("card-unknown-kind", ("card.yaml", "kind", "rating"), changed(kind="rating")),
    wrong("card-kind-is-a-list", ("card.yaml", "kind"), changed(kind=["ratings"])),
    wrong("card-without-name", ("card.yaml", "'name'"), {"kind": "ratings", "files": card()["files"]}),
    wrong("card-name-is-a-number", ("card.yaml", "name"), changed(name=7)),
    wrong("card-name-is-null", ("card.yaml", "name"), changed(name=None)),
    wrong("card-without-files", ("card.yaml", "files"), changed(files=[])),
    wrong("card-files-text", ("card.yaml", "files"), changed(files="log.csv")),
    wrong("card-unknown-key", ("card.yaml", "'titel'", "'title'"), changed(titel="x")),
    wrong(
        "card-columns-the-same",
        ("columns", "same"),
        changed(files=[{"path": "log.csv", "columns": {"user": "user", "item": "user"}}]),
    ),
    wrong(
        "card-columns-by-place-with-header",
        ("log.csv", "name"),
        changed(files=[{"path": "log.csv", "columns": {"user": 1, "item": 2}}]),
    ),
    wrong("card-place-zero", ("1",), changed(files=[{"path": "log.csv", "header": False, "columns": {"user": 0, "item": 1}}])),
    wrong(
        "card-place-beyond-64-bits",
        ("log.csv|place|columns",),
        changed(files=[{"path": "log.csv", "header": False, "columns": {"user": 1, "item": 2**70}}]),
        (1, 2),
    ),
    wrong("card-separator-empty", ("separator",), changed(files=[{**card()["files"][0], "separator": ""}])),
    wrong("card-separator-a-quote", ("separator",), changed(files=[{**card()["files"][0], "separator": '"'}])),
    wrong("card-separator-a-line-end", ("separator",), changed(files=[{**card()["files"][0], "separator": "\n"}])),
    wrong("card-separator-not-ascii", ("user",), changed(files=[{**card()["files"][0], "separator": "\u00b7"}]), 1),
    wrong("card-time-unit", ("time_unit", "minutes"), changed(files=[{**card()["files"][0], "time_unit": "minutes"}])),
    wrong("card-duplicates", ("duplicates", "first"), changed(duplicates="first")),
    wrong("card-ids", ("ids", "float"), changed(ids={"user": "float"})),
    wrong("card-checksum-of-own-file", ("log.csv", "restore"), changed(checksums={"log.csv": "0" * 32}), 1),
    wrong("card-checksum-no-text", ("checksums",), changed(checksums={"log.csv": 17})),
    wrong("card-path-a-number", ("path",), changed(files=[{**card()["files"][0], "path": 7}])),
    wrong("card-path-empty", ("path|file",), changed(files=[{**card()["files"][0], "path": ""}]), 1),
    wrong("card-path-with-nul", ("path|file",), changed(files=[{**card()["files"][0], "path": "a\0b"}])),
    wrong("card-path-of-300-characters", ("file",), changed(files=[{**card()["files"][0], "path": "x" * 300}]), 1),
    wrong("card-folder-missing", ("nowhere",), changed(folder="nowhere"), 1),
    wrong("card-name-with-markup", (r"\[/\]own",), changed(name="[/]own"), 0),
    wrong("card-planted-too-many", ("ratings", "100"), {**PLANTED, "users": 10, "items": 10, "ratings": 1000}, 1),
    wrong("card-planted-noise-nan", ("noise", "nan"), {**PLANTED, "noise": float("nan")}),
    wrong("card-planted-noise-infinite", ("noise", "inf"), {**PLANTED, "noise": float("inf")}),
    wrong("card-planted-users-huge", ("users",), {**PLANTED, "users": 10**15, "items": 10**15}),
    wrong("card-planted-seed-negative", ("seed", "-1"), {**PLANTED, "seed": -1}),
    wrong("card-planted-factors-huge", ("factors",), {**PLANTED, "factors": 2**40}),
    wrong("card-planted-explained", ("explained", "1.5"), {"name": "p", "kind": "planted-features", "explained": 1.5}),
    wrong("card-planted-topics", ("topics", "items=5"), {"name": "p", "kind": "planted-sessions", "items": 5, "topics": 5}),
    wrong("card-planted-events", ("20,000,000",), {"name": "p", "kind": "planted-sessions", "users": 10**7}),
]


# Nothing is written outside the cache, whatever a card, an archive or a server says.
def source(**keys: object) -> dict:
    return {**card(), "sources": [{"url": (Path.cwd() / "served.csv").as_uri(), **keys}]}


def downloading(name: str, says: tuple[str, ...], code: int = 1, served: object = LOG, **keys: object) -> Case:
    """A card with one source, which is a file on this machine."""

    def make(path: Path) -> None:
        import yaml

        declared = {"url": (path.parent / "served.csv").as_uri(), **keys}
        path.write_text(yaml.safe_dump({**card(), "sources": [declared]}))

    return Case(name, "datasets fetch card.yaml", {"served.csv": served, "card.yaml": make}, code, says)


def archive(*members: tuple[str, str], link: bool = False, size: int | None = None, encrypted: bool = False) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as found:
        for name, text in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            found.writestr(info, text if size is None else "0" * size)
    content = bytearray(target.getvalue())
    if encrypted:  # the flag in the local header and in the directory
        content[6] |= 1
        content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def unpacking(name: str, content: bytes, says: tuple[str, ...]) -> Case:
    """An archive to be unpacked into the folder `here`."""
    return Case(
        name, lambda: extract_zip(Path("a.zip"), Path("here")), {"a.zip": content, "here": lambda path: path.mkdir()}, 1, says
    )


DOWNLOADS = [
    downloading("source-path-outside", ("path", r"\.\./log\.csv"), 2, path="../log.csv"),
    downloading("source-path-absolute", ("path", "/log.csv"), 2, path="/tmp/recsys-ae-stolen/log.csv"),
    downloading("source-path-hidden-parents", ("path", r"a/\.\./\.\./\.\./log\.csv"), 2, path="a/../../../log.csv"),
    downloading("source-path-empty", ("path",), 2, path=""),
    downloading("source-path-a-dot", ("path",), 2, path="."),
    downloading("source-without-scheme", ("url", "example"), 2, url="example.org/log.csv", path="log.csv"),
    downloading("source-of-unknown-scheme", ("gopher",), 2, url="gopher://example.org/log.csv", path="log.csv"),
    downloading("source-url-empty", ("url",), 2, url="", path="log.csv"),
    downloading("source-url-with-space", ("card.yaml", "url", "a b"), 2, url="http://127.0.0.1:9/a b", path="log.csv"),
    downloading("source-port-a-word", ("card.yaml", "url", ":port"), 2, url="http://127.0.0.1:port/x", path="log.csv"),
    downloading("source-bad-ipv6", ("card.yaml", "url", r"\[::1"), 2, url="http://[::1/x", path="log.csv"),
    downloading("source-nobody-answers", ("127.0.0.1",), 1, url="http://127.0.0.1:9/log.csv", path="log.csv"),
    downloading(
        "source-unpack-and-name-from-url",
        ("card.yaml", "sources.0", "127.0.0.1:9/"),
        2,
        url="http://127.0.0.1:9/..",
        unpack="zip",
    ),
    unpacking("zip-outside", archive(("../out.csv", LOG)), ("a.zip", r"\.\./out\.csv")),
    unpacking("zip-absolute", archive(("/tmp/recsys-ae-stolen.csv", LOG)), ("a.zip", "stolen")),
    unpacking("zip-link", archive(("link", "/etc"), link=True), ("a.zip", "link")),
    unpacking("zip-encrypted", archive(("log.csv", LOG), encrypted=True), ("a.zip", "encrypted|password")),
    unpacking("zip-bomb", archive(("log.csv", ""), size=1_200_000_000), ("a.zip", "large|times|GB|MB")),
    unpacking("zip-truncated", archive(("log.csv", LOG))[:-20], ("a.zip",)),
    unpacking("zip-no-bytes", b"", ("a.zip",)),
    unpacking("zip-long-name", archive(("x" * 300 + ".csv", LOG)), ("a.zip", r"\.\.\.|long")),
    unpacking("zip-file-and-folder", archive(("a", LOG), ("a/b", LOG)), ("a.zip",)),
    unpacking(
        "zip-damaged-member",
        archive(("log.csv", LOG)).replace(b"PK\x03\x04", b"PK\x03\x04", 1)[:38]
        + b"\xff\xff\xff"
        + archive(("log.csv", LOG))[41:],
        ("a.zip",),
    ),
    log("gzip-bomb", lambda path: bomb(path), path="log.csv.gz", checksums={"log.csv.gz": "0" * 32}, says=("log.csv.gz",)),
]


def bomb(path: Path) -> None:
    """300 MB of one line in 300 KB."""
    with gzip.open(path, "wb", compresslevel=9) as out:
        for _ in range(300):
            out.write(b"0" * 1_000_000)


def given(name: str, flags: object, *, says: tuple[str, ...] = (), gives: object = ..., column: str = "test") -> Case:
    """Ratings that a column of flags divides; the number of test pairs, or an error."""
    declared = card(splits={"mine": {"flags": "flags.parquet", "column": "test"}})
    files = {"log.csv": LOG, "card.yaml": declared, "flags.parquet": flags}

    def test_pairs() -> int:
        return len(load_given_split(*read_card("card.yaml"), "mine").test)

    return Case(name, test_pairs, files, 1 if gives is ... else 0, says, gives=gives)


SPLITS = [
    given("flags-plain", parquet(test=[False, True, True]), gives=2),
    given("flags-zero-and-one", parquet(test=[0, 1, 0]), gives=1),
    given("flags-null", parquet(test=[False, None, True]), says=("flags.parquet", "row 2")),
    given("flags-nan", parquet(test=[0.0, float("nan"), 1.0]), says=("flags.parquet", "row 2", "nan")),
    given("flags-two", parquet(test=[0, 2, 1]), says=("flags.parquet", "row 2", "2")),
    given("flags-half", parquet(test=[0.0, 0.5, 1.0]), says=("flags.parquet", "row 2", "0.5")),
    given("flags-text", parquet(test=["true", "false", "false"]), says=("flags.parquet", "test", "row 1|string")),
    given("flags-lists", parquet(test=[[True], [False], [False]]), says=("flags.parquet", "test")),
    given("flags-dates", parquet(test=pa.array([0, 1, 2], pa.timestamp("s"))), says=("flags.parquet", "test")),
    given("flags-too-few", parquet(test=[True, False]), says=("2", "3")),
    given("flags-all-test", parquet(test=[True, True, True]), says=("train",)),
    given("flags-missing-column", parquet(marks=[True, False, False]), says=("flags.parquet", "test", "marks")),
    given("flags-not-parquet", "test\n1\n0\n0\n", says=("flags.parquet",)),
    given("flags-missing", lambda path: None, says=("flags.parquet",)),
    run(
        "given-split-of-other-layout",
        dataset=card(splits={"mine": {"train": "log.csv", "test": "other.csv"}}),
        split={"kind": "given", "name": "mine"},
        code=1,
        says=("other.csv",),
    ),
]

FEATURES = "item,year,shop,genres\n7,1999,a,x|y\n8,2001,b,\n9,2003,a,x\n"
DECLARED = {"year": {"kind": "numeric", "column": "year"}, "shop": {"kind": "category", "column": "shop"}}


def features(
    name: str,
    content: object = FEATURES,
    *,
    file: str = "items.csv",
    columns: object = None,
    code: int = 1,
    says: tuple[str, ...] = (),
    gives: object = ...,
    **keys: object,
) -> Case:
    """A feature file of the items 7, 8 and 9; the names of its columns and the dense values, or an error."""
    layout = {"path": file, "id": "item", "columns": columns or DECLARED, **keys}
    files = {"log.csv": LOG, file: content, "card.yaml": card(features={"items": layout})}

    def table() -> dict[str, list[float]]:
        found = load_ratings(*read_card("card.yaml"), features=True).interactions.item_features.to_frame()
        return {
            str(name): np.round(found[name].to_numpy(float), 3).tolist()
            for name in found
            if name != "id" and found[name].dtype.kind in "fiu"
        }

    return Case(name, table, files, 0 if gives is not ... else code, says, gives=gives)


SHOPS = {"shop": DECLARED["shop"]}
IN_SHOPS = {"shop=a": [1, 0, 1], "shop=b": [0, 1, 0], "shop:unknown": [0, 0, 0], "shop:missing": [0, 0, 0]}
TABLES = [
    features("features-plain", columns=SHOPS, gives=IN_SHOPS),
    features("features-byte-order-mark", "\ufeff" + FEATURES, columns=SHOPS, gives=IN_SHOPS),
    features("features-windows-line-ends", FEATURES.replace("\n", "\r\n"), columns=SHOPS, gives=IN_SHOPS),
    features("features-quoted", FEATURES.replace("8,2001,b", '"8","2001","b"'), columns=SHOPS, gives=IN_SHOPS),
    features("features-gzip", gzip.compress(FEATURES.encode()), file="items.csv.gz", columns=SHOPS, gives=IN_SHOPS),
    features(
        "features-parquet", parquet(item=[7, 8, 9], shop=["a", "b", "a"]), file="items.parquet", columns=SHOPS, gives=IN_SHOPS
    ),
    features(
        "features-json-lines",
        "".join(f'{{"item": {item}, "shop": "{shop}"}}\n' for item, shop in zip((7, 8, 9), "aba", strict=True)),
        file="items.jsonl",
        columns=SHOPS,
        gives=IN_SHOPS,
    ),
    features(
        "features-tabs-with-quotes",
        FEATURES.replace(",", "\t").replace("b", '"b'),
        columns=SHOPS,
        separator="\t",
        gives={"shop=a": [1, 0, 1], 'shop="b': [0, 1, 0], "shop:unknown": [0, 0, 0], "shop:missing": [0, 0, 0]},
    ),
    features("features-padded-id", FEATURES.replace("\n8,", "\n08,"), says=("items.csv", "line 3", "08")),
    features("features-spaced-id", FEATURES.replace("\n8,", "\n 8,"), says=("items.csv", "line 3", "' 8'")),
    features("features-plus-id", FEATURES.replace("\n8,", "\n+8,"), says=("items.csv", "line 3", r"\+8")),
    features("features-float-id", FEATURES.replace("\n8,", "\n8.0,"), says=("items.csv", "line 3", r"8\.0")),
    features("features-empty-id", FEATURES.replace("\n8,", "\n,"), says=("items.csv", "line 3")),
    features("features-repeated-id", FEATURES + "7,1,a,x\n", says=("items.csv", "line 5", "7")),
    features("features-nan-number", FEATURES.replace("2001", "nan"), says=("items.csv", "line 3", "nan")),
    features("features-infinite-number", FEATURES.replace("2001", "inf"), says=("items.csv", "line 3", "inf")),
    features("features-number-beyond-float", FEATURES.replace("2001", "1e39"), says=("items.csv", "line 3", "1e39")),
    features("features-numbers-whose-squares-overflow", FEATURES.replace("2001", "1e300"), says=("items.csv", "1e300|year")),
    features("features-word-for-number", FEATURES.replace("2001", "new"), says=("items.csv", "line 3", "new")),
    features("features-short-line", FEATURES.replace("8,2001,b,", "8,2001"), says=("items.csv", "line 3")),
    features("features-long-line", FEATURES.replace("8,2001,b,", "8,2001,b,x,y,z"), says=("items.csv", "line 3")),
    features("features-latin-1", FEATURES.replace("b", "\u00e9").encode("latin-1"), says=("items.csv", "encoding|UTF-8|utf-8")),
    features("features-unknown-encoding", code=2, encoding="klingon", says=("encoding", "klingon")),
    features("features-encoding-that-is-no-text", code=2, encoding="hex", says=("encoding", "hex")),
    features("features-missing-column", columns={"x": {"kind": "numeric", "column": "price"}}, says=("items.csv", "price")),
    features("features-open-quote", FEATURES.replace("8,2001,b", '8,2001,"b'), says=("items.csv", "line 3")),
    features("features-empty", "", says=("items.csv",)),
    features("features-header-only", "item,year,shop,genres\n", says=("items.csv",)),
    features("features-missing", lambda path: None, says=("items.csv",)),
    features("features-binary", bytes(range(256)) * 9, says=("items.csv",)),
    features(
        "features-long-field",
        FEATURES.replace("2001,b", "2001," + "b" * 200_000),
        columns={"year": DECLARED["year"]},
        gives={"year": [-1.225, 0.0, 1.225], "year:missing": [0, 0, 0]},
    ),
    features(
        "features-parquet-null-id",
        parquet(item=[7, None, 9], shop=["a", "b", "a"]),
        file="items.parquet",
        columns=SHOPS,
        says=("items.parquet", "row 2"),
    ),
    features(
        "features-parquet-nested",
        parquet(item=[7, 8, 9], shop=[{"a": 1}] * 3),
        file="items.parquet",
        columns=SHOPS,
        says=("items.parquet", "shop"),
    ),
    features(
        "features-pattern-unclosed",
        columns={"x": {"kind": "numeric", "column": "year", "pattern": "("}},
        code=2,
        says=("pattern",),
    ),
    features(
        "features-pattern-backtracks-for-ever",
        FEATURES.replace(",a,x|y", "," + "a" * 40 + "!,x|y"),
        columns={"x": {"kind": "category", "column": "shop", "pattern": "^((a+)+)$"}},
        code=2,
        says=("pattern", "group"),
    ),
    features(
        "features-date-format-bad",
        FEATURES,
        columns={"x": {"kind": "date", "column": "year", "format": "%Q"}},
        code=2,
        says=("features.items.columns.x.format", "%Q"),
    ),
    features("features-unknown-kind", columns={"x": {"kind": "number", "column": "year"}}, code=2, says=("kind", "number")),
    features("features-name-with-equals", columns={"a=b": DECLARED["year"]}, code=2, says=("a=b",)),
    features(
        "features-both-flags-and-column",
        columns={"x": {"kind": "multi_label", "column": "year", "flags": {"a": "year"}}},
        code=2,
        says=("flags", "column"),
    ),
    features(
        "features-flags-of-two",
        "item,a\n7,0\n8,2\n9,1\n",
        columns={"x": {"kind": "multi_label", "flags": {"a": "a"}}},
        says=("items.csv", "line 3", "2"),
    ),
]

RUNS = [
    Case("run-with-bad-features-is-not-affected", RUN, {"mine.yaml": pipeline(), "log.csv": small_log()}, 0, ("popularity",)),
]


@cases(*CARDS, *DOWNLOADS, *SPLITS, *TABLES, *RUNS)
def test_card(case, examine):
    examine(case)
