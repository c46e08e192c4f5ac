"""Lists loaded into tables while others read and load, and by processes that die."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import sqlalchemy as sa
from builders import random_interactions
from list_tables import export, names_in, rows_in, rows_of

from recsys_ae.errors import OutputError
from recsys_ae.export import tables
from recsys_ae.export.tables import load_into_database


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
