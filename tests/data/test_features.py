from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_ae.data.cards import read_card
from recsys_ae.data.features import load_features, read_features, with_features
from recsys_ae.data.layouts import FeatureFile
from recsys_ae.data.ratings import load_given_split, load_ratings
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.features import FeatureTable, ScaledFeature
from recsys_ae.ids import IdMap
from recsys_ae.splitting import cold_items

COLUMNS = {
    "size": {"kind": "numeric", "column": "s"},
    "shop": {"kind": "category", "column": "c"},
    "tags": {"kind": "multi_label", "column": "t", "separator": ";"},
    "since": {"kind": "date", "column": "d"},
    "colours": {"kind": "multi_label", "flags": {"red": "r", "blue": "b"}},
}
HEADER = "x,s,c,t,d,r,b\n"
LINE = "1,2.5,web,a;b,1970-01-02,1,0\n"


def layout(**changes) -> FeatureFile:
    return FeatureFile.model_validate({"path": "f.csv", "id": "x", "columns": COLUMNS} | changes)


def write(folder: Path, text: str, encoding: str = "utf-8", name: str = "f.csv") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_every_kind_from_text(tmp_path):
    frame = read_features(write(tmp_path, HEADER + LINE + "2,,,,,0,0\n"), layout(), "int")
    assert frame["id"].tolist() == [1, 2]
    assert frame["size"].tolist() == pytest.approx([2.5, np.nan], nan_ok=True)
    assert frame["tags"][0] == ["a", "b"]
    assert frame["colours"].tolist() == [["red"], []]
    assert frame["since"].dt.strftime("%F").tolist()[:1] == ["1970-01-02"]
    assert frame.loc[1, ["size", "shop", "tags", "since"]].isna().all()


def test_names_of_the_lines_that_follow_blank_ones(tmp_path):
    with pytest.raises(DataError, match="line 5: s 'much' is not a finite number"):
        read_features(write(tmp_path, HEADER + "\n" + LINE + "\n" + "2,much,,,,0,0\n"), layout(), "int")


def test_the_same_table_from_text_and_parquet(tmp_path):
    text = read_features(write(tmp_path, HEADER + LINE + "2,,,,,0,0\n"), layout(), "int")
    raw = pd.DataFrame({"x": [1, 2], "s": [2.5, None], "c": ["web", None], "t": [["a", "b"], None]})
    raw["d"] = pd.to_datetime(["1970-01-02", None])
    raw = raw.assign(r=[True, False], b=[0, 0])
    raw.to_parquet(tmp_path / "f.parquet")
    columns = COLUMNS | {"tags": {"kind": "multi_label", "column": "t"}}
    parquet = read_features(tmp_path / "f.parquet", layout(path="f.parquet", columns=columns), "int")
    for name in ("id", "size", "shop", "colours"):
        assert parquet[name].dropna().tolist() == text[name].dropna().tolist()
    assert list(parquet["tags"][0]) == ["a", "b"]
    assert parquet["since"].dt.strftime("%F").tolist()[0] == "1970-01-02"


@pytest.mark.parametrize("mark", ["::", "|", "\t"])
def test_quotes_are_text_with_other_separators_than_commas(tmp_path, mark):
    text = '1|"Crazy|é\n2|Al" Y|x\n'.replace("|", mark)
    columns = {"name": {"kind": "category", "column": 2}, "other": {"kind": "category", "column": 3}}
    declared = layout(separator=mark, header=False, id=1, columns=columns, encoding="latin-1")
    frame = read_features(write(tmp_path, text, "latin-1"), declared, "str")
    assert frame["id"].tolist() == ["1", "2"]
    assert frame["name"].tolist() == ['"Crazy', 'Al" Y']
    assert frame["other"][0] == "é"


def test_quotes_protect_between_commas(tmp_path):
    frame = read_features(write(tmp_path, HEADER + '1,2,"say ""no"", then",,,0,1\n'), layout(), "int")
    assert frame["shop"].tolist() == ['say "no", then']


def test_a_pattern_keeps_its_group(tmp_path):
    columns = {"year": {"kind": "numeric", "column": "t", "pattern": r"\((\d{4})\)"}}
    text = "x,t\n1,Heat (1995)\n2,unknown\n"
    frame = read_features(write(tmp_path, text), layout(columns=columns), "int")
    assert frame["year"].tolist() == pytest.approx([1995, np.nan], nan_ok=True)


