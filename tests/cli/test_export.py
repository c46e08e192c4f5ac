"""Business rules on the command line and in a pipeline: the lists are those of the same rules in Python."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from recsys_ae import Rules, load_model, read_recommendations, recommend
from recsys_ae.data.ratings import read_history
from recsys_ae.export.manifest import ListManifest

LOG = {"path": "log.csv", "columns": {"user": "user", "item": "item"}}
PIPELINE = {
    "dataset": {
        "name": "small",
        "kind": "ratings",
        "files": [{"path": "log.csv", "columns": {"user": "user", "item": "item"}}],
    },
    "split": {"kind": "random", "test": 0.2},
    "models": [{"name": "ease"}],
    "metrics": ["recall@5"],
    "export": {
        "k": 6,
        "candidates": "rules/candidates.csv",
        "block": ["rules/block.csv", "rules/pairs.csv"],
        "repeatable": "rules/again.csv",
        "categories": "rules/categories.csv",
        "cap": 2,
        "users": "rules/users.csv",
    },
}
FILES = {
    "candidates": pd.DataFrame({"item_id": range(100, 118)}),
    "block": pd.DataFrame({"item_id": [100, 105]}),
    "pairs": pd.DataFrame({"user_id": ["u01", "u02"], "item_id": [101, 102]}),
    "again": pd.DataFrame({"item_id": [103, 104, 106]}),
    "categories": pd.DataFrame({"item_id": range(100, 120), "category": [f"c{item % 5}" for item in range(20)]}),
    "users": pd.DataFrame({"user_id": ["u02", "u09", "u01"]}),
}
OPTIONS = ["--candidates", "rules/candidates.csv", "--block", "rules/block.csv", "--block", "rules/pairs.csv"]
OPTIONS += [
    "--repeatable",
    "rules/again.csv",
    "--categories",
    "rules/categories.csv",
    "--cap",
    "2",
    "--users",
    "rules/users.csv",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a log, rules and a run of the pipeline on them."""
    from rich.console import Console

    from recsys_ae.experiment.pipeline_file import read_pipeline
    from recsys_ae.experiment.runner import run_pipeline
    from recsys_ae.tracking import Tracker

    folder = tmp_path_factory.mktemp("rules")
    pairs = [(f"u{user:02d}", 100 + item) for user in range(15) for item in range(20) if (user * 7 + item * 3) % 11 < 4]
    pd.DataFrame(pairs, columns=["user", "item"]).to_csv(folder / "log.csv", index=False)
    (folder / "rules").mkdir()
    for name, frame in FILES.items():
        frame.to_csv(folder / "rules" / f"{name}.csv", index=False)
    (folder / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    run_pipeline(read_pipeline(str(folder / "mine.yaml")), folder / "out", Tracker(), Console(quiet=True))
    shutil.copytree(folder / "out" / "recommendations", folder / "whole")
    return folder


@pytest.fixture
def expected(trained):
    model = load_model(trained / "out" / "final")
    history, _ = read_history(trained / "log.csv", model.fitted.ids["items"])
    rules = Rules.of(
        history.items, candidates=FILES["candidates"], repeatable=FILES["again"], categories=FILES["categories"], cap=2
    )
    blocked = pd.concat([FILES["pairs"], *(FILES["block"].assign(user_id=user) for user in history.users.values)])
    lists = recommend(
        model,
        history,
        FILES["users"]["user_id"],
        6,
        rules=replace(rules, blocked=Rules.of(history.items, blocked=blocked).blocked),
    )
    return lists.to_frame()


def lists_in(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)


def test_rules_in_a_pipeline(trained, expected):
    pd.testing.assert_frame_equal(lists_in(trained / "out" / "recommendations"), expected, check_dtype=False)
    manifest = ListManifest.read(trained / "out" / "recommendations")
    assert manifest.filters["blocked"] == {"items": 2, "users": 2, "pairs": 2}
    assert manifest.filters["categories"] == {"items": 20, "categories": 5, "cap": 2}
    files = manifest.made.sources.files
    assert sorted(files) == ["block", "block-2", "candidates", "card", "categories", "history", "repeatable", "users"]
    assert files["block-2"].path == str(trained / "rules" / "pairs.csv")


def test_rules_on_the_command_line(call, trained, expected, monkeypatch):
    monkeypatch.chdir(trained)
    command = ["export", "out/final", "--history", "log.csv", "--k", 6, "--output", "lists", *OPTIONS]
    code, _, err = call(*command)
    assert code == 0, err
    pd.testing.assert_frame_equal(lists_in(trained / "lists"), expected, check_dtype=False)
    code, out, _ = call("verify", "lists", "--sample", 3)
    assert code == 0
    assert f"block-2 {trained / 'rules' / 'pairs.csv'} (" in out
    assert "blocked: 2 items, 2 users, 2 pairs" in out
    (trained / "rules" / "pairs.csv").write_text("user_id,item_id\nu01,101\n")
    code, _, err = call(*command)
    FILES["pairs"].to_csv("rules/pairs.csv", index=False)
    assert code == 1
    assert "lists already holds lists made from other inputs (filters, rules)" in err


@pytest.mark.parametrize(
    ("form", "layout"),
    [
        ("csv", "rows"),
        ("csv-semicolon", "rows"),
        ("jsonl", "rows"),
        ("jsonl", "lists"),
        ("parquet", "lists"),
        ("parquet", "rows"),
    ],
)
def test_every_way_of_writing_has_the_same_lists(call, trained, expected, monkeypatch, form, layout):
    """For `verify` and `evaluate` too; written by a command and by a pipeline."""
    monkeypatch.chdir(trained)
    Path("titles.csv").write_text("movieId,title\n103,Alien\n104,\n999,Never known\n")
    out = f"{form}-{layout}"
    how = ["--format", form, "--layout", layout, "--titles", "titles.csv"]
    assert call("export", "out/final", "--history", "log.csv", "--k", 6, "--output", out, *OPTIONS, *how)[0] == 0
    found, length = read_recommendations(out)
    assert length == 6
    pd.testing.assert_frame_equal(found.drop(columns="title", errors="ignore"), expected, check_dtype=False)
    assert (
        "Alien" in (trained / out / f"part-00000.{form.partition('-')[0]}").read_bytes().decode(errors="replace")
        or form == "parquet"
    )
    assert call("verify", out, "--sample", 9)[0] == 0
    options = ["--truth", "log.csv", "--repeats", "wanted", "--metrics", "recall@5"]
    assert call("evaluate", out, *options)[1].splitlines()[:6] == call("evaluate", "whole", *options)[1].splitlines()[:6]


def test_rules_may_have_the_names_of_the_dataset(call, trained, monkeypatch):
    """In a pipeline and with --card."""
    monkeypatch.chdir(trained)
    pd.read_csv("log.csv").rename(columns={"user": "kunde", "item": "artikel"}).to_csv("own.csv", index=False)
    Path("rules/own.csv").write_text("artikel,menge\n100,0\n105,3\n")
    dataset = {**PIPELINE["dataset"], "files": [{"path": "own.csv", "columns": {"user": "kunde", "item": "artikel"}}]}
    Path("own.yaml").write_text(yaml.safe_dump({**PIPELINE, "dataset": dataset, "export": {"k": 20, "block": "rules/own.csv"}}))
    assert call("run", "own.yaml", "--output", "own", "--tracking-uri", "none")[0] == 0
    options = ["--k", 20, "--block", "rules/own.csv", "--card", "own.yaml", "--output", "own-again"]
    assert call("export", "own/final", "--history", "own.csv", *options)[0] == 0
    expected = {*range(100, 120)} - {100, 105}
    for folder in ("own/recommendations", "own-again"):
        assert {*lists_in(Path(folder))["item_id"]} == expected


def test_titles_of_the_dataset_are_exported(call, trained, monkeypatch):
    """By a run, by `export --card` and by shards; and `verify` reads them again."""
    monkeypatch.chdir(trained)
    Path("names.csv").write_text("code;label\n103;Alien\n104;\n105;Brazil\n")
    dataset = {**PIPELINE["dataset"], "titles": {"path": "names.csv", "id": "code", "title": "label"}}
    Path("titled.yaml").write_text(yaml.safe_dump({**PIPELINE, "dataset": dataset, "export": {"k": 6, "format": "csv"}}))
    assert call("run", "titled.yaml", "--output", "titled", "--tracking-uri", "none")[0] == 0
    expected = Path("titled/recommendations/part-00000.csv").read_bytes()
    found = pd.read_csv("titled/recommendations/part-00000.csv", keep_default_na=False)
    assert dict(zip(found["item_id"], found["title"], strict=True)) == {
        item: {103: "Alien", 105: "Brazil"}.get(item, "") for item in found["item_id"]
    }
    assert {103, 105} < {*found["item_id"]}
    command = ["export", "titled/final", "--history", "log.csv", "--k", 6, "--format", "csv", "--card", "titled.yaml"]
    assert call(*command, "--output", "titled-again")[0] == 0
    for shard in ("1/2", "2/2"):
        assert call(*command, "--output", "titled-merged", "--part-users", 8, "--shard", shard)[0] == 0
    assert call("merge", "titled-merged")[0] == 0
    for folder in ("titled/recommendations", "titled-again", "titled-merged"):
        assert ListManifest.read(Path(folder)).made.sources.files["titles"].path == str(trained / "names.csv")
        code, out, err = call("verify", folder, "--sample", 3)
        assert code == 0, out + err
    assert Path("titled-again/part-00000.csv").read_bytes() == expected
    merged = [pd.read_csv(path, keep_default_na=False) for path in sorted(Path("titled-merged").glob("*.csv"))]
    pd.testing.assert_frame_equal(pd.concat(merged, ignore_index=True), found)
    Path("names.csv").rename("moved.csv")
    assert call("verify", "titled-again", "--archive", ".")[0] == 0
    code, _, err = call(*command, "--output", "never")
    assert (code, "no file names.csv" in err) == (1, True)
    code, _, err = call(*command[:-1], "mine.yaml", "--output", "never", "--titles", "moved.csv")
    assert (code, "or declare the file under the key `titles` of a card" in err) == (1, True)


def test_another_file_of_titles_has_the_layout_of_the_card_if_it_has_its_columns(call, trained, monkeypatch):
    """In an export and in a pipeline, on its page too; otherwise its columns are recognised."""
    monkeypatch.chdir(trained)
    Path("new.csv").write_bytes("code|label\n103|Ørnen\n".encode("latin-1"))
    Path("usual.csv").write_text("item_id,title\n103,Ørnen\n")
    declared = {"path": "gone.csv", "id": "code", "title": "label", "separator": "|", "encoding": "latin-1"}
    pipeline = {**PIPELINE, "dataset": {**PIPELINE["dataset"], "titles": declared}, "export": {"k": 6, "titles": "new.csv"}}
    Path("new.yaml").write_text(yaml.safe_dump(pipeline))
    assert call("run", "new.yaml", "--output", "of-titles", "--tracking-uri", "none")[0] == 0
    assert "Ørnen" in Path("of-titles/report.html").read_text(encoding="utf-8")
    command = ["export", "of-titles/final", "--history", "log.csv", "--k", 6, "--card", "new.yaml"]
    for titles in ("new.csv", "usual.csv"):
        assert call(*command, "--output", f"by-{titles}", "--titles", titles)[0] == 0
        assert call("verify", f"by-{titles}")[0] == 0
    for folder in ("of-titles/recommendations", "by-new.csv", "by-usual.csv"):
        assert set(lists_in(Path(folder))["title"].dropna()) == {"Ørnen"}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "export out --history log.csv --output new",
            "out is not a model, but holds some; name one: out/final, out/models/ease",
        ),
        ("export out/final --history absent.csv --output new", "there is no file absent.csv"),
        ("export out/final --history lgo.csv --output new", "there is no file lgo.csv; did you mean 'log.csv'?"),
        ("export out/finel --history log.csv --output new", "there is no model out/finel; did you mean 'out/final'?"),
        ("evaluate out/recomendations --truth log.csv", "did you mean 'out/recommendations'?"),
        ("evaluate out/final --truth log.csv --history rule/users.csv", "did you mean 'rules/users.csv'?"),
        ("export out/final --history log.csv --output new --users absent.csv", "there is no file absent.csv"),
        ("export out/final --history log.csv --output rules", "rules already exists"),
        (
            "export out/final --history odd.csv --output new",
            "the columns are who, what; for data as in this run, pass --card out/",
        ),
        ("export copy --history odd.csv --output new", "the columns are who, what; pass the card as --card FILE"),
        ("export copy --history odd.csv --output new --card mine.yaml", "odd.csv: there is no column 'user'"),
        ("evaluate out/recommendations --truth odd.csv", "pass --card out/pipeline.yaml"),
        ("evaluate out/models/ease --truth odd.csv", "pass --card out/pipeline.yaml"),
        ("evaluate out/final --truth log.csv --history absent.csv", "there is no file absent.csv"),
    ],
)
def test_mistakes_about_files_are_reported_before_a_model_is_loaded(call, trained, monkeypatch, command, message):
    """Which takes seconds. The message says what to name instead."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr("recsys_ae.models.storage.build_model", pytest.fail)
    if not Path("copy").exists():
        shutil.copytree("out/final", "copy")
    Path("odd.csv").write_text("who,what\n1,2\n")
    code, _, err = call(*command.split())
    assert code == 1
    assert message in err
    assert not Path("new").exists()


def test_a_card_that_is_suggested_describes_the_log(call, trained, monkeypatch):
    monkeypatch.chdir(trained)
    found = call("evaluate", "out/models/ease", "--truth", "log.csv", "--history", "log.csv", "--card", "out/pipeline.yaml")
    assert found[0] == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--cap", 3], 2, "cap without categories"),
        (["--format", "csv", "--layout", "lists"], 2, "CSV has no arrays"),
        (["--titles", "rules/block.csv"], 1, "no column is recognised as the title"),
        (["--block", "absent.csv"], 1, "there is no file absent.csv"),
        (["--block", "unknown.csv"], 1, "unknown.csv: the model does not know item 7 (such items in 1 of 2 rows"),
        (["--block", "log.csv", "--candidates", "unknown.csv"], 1, "unknown.csv"),
    ],
)
def test_invalid_rules_on_the_command_line(call, trained, monkeypatch, options, code, message):
    monkeypatch.chdir(trained)
    Path("unknown.csv").write_text("item_id\n7\n101\n")
    found, _, err = call("export", "out/final", "--history", "log.csv", "--output", "never", *options)
    assert found == code
    assert message in err
    assert not Path("never").exists()


def test_an_output_that_is_named_as_a_file_is_said_to_be_a_folder(call, trained, monkeypatch):
    monkeypatch.chdir(trained)
    command = ["export", "out/final", "--history", "log.csv", "--format", "csv", "--k", 3]
    for name, said in (("named.csv", "named.csv (a folder of such files)"), ("named", "named")):
        code, out, _ = call(*command, "--output", name)
        assert (code, out.endswith(f" users: {said}\n")) == (0, True), out
        assert Path(name, "part-00000.csv").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("export.cap=null", "export: categories without cap"),
        ("export.what=item_vectors", "export: candidates is about lists, but what is item_vectors"),
        ("export.block=[absent.csv]", "there is no file"),
        ("export.users=rules/block.csv", "no column is recognised as the user"),
        ("export.cap=0", "export.cap"),
        ("export.titles=absent.csv", "there is no file"),
        ("export.users=absent.csv", "there is no file"),
        ("export.format=xml", "export.format"),
    ],
)
def test_invalid_rules_in_a_pipeline_leave_nothing_behind(call, trained, monkeypatch, setting, message):
    monkeypatch.chdir(trained)
    code, _, err = call("run", "mine.yaml", "--output", "never", "--tracking-uri", "none", "--set", setting)
    assert code in (1, 2)
    assert message in err
    assert not Path("never").exists()


def test_a_run_is_not_repeated_with_other_rules(call, trained, monkeypatch):
    monkeypatch.chdir(trained)
    (trained / "rules" / "again.csv").write_text("item_id\n103\n")
    code, _, err = call("run", "--from-run", "out", "--output", "again", "--tracking-uri", "none")
    FILES["again"].to_csv("rules/again.csv", index=False)
    assert code == 1
    assert "the file repeatable of the export has changed since the run" in err
