"""The users of a file, whatever it is."""

import pytest

from recsys_ae.data.cards import RatingsCard
from recsys_ae.errors import DataError
from recsys_ae.export.histories import users_in

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
    (tmp_path / "y.csv").write_text("user_id\nu07\nu01\n")
    assert users_in(tmp_path / "x.csv", "str", card).tolist() == ["u07", "u01"]
    assert users_in(tmp_path / "y.csv", "str", card).tolist() == ["u07", "u01"]


def test_ids_of_users_have_the_type_of_the_model(tmp_path):
    (tmp_path / "x.csv").write_text("user_id\n7\n")
    assert users_in(tmp_path / "x.csv", "str").tolist() == ["7"]
    (tmp_path / "x.csv").write_text("user_id\n7\n\n,\n")
    with pytest.raises(DataError, match=r"x\.csv, line 4: expected 1 fields, got 2"):
        users_in(tmp_path / "x.csv", "str")
