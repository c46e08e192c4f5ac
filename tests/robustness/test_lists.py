"""Histories for export, and the lists and the truth that are evaluated."""

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from robustness.catalogue import Case, call, cases, write
from robustness.feeding import after, flipped, gz, parquet, small_log, small_model

from recsys_ae import load_model, read_interactions
from recsys_ae.export.local import export_recommendations

# Two users with lists of two items; what they did afterwards makes hit rates of 1 and recall of 0.5 obvious.
LISTS = "user_id,rank,item_id,score\n1,1,7,2.0\n1,2,8,1.0\n2,1,9,2.0\n2,2,7,1.0\n"
TRUTH = "user,item\n1,7\n1,30\n2,7\n"
EVALUATE = "evaluate lists.csv --truth truth.csv --output e.json --metrics recall@2,hit_rate@2"


def metrics() -> dict[str, float]:
    return json.loads(Path("e.json").read_text())["metrics"]


def judged(
    name: str,
    *,
    lists: object = LISTS,
    truth: object = TRUTH,
    more: str = "",
    list_file: str = "lists.csv",
    truth_file: str = "truth.csv",
    recall: float | None = None,
    hits: float = 1.0,
    says: tuple[str, ...] = (),
    code: int | tuple[int, ...] | None = None,
    **files: object,
) -> Case:
    """Lists and truth to evaluate; the right recall@2 and hit_rate@2, or an error that `says` so."""
    code = (1 if recall is None else 0) if code is None else code
    command = EVALUATE.replace("lists.csv", list_file).replace("truth.csv", truth_file)
    found = {list_file: lists, truth_file: truth, **{key.replace("__", "."): value for key, value in files.items()}}
    gives = ... if recall is None else {"recall@2": recall, "hit_rate@2": hits}
    return Case(name, f"{command} {more}".strip(), found, code, says, then=metrics if recall is not None else None, gives=gives)


def list_parquet(**changes: object) -> bytes:
    columns = {"user_id": [1, 1, 2, 2], "rank": [1, 2, 1, 2], "item_id": [7, 8, 9, 7], **changes}
    return parquet(**{name: values for name, values in columns.items() if values is not None})


