"""Titles of items in files; ids are tested with the rules that they are read for."""

import pandas as pd
import pytest

from recsys_ae.data.id_tables import read_titles
from recsys_ae.errors import DataError


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_titles_of_items(tmp_path, ending):
    frame = pd.DataFrame({"movieId": [7, 5, 9, 8], "year": 1999, "title": ["Alien, again", "", None, "7"]})
    path = tmp_path / f"x.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    assert read_titles(path, "int").to_dict("list") == {"item_id": [7, 8], "title": ["Alien, again", "7"]}
    assert read_titles(path, "str")["item_id"].tolist() == ["7", "8"]


def test_titles_that_are_numbers(tmp_path):
    pd.DataFrame({"item_id": ["a", "b"], "title": [300, 1984]}).to_parquet(tmp_path / "x.parquet")
    assert read_titles(tmp_path / "x.parquet", "str")["title"].tolist() == ["300", "1984"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"item_id,title\n7,a\n7,b\n", r"x\.csv, line 3: item_id '7' is a repeated id; give each item one title"),
        (b"item_id,title\nx,a\n", r"x\.csv, line 2: item_id 'x' is not an integer"),
        (b"item_id,name\n7,a\n", "no column is recognised as the title; name one title in the first line"),
        (b"item_id,title\n7,\xff\n", r"x\.csv, line 2: column 2 holds .*, which is not UTF-8"),
    ],
)
def test_invalid_titles_are_reported(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_titles(tmp_path / "x.csv", "int")