def test_a_declared_date_format(tmp_path):
    columns = {"day": {"kind": "date", "column": "t", "format": "%d-%b-%Y"}}
    path = write(tmp_path, "x,t\n1,03-Feb-1970\n2,\n")
    assert read_features(path, layout(columns=columns), "int")["day"].dt.strftime("%F").tolist()[0] == "1970-02-03"
    with pytest.raises(DataError, match=r"line 2: t '1970-02-03' is not a date in the format %d-%b-%Y"):
        read_features(write(tmp_path, "x,t\n1,1970-02-03\n"), layout(columns=columns), "int")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE + "2,1,,,,0\n", r"line 3: expected 7 fields, got 6: '2,1,,,,0'"),
        (LINE + "2,1,,,,0,0,0\n", "line 3: expected 7 fields, got 8"),
        (LINE + "2,1 m,,,,0,0\n", "line 3: s '1 m' is not a finite number"),
        (LINE + "2,nan,,,,0,0\n", "line 3: s 'nan' is not a finite number"),
        (LINE + "2,inf,,,,0,0\n", "line 3: s 'inf' is not a finite number"),
        (LINE + "2,1,,,soon,0,0\n", r"line 3: d 'soon' is not a date in the format ISO 8601"),
        (LINE + "2,1,,,,2,0\n", "line 3: r '2' is not a flag"),
        (LINE + "2,1,,,,1,\n", "line 3: b '' is not a flag"),
        (LINE + "01,1,,,,0,0\n", "line 3: x '01' is not an integer"),
        (LINE + "99999999999999999999,1,,,,0,0\n", "line 3: x '99999999999999999999' is not an integer"),
        (LINE + LINE, "line 3: x '1' is a repeated id"),
        (LINE + '2,1,"web,,,0,0\n', "line 3: a quotation mark is never closed"),
        ("", "the file has no rows"),
    ],
)
def test_bad_lines_are_named_with_their_content(tmp_path, text, message):
    path = write(tmp_path, HEADER + text)
    with pytest.raises(DataError, match=message) as caught:
        read_features(path, layout(), "int")
    assert str(path) in str(caught.value)


def test_bad_files(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_features(tmp_path / "f.csv", layout(), "int")
    with pytest.raises(DataError, match="the file is empty"):
        read_features(write(tmp_path, ""), layout(), "int")
    with pytest.raises(DataError, match=r"line 2: column 3 holds b'\\xe9', which is not UTF-8; declare the encoding"):
        read_features(write(tmp_path, HEADER + LINE.replace("web", "é"), "latin-1"), layout(), "int")
    with pytest.raises(DataError, match="there is no column 'x'; known are: "):
        read_features(write(tmp_path, "y,s,c,t,d,r,b\n" + LINE), layout(), "int")
    with pytest.raises(DataError, match="2 columns are called 's'"):
        read_features(write(tmp_path, "x,s,s,t,d,r,b\n" + LINE), layout(), "int")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_features(write(tmp_path, "no", name="f.parquet"), layout(path="f.parquet"), "int")


PARQUET = layout(
    path="f.parquet", columns={"size": {"kind": "numeric", "column": "s"}, "since": {"kind": "date", "column": "d"}}
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": pd.array([1, None], dtype="Int64")}, "row 2: column 'x' has no value"),
        ({"s": [1.0, np.inf]}, "row 2: s inf is not a finite number"),
        ({"s": ["1", "x"]}, "row 2: s 'x' is not a finite number"),
        ({"d": ["1970-01-01", "soon"]}, "row 2: d 'soon' is not a date"),
    ],
)
def test_bad_parquet_values_are_named_by_row(tmp_path, changes, message):
    frame = pd.DataFrame({"x": [1, 2], "s": [1.0, 2.0], "d": pd.to_datetime(["1970-01-01", None])})
    frame.assign(**changes).to_parquet(tmp_path / "f.parquet")
    with pytest.raises(DataError, match=message):
        read_features(tmp_path / "f.parquet", PARQUET, "int")