SEVENS = "user_id,rank,item_id\n007,1,a\n007,2,c\n7,1,b\n7,2,d\n"
EVALUATIONS = [
    judged("plain", recall=0.75),
    judged("output-is-the-truth", more="--output truth.csv", code=2, says=("truth.csv", "replace")),
    judged("output-is-the-lists", more="--output ./lists.csv", code=2, says=("lists.csv", "replace")),
    judged("lists-in-parquet", lists=list_parquet(), list_file="lists.parquet", recall=0.75),
    judged("lists-with-tabs", lists=LISTS.replace(",", "\t"), list_file="lists.tsv", recall=0.75),
    judged("lists-in-gzip", lists=gz(LISTS), list_file="lists.csv.gz", recall=0.75),
    judged("truth-in-gzip", truth=gz(TRUTH), truth_file="truth.csv.gz", recall=0.75),
    judged("truth-in-parquet", truth=parquet(user=[1, 1, 2], item=[7, 30, 7]), truth_file="truth.parquet", recall=0.75),
    judged("ids-with-leading-zeros", lists=SEVENS, truth="user,item\n007,a\n7,b\n", recall=1.0),
    judged(
        "padded-lists-plain-truth",
        lists="user_id,rank,item_id\n007,1,5\n007,2,6\n",
        truth="user,item\n7,5\n",
        says=("7", "007|text|string|common"),
    ),
    judged("no-common-user", truth="user,item\n11,7\n12,8\n", says=("user", "2")),
    judged("no-common-user-text", lists=SEVENS, truth="user,item\nx,a\ny,b\n", says=("user", "2")),
    judged("text-against-integers", truth="user,item\nu1,7\nu2,8\n", says=("user", "u1|text|string|str")),
    judged(
        "integers-against-text",
        lists=SEVENS.replace("007", "x").replace("\n7", "\ny"),
        truth="user,item\n1,a\n2,b\n",
        says=("user",),
    ),
    judged("items-of-another-type", truth="user,item\n1,x\n2,y\n", says=("item|x",)),
    judged("no-common-item", truth="user,item\n1,70\n2,80\n", says=("truth.csv", "lists.csv", "item", "2", "3")),
    judged(
        "float-ids-in-lists",
        lists=LISTS.replace("1,1,7", "1.0,1,7.0")
        .replace("1,2,8", "1.0,2,8.0")
        .replace("2,1,9", "2.0,1,9.0")
        .replace("2,2,7", "2.0,2,7.0"),
        says=("lists.csv", r"1\.0"),
    ),
    judged(
        "integral-floats-in-parquet-lists",
        lists=list_parquet(user_id=[1.0, 1.0, 2.0, 2.0]),
        list_file="lists.parquet",
        recall=0.75,
    ),
    judged(
        "fractional-ids-in-parquet-lists",
        lists=list_parquet(user_id=[1.5, 1.5, 2.0, 2.0]),
        list_file="lists.parquet",
        says=("lists.parquet", "user", r"1\.5"),
    ),
    judged("rank-zero", lists=LISTS.replace("1,1,7", "1,0,7"), says=("lists.csv", "rank", "0")),
    judged("rank-negative", lists=LISTS.replace("1,1,7", "1,-1,7"), says=("lists.csv", "rank", "-1")),
    judged("rank-a-word", lists=LISTS.replace("1,1,7", "1,first,7"), says=("lists.csv", "line 2", "first")),
    judged("rank-fraction", lists=LISTS.replace("1,1,7", "1,1.5,7"), says=("lists.csv", "line 2", r"1\.5")),
    judged("rank-empty", lists=LISTS.replace("1,1,7", "1,,7"), says=("lists.csv", "line 2", "rank")),
    judged("rank-absurd", lists=LISTS.replace("1,2,8", "1,1000000000,8"), recall=0.75),
    judged("rank-beyond-64-bits", lists=LISTS.replace("1,2,8", f"1,{2**63},8"), says=("lists.csv", "rank|line 3")),
    judged(
        "rank-nan-in-parquet",
        lists=list_parquet(rank=[1.0, float("nan"), 1.0, 2.0]),
        list_file="lists.parquet",
        says=("lists.parquet", "rank"),
    ),
    judged("ranks-repeated", lists=LISTS.replace("1,2,8", "1,1,8"), says=("lists.csv", "rank", "user 1")),
    judged("items-repeated", lists=LISTS.replace("1,2,8", "1,2,7"), says=("lists.csv", "user 1", "7")),
    judged("score-nan", lists=LISTS.replace("1,1,7,2.0", "1,1,7,nan"), says=("lists.csv", "score", "nan")),
    judged("score-infinite", lists=LISTS.replace("1,1,7,2.0", "1,1,7,inf"), says=("lists.csv", "score", "inf")),
    judged("empty-user-in-lists", lists=LISTS.replace("1,1,7", ",1,7"), says=("lists.csv", "line 2", "user_id")),
    judged(
        "quotes-in-lists",
        lists='user_id,rank,item_id\n"a,b",1,7\n"a,b",2,9\n"c ""d""",1,8\n',
        truth='user,item\n"a,b",7\n"c ""d""",8\n',
        recall=1.0,
    ),
    judged("lists-without-rank", lists="user_id,item_id\n1,7\n", says=("lists.csv", "rank")),
    judged("lists-empty", lists="", says=("lists.csv",)),
    judged("lists-header-only", lists="user_id,rank,item_id\n", says=("lists.csv",)),
    judged("lists-missing", list_file="lists.csv", more="", lists=lambda path: None, says=("lists.csv",)),
    judged("lists-binary", lists=bytes(range(256)) * 9, says=("lists.csv",)),
    judged("lists-latin-1", lists="user_id,rank,item_id\nAndr\u00e9,1,7\n".encode("latin-1"), says=("lists.csv",)),
    judged("lists-short-line", lists=LISTS + "3,1\n", says=("lists.csv", "line 6")),
    judged("lists-long-field", lists=LISTS + f"{'x' * 200_000},1,7,1\n", recall=0.75),
    judged("lists-are-a-folder-of-nothing", lists=lambda path: path.mkdir(), says=("lists.csv",)),
    judged("parquet-lists-truncated", lists=list_parquet()[:-9], list_file="lists.parquet", says=("lists.parquet",)),
    judged(
        "parquet-lists-nested",
        lists=list_parquet(item_id=[[7], [8], [9], [7]]),
        list_file="lists.parquet",
        says=("lists.parquet", "item_id"),
    ),
    judged("truth-empty", truth="", says=("truth.csv",)),
    judged("truth-header-only", truth="user,item\n", says=("truth.csv",)),
    judged("truth-missing", truth=lambda path: None, says=("truth.csv",)),
    judged("truth-repeats-a-pair", truth=TRUTH + "1,7\n", recall=0.75),
    judged("relevant-at", truth="user,item,rating\n1,7,5\n1,30,1\n2,7,4\n", more="--relevant-at 4", recall=1.0),
    judged("relevant-at-without-ratings", more="--relevant-at 4", says=("--relevant-at", "truth.csv"), code=2),
    judged("relevant-at-nan", truth="user,item,rating\n1,7,5\n", more="--relevant-at nan", says=("relevant.at", "nan"), code=2),
    judged("relevant-at-too-high", truth="user,item,rating\n1,7,5\n", more="--relevant-at 9", says=("relevant",)),
    judged("metric-of-longer-lists", more="--metrics recall@3", says=("recall@3", "2"), code=2),
    judged("metric-of-ratings", more="--metrics rmse", says=("rmse",), code=2),
    judged("metric-unknown", more="--metrics precison@2", says=("precison", "precision"), code=2),
    judged("metric-empty", more="--metrics ''", recall=0.75),
    judged("argument-too-many", more="--relevant-at 1 nowhere", truth="user,item,rating\n1,7,5\n", says=("nowhere",), code=2),
    judged("output-below-a-file", more="--output truth.csv/e.json", says=("truth.csv",)),
    *(
        judged(f"{option}-{name}", more=f"--{option} '{path}'", says=("xx|x/|x.x00",), code=(1, 2))
        for name, path in {"long": "x" * 300, "very-long": "x/" * 2500 + "y", "with-nul": "x\0"}.items()
        for option in ("output", "history", "truth", "card")
    ),
    judged("output-is-a-folder", more="--output folder", says=("folder",), folder=lambda path: path.mkdir()),
    judged("card-of-images", more="--card digits", says=("digits",), code=2),
    judged("card-missing", more="--card absent.yaml", says=("absent.yaml",), code=2),
    judged(
        "card-for-other-names",
        truth="who;what\n1;7\n1;30\n2;7\n",
        more="--card card.yaml",
        card__yaml={
            "name": "own",
            "kind": "ratings",
            "files": [{"path": "truth.csv", "separator": ";", "columns": {"user": "who", "item": "what"}}],
        },
        recall=0.75,
    ),
    # What users already had cannot be a success of lists that exclude it.
    judged(
        "history-makes-repeats-irrelevant", more="--history history.csv", history__csv="user,item\n1,30\n2,70\n", recall=1.0
    ),
    judged("history-without-a-truth-pair", more="--history history.csv", history__csv="user,item\n1,31\n2,70\n", recall=0.75),
    judged("history-of-everything", more="--history history.csv", history__csv=TRUTH, says=("relevant|history",)),
    judged(
        "history-with-other-ids", more="--history history.csv", history__csv="user,item\nx,31\n", says=("history.csv|history",)
    ),
    judged("history-missing", more="--history absent.csv", says=("absent.csv",)),
    Case("without-history-says-so", EVALUATE, {"lists.csv": LISTS, "truth.csv": TRUTH}, 0, ("--history",)),
]

