"""The engine spark evaluates lists as one process does: its tasks in this process, and real jobs where there is PySpark."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from commands import Command
from list_shop import METRICS, Shop, assert_same, shop, write_lists, write_parts
from spark_stand_in import Session, stand_in

from recsys_ae import Interactions, build_model, evaluate_recommendations, read_recommendations, save_model
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.evaluation.given_lists import evaluate_given_lists
from recsys_ae.evaluation.listed import PartByPart
from recsys_ae.experiment.systems import SystemEvaluator
from recsys_ae.export import executors, spark_evaluation
from recsys_ae.export.reading import ExportedLists
from recsys_ae.export.spark_evaluation import part_by_task
from recsys_ae.export.writing import Writing


@pytest.fixture(autouse=True)
def session(monkeypatch, request):
    """The stand-in, for tests that do not start Spark."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(executors, "_session", stand_in)
        monkeypatch.setattr("recsys_ae.experiment.systems.check_installed", lambda: None)


def check_equal(data: Shop, folder: Path, metrics: list[str] = METRICS, **options) -> None:
    """Check that the values of the whole frame, part by part and of the tasks are the same, and that nothing is left."""
    options = {**data.options, **options}
    whole = evaluate_recommendations(read_recommendations(folder)[0], data.truth, metrics, **options)
    assert_same(evaluate_given_lists(PartByPart(ExportedLists.of(folder)), data.truth, metrics, **options), whole)
    with part_by_task(ExportedLists.of(folder)) as lists:
        assert_same(evaluate_given_lists(lists, data.truth, metrics, **options), whole)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("text", "writing"),
    [
        ((False, False), ("parquet", "rows")),
        ((True, False), ("csv", "rows")),
        ((False, True), ("jsonl", "rows")),
        ((True, True), ("jsonl", "lists")),
        ((True, False), ("parquet", "lists")),
    ],
    ids=str,
)
def test_formats_and_ids(text, writing, tmp_path):
    data = shop(*text)
    check_equal(data, write_lists(data, tmp_path / "lists", writing=Writing(*writing)), METRICS[::9])


def test_all_metrics(tmp_path):
    data = shop()
    check_equal(data, write_lists(data, tmp_path / "lists", 20))


@pytest.mark.parametrize(
    "options",
    [
        {"without_list": "skip"},
        {"relevant_at": 3.0},
        {"repeats": "wanted"},
        {"segments": (), "user_features": None},
        {"repeats": "wanted", "relevant_at": 4.0, "without_list": "skip"},
    ],
    ids=str,
)
def test_options(options, tmp_path):
    data = shop(text_users=True, seed=1)
    check_equal(data, write_lists(data, tmp_path / "lists", 20), METRICS[1::4], **options)


@pytest.mark.parametrize("part_users", [1, 60])
def test_sizes_of_parts(part_users, tmp_path):
    data = shop(seed=2)
    data.lists = data.lists[:70]
    check_equal(data, write_lists(data, tmp_path / "lists", part_users), METRICS[::9])


def test_without_a_history(tmp_path):
    data = shop()
    folder, asked = write_lists(data, tmp_path / "lists"), (data.truth[:30], ["ndcg@5"])
    with part_by_task(ExportedLists.of(folder)) as lists:
        found = evaluate_given_lists(lists, *asked, list_length=9)
    assert_same(found, evaluate_recommendations(data.lists, *asked, list_length=9))


@pytest.fixture
def files(tmp_path, monkeypatch) -> Shop:
    """Truth and history in files, and `lists`."""
    monkeypatch.chdir(tmp_path)
    data = shop()
    data.truth.to_csv("truth.csv", index=False)
    data.history.to_csv("history.csv", index=False)
    write_lists(data, Path("lists"))
    return data


EVALUATOR = SystemEvaluator(Path("truth.csv"), Path("history.csv"), ["ndcg@5", "coverage@3"], relevant_at=2.0)


