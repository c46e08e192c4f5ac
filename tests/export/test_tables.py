"""Lists in tables of databases: the rows of the files, whatever is in them, and what is refused."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from builders import random_interactions
from list_tables import export, names_in, opened, rows_in, rows_of

from recsys_ae import IdMap, build_model
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.export.local import export_request
from recsys_ae.export.request import ListRequest
from recsys_ae.export.tables import load_into_database, write_delta
from recsys_ae.export.writing import Titles, Writing

TITLES = Titles(pa.array([100, 101, 102]), pa.array(["It's", 'a "film"', "\N{SNOWMAN}, 2"]))


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