EXPORT = "export model --history history.csv --output lists --k 3"
HISTORY = "user,item,rating\n1,101,5\n1,102,4\n2,103,1\n"
MODEL = small_model()


def shipped() -> dict[int, list[int]]:
    """User -> items in the order of their ranks."""
    frame = pd.concat([pd.read_parquet(path) for path in sorted(Path("lists").glob("part-*"))])
    return {int(user): items.tolist() for user, items in frame.groupby("user_id", sort=False)["item_id"]}


def counts() -> tuple[int, int]:
    """Number of users with lists, and the number of cold users in the manifest."""
    (manifest,) = Path("lists").glob("*manifest.json")
    return len(shipped()), json.loads(manifest.read_text())["cold_users"]


def export(
    name: str,
    *,
    history: object = HISTORY,
    model: object = MODEL,
    more: str = "",
    code: int | tuple[int, ...] = 1,
    says: tuple[str, ...] = (),
    file: str = "history.csv",
    gives: object = ...,
    then: object = None,
    **files: object,
) -> Case:
    """An export from a small model; by default one that fails."""
    found = {"model": model, file: history, **{key.replace("__", "."): value for key, value in files.items()}}
    command = f"{EXPORT} {more}".strip().replace("history.csv", file)
    return Case(name, command, found, code, says, then=then or (shipped if gives is not ... else None), gives=gives)


