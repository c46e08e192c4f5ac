"""Every way of writing lists holds the same rows, for this package and for others."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from recsys_ae.data.lists import read_lists
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.export.writing import TITLE, Titles, Writing, as_lists, as_rows

WAYS = [
    ("parquet", "rows"),
    ("csv", "rows"),
    ("csv-semicolon", "rows"),
    ("jsonl", "rows"),
    ("parquet", "lists"),
    ("jsonl", "lists"),
]
text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
number = st.integers(-(2**63), 2**63 - 1)
score = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw):
    """Lists of a few users, and titles of some of the items."""
    users = draw(st.lists(draw(st.sampled_from([text, number])), max_size=4, unique=True))
    items = draw(st.lists(draw(st.sampled_from([text, number])), min_size=1, max_size=5, unique=True))
    rows = []
    for user in users:
        own = draw(st.lists(st.sampled_from(items), min_size=1, unique=True))
        rows += [(user, rank, item, draw(score)) for rank, item in enumerate(own, 1)]
    kinds = [pa.string() if any(isinstance(one, str) for one in ids) else pa.int64() for ids in (users, items)]
    types = [kinds[0], pa.int32(), kinds[1], pa.float32()]
    columns = [
        pa.array(list(column), kind) for column, kind in zip(zip(*rows, strict=True) if rows else [()] * 4, types, strict=True)
    ]
    table = pa.table(columns, names=["user_id", "rank", "item_id", "score"])
    named = draw(st.lists(st.sampled_from(items), unique=True))
    title = st.text(max_size=5) | st.text("'=+-@\t\r\n\uff1da", max_size=5)
    titles = Titles(pa.array(named, kinds[1]), pa.array([draw(title) for _ in named], pa.string()))
    return table, draw(st.none() | st.just(titles))


def bits(table):
    """The rows with the bits of the scores, so that 0.0 is not -0.0."""
    return [{**row, "score": np.float32(row["score"]).tobytes()} for row in table.to_pylist()]


@pytest.mark.parametrize(("form", "layout"), WAYS)
@settings(max_examples=60)
@given(given=tables())
def test_what_is_written_is_read_again(tmp_path_factory, form, layout, given):
    table, titles = given
    path = tmp_path_factory.mktemp("x") / f"x.{form}"
    way = Writing(form, layout)
    way.write(table, titles, path)
    found = way.read(path, table.schema)
    assert found.schema == table.schema
    assert bits(found) == bits(table)
    assert way.read(path, table.schema, ["item_id"]).column_names == ["item_id"]
    if titles is not None:
        again = way.read(path, table.schema.append(pa.field(TITLE, pa.string())), [TITLE])
        assert again[TITLE].to_pylist() == titles.of(table["item_id"]).to_pylist()


TABLE = pa.table(
    {
        "user_id": pa.array(["b", "b", "a"]),
        "rank": pa.array([1, 2, 1], pa.int32()),
        "item_id": pa.array([7, 9, 9]),
        "score": pa.array([0.1, -3, 2e-8], pa.float32()),
    }
)
TITLES = Titles(pa.array([9, 8]), pa.array(['A "quoted", title', "Never listed"]))


def test_files_are_as_documented(tmp_path):
    for form, layout in WAYS:
        Writing(form, layout).write(TABLE, TITLES, tmp_path / f"{layout}.{form}")
    rows = [("b", 1, 7, 0.1, None), ("b", 2, 9, -3.0, 'A "quoted", title'), ("a", 1, 9, 2e-8, 'A "quoted", title')]
    names = ["user_id", "rank", "item_id", "score", TITLE]
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert lines == [dict(zip(names, row, strict=True)) for row in rows]
    csv = (tmp_path / "rows.csv").read_text().splitlines()
    assert csv[0] == '"user_id","rank","item_id","score","title"'
    assert csv[2] == '"b",2,9,-3,"A ""quoted"", title"'
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "rows.csv", dtype={"score": "float32", "rank": "int32"}),
        pd.read_parquet(tmp_path / "rows.parquet"),
    )
    (tmp_path / "semi.csv").write_bytes((tmp_path / "rows.csv-semicolon").read_bytes())
    semicolons = (tmp_path / "rows.csv-semicolon").read_bytes().decode("utf-8")
    assert semicolons.splitlines()[:2] == ['\ufeff"user_id";"rank";"item_id";"score";"title"', '"b";1;7;"0,1";']
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "rows.csv-semicolon", sep=";", decimal=",", dtype={"score": "float32", "rank": "int32"}),
        pd.read_parquet(tmp_path / "rows.parquet"),
    )
    assert read_lists(tmp_path / "semi.csv").equals(read_lists(tmp_path / "rows.csv"))  # as a single file, too
    lists = [
        {"user_id": "b", "item_ids": [7, 9], "scores": [0.1, -3.0], "titles": [None, 'A "quoted", title']},
        {"user_id": "a", "item_ids": [9], "scores": [2e-8], "titles": ['A "quoted", title']},
    ]
    assert [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()] == lists
    stored = pd.read_parquet(tmp_path / "lists.parquet")
    assert stored.columns.tolist() == list(lists[0])
    assert [list(own) for own in stored["item_ids"]] == [[7, 9], [9]]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_files_of_rows_are_read_like_lists_of_other_systems(tmp_path, name):
    """As `recsys-ae evaluate` reads a single file."""
    Writing(name.split(".")[1]).write(TABLE, TITLES, tmp_path / name)
    found = read_lists(tmp_path / name)
    assert found[["user_id", "rank", "item_id"]].to_numpy().tolist() == [["b", 1, 7], ["b", 2, 9], ["a", 1, 9]]
    assert found["score"].tolist() == TABLE["score"].to_pylist()


def test_impossible_formats_and_damaged_files(tmp_path):
    with pytest.raises(ConfigError, match="CSV has no arrays"):
        Writing("csv", "lists")
    for form, layout in WAYS:
        way, path = Writing(form, layout), tmp_path / f"{layout}.{form}"
        with pytest.raises(DataError, match=f"cannot read {path}"):
            way.read(path, TABLE.schema)
        path.write_text('{"user_id": 1, "rank"\n')
        with pytest.raises(DataError, match=f"cannot read {path}"):
            way.read(path, TABLE.schema)


def test_many_lines_and_large_lists(tmp_path):
    """More rows than a slice, and lines longer than Arrow's usual block."""
    n = 20_000
    table = pa.table(
        {
            "user_id": pa.array(np.repeat(["x", "y"], [n - 1, 1])),
            "rank": pa.array(np.r_[1:n, 1].astype(np.int32)),
            "item_id": pa.array([f"{item:0100d}" for item in range(n)]),
            "score": pa.array(np.linspace(1, 0, n, dtype=np.float32)),
        }
    )
    for form, layout in WAYS:
        way = Writing(form, layout)
        way.write(table, None, tmp_path / form)
        assert way.read(tmp_path / form, table.schema).equals(table)
    assert as_rows(as_lists(table), table.schema).equals(table)