@pytest.mark.parametrize("sizes", [pd.array([1, None], dtype="Int64"), [1.0, None], ["1", ""], [Decimal("1"), None]])
@pytest.mark.parametrize(
    "dates", [["1970-01-02", None], [date(1970, 1, 2), None], pd.to_datetime(["1970-01-02", None], utc=True)]
)
def test_parquet_types_of_numbers_and_dates(tmp_path, sizes, dates):
    pd.DataFrame({"x": [5, 6], "s": sizes, "d": dates}).to_parquet(tmp_path / "f.parquet")
    frame = read_features(tmp_path / "f.parquet", PARQUET, "int")
    table = FeatureTable.from_frame(frame, {"size": "numeric", "since": "date"})
    assert table.features == (ScaledFeature("size", "numeric", 1.0, 1.0), ScaledFeature("since", "date", 1.0, 1.0))
    assert table.to_frame()["size:missing"].tolist() == table.to_frame()["since:missing"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 1}, "must be declared by name"),
        ({"encoding": "latin-99"}, "unknown encoding 'latin-99'"),
        ({"header": False}, "must be declared by number"),
        ({"columns": {}}, "at least 1 item"),
        ({"columns": {"a=b": {"kind": "numeric", "column": "s"}}}, "match pattern"),
        ({"columns": {"a": {"kind": "number", "column": "s"}}}, "'numeric', 'date', 'category' or 'multi_label'"),
        ({"columns": {"a": {"kind": "numeric"}}}, "needs either `column` or `flags`"),
        ({"columns": {"a": {"kind": "numeric", "column": "s", "flags": {"x": "r"}}}}, "needs either `column` or `flags`"),
        ({"columns": {"a": {"kind": "numeric", "flags": {"x": "r"}}}}, "`flags` is only for multi_label features"),
        ({"columns": {"a": {"kind": "numeric", "column": "s", "format": "%Y"}}}, "`format` is only for date features"),
        ({"columns": {"a": {"kind": "category", "column": "s", "separator": ","}}}, "`separator` is only for multi_label"),
        ({"columns": {"a": {"kind": "category", "column": "s", "pattern": "("}}}, "`pattern` is not a regular expression"),
        ({"columns": {"a": {"kind": "category", "column": "s", "pattern": "a.b"}}}, "must have exactly one group"),
        ({"columns": {"a": {"kind": "category", "colum": "s"}}}, "colum"),
    ],
)
def test_wrong_declarations(changes, message):
    with pytest.raises(ValueError, match=message):
        layout(**changes)


