"""Lists evaluated on the command line, as users see it."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest


class TestEvaluate:
    """Users 1 and 2 have lists; afterwards 1 took the second item of the list, and again one they had; 3 has no list."""

    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("lists.csv").write_text("user_id,rank,item_id\n1,1,10\n1,2,11\n2,1,12\n2,2,13\n")
        Path("truth.csv").write_text("user_id,item_id\n1,11\n1,14\n2,13\n3,10\n")
        Path("history.csv").write_text("user_id,item_id\n1,14\n2,10\n")

    def evaluated(self, call, *more):
        code, out, err = call(
            "evaluate", "lists.csv", "--truth", "truth.csv", "--metrics", "recall@2", "--output", "e.json", *more
        )
        assert code == 0
        return json.loads(Path("e.json").read_text()), out, err

    def test_without_a_history_repeats_are_relevant_and_a_warning_says_so(self, call, files, caplog):
        found, out, _ = self.evaluated(call)
        assert found["metrics"]["recall@2"] == pytest.approx((1 / 2 + 1 + 0) / 3)
        assert "3 users evaluated, 0 without relevant items skipped; 1 of the evaluated users without a list" in out
        (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
        assert warning.message.startswith("without the history, repeated pairs")
        assert "--history FILE" in warning.message

    def test_with_a_history_repeats_are_not_relevant(self, call, files):
        found, out, err = self.evaluated(call, "--history", "history.csv")
        assert found["metrics"]["recall@2"] == pytest.approx((1 + 1 + 0) / 3)
        assert found["counts"]["repeats"] == 1
        assert "1 pair of the truth is in the history: not relevant" in out
        assert err == ""

    def test_a_warning_is_told_from_other_messages(self, run_alone, files):
        """By its beginning, which the command line adds."""
        Path("history.csv").write_text("user_id,item_id\n9,14\n")
        arguments = ["--truth", "truth.csv", "--history", "history.csv", "--metrics", "recall@2"]
        code, _, err, _ = run_alone("evaluate", "lists.csv", *arguments)
        assert code == 0
        (line,) = err.splitlines()
        assert line.startswith("warning: the truth and the history have only 0 users in common: 3 users such as 1, against")

    def test_a_warning_about_a_file_that_is_read_for_each_system_is_given_once(self, run_alone, files):
        columns = "{user: user_id, item: item_id}"
        Path("card.yaml").write_text(
            f"name: shop\nkind: ratings\nfiles:\n- {{path: history.csv, columns: {columns}, bad_lines: skip}}\n"
        )
        Path("history.csv").write_text("user_id,item_id\n1,14\n2,10\n2,\n")
        shutil.copy("lists.csv", "others.csv")
        more = ["--truth", "truth.csv", "--history", "history.csv", "--card", "card.yaml", "--metrics", "recall@2"]
        code, _, err, _ = run_alone("compare", "lists.csv", "others.csv", *more)
        assert code == 0, err
        assert err.count("skipped 1 invalid line, kept 2; for example, line 4: item_id '' is empty") == 1

    def test_ids_that_lost_their_zeros_are_noticed(self, call, files, caplog):
        Path("lists.csv").write_text("user_id,rank,item_id\n01,1,10\n01,2,11\n02,1,12\n3,1,13\n")
        self.evaluated(call)
        hint = "; 2 of them differ from known ids only in leading zeros, '.0' or spaces, such as '1' from '01'"
        assert f"2 of 3 users of the truth are not in the lists{hint}" in caplog.text
        Path("lists.csv").write_text("user_id,rank,item_id\n01,1,10\n01,2,11\n02,1,12\n")
        code, _, err = call("evaluate", "lists.csv", "--truth", "truth.csv", "--metrics", "recall@2")
        assert code == 1
        assert f"no user in common: 3 users such as '1', against 2 users such as '01'{hint}; check" in err

    def test_a_card_declares_the_ids_of_all_files(self, call, files, caplog):
        """As text although all are integers but few, without a warning; as integers, others are refused with their line."""
        files = [{"path": "history.csv", "columns": {"user": "user_id", "item": "item_id"}}]
        card = {"name": "shop", "kind": "ratings", "files": files}
        Path("text.json").write_text(json.dumps(card | {"ids": {"user": "str", "item": "str"}}))
        Path("int.json").write_text(json.dumps(card | {"ids": {"user": "int", "item": "int"}}))
        Path("lists.csv").write_text("user_id,rank,item_id\n1,1,10\n1,2,11\n2,1,12\n2,2,13\n")
        more = "".join(f"{user},{user}\n" for user in range(100, 130))
        for name in ("truth.csv", "history.csv"):
            Path(name).write_text(Path(name).read_text() + more + "007,007\n")
        options = ["--truth", "truth.csv", "--history", "history.csv", "--metrics", "recall@2"]
        code, _, err = call("evaluate", "lists.csv", *options)
        assert (code, "which are text, but in the lists there are 2 users such as 1" in err) == (1, True)
        caplog.clear()
        code, _, err = call("evaluate", "lists.csv", *options, "--card", "text.json", "--output", "e.json")
        assert (code, "read as text" in caplog.text) == (0, False), err
        counts = json.loads(Path("e.json").read_text())["counts"]
        assert (counts["users_evaluated"], counts["users_without_list"], counts["repeats"]) == (3, 1, 32)
        code, _, err = call("evaluate", "lists.csv", *options, "--card", "int.json")
        assert (code, "truth.csv, line 36: user_id '007' is not an integer of 64 bits" in err) == (1, True), err
        Path("lists.csv").write_text("user_id,rank,item_id\n1,1,10\n1,2,011\n")
        code, _, err = call("compare", "lists.csv", "lists.csv", *options, "--card", "int.json")
        assert (code, "lists.csv, line 3: item_id '011' is not an integer of 64 bits" in err) == (1, True), err

    def test_lists_may_have_the_names_of_the_card(self, call, files):
        expected = self.evaluated(call)[0]
        layout = {"path": "sales.csv", "columns": {"user": "Kundennr", "item": "Artikelnr"}}
        Path("shop.yaml").write_text(json.dumps({"name": "shop", "kind": "ratings", "files": [layout]}))
        for name in ("lists.csv", "truth.csv"):
            text = Path(name).read_text().replace("user_id", "Kundennr").replace("item_id", "Artikelnr")
            Path(name).write_text(text.replace(",", ";"))
        assert self.evaluated(call, "--card", "shop.yaml")[0]["metrics"] == expected["metrics"]
        options = ["--truth", "truth.csv", "--card", "shop.yaml"]
        Path("lists.csv").write_text(Path("lists.csv").read_text().replace("rank", "Rang"))
        code, _, err = call("evaluate", "lists.csv", *options)
        assert code == 1
        assert (
            "lists.csv: there is no column 'rank'; known are: Artikelnr, Kundennr, Rang; lists need the columns Kundennr, "
            in err
        )
        assert "rank and Artikelnr; a card may have other names for users and items, but not for the rank" in err

    def test_repeats_may_be_wanted(self, call, files):
        found, out, err = self.evaluated(call, "--history", "history.csv", "--repeats", "wanted")
        assert found["metrics"]["recall@2"] == pytest.approx((1 / 2 + 1 + 0) / 3)
        assert "1 pair of the truth is in the history: relevant" in out
        assert err == ""

    def test_ids_as_whole_floats(self, call, files):
        """In Parquet, 1.0 is 1; in CSV it is text, which the truth does not have."""
        expected = self.evaluated(call)[0]
        lists = pd.DataFrame({"user_id": [1, 1, 2, 2], "rank": [1, 2, 1, 2], "item_id": [10, 11, 12, 13]}, dtype=float)
        lists.to_csv("floats.csv", index=False)
        code, _, err = call("evaluate", "floats.csv", "--truth", "truth.csv", "--metrics", "recall@2")
        assert code == 1
        assert "floats.csv, line 2: rank '1.0' is not an integer" in err
        lists.astype({"rank": int}).to_csv("floats.csv", index=False)
        code, _, err = call("evaluate", "floats.csv", "--truth", "truth.csv", "--metrics", "recall@2")
        assert code == 1
        assert "no user in common: 3 users such as '1', against 2 users such as '1.0'" in err
        lists.to_parquet("lists.csv")
        Path("lists.csv").rename("lists.parquet")
        code, _, _ = call("evaluate", "lists.parquet", "--truth", "truth.csv", "--metrics", "recall@2", "--output", "f.json")
        assert code == 0
        assert json.loads(Path("f.json").read_text())["metrics"] == expected["metrics"]

    def test_without_metrics_short_lists_have_those_of_their_length(self, call, files):
        _, out, _ = call("evaluate", "lists.csv", "--truth", "truth.csv")
        assert "ndcg@2" in out
        assert "recall@2" in out

    @pytest.mark.parametrize(
        ("truth", "message"),
        [
            ("7,11\n8,13\n", "the truth and the lists have no user in common: 2 users such as 7, against 2 users such as 1"),
            ("1,21\n", "the truth and the lists have no item in common: 1 item such as 21, against 4 items such as 10"),
            (
                "5,11\nu1,13\n",
                "the truth has 2 users such as 'u1', which are text, but in the lists there are 2 users such as 1",
            ),
        ],
    )
    def test_ids_in_common(self, call, files, truth, message):
        Path("truth.csv").write_text("user_id,item_id\n" + truth)
        code, out, err = call("evaluate", "lists.csv", "--truth", "truth.csv", "--metrics", "recall@2")
        assert (code, out) == (1, "")
        assert message in err

    def test_few_ids_in_common(self, call, files, caplog):
        many = "".join(f"{user},1,{user}\n" for user in range(1000, 1300))
        Path("lists.csv").write_text("user_id,rank,item_id\n1,2,10\n" + many)
        Path("truth.csv").write_text("user_id,item_id\n1,10\n" + "".join(f"{user},10\n" for user in range(2000, 2300)))
        self.evaluated(call)
        assert "the truth and the lists have only 1 users in common: 301 users such as 1, against 301" in caplog.text

    def test_history_of_others(self, call, files, caplog):
        Path("history.csv").write_text("user_id,item_id\n8,14\n")
        self.evaluated(call, "--history", "history.csv")
        assert (
            "the truth and the history have only 0 users in common: 3 users such as 1, against 1 user such as 8" in caplog.text
        )

    def test_text_ids_that_look_like_integers(self, call, files):
        """Where the lists have text, the truth is read as text."""
        Path("lists.csv").write_text("user_id,rank,item_id\nu1,1,10\n1,2,11\n")
        Path("truth.csv").write_text("user_id,item_id\n1,11\n")
        assert self.evaluated(call)[0]["counts"]["users_without_list"] == 0

    def test_any_rank_costs_nothing(self, call, files):
        Path("lists.csv").write_text("user_id,rank,item_id\n1,1,10\n1,9000000000000000000,11\n2,9223372036854775807,13\n")
        assert self.evaluated(call)[0]["metrics"]["recall@2"] == 0


def test_ids_of_lists_and_truth_are_spelled_as_they_are(call, tmp_path, monkeypatch):
    """007 is not 7, and 30.0 in a Parquet file is 30."""
    monkeypatch.chdir(tmp_path)
    Path("truth.csv").write_text("user_id,item_id\n7,1\n30,1\n")
    Path("text.csv").write_text("user_id,rank,item_id\n007,1,1\n30,1,1\n")
    pd.DataFrame({"user_id": [7.0, 30.0], "rank": [1, 1], "item_id": [1.0, 2.0]}).to_parquet("floats.parquet")
    for lists in ("text.csv", "floats.parquet"):
        call("evaluate", lists, "--truth", "truth.csv", "--metrics", "recall@1", "--output", f"{lists}.json")
        assert json.loads(Path(f"{lists}.json").read_text())["metrics"]["recall@1"] == 0.5
    Path("text.csv").write_text("user_id,rank,item_id\n7,1,1\n30,x,1\n")
    code, _, err = call("evaluate", "text.csv", "--truth", "truth.csv")
    assert (code, "text.csv, line 3: rank 'x' is not an integer: '30,x,1'" in err) == (1, True)
    Path("truth.csv").write_text("user_id,item_id\n7,1\n030,1\n")
    code, _, err = call("evaluate", "floats.parquet", "--truth", "truth.csv")
    assert code == 1
    assert "the truth has 2 users such as '030', which are text, but in the lists there are 2 users such as 7" in err
    assert "; 1 of them differs from a known id only in leading zeros, '.0' or spaces, such as '30' from '030'" in err
    assert "; to keep zeros, read and write ids as text (ids: {user: str} in a card, dtype=str in pandas)" in err
