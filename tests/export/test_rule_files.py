"""Business rules from files are those of the same tables in Python; wrong files are named."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from recsys_ae import IdMap, Rules
from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.id_tables import read_ids
from recsys_ae.errors import ConfigError, DataError, UnknownIdError
from recsys_ae.export.histories import users_in
from recsys_ae.export.rule_files import RuleFiles

ITEMS, USERS = IdMap(np.arange(100, 107)), IdMap([f"u{number:02d}" for number in range(12)])
PAIRS = pd.DataFrame({"user_id": ["u03", "u01", "u03"], "item_id": [101, 104, 101]})
KINDS = pd.DataFrame({"item_id": [101, 102, 102], "category": ["drama", "comedy", "drama"]})


def put(path: Path, frame: pd.DataFrame) -> Path:
    """Write a table in the format that the name says."""
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
def test_files_of_every_format(tmp_path, ending):
    pairs, kinds = put(tmp_path / f"pairs.{ending}", PAIRS), put(tmp_path / f"kinds.{ending}", KINDS)
    items = put(tmp_path / f"items.{ending}", pd.DataFrame({"item_id": [106, 100]}))
    found = RuleFiles([pairs], [items], [pairs], [kinds], 2).read(ITEMS, USERS)
    expected = Rules.of(ITEMS, candidates=PAIRS, blocked=[100, 106], repeatable=PAIRS, categories=KINDS, cap=2)
    assert found.digest == expected.digest
    assert found.counts == {
        "candidates": {"users": 2, "pairs": 2},
        "blocked": {"items": 2},
        "repeatable": {"users": 2, "pairs": 2},
        "categories": {"items": 2, "categories": 2, "cap": 2},
    }


def test_several_files_add_up(tmp_path):
    files = [put(tmp_path / f"{number}.csv", PAIRS[number : number + 1]) for number in (0, 1)]
    files += [put(tmp_path / f"items-{item}.csv", pd.DataFrame({"item_id": [item]})) for item in (100, 106)]
    rules = RuleFiles(block=files).read(ITEMS, USERS)
    assert rules.blocked.shared.tolist() == [True] + 5 * [False] + [True]
    assert rules.blocked.own_of(USERS.values).nonzero()[0].tolist() == [1, 3]
    kinds = tuple(put(tmp_path / f"kinds-{at}.csv", KINDS[at : at + 1]) for at in range(len(KINDS)))
    assert RuleFiles(categories=kinds, cap=2).read(ITEMS, USERS).digest == Rules.of(ITEMS, categories=KINDS, cap=2).digest
    rules = RuleFiles(block=tuple(files[:2]), candidates=tuple(files[2:3]), categories=kinds[:2], cap=2)
    named = rules.named()
    assert list(named) == ["candidates", "block", "block-2", "categories", "categories-2"]
    assert RuleFiles.of({**named, "history": files[0]}, 2) == rules


def test_usual_column_names_and_other_columns(tmp_path):
    """As in logs; what is in the other columns does not matter."""
    path = put(tmp_path / "x.csv", PAIRS.rename(columns={"user_id": "userId", "item_id": "movieId"}).assign(why="?,x"))
    assert RuleFiles(block=[path]).read(ITEMS, USERS).digest == Rules.of(ITEMS, blocked=PAIRS).digest


def test_columns_may_be_called_as_the_card_says(tmp_path):
    """Its names come before the usual ones; a row counts whatever its quantity is."""
    columns = {"user": "customer", "item": "sku"}
    card = RatingsCard.model_validate({"name": "shop", "kind": "ratings", "files": [{"path": "log.csv", "columns": columns}]})
    own = {"user_id": "customer", "item_id": "sku"}
    pairs = put(tmp_path / "pairs.csv", PAIRS.rename(columns=own).assign(item_id="no item", quantity=0))
    kinds = put(tmp_path / "kinds.csv", KINDS.rename(columns=own))
    found = RuleFiles([pairs], [pairs], [pairs], [kinds], 2).read(ITEMS, USERS, card=card)
    expected = Rules.of(ITEMS, candidates=PAIRS, blocked=PAIRS, repeatable=PAIRS, categories=KINDS, cap=2)
    assert found.digest == expected.digest
    usual = RuleFiles(block=[put(tmp_path / "usual.csv", PAIRS)])
    assert usual.read(ITEMS, USERS, card=card).digest == usual.read(ITEMS, USERS).digest


def test_a_card_of_adjacency_lists_declares_no_columns(tmp_path):
    paper = {"format": "adjacency", "train": "train.txt", "test": "test.txt"}
    card = RatingsCard.model_validate({"name": "shop", "kind": "ratings", "splits": {"paper": paper}})
    pairs = put(tmp_path / "pairs.csv", PAIRS)
    block = RuleFiles(block=[pairs])
    assert block.read(ITEMS, USERS, card=card).digest == block.read(ITEMS, USERS).digest
    assert users_in(pairs, "str", (card, tmp_path)).tolist() == ["u03", "u01"]


def test_integers_are_text_where_the_model_has_text(tmp_path):
    items, users = IdMap(["100", "101", "104"]), IdMap(["1", "3"])
    path = tmp_path / "x.csv"
    path.write_text("user_id,item_id\n1,104\n")
    blocked = RuleFiles(block=[path]).read(items, users).blocked
    assert blocked.own_of(users.values).toarray().tolist() == [[False, False, True], [False] * 3]


def test_a_file_may_be_empty_unless_it_has_candidates(tmp_path):
    path = tmp_path / "none.csv"
    path.write_text("item_id\n")
    rules = RuleFiles(block=[path], repeatable=[path]).read(ITEMS, USERS)
    assert rules.counts == {"blocked": {"items": 0}, "repeatable": {"items": 0}}
    with pytest.raises(DataError, match=r"none\.csv: there are no known items among the candidates"):
        RuleFiles(candidates=[path]).read(ITEMS, USERS)


@pytest.mark.parametrize(
    ("role", "content", "error", "message"),
    [
        (
            "block",
            "item_id\n101\n7\n8\n",
            UnknownIdError,
            r"x\.csv: the model does not know item 7 \(such items in 2 of 3 rows",
        ),
        (
            "block",
            "user_id,item_id\nu01,101\nxx,101\n",
            UnknownIdError,
            r"the history has no user 'xx' \(such users in 1 of 2 rows",
        ),
        ("block", "item_id\n101\nabc\n", DataError, r"x\.csv, line 3: item_id 'abc' is not an integer"),
        ("block", "item_id\n101\n\n102,3\n", DataError, r"x\.csv, line 4: expected 1 fields, got 2"),
        ("block", "item_id,user_id\n101,\n", DataError, r"x\.csv, line 2: user_id '' is empty"),
        (
            "block",
            "101\n102\n",
            DataError,
            "no column is recognised as the item; name one item_id in the first line, whose columns are 101",
        ),
        ("block", "item_id,movie_id\n1,2\n", DataError, "columns 'item_id' and 'movie_id' could be the item"),
        ("block", "", DataError, r"x\.csv: there is no data: the file is empty"),
        ("categories", "item_id\n101\n", DataError, "no column is recognised as the category; name one category"),
        ("categories", "item_id,category\n101,\n", DataError, r"x\.csv, line 2: category '' is empty"),
        ("categories", "item_id,category\n7,a\n", UnknownIdError, "does not know item 7"),
        ("candidates", None, DataError, "there is no file .*x.csv"),
    ],
)
def test_invalid_files_are_reported(tmp_path, role, content, error, message):
    path = tmp_path / "x.csv"
    if content is not None:
        path.write_text(content)
    given = {"categories": [path], "cap": 1} if role == "categories" else {role: [path]}
    with pytest.raises(error, match=message):
        RuleFiles(**given).read(ITEMS, USERS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cap": 1}, "cap without categories"),
        ({"categories": [Path("x")]}, "categories without cap"),
        ({"categories": [Path("x")], "cap": 0}, "cap must be at least 1, got 0"),
    ],
)
def test_a_cap_needs_categories(given, message):
    with pytest.raises(ConfigError, match=message):
        RuleFiles(**given)


def test_unknown_rows_are_left_out_if_asked_for(tmp_path, caplog):
    path = put(tmp_path / "x.csv", pd.DataFrame({"user_id": ["u01", "xx", "u02"], "item_id": [101, 101, 7]}))
    kinds = put(tmp_path / "kinds.csv", pd.DataFrame({"item_id": [7, 101], "category": ["b", "a"]}))
    with caplog.at_level("INFO", "recsys_ae"):
        rules = RuleFiles(candidates=[path], categories=[kinds], cap=1).read(ITEMS, USERS, skip_unknown=True)
    known = {"candidates": pd.DataFrame({"user_id": ["u01"], "item_id": [101]})}
    assert rules.digest == Rules.of(ITEMS, **known, categories=KINDS[:1], cap=1).digest
    assert "x.csv: left out 1 of 3 rows, because the model does not know their items" in caplog.text
    assert "x.csv: left out 1 of 3 rows, because their users are not in the history" in caplog.text
    assert "11 of 12 users have no candidates, and get no list" in caplog.text


def test_ids_that_lost_their_zeros_are_noticed(tmp_path, caplog):
    users = IdMap(["000245", "000246"])
    path = put(tmp_path / "x.csv", pd.DataFrame({"user_id": [245, 246], "item_id": [101, 102]}))
    hint = "; 2 of them differ from known ids only in leading zeros, '.0' or spaces, such as '245' from '000245'"
    with pytest.raises(UnknownIdError, match=f"the history has no user '245' .*{hint}; --skip-unknown"):
        RuleFiles(block=[path]).read(ITEMS, users)
    RuleFiles(block=[path]).read(ITEMS, users, skip_unknown=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert hint in caplog.text
    put(path, pd.DataFrame({"item_id": [1, 2]}))
    with pytest.raises(
        UnknownIdError, match=r"does not know item '1' .* differ from known ids .* '1' from '01'; --skip-unknown"
    ):
        RuleFiles(block=[path]).read(IdMap(["01", "02"]), users)


ids = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ids.map(str), ids.map(str)), max_size=5), st.sampled_from(["csv", "tsv", "jsonl", "parquet"]))
def test_text_ids_survive_every_format(tmp_path_factory, rows, ending):
    if ending == "jsonl" and not rows:
        return  # no objects, no columns
    if ending == "tsv":  # in which quotation marks are ordinary text
        rows = [tuple(text.replace('"', "'").replace("\t", " ") for text in row) for row in rows]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id"], dtype="str")
    found = read_ids(put(tmp_path_factory.mktemp("x") / f"x.{ending}", frame), {"user": "str", "item": "str"})
    assert found[["user_id", "item_id"]].to_numpy().tolist() == frame.to_numpy().tolist()