def expected(text: str) -> dict[int, list[int]]:
    """What the model recommends for a history that is surely read in the right way; evaluated when the case runs."""
    Path("again.csv").write_text(text)
    model = load_model("model")
    from recsys_ae.data.ratings import read_history
    from recsys_ae.models.recommend import recommend

    history, _ = read_history(Path("again.csv"), model.fitted.ids["items"], user_ids="int")
    Path("again.csv").unlink()
    frame = recommend(model, history, k=3).to_frame()
    return {int(user): items.tolist() for user, items in frame.groupby("user_id", sort=False)["item_id"]}


def same_as_plain() -> bool:
    return shipped() == expected(HISTORY)


def fine(name: str, **options: object) -> Case:
    """A history in another form, which gives the same lists as the plain one."""
    return export(name, code=0, then=same_as_plain, gives=True, **options)


EXPORTS = [
    fine("export-plain"),
    fine("export-tabs", history=HISTORY.replace(",", "\t"), file="history.tsv"),
    fine("export-two-colons", history=HISTORY.split("\n", 1)[1].replace(",", "::"), file="history.dat"),
    fine("export-gzip", history=gz(HISTORY), file="history.csv.gz"),
    fine("export-parquet", history=parquet(user=[1, 1, 2], item=[101, 102, 103], rating=[5, 4, 1]), file="history.parquet"),
    fine("export-repeated-pair-takes-the-last", history=HISTORY.replace("2,103,1\n", "2,103,5\n2,103,1\n")),
    export(
        "export-k-beyond-the-items",
        more="--k 100000",
        code=0,
        then=lambda: {user: len(items) for user, items in shipped().items()},
        gives={1: 10, 2: 11},
    ),
    export("export-k-zero", more="--k 0", code=2, says=("k", "0")),
    export("export-k-negative", more="--k -5", code=2, says=("k", "-5")),
    export("export-k-2-to-40", more=f"--k {2**40}", code=0, then=lambda: len(shipped()[1]), gives=10),
    export("export-k-beyond-64-bits", more=f"--k {2**70}", code=0, then=lambda: len(shipped()[1]), gives=10),
    export("export-k-word", more="--k ten", code=2, says=("--k", "integer")),
    export("export-unknown-item", history=HISTORY + "2,999,3\n", says=("history.csv", "999", "--skip-unknown")),
    export(
        "export-skip-unknown",
        history=HISTORY + "2,999,3\n",
        more="--skip-unknown",
        code=0,
        says=("1",),
        then=same_as_plain,
        gives=True,
    ),
    # Users all of whose items are unknown are cold, not gone.
    export(
        "export-users-of-unknown-items-only",
        history=HISTORY + "3,999,3\n4,998,2\n",
        more="--skip-unknown",
        code=0,
        then=counts,
        gives=(4, 2),
    ),
    export(
        "export-skip-cold", history=HISTORY + "3,999,3\n", more="--skip-unknown --cold skip", code=0, then=counts, gives=(2, 1)
    ),
    export("export-cold-error", history=HISTORY + "3,999,3\n", more="--skip-unknown --cold error", says=("3",)),
    export("export-all-unknown", history="user,item,rating\n1,999,5\n", more="--skip-unknown", says=("history.csv", "none")),
    export(
        "export-without-ratings",
        history="user,item\n1,101\n",
        model=small_model("bias"),
        code=2,
        says=("history.csv", "rating", "--card"),
    ),
    export("export-text-users", history=HISTORY.replace("\n1,", "\nx,"), says=("history.csv", "line 2", "x")),
    export("export-padded-users", history=HISTORY.replace("\n2,", "\n002,"), says=("history.csv", "line 4", "002")),
    export("export-float-items", history=HISTORY.replace("101", "101.0"), says=("history.csv", "line 2", r"101\.0")),
    export("export-rating-infinite", history=HISTORY.replace(",5", ",inf"), says=("history.csv", "line 2", "inf")),
    export("export-rating-huge", history=HISTORY.replace(",5", ",1e30"), says=("history.csv", "line 2", r"1e\+?30")),
    export(
        "export-rating-outside-the-scale",
        history=HISTORY.replace(",5", ",50"),
        model=small_model("bias"),
        says=("history.csv", "50", "1 to 5"),
    ),
    export(
        "export-rating-nan-in-parquet",
        history=parquet(user=[1, 2], item=[101, 103], rating=[float("nan"), 1.0]),
        file="history.parquet",
        says=("history.parquet", "row 1", "nan"),
    ),
    export("export-empty-history", history="", says=("history.csv",)),
    export("export-missing-history", history=lambda path: None, says=("history.csv",)),
    export("export-history-is-a-folder", history=lambda path: path.mkdir(), says=("history.csv",)),
    *(
        export(f"export-{option}-{name}", more=f"--{option} '{path}'", code=(1, 2), says=("xx|x/|x.x00",))
        for name, path in {"long": "o/" + "x" * 300, "very-long": "x/" * 2500 + "y", "with-nul": "x\0"}.items()
        for option in ("output", "history")
    ),
    export("export-output-is-a-file", code=1, says=("lists",), lists="mine"),
    export("export-output-is-a-broken-link", code=1, says=("lists", "already"), lists=lambda path: path.symlink_to("nowhere")),
    export(
        "export-output-is-something-else",
        code=1,
        says=("lists",),
        lists=lambda path: (path.mkdir(), (path / "thesis").write_text("mine")),
    ),
    export("export-output-in-nowhere", more="--output log.txt/lists", says=("log.txt",), log__txt="x"),
    export("export-cold-unknown", more="--cold maybe", code=2, says=("maybe",)),
    export("export-card-missing", more="--card absent.yaml", code=2, says=("absent.yaml",)),
    export(
        "export-card",
        history="who;what;stars\n1;101;5\n1;102;4\n2;103;1\n",
        code=0,
        more="--card card.yaml",
        then=same_as_plain,
        gives=True,
        card__yaml={
            "name": "own",
            "kind": "ratings",
            "files": [{"path": "x.csv", "separator": ";", "columns": {"user": "who", "item": "what", "rating": "stars"}}],
        },
    ),
]