@pytest.mark.parametrize("cold", ["popular", "skip"])
def test_systems(files, cold):
    local = replace(EVALUATOR, cold=cold).evaluate("lists")
    spark = replace(EVALUATOR, cold=cold, engine="spark").evaluate("lists")
    assert_same(spark.report, local.report)
    assert (spark.protocol, spark.warnings) == (local.protocol, local.warnings)
    assert sorted(os.listdir()) == ["history.csv", "lists", "truth.csv"]


def test_commands(files, call):
    write_lists(files, Path("others"), 20)
    asked = ["--truth", "truth.csv", "--history", "history.csv", "--metrics", "ndcg@3", "--engine"]
    for command in (["evaluate", "lists"], ["compare", "lists", "others"]):
        found = {engine: call(*command, *asked, engine) for engine in ("local", "spark")}
        assert found["spark"] == found["local"]
        assert found["spark"][0] == 0
        assert "ndcg@3" in found["spark"][1]
    code, _, error = call("evaluate", "lists", *asked, "flink")
    assert code == 2
    assert "flink" in error


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_damage_is_noticed(engine, files):
    asked = replace(EVALUATOR, engine=engine)
    part, other = Path("lists/part-00003.parquet"), Path("lists/part-00002.parquet")
    content = part.read_bytes()
    for damaged in (content[:-1] + b"x", other.read_bytes()):
        part.write_bytes(damaged)
        with pytest.raises(DataError, match=r"^\S*lists/part-00003.parquet is damaged: its content has changed; remove"):
            asked.evaluate("lists")
    part.unlink()
    with pytest.raises(DataError, match=r"^\S*lists/part-00003.parquet is missing; remove \S*lists and export again$"):
        asked.evaluate("lists")
    part.write_bytes(content)
    Path("lists/part-00009.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"part-00009.parquet is not in the manifest"):
        asked.evaluate("lists")
    assert sorted(os.listdir()) == ["history.csv", "lists", "truth.csv"]


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_a_user_in_two_files_is_noticed(engine, files):
    write_parts(files, [files.lists[:1], files.lists[1:]], Path("cut"))
    user = files.lists["user_id"].iloc[0]
    assert user == files.lists["user_id"].iloc[1]
    problem = rf"^user {user} has rows in part-00000.parquet and in part-00001.parquet, but a list must be in one part; export"
    with pytest.raises(DataError, match=problem):
        replace(EVALUATOR, engine=engine).evaluate("cut")


def test_a_link_leads_to_the_lists_of_one_moment(files):
    """Lists may be replaced while they are evaluated."""
    expected = EVALUATOR.evaluate("lists")
    Path("latest").symlink_to("lists")
    opened = ExportedLists.of(Path("latest"))
    Path("latest").unlink()
    assert [*opened] == [path.name for path in sorted(Path("lists").glob("part*"))]
    assert len(pd.concat(opened.values())) == len(files.lists)
    Path("latest").symlink_to("lists")
    assert_same(EVALUATOR.evaluate("latest").report, expected.report)


def test_what_spark_does_not_evaluate(files):
    asked = replace(EVALUATOR, engine="spark")
    files.lists.to_csv("lists.csv", index=False)
    with pytest.raises(ConfigError, match=r"lists.csv is a file, and the engine spark evaluates exported folders; leave out"):
        asked.evaluate("lists.csv")
    known = Interactions.from_frame(files.history, rating=None)
    save_model(build_model("popularity", {}).fit(known), "model")
    with pytest.raises(ConfigError, match="model is a model, and the engine spark evaluates lists; leave out --engine spark"):
        asked.evaluate("model")


def test_lists_where_nothing_can_be_written(files, monkeypatch):
    def fail(folder: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(spark_evaluation, "make_folder", fail)
    problem = r"^cannot write to \S+, beside the lists, which all workers share: Read-only file system; evaluate a copy"
    with pytest.raises(OutputError, match=problem):
        replace(EVALUATOR, engine="spark").evaluate("lists")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("recsys_ae.errors.DataError: lists/a is damaged; remove it", DataError("lists/a is damaged; remove it")),
        ("MemoryError: no room", OutputError("Spark could not evaluate the lists: no room; repeat the command")),
        ("recsys_ae.errors.OtherError: x", OutputError("Spark could not evaluate the lists: x; repeat the command")),
        ("Job aborted", OutputError("Spark could not evaluate the lists: Job aborted; repeat the command")),
    ],
)
def test_errors_of_tasks(message, expected, monkeypatch):
    """Those of this package are raised as they are."""

    def fail(self) -> None:
        raise RuntimeError(f"Traceback:\nValueError: first\n\n{message}\n" if ":" in message else message)

    monkeypatch.setattr(Session, "collect", fail)
    with executors.executors("evaluate the lists", "repeat the command") as workers, pytest.raises(type(expected)) as found:
        workers.run(print, 2)
    assert str(found.value) == str(expected)


