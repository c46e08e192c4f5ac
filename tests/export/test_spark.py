"""The engine spark makes the files of the local one: its tasks in this process, and real jobs where there is PySpark."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import ONE_OF_EACH, VARIANTS, complete, of_users, random_interactions
from commands import Command
from scipy.sparse import csr_array
from session_logs import from_rows
from spark_stand_in import Session, stand_in

from recsys_ae import Interactions, Rules, build_model, export_recommendations, save_model
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.export import executors, spark
from recsys_ae.export.local import export_request
from recsys_ae.export.manifest import MANIFEST, ListManifest
from recsys_ae.export.parts import PartStore, one_by_one
from recsys_ae.export.request import ListRequest
from recsys_ae.export.writing import Titles, Writing

DATA = complete(random_interactions())


@pytest.fixture(autouse=True)
def session(monkeypatch, request):
    """The stand-in, for tests that do not start Spark."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(executors, "_session", stand_in)


def content(folder: Path) -> dict:
    """The files by name; of the manifest, all but how it came about."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**found, MANIFEST: replace(ListManifest.read(folder), made=None)}


def check_equal(request: ListRequest, folder: Path) -> None:
    """Check that both engines make the same files of a request, and nothing else."""
    for name, engine in (("local", one_by_one), ("spark", spark.on_spark)):
        export_request(request, folder / name, engine)
    assert content(folder / "spark") == content(folder / "local")
    assert sorted(os.listdir(folder)) == ["local", "spark"]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_model_makes_the_same_lists_from_the_histories_of_a_part(name, tmp_path):
    """Some of the users have no history, or are unknown to the model."""
    kind, params = VARIANTS[name]
    few = {key: 2 for key in ("epochs",) if key in params}
    model = build_model(kind, {**params, **few}).fit(of_users(DATA, list(range(30))))
    history = DATA.filter(~np.isin(DATA.user_rows(), [3, 17, 35]))
    check_equal(ListRequest.of(model, history, 5, part_users=7), tmp_path)


@pytest.mark.parametrize("hierarchy", ["none", "init"])
def test_sessions_and_repeated_events_stay_in_their_order(hierarchy, tmp_path):
    rng = np.random.default_rng(0)
    rows = [tuple(row) for row in np.c_[rng.integers(0, (9, 2, 5, 12), (150, 4))].tolist()]  # many equal times
    data = from_rows(rows)
    assert data.n_events > len(data)
    model = build_model("gru", {"hidden": 8, "epochs": 2, "batch_events": 24, "hierarchy": hierarchy}).fit(data)
    check_equal(ListRequest.of(model, data, 5, part_users=4, exclude_seen=False), tmp_path)


@pytest.fixture(scope="module")
def model():
    return build_model("ease", {}).fit(DATA)


def test_rules_titles_formats_and_users_go_along(model, tmp_path):
    categories = pd.DataFrame({"item_id": DATA.items.values, "category": np.arange(DATA.n_items) % 4})
    pairs = pd.DataFrame({"user_id": ["u03", "u09"], "item_id": [101, 104]})
    rules = Rules.of(DATA.items, blocked=pairs, repeatable=[102], categories=categories, cap=2)
    titles = Titles(pa.array([101, 103]), pa.array(["a", "b"]))
    users = DATA.users.values[[9, 3, 30, 1, 7, 12, 39, 0]]
    options = {"rules": rules, "titles": titles, "users": users, "writing": Writing("jsonl", "lists"), "part_users": 3}
    check_equal(ListRequest.of(model, DATA, 5, **options), tmp_path)


@pytest.mark.parametrize("cold", ["skip", "popular"])
def test_cold_users(model, tmp_path, cold):
    history = DATA.filter(DATA.user_rows() > 15)  # two parts without any history
    check_equal(ListRequest.of(model, history, 5, part_users=6, cold=cold), tmp_path)


def test_no_users(model, tmp_path):
    check_equal(ListRequest.of(model, DATA, 5, users=np.array([], dtype=object)), tmp_path)


def test_finished_parts_are_kept(model, tmp_path, monkeypatch, caplog):
    request = ListRequest.of(model, DATA, 5, part_users=7)
    written, write = [], PartStore.write

    def die(self, name, *others):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(name)
        return write(self, name, *others)

    with monkeypatch.context() as patch:
        patch.setattr(PartStore, "write", die)
        with pytest.raises(KeyboardInterrupt):
            export_request(request, tmp_path / "spark", spark.on_spark)
    with caplog.at_level("INFO", "recsys_ae"):
        check_equal(request, tmp_path)
    assert "3 files written, 3 kept from an earlier attempt" in caplog.text


def test_what_a_task_has_written_is_verified(model, tmp_path, monkeypatch):
    request, collect = ListRequest.of(model, DATA, 5, part_users=7), Session.collect

    def damage(self) -> None:
        collect(self)
        (tmp_path / "lists.partial" / "lists" / "part-00004.parquet").write_bytes(b"something else")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "collect", damage)
        with pytest.raises(OutputError, match=r"part-00004\.parquet is not there as its task has written it; repeat"):
            export_request(request, tmp_path / "lists", spark.on_spark)
    export_request(request, tmp_path / "lists", spark.on_spark)


def test_a_worker_with_other_versions_or_another_model_is_refused(model, tmp_path, monkeypatch):
    request = ListRequest.of(model, DATA, 5)
    driver, found = request.planned.versions, iter([{"numpy": "2.0"}, {"numpy": "1.0"}])
    monkeypatch.setattr(executors, "versions", lambda: {**driver, **next(found)})
    with pytest.raises(DataError, match=r"a worker of Spark has numpy 1\.0, unlike the driver"):
        export_request(request, tmp_path / "lists", spark.on_spark)
    save_model(model, tmp_path / "model")
    with pytest.raises(DataError, match="holds another model than that of the export"):
        spark._loaded(tmp_path / "model", "0" * 32)


def test_more_than_the_history_can_count_as_seen(model, tmp_path):
    rows, items = np.indices((DATA.n_users, DATA.n_items)).reshape(2, -1)
    more = csr_array((np.ones(len(rows), np.float32), (rows, items)))[:, : DATA.n_items // 2]
    more.resize(DATA.n_users, DATA.n_items)
    check_equal(ListRequest.of(model, DATA, 5, part_users=7, seen=Interactions(more, DATA.users, DATA.items)), tmp_path)
    listed = pq.read_table(tmp_path / "spark")["item_id"].to_numpy()
    assert set(DATA.items.find(listed)) <= set(range(DATA.n_items // 2, DATA.n_items))


def test_without_pyspark(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigError, match=r"needs the package pyspark: pip install recsys-ae\[spark\]"):
        export_recommendations(model, DATA, tmp_path / "lists", 5, engine="spark")
    assert not list(tmp_path.iterdir())


def environment(master: str) -> dict[str, str]:
    """Of a process that starts Spark in itself."""
    root = Path(spark.__file__).parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "PYSPARK_SUBMIT_ARGS": f"--master {master} pyspark-shell"}


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A log of 40 users and a model of it."""
    pytest.importorskip("pyspark", reason="needs pyspark (recsys-ae[spark]) and Java")
    monkeypatch.chdir(tmp_path)
    data = random_interactions(times=False)
    save_model(build_model("pca", {"factors": 3}).fit(data), "model")
    data.to_frame().to_parquet("log.parquet")
    return tmp_path


