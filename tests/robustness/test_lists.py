"""The lists and the truth that are evaluated."""

import json
from pathlib import Path

from robustness.catalogue import Case, cases
from robustness.feeding import gz, parquet

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


@cases(*EVALUATIONS)
def test_lists(case, examine):
    examine(case)