def test_spreadsheets_find_no_formula_in_titles(tmp_path):
    """Ids are exact in every format, and so are the titles that are read again."""
    texts = ["=1+1", "+7", "-1", "@x", "\ta", "\ra", "\na", "\uff1d1", "'=1", "''-", "'a", "a=1", "", None]
    ids = [f"={number}" for number in range(len(texts))]
    table = pa.table(
        {
            "user_id": pa.array(["-u"] * len(texts)),
            "rank": pa.array(range(1, len(texts) + 1), pa.int32()),
            "item_id": pa.array(ids),
            "score": pa.array(np.zeros(len(texts), np.float32)),
        }
    )
    titles = Titles(pa.array(ids), pa.array(texts))
    for form, expected in (("csv", texts), ("csv-semicolon", [*("'" + text for text in texts[:10]), *texts[10:]])):
        way, path = Writing(form), tmp_path / f"{form}.csv"
        way.write(table, titles, path)
        separator = ";" if form == "csv-semicolon" else ","
        found = pd.read_csv(path, sep=separator, keep_default_na=False, dtype=str)
        assert found["title"].tolist() == [text or "" for text in expected]
        assert (found["item_id"].tolist(), found["user_id"].unique().tolist()) == (ids, ["-u"])
        again = way.read(path, table.schema.append(pa.field(TITLE, pa.string())))
        assert again[TITLE].to_pylist() == texts