def whole_export(folder: Path) -> None:
    """A complete export at `folder`, made from a model that is thrown away."""
    model = folder.with_name("some-model")
    MODEL(model)
    export_recommendations(load_model(model), read_history_of(folder.parent), folder, 3)
    import shutil

    shutil.rmtree(model)


def read_history_of(folder: Path):
    source = folder / "source.csv"
    source.write_text(small_log())
    data = read_interactions(source)
    source.unlink()
    return data


def manifest_of(folder: Path) -> Path:
    (path,) = folder.glob("*manifest.json")
    return path


def edited(change):
    """A function that changes the manifest of an export, as a mapping."""

    def edit(folder: Path) -> None:
        path = manifest_of(folder)
        found = json.loads(path.read_text())
        path.write_text(json.dumps(change(found) or found))

    return edit


def swapped(folder: Path) -> None:
    """Replaces the first part by another one, as from another export."""
    part = folder / "part-00000.parquet"
    table = pq.read_table(part)
    pq.write_table(table.set_column(2, "item_id", pa.array([101] * len(table))), part)


def shipped_lists(name: str, change, says: tuple[str, ...] = ("lists",), code: int = 1) -> Case:
    """A complete export that something happened to, then evaluated."""
    files = {"lists": after(whole_export, change), "truth.csv": "user,item\n1,105\n2,106\n"}
    return Case(name, "evaluate lists --truth truth.csv --metrics recall@3", files, code, says)


