"""The users of a file, whatever it is."""

import pandas as pd
import pytest

from recsys_ae.data.cards import RatingsCard
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.export.histories import history_for, users_in
from recsys_ae.export.local import read_recommendations
from recsys_ae.export.rule_files import RuleFiles
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions
from recsys_ae.models.baselines import Bias, Popularity
from recsys_ae.models.rules import Rules

CARD = {"name": "x", "kind": "ratings", "folder": "."}


@pytest.mark.parametrize(
    "content",
    [
        "user_id\nu07\nu01\nu07\n",
        "userId\nu07\nu01\n",
        "name,user\nA,u07\nB,u01\n",
        "user_id,item_id,rating\nu07,100,3\nu01,101,2\nu07,101,1\n",
        "u07,100,3\nu01,101,2\n",
        "session,item\nu07,100\nu01,101\n",
    ],
)
def test_users_of_a_list_or_a_log(tmp_path, content):
    (tmp_path / "x.csv").write_text(content)
    assert users_in(tmp_path / "x.csv", "str").tolist() == ["u07", "u01"]


def test_users_of_a_log_with_a_card(tmp_path):
    """The card decides which column it is, unless the file is no such log."""
    layout = {"path": "log.csv", "columns": {"user": "customer", "item": "sku"}}
    card = RatingsCard(**CARD, files=[layout]), tmp_path
    (tmp_path / "x.csv").write_text("user,customer,sku\nz,u07,100\nz,u01,100\n")
    assert users_in(tmp_path / "x.csv", "str", card).tolist() == ["u07", "u01"]
    for content in (
        "user_id\nu07\nu01\n",
        "customer\nu07\nu01\n",
        "name;user\nA;u07\nB;u01\n",
        "user,customer\nz,u07\nz,u01\n",
    ):
        (tmp_path / "y.csv").write_text(content)
        assert users_in(tmp_path / "y.csv", "str", card).tolist() == ["u07", "u01"], content


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
def test_files_beside_a_log_have_its_encoding_or_are_utf_8(tmp_path, encoding):
    layout = {"path": "log.csv", "encoding": "latin-1", "columns": {"user": "Käufer", "item": "sku"}}
    card = RatingsCard(**CARD, files=[layout]), tmp_path
    path, own = tmp_path / "x.csv", {"user": "Käufer", "item": "sku"}
    path.write_text("Käufer\nJörg\nZoë\n", encoding=encoding)
    assert users_in(path, "str", card).tolist() == ["Jörg", "Zoë"]
    path.write_text("x;user\nJörg;Zoë\nZoë;Jörg\n", encoding=encoding)
    assert users_in(path, "str", card).tolist() == ["Zoë", "Jörg"]
    path.write_text("Käufer,rank,sku\nJörg,1,é\n", encoding=encoding)
    frame, _ = read_recommendations(path, own_names=own, encoding="latin-1")
    assert frame[["user_id", "item_id"]].to_numpy().tolist() == [["Jörg", "é"]]
    path.write_text("sku\né\n", encoding=encoding)
    rules = RuleFiles(block=[path]).read(IdMap(["a", "é"]), IdMap(["Jörg"]), card=card[0])
    assert rules.digest == Rules.of(IdMap(["a", "é"]), blocked=["é"]).digest


def test_files_beside_a_log_in_utf_16(tmp_path):
    layout = {"path": "log.csv", "encoding": "utf-16-le", "columns": {"user": "user", "item": "item"}}
    (tmp_path / "x.csv").write_text("user\nu07\n", encoding="utf-16-le")
    assert users_in(tmp_path / "x.csv", "str", (RatingsCard(**CARD, files=[layout]), tmp_path)).tolist() == ["u07"]


@pytest.mark.parametrize("content", ["user_id\nu07\nu01\n", "name,user_id\nA,u07\nB,u01\n", "3,100,u07\n1,101,u01\n"])
def test_users_of_a_file_with_a_card_of_numbered_columns(tmp_path, content):
    """A first line with names is no log of such a card."""
    layout = {"path": "log.csv", "header": False, "columns": {"user": 3, "item": 2}}
    (tmp_path / "x.csv").write_text(content)
    assert users_in(tmp_path / "x.csv", "str", (RatingsCard(**CARD, files=[layout]), tmp_path)).tolist() == ["u07", "u01"]


def test_ids_of_users_have_the_type_of_the_model(tmp_path):
    (tmp_path / "x.csv").write_text("user_id\n7\n")
    assert users_in(tmp_path / "x.csv", "str").tolist() == ["7"]
    (tmp_path / "x.csv").write_text("user_id\n7\n\n,\n")
    with pytest.raises(DataError, match=r"x\.csv, line 4: expected 1 fields, got 2"):
        users_in(tmp_path / "x.csv", "str")


def test_a_card_must_declare_the_ids_of_the_model(tmp_path):
    """Text is not read as text for a model of text where a card declares integers."""
    log = pd.DataFrame({"user_id": ["002250", "7"], "item_id": [1, 2]})
    model = Popularity().fit(Interactions.from_frame(log, rating=None))
    (tmp_path / "x.csv").write_text("user_id,item_id\n002250,1\n")
    files = [{"path": "x.csv", "columns": {"user": "user_id", "item": "item_id"}}]
    for ids in ({}, {"item": "int"}, {"user": "str"}):
        history, _ = history_for(model, tmp_path / "x.csv", (RatingsCard(**CARD, files=files, ids=ids), tmp_path))
        assert history.users.values.tolist() == ["002250"]
    card = RatingsCard(**CARD, files=files, ids={"user": "int", "item": "int"}), tmp_path
    with pytest.raises(ConfigError, match=r"ids: \{user: int\}, but the model was trained on users whose ids are text"):
        history_for(model, tmp_path / "x.csv", card)


def test_a_card_without_ratings_is_not_advised_for_a_model_of_ratings(tmp_path):
    log = pd.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2], "rating": [1.0, 5.0]})
    model = Bias().fit(Interactions.from_frame(log, rating="rating"))
    (tmp_path / "clicks.psv").write_text("user_id|item_id\na|1\n")
    card = RatingsCard(**CARD, files=[{"path": "clicks.psv", "columns": {"user": "user_id", "item": "item_id"}}]), tmp_path
    for given, problem in ((card, "the card declares no rating column; declare it"), (None, "declare it with --card")):
        with pytest.raises(ConfigError, match=f"the model was trained on ratings, but .*{problem}"):
            history_for(model, tmp_path / "clicks.psv", given)
