"""Histories for export, and exports that were damaged or not finished."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from robustness.catalogue import Case, call, cases, write
from robustness.feeding import after, flipped, gz, parquet, small_log, small_model

from recsys_ae import load_model, read_interactions
from recsys_ae.data.ratings import read_history
from recsys_ae.errors import RecsysError
from recsys_ae.export.local import export_recommendations
from recsys_ae.models.recommend import recommend

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


@cases(*EXPORTS, *DAMAGED, *AFTERWARDS)
def test_export(case, examine):
    examine(case)


@pytest.mark.parametrize("change", [swapped, flipped("part-00000.parquet", 0.3, 3)], ids=["another-part", "flipped-bit"])
def test_a_damaged_part_of_an_unfinished_export_is_not_shipped(change, tmp_path, monkeypatch):
    """Killed after the part and before the end: the part is written again or refused, never shipped."""
    monkeypatch.chdir(tmp_path)
    for path, content in {"model": MODEL, "history.csv": HISTORY}.items():
        write(tmp_path / path, content)
    model = load_model("model")
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