def test_without_pyspark(files, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigError, match=r"needs the package pyspark: pip install recsys-ae\[spark\]"):
        replace(EVALUATOR, engine="spark").evaluate("lists")


@pytest.mark.slow
def test_the_command(files):
    pytest.importorskip("pyspark", reason="needs pyspark (recsys-ae[spark]) and Java")
    write_lists(files, Path("few"), 20)
    environment = {"PYSPARK_SUBMIT_ARGS": "--master local[2] pyspark-shell"}
    options = ["--truth", "truth.csv", "--history", "history.csv", "--segments", "item_popularity"]
    found = {}
    for engine in ("local", "spark"):
        outputs = ["--per-user", f"{engine}.parquet", "--output", f"{engine}.json"]
        command = ["evaluate", "few", *options, *outputs, "--engine", engine]
        with Command(*command, environment=environment) as process:
            printed, told = process.communicate()
        assert process.returncode == 0, told
        found[engine] = [printed, *(Path(f"{engine}.{ending}").read_bytes() for ending in ("json", "parquet"))]
    assert found["local"] == found["spark"]
    shutil.copy("few/part-00000.parquet", "few/part-00001.parquet")
    with Command(*command, environment=environment) as process:
        _, told = process.communicate()
    assert process.returncode == 1
    assert "few/part-00001.parquet is damaged: its content has changed; remove" in told.splitlines()[-1]
    assert not list(Path().glob(".few*"))


# A worker dies at the first attempt at each part, of each of the two jobs.
SCRIPT = """
import os
from pathlib import Path
from list_shop import METRICS, assert_same, shop
from recsys_ae import evaluate_recommendations
from recsys_ae.evaluation.given_lists import evaluate_given_lists
from recsys_ae.export.reading import ExportedLists
from recsys_ae.export.spark_evaluation import part_by_task

class Deadly(ExportedLists):
    def __getitem__(self, name):
        for job in (1, 2):
            for attempt in ("dies", "lives"):
                try:
                    Path(os.environ["FOLDER"], f"{name} {job} {attempt}").touch(exist_ok=False)
                except FileExistsError:
                    continue
                if attempt == "dies":
                    os._exit(1)
                return super().__getitem__(name)
        raise AssertionError("repeated for no reason")

metrics = METRICS[::9]
data, lists = shop(), ExportedLists.of(Path("few"))
with part_by_task(Deadly(lists.folder, lists.manifest)) as deadly:
    found = evaluate_given_lists(deadly, data.truth, metrics, **data.options)
assert_same(found, evaluate_recommendations(data.lists, data.truth, metrics, **data.options))
"""


@pytest.mark.slow
def test_tasks_that_die_are_repeated_under_spark_submit(files):
    pytest.importorskip("pyspark", reason="needs pyspark (recsys-ae[spark]) and Java")
    write_lists(files, Path("few"), 20)
    attempts = Path("attempts").absolute()
    attempts.mkdir()
    Path("job.py").write_text(SCRIPT)
    roots = [str(Path(executors.__file__).parents[2]), str(Path(__file__).parents[1])]
    options = {"PYSPARK_PYTHON": sys.executable, "FOLDER": str(attempts), "PYTHONPATH": os.pathsep.join(roots)}
    command = [Path(sys.executable).with_name("spark-submit"), "--master", "local[1,4]", "job.py"]
    done = subprocess.run(command, env={**os.environ, **options}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(attempts.iterdir())) == 4 * 3
