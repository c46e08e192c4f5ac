"""Lists in tables of databases: the rows of the files, loaded once, and never half of them for readers."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import postgres
import pyarrow as pa
import pytest
import sqlalchemy as sa
from builders import random_interactions

from recsys_ae import IdMap, build_model
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.export import tables
from recsys_ae.export.local import export_request
from recsys_ae.export.manifest import ListManifest
from recsys_ae.export.request import ListRequest
from recsys_ae.export.tables import load_into_database, write_delta
from recsys_ae.export.writing import Titles, Writing

TITLES = Titles(pa.array([100, 101, 102]), pa.array(["It's", 'a "film"', "\N{SNOWMAN}, 2"]))
needs_postgres = pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))


@pytest.fixture(scope="module")
def server():
    with postgres.postgres("tester", "a-secret") as address:
        yield f"postgresql+psycopg2://tester:a-secret@{address}/postgres"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[needs_postgres, pytest.mark.slow])])
def uri(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'lists.db'}"
    found = request.getfixturevalue("server")
    with opened(found) as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    return found


@contextmanager
def opened(uri):
    engine = sa.create_engine(uri)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def export(folder, seed=0, **options):
    """Lists of 40 users in four files."""
    data = random_interactions(seed)
    request = ListRequest.of(build_model("popularity", {}).fit(data), data, 5, part_users=10, **options)
    return export_request(request, folder)


def rows_of(folder, titles=False):
    manifest = ListManifest.read(folder)
    names = manifest.arrow_schema(titles=titles).names
    return [row for name in manifest.files for row in manifest.read_part(folder / name, names).to_pylist()]


def rows_in(uri, table="lists"):
    """The rows of a table, which are the lists in their order, because users are in the order of their ids."""
    with opened(uri) as connection:
        found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY user_id, rank"))
        return [dict(row) for row in found.mappings()]


def names_in(uri):
    with opened(uri) as connection:
        return sorted(sa.inspect(connection).get_table_names())


@pytest.mark.parametrize(("form", "layout"), [("parquet", "rows"), ("csv", "rows"), ("jsonl", "lists")])
def test_the_table_has_the_rows_of_the_files(uri, tmp_path, form, layout):
    manifest = export(tmp_path / "lists", writing=Writing(form, layout), titles=TITLES)
    assert load_into_database(tmp_path / "lists", uri, "lists")
    found = rows_in(uri)
    assert found == rows_of(tmp_path / "lists", titles=True)
    assert {row["title"] for row in found} > {None, "It's"}
    assert len(found) == manifest.rows > 100
    assert names_in(uri) == ["lists", "lists_manifest"]
    with opened(uri) as connection:
        ((stored,),) = connection.execute(sa.text("SELECT manifest FROM lists_manifest"))
    assert json.loads(stored)["data_digest"] == manifest.data_digest


def test_the_next_night_replaces_the_rows_of_the_same_table(uri, tmp_path):
    """With its indexes and views; repeating a load does nothing."""
    export(tmp_path / "one")
    export(tmp_path / "two", seed=1)
    load_into_database(tmp_path / "one", uri, "lists")
    with opened(uri) as connection:
        connection.execute(sa.text("CREATE INDEX mine ON lists (item_id)"))
        connection.execute(sa.text("CREATE VIEW best AS SELECT * FROM lists WHERE rank = 1"))
    assert load_into_database(tmp_path / "two", uri, "lists")
    assert not load_into_database(tmp_path / "two", uri, "lists")
    assert rows_in(uri) == rows_of(tmp_path / "two")
    assert rows_in(uri, "best") == [row for row in rows_of(tmp_path / "two") if row["rank"] == 1]
    with opened(uri) as connection:
        assert [one["name"] for one in sa.inspect(connection).get_indexes("lists")] == ["mine"]
    assert load_into_database(tmp_path / "one", uri, "lists")
    assert rows_in(uri) == rows_of(tmp_path / "one")


def test_an_interrupted_load_continues(uri, tmp_path, monkeypatch):
    export(tmp_path / "one")
    export(tmp_path / "two", seed=1)
    load_into_database(tmp_path / "one", uri, "lists")
    parts, read = tables._parts, []

    def dies(*given, **options):
        for number, part in enumerate(parts(*given, **options)):
            read.append(part[0])
            if number == 2:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(tables, "_parts", dies)
    with pytest.raises(KeyboardInterrupt):
        load_into_database(tmp_path / "two", uri, "lists")
    assert rows_in(uri) == rows_of(tmp_path / "one")
    read.clear()
    assert load_into_database(tmp_path / "two", uri, "lists")
    assert read == ["part-00002.parquet", "part-00003.parquet"]
    assert rows_in(uri) == rows_of(tmp_path / "two")
    assert names_in(uri) == ["lists", "lists_manifest"]


@pytest.mark.slow
def test_a_killed_load_duplicates_nothing(uri, tmp_path):
    """Killed again and again, as late as it gets; readers see one of the two nights all the time."""
    export(tmp_path / "one")
    export(tmp_path / "two", seed=1)
    load_into_database(tmp_path / "one", uri, "lists")
    nights = [rows_of(tmp_path / name) for name in ("one", "two")]
    script = f"""
        import time
        import recsys_ae.export.tables as tables
        from pathlib import Path
        tables.BATCH = 7
        insert = tables.sa.Connection.execute
        def slow(connection, *given, **more):
            print(".", flush=True)
            time.sleep(0.002)
            return insert(connection, *given, **more)
        tables.sa.Connection.execute = slow
        tables.load_into_database(Path({str(tmp_path / "two")!r}), {uri!r}, "lists")
    """
    delays, done = iter(np.linspace(3, 300, 12).astype(int)), False
    while not done:
        steps = next(delays, 10**9)
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as process:
            if all(process.stdout.readline() for _ in range(steps)):
                os.kill(process.pid, signal.SIGKILL)
        done = process.returncode == 0
        assert rows_in(uri) in nights
    assert rows_in(uri) == nights[1]
    assert names_in(uri) == ["lists", "lists_manifest"]


def test_readers_never_see_a_mixture(uri, tmp_path):
    export(tmp_path / "one")
    export(tmp_path / "two", seed=1)
    load_into_database(tmp_path / "one", uri, "lists")
    nights, seen, over = [rows_of(tmp_path / name) for name in ("one", "two")], [], threading.Event()

    def read():
        while not over.is_set():
            try:
                seen.append(rows_in(uri))
            except sa.exc.OperationalError:  # SQLite's file is locked
                time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    for name in ("two", "one", "two", "one"):
        load_into_database(tmp_path / name, uri, "lists")
    over.set()
    reader.join()
    assert seen
    assert all(found in nights for found in seen)


def test_lists_that_two_processes_load_do_not_mix(uri, tmp_path, monkeypatch):
    """Of different users, so no key is there twice. The second waits for the first, and replaces what that has written."""
    users = random_interactions().users.values
    for name, own in (("all", users), ("one", users[:20]), ("two", users[20:])):
        export(tmp_path / name, users=own)
    load_into_database(tmp_path / "all", uri, "lists")
    writing, go_on, described = threading.Event(), threading.Event(), tables.asdict

    def pause(manifest):  # called before the first commits
        if not writing.is_set():
            writing.set()
            go_on.wait(60)
        return described(manifest)

    monkeypatch.setattr(tables, "asdict", pause)
    monkeypatch.setattr(tables._Loading, "_remove_staging", lambda *_: None)  # the first would remove that of the second
    loads = [(tmp_path / name, uri, "lists") for name in ("one", "two")]
    first, second = (threading.Thread(target=load_into_database, args=load) for load in loads)
    first.start()
    assert writing.wait(60)
    second.start()
    second.join(1)
    assert second.is_alive()
    go_on.set()
    first.join()
    second.join()
    assert rows_in(uri) == rows_of(tmp_path / "two")
    assert len(rows_in(uri, "(SELECT 1 AS user_id, 1 AS rank FROM lists_manifest) AS found")) == 1


@pytest.fixture
def meanwhile(monkeypatch):
    """A function that makes the next load of a folder run another function after its first file."""
    parts, planned = tables._parts, {}

    def paused(folder, manifest, **options):
        for number, part in enumerate(parts(folder, manifest, **options)):
            if number == 1 and folder.name in planned:
                planned.pop(folder.name)()
            yield part

    monkeypatch.setattr(tables, "_parts", paused)
    return lambda name, act: planned.update({name: act})


def test_a_load_says_that_other_lists_were_loaded_meanwhile(uri, tmp_path, meanwhile):
    for seed, name in enumerate(("one", "two")):
        export(tmp_path / name, seed=seed)
    meanwhile("one", lambda: load_into_database(tmp_path / "two", uri, "lists"))
    message = "another process has loaded lists into lists meanwhile and dropped the staging tables of this load; repeat it"
    with pytest.raises(OutputError, match=message):
        load_into_database(tmp_path / "one", uri, "lists")
    assert rows_in(uri) == rows_of(tmp_path / "two")
    assert load_into_database(tmp_path / "one", uri, "lists")
    assert rows_in(uri) == rows_of(tmp_path / "one")
    assert names_in(uri) == ["lists", "lists_manifest"]


def test_a_load_with_nothing_to_do_disturbs_no_other(uri, tmp_path, meanwhile, monkeypatch):
    """It drops only the staging tables that an earlier call for the same lists has left."""
    for seed, name in enumerate(("one", "two")):
        export(tmp_path / name, seed=seed)
    with monkeypatch.context() as patch:
        patch.setattr(tables._Loading, "_remove_staging", lambda *_: None)
        load_into_database(tmp_path / "two", uri, "lists")
    assert len(names_in(uri)) == 4
    meanwhile("one", lambda: found.append((load_into_database(tmp_path / "two", uri, "lists"), len(names_in(uri)))))
    found = []
    assert load_into_database(tmp_path / "one", uri, "lists")
    assert found == [(False, 4)]
    assert rows_in(uri) == rows_of(tmp_path / "one")
    assert names_in(uri) == ["lists", "lists_manifest"]


def test_ids_of_both_kinds_and_no_rows(uri, tmp_path):
    data = random_interactions()
    model = build_model("popularity", {}).fit(data)
    export_request(ListRequest.of(model, data, 3, users=np.array([], dtype=object)), tmp_path / "nobody")
    load_into_database(tmp_path / "nobody", uri, "lists")
    assert rows_in(uri) == []
    with opened(uri) as connection:
        kinds = {column["name"]: str(column["type"]) for column in sa.inspect(connection).get_columns("lists")}
        key = sa.inspect(connection).get_pk_constraint("lists")["constrained_columns"]
    assert kinds == {"user_id": "TEXT", "rank": "INTEGER", "item_id": "BIGINT", "score": "REAL"}
    assert key == ["user_id", "rank"]


def test_awkward_text_arrives(uri, tmp_path):
    texts = ['a,"b"', "\\.", "new\nline", "\\N", "NULL", "tab\t", " ", "\N{SNOWMAN}", "\r"]
    data = random_interactions()
    items = [*texts, *(f"i{number}" for number in range(data.n_items - len(texts)))]
    data = replace(data, items=IdMap(items))
    request = ListRequest.of(build_model("popularity", {}).fit(data), data, 25, exclude_seen=False)
    export_request(request, tmp_path / "lists")
    load_into_database(tmp_path / "lists", uri, "lists")
    assert rows_in(uri) == rows_of(tmp_path / "lists")
    assert {row["item_id"] for row in rows_in(uri)} >= {*texts}


def test_errors_of_a_database_are_one_sentence(uri, tmp_path):
    """PostgreSQL has no text with a zero character."""
    data = replace(random_interactions(), items=IdMap(["a\0b", *(f"i{number}" for number in range(24))]))
    request = ListRequest.of(build_model("popularity", {}).fit(data), data, 25, exclude_seen=False)
    export_request(request, tmp_path / "lists")
    if uri.startswith("sqlite"):
        load_into_database(tmp_path / "lists", uri, "lists")
        return
    with pytest.raises(OutputError, match=r"cannot write to postgresql.*invalid byte sequence"):
        load_into_database(tmp_path / "lists", uri, "lists")
    assert "lists" not in names_in(uri)


def test_a_table_with_other_columns_is_left_alone(uri, tmp_path):
    export(tmp_path / "lists")
    with opened(uri) as connection:
        connection.execute(sa.text("CREATE TABLE lists (precious INTEGER)"))
        connection.execute(sa.text("INSERT INTO lists VALUES (7)"))
    with pytest.raises(OutputError, match="the table lists has the columns precious instead of item_id, rank, score, user_id"):
        load_into_database(tmp_path / "lists", uri, "lists")
    with opened(uri) as connection:
        assert connection.scalar(sa.text("SELECT precious FROM lists")) == 7


@pytest.mark.parametrize(
    ("uri", "table", "error", "message"),
    [
        ("nonsense", "lists", ConfigError, "'nonsense' is not the URI of a database, such as postgresql"),
        ("oracle9://me:secret@host/x", "lists", ConfigError, r"'oracle9://\*\*\*@host/x' is not the URI"),
        ("sqlite:///absent/x.db", "lists", OutputError, "cannot write to sqlite:///absent/x.db: unable to open database file"),
        ("sqlite:///x.db", "lists; DROP", ConfigError, "'lists; DROP' cannot name a table"),
    ],
)
def test_invalid_databases(tmp_path, monkeypatch, uri, table, error, message):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "lists")
    with pytest.raises(error, match=message):
        load_into_database(tmp_path / "lists", uri, table)


def test_damaged_lists_are_not_loaded(tmp_path):
    export(tmp_path / "lists")
    (tmp_path / "lists" / "part-00002.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"part-00002\.parquet is damaged"):
        load_into_database(tmp_path / "lists", f"sqlite:///{tmp_path / 'x.db'}", "lists")
    assert not (tmp_path / "x.db").exists()


def test_the_command(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = export(tmp_path / "lists")
    code, out, _ = call("load", "lists", "--database", "sqlite:///x.db", "--table", "nightly")
    assert (code, out) == (0, f"{manifest.rows} recommendations are in the table nightly of sqlite:///x.db\n")
    monkeypatch.setenv("RECSYS_AE_DATABASE", "sqlite:///x.db")
    assert "were already in the table" in call("load", "lists", "--table", "nightly")[1]
    assert len(pd.read_sql("SELECT * FROM nightly", "sqlite:///x.db")) == manifest.rows
    assert call("load", "lists")[0] == 2


@pytest.mark.skipif(importlib.util.find_spec("deltalake") is None, reason="needs deltalake")
def test_delta_table(tmp_path):
    import deltalake

    place = str(tmp_path / "delta")
    for name, seed, titles in (("one", 0, None), ("two", 1, TITLES)):
        manifest = export(tmp_path / name, seed=seed, titles=titles)
        assert write_delta(tmp_path / name, place)
        assert not write_delta(tmp_path / name, place)
        found = deltalake.DeltaTable(place).to_pyarrow_table().sort_by([("user_id", "ascending"), ("rank", "ascending")])
        assert found.to_pylist() == rows_of(tmp_path / name, titles=titles is not None)
        assert len(found) == manifest.rows
    assert deltalake.DeltaTable(place).version() == 1
    first = deltalake.DeltaTable(place, version=0).to_pyarrow_table()
    assert len(first) == len(rows_of(tmp_path / "one"))
    deltalake.write_deltalake(str(tmp_path / "precious"), pa.table({"user_id": [7], "paid": [1]}))
    with pytest.raises(OutputError, match="precious has the columns paid, user_id instead of item_id, rank, score, user_id"):
        write_delta(tmp_path / "one", str(tmp_path / "precious"))
    assert deltalake.DeltaTable(str(tmp_path / "precious")).version() == 0
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write the Delta table"):
        write_delta(tmp_path / "one", str(tmp_path / "file"))