DAMAGED = [
    shipped_lists("whole-export", lambda folder: None, ("recall@3",), 0),
    shipped_lists("part-missing", lambda folder: (folder / "part-00000.parquet").unlink(), ("part-00000.parquet",)),
    shipped_lists("part-replaced", swapped, ("part-00000.parquet",)),
    shipped_lists("part-flipped-early", flipped("part-00000.parquet", 40), ("part-00000.parquet",)),
    shipped_lists("part-flipped-in-the-middle", flipped("part-00000.parquet", 0.3, 3), ("part-00000.parquet",)),
    shipped_lists("part-flipped-late", flipped("part-00000.parquet", 0.9, 5), ("part-00000.parquet",)),
    shipped_lists(
        "part-truncated",
        lambda folder: (folder / "part-00000.parquet").write_bytes((folder / "part-00000.parquet").read_bytes()[:99]),
        ("part-00000.parquet",),
    ),
    shipped_lists("part-empty", lambda folder: (folder / "part-00000.parquet").write_bytes(b""), ("part-00000.parquet",)),
    shipped_lists("manifest-missing", lambda folder: manifest_of(folder).unlink(), ("manifest",)),
    shipped_lists("manifest-empty", lambda folder: manifest_of(folder).write_text(""), ("manifest",)),
    shipped_lists("manifest-list", edited(lambda found: [1]), ("manifest",)),
    shipped_lists("manifest-null", lambda folder: manifest_of(folder).write_text("null"), ("manifest",)),
    shipped_lists("manifest-deep", lambda folder: manifest_of(folder).write_text("[" * 100_000), ("manifest",)),
    shipped_lists("manifest-not-utf-8", lambda folder: manifest_of(folder).write_bytes(b'{"k": "\xff"}'), ("manifest",)),
    shipped_lists("manifest-nan", lambda folder: manifest_of(folder).write_text('{"k": NaN}'), ("manifest",)),
    shipped_lists("manifest-without-files", edited(lambda found: found.update(files=[])), ("manifest|files",)),
    shipped_lists(
        "manifest-names-another-place", edited(lambda found: found.update(files=["../truth.csv"])), ("manifest|files|truth",)
    ),
    shipped_lists("manifest-of-other-rows", edited(lambda found: found.update(rows=1)), ("manifest|rows",)),
    shipped_lists("manifest-of-other-k", edited(lambda found: found.update(k=100)), ("manifest|k",)),
    shipped_lists("manifest-k-text", edited(lambda found: found.update(k="3")), ("manifest", "k")),
]


def unfinished(folder: Path) -> None:
    """What an interrupted export to `lists` leaves: all its parts, and not yet the folder."""
    whole_export(folder.with_name("lists"))
    folder.with_name("lists").rename(folder)


def read_with_pandas() -> tuple[int, list[str]]:
    code, message = call(EXPORT)
    assert code == 0, message
    frame = pd.read_parquet("lists")
    return len(frame), list(frame.columns)


def repeated_export() -> tuple[tuple[int, int], bool]:
    """The same export twice, as a scheduler does it, then with another k."""
    codes = call(EXPORT)[0], call(EXPORT)[0]
    before = Path("lists/part-00000.parquet").read_bytes()
    other, message = call(EXPORT.replace("--k 3", "--k 4"))
    kept = Path("lists/part-00000.parquet").read_bytes() == before
    return codes, other != 0 and "lists" in message and kept


AFTERWARDS = [
    Case(
        "pandas-reads-the-folder",
        read_with_pandas,
        {"model": MODEL, "history.csv": HISTORY},
        gives=(6, ["user_id", "rank", "item_id", "score"]),
    ),
    Case("a-finished-export-is-repeated", repeated_export, {"model": MODEL, "history.csv": HISTORY}, gives=((0, 0), True)),
]


@cases(*EVALUATIONS, *EXPORTS, *DAMAGED, *AFTERWARDS)
def test_lists(case, examine):
    examine(case)


@pytest.mark.parametrize("change", [swapped, flipped("part-00000.parquet", 0.3, 3)], ids=["another-part", "flipped-bit"])
def test_a_damaged_part_of_an_unfinished_export_is_not_shipped(change, tmp_path, monkeypatch):
    """Killed after the part and before the end: the part is written again or refused, never shipped."""
    monkeypatch.chdir(tmp_path)
    for path, content in {"model": MODEL, "history.csv": HISTORY}.items():
        write(tmp_path / path, content)
    model = load_model("model")
    from recsys_ae.data.ratings import read_history
    from recsys_ae.errors import RecsysError

    history, _ = read_history(Path("history.csv"), model.fitted.ids["items"], user_ids="int")
    export_recommendations(model, history, "whole", 3)
    finish = os.replace

    def stop(source, target):
        if Path(target).name.endswith("manifest.json"):
            raise KeyboardInterrupt
        finish(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            export_recommendations(model, history, "lists", 3)
    change(tmp_path / "lists.partial" / "lists")
    try:
        export_recommendations(model, history, "lists", 3)
    except RecsysError as error:
        assert "part-00000" in str(error)
    else:
        assert Path("lists/part-00000.parquet").read_bytes() == Path("whole/part-00000.parquet").read_bytes()