@pytest.mark.slow
def test_a_killed_command_continues_with_spark(shop):
    command = ["export", "model", "--history", "log.parquet", "--k", "5", "--part-users", "1", "--output"]
    with Command(*command, "local") as local:
        assert local.wait() == 0, local.communicate()
    records = shop / "spark.partial" / "records"
    with Command(*command, "spark", "--engine", "spark", environment=environment("local[2]")) as started:
        while not list(records.glob("part*")) and started.poll() is None:
            time.sleep(0.01)
        started.kill()
    with Command(*command, "spark", "--engine", "spark", environment=environment("local[2]")) as again:
        _, told = again.communicate()
    assert again.returncode == 0, told
    assert content(shop / "spark") == content(shop / "local")
    assert "40 files written" not in told
    assert sorted(path.name for path in shop.iterdir()) == ["local", "log.parquet", "model", "spark"]


# Titles are looked up in each task; these kill the worker in the first attempt at each part, or always.
SCRIPT = """
import os, sys
from dataclasses import dataclass
from pathlib import Path
import pyarrow as pa
from recsys_ae import load_model
from recsys_ae.data.ratings import read_history
from recsys_ae.digests import digest_of
from recsys_ae.errors import OutputError
from recsys_ae.export.local import engine_of, export_request
from recsys_ae.export.request import ListRequest
from recsys_ae.export.writing import Titles

@dataclass(frozen=True, eq=False)
class Deadly(Titles):
    def of(self, items):
        try:
            Path(os.environ["FOLDER"], "attempts", digest_of([str(items.to_pylist())])).touch(exist_ok=False)
        except FileExistsError:
            return super().of(items)
        os._exit(1)

@dataclass(frozen=True, eq=False)
class Wrong(Titles):
    def of(self, items):
        raise ValueError("no titles today")

model = load_model("model")
history, _ = read_history(Path("log.parquet"), model.fitted.ids["items"])
texts = pa.array([101, 103]), pa.array(["a", "b"])
for engine, kind in (("local", Titles), ("spark", Deadly)):
    export_request(ListRequest.of(model, history, 5, part_users=10, titles=kind(*texts)), Path(engine), engine_of(engine))
try:
    export_request(ListRequest.of(model, history, 5, part_users=40, titles=Wrong(*texts)), Path("never"), engine_of("spark"))
except OutputError as error:
    print(error)
"""


@pytest.mark.slow
def test_tasks_that_die_are_repeated_under_spark_submit(shop):
    (shop / "attempts").mkdir()
    (shop / "job.py").write_text(SCRIPT)
    submit = Path(sys.executable).with_name("spark-submit")
    command = [submit, "--master", "local[2,3]", "job.py"]
    options = {"PYSPARK_PYTHON": sys.executable, "FOLDER": str(shop)}
    done = subprocess.run(command, env=environment("") | options, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Spark could not make the lists: no titles today; what is finished is kept"
    assert content(shop / "spark") == content(shop / "local")
    assert len(list((shop / "attempts").iterdir())) == 4