CARD = """
name: mine
kind: ratings
files:
  - {path: all.csv, columns: {user: u, item: i, rating: r}}
features:
  items:
    path: items.csv
    id: i
    columns: {price: {kind: numeric, column: p}, kind: {kind: category, column: k}}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "mine.yaml").write_text(CARD)
    (tmp_path / "all.csv").write_text("u,i,r\n3,x,1\n1,y,2\n1,x,3\n2,z,4\n")
    (tmp_path / "items.csv").write_text("i,p,k\nz,3,b\nw,9,c\nx,1,a\n")
    return read_card(str(tmp_path / "mine.yaml"))


def test_features_of_a_card(own, caplog):
    with caplog.at_level("INFO"):
        table = load_features(*own, "items", IdMap(["x", "y", "z"]))
    assert "2 of 3 items have features, 1 other rows dropped" in caplog.text
    frame = table.to_frame().sparse.to_dense()
    assert frame.columns.tolist() == ["price", "price:missing", "kind=a", "kind=b", "kind:unknown", "kind:missing"]
    assert frame.to_numpy().tolist() == [[-1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1], [1, 0, 0, 1, 0, 0]]


def test_features_fitted_on_training_ids(own):
    table = load_features(*own, "items", IdMap(["x", "y", "z"]), fit_ids=IdMap(["x"]))
    assert table.to_frame().loc["z", "kind:unknown"] == 1


def test_features_encoded_as_before(own):
    before = load_features(*own, "items", IdMap(["x", "y", "z"]), fit_ids=IdMap(["x"]))
    table = load_features(*own, "items", IdMap(["w", "z"]), features=before.features)
    assert table.features == before.features
    assert table.to_frame().loc["w", ["price", "kind:unknown"]].tolist() == [9 - 1, 1]


def test_features_of_a_split_are_fitted_on_its_training_part(own):
    split = cold_items(load_ratings(*own).interactions, test=0.4)
    (cold,) = set(split.test.items.values[split.test.item_rows()])
    found = with_features(*own, split, ["items"])
    others = IdMap([item for item in "xyz" if item != cold])
    expected = load_features(*own, "items", split.train.items, fit_ids=others)
    assert expected.digest != load_features(*own, "items", split.train.items).digest
    assert [part.item_features.digest for part in found.parts().values()] == [expected.digest] * 3
    assert found.train.user_features is None
    assert found.everything.item_features.digest == expected.digest


def test_ids_of_another_spelling(own):
    with pytest.raises(DataError, match=r"items.csv: none of the ids is among the 3"):
        load_features(*own, "items", IdMap(["X", "Z"]))
    with pytest.raises(DataError, match=r"items.csv, line 2: i 'z' is not an integer"):
        load_features(*own, "items", IdMap([1, 2]))


def test_features_that_are_not_declared_or_not_there(own, tmp_path):
    with pytest.raises(ConfigError, match="dataset 'mine' declares no features of its users"):
        load_features(*own, "users", IdMap([1]))
    with pytest.raises(ConfigError, match="declares no features"):
        load_features(*read_card("planted-ratings"), "users", IdMap([1]))
    (tmp_path / "items.csv").unlink()
    with pytest.raises(DataError, match=r"no file items.csv in"):
        load_features(*own, "items", IdMap(["x"]))
    assert len(load_ratings(*own).interactions) == 4  # features are not asked for
    with pytest.raises(DataError, match=r"no file items.csv in"):
        load_ratings(*own, features=True)
    with pytest.raises(ConfigError, match="declares no features"):
        load_ratings(*read_card("planted-ratings"), features=True)


def test_interactions_with_the_features_of_their_card(own):
    data = load_ratings(*own, features=True).interactions
    assert data.item_features.digest == load_features(*own, "items", data.items).digest
    assert data.user_features is None
    assert data.digest != load_ratings(*own).interactions.digest


def test_a_given_split_with_the_features_of_its_card(own, tmp_path):
    (tmp_path / "mine.yaml").write_text(CARD + "splits:\n  files: {train: a.csv, test: b.csv}\n")
    (tmp_path / "a.csv").write_text("u,i,r\n3,x,1\n1,y,2\n")
    (tmp_path / "b.csv").write_text("u,i,r\n1,x,3\n2,z,4\n")
    card, folder = read_card(str(tmp_path / "mine.yaml"))
    split = load_given_split(card, folder, "files", features=True)
    whole = load_ratings(card, folder, features=True).interactions
    for part in (split.train, split.valid, split.test):
        assert part.item_features.digest == whole.item_features.digest
    assert split.history("test").item_features is split.train.item_features


def test_unknown_keys_of_a_feature_are_named(tmp_path):
    (tmp_path / "mine.yaml").write_text(CARD.replace("column: p", "colum: p"))
    with pytest.raises(ConfigError, match=r"unknown key 'features.items.columns.price.colum'; did you mean 'column'"):
        read_card(str(tmp_path / "mine.yaml"))


def counts(table) -> dict[str, int]:
    """Number of ids with each label."""
    return {name: int(total) for name, total in table.to_frame().sum().items() if "=" in name}


@pytest.mark.data("ml-100k")
def test_movielens_100k():
    card, folder = read_card("ml-100k")
    data = load_ratings(card, folder).interactions
    users, items = (load_features(card, folder, *side) for side in (("users", data.users), ("items", data.items)))
    of_users, of_items = counts(users), counts(items)
    assert users.matrix.shape[0] == 943
    assert (of_users["gender=F"], of_users["gender=M"]) == (273, 670)
    assert sum(name.startswith("occupation=") for name in of_users) == 21
    assert of_users["occupation=student"] == 196
    genres = {name: count for name, count in of_items.items() if name.startswith("genres=")}
    assert items.matrix.shape[0] == 1682
    assert len(genres) == 19
    assert (genres["genres=Drama"], genres["genres=Comedy"], genres["genres=unknown"]) == (725, 505, 2)
    assert sum(genres.values()) == 2893
    missing = items.to_frame()[["year:missing", "released:missing", "genres:missing"]].sum()
    assert missing.tolist() == [1, 1, 0]  # item 267, whose title is "unknown"


@pytest.mark.data("ml-1m")
def test_movielens_1m():
    card, folder = read_card("ml-1m")
    data = load_ratings(card, folder).interactions
    users, items = (load_features(card, folder, *side) for side in (("users", data.users), ("items", data.items)))
    of_users = counts(users)
    assert (of_users["gender=F"], of_users["gender=M"]) == (1709, 4331)
    assert sum(name.startswith("age_group=") for name in of_users) == 7
    assert sum(name.startswith("occupation=") for name in of_users) == 21
    assert items.matrix.shape[0] == 3706
    assert sum(name.startswith("genres=") for name in counts(items)) == 18
    assert users.align(data.users).digest == users.digest
    year = items.to_frame()["year"]
    assert year[1] > year[2019]  # Toy Story (1995), Seven Samurai (1954)
