"""Dated exports and their verification on the command line, up to a year later."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from builders import random_interactions

from recsys_ae import build_model, load_model, recommend, save_model
from recsys_ae.data.ratings import read_history

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A log of ratings by 40 users whose ids are text, and a model of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    data = random_interactions(times=False)
    users, items = data.users.values[data.user_rows()], data.items.values[data.item_rows()]
    log = pd.DataFrame({"user_id": users, "item_id": items, "rating": data.matrix.data})
    log.to_csv("log.csv", index=False)
    save_model(build_model("pca", {"factors": 3}).fit(read_history(Path("log.csv"), data.items)[0]), "model")
    return tmp_path


EXPORT = "export", "model", "--history", "log.csv", "--k", "4", "--part-users", "15", "--output"


def test_a_dated_export_is_published_repeated_and_verified(call, shop):
    for _ in range(2):
        code, out, err = call(*EXPORT, "lists", "--date", "2026-11-26", "--min-users", "40", "--max-cold", "0.1")
        assert code == 0, err
        assert "160 recommendations for 40 users: lists/2026-11-26" in out
    assert os.readlink("lists/latest") == "2026-11-26"
    code, out, err = call("verify", "lists/latest", "--sample", "10")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines() if line.startswith("ok ")]
    assert [line[1] for line in lines] == [
        *("files", "schema", "counts", "users", "ranks", "items", "scores", "inputs", "seen", "rules", "sample")
    ]
    assert "the lists of 10 users, made again, are the same to the last bit" in out


def test_a_failed_check_is_one_sentence_and_an_exit_code(call, shop):
    code, out, err = call(*EXPORT, "lists", "--date", "2026-11-26", "--min-users", "41")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        "recsys-ae: lists/2026-11-26.unpublished is complete but not published: 40 users have a list, fewer than 41 (min_users)"
    )
    assert not Path("lists/latest").exists()


def test_today_is_the_date_of_dated_lists(call, shop):
    assert call(*EXPORT, "lists", "--dated")[0] == 0
    assert pd.Timestamp(os.readlink("lists/latest")) <= pd.Timestamp.now()


@pytest.mark.parametrize("option", [("--min-users", "3"), ("--max-cold", "0.1"), ("--min-overlap", "0.1"), ("--keep", "2")])
def test_checks_without_dates_are_refused(call, shop, option):
    code, _, err = call(*EXPORT, "lists", *option)
    assert (code, "add --dated" in err) == (2, True)
    assert not Path("lists").exists()


def test_verify_reports_violations_and_fails(call, shop):
    assert call(*EXPORT, "lists")[0] == 0
    part = Path("lists/part-00001.parquet")
    pq.write_table(pq.read_table(part)[1:], part)
    code, out, err = call("verify", "lists")
    assert code == 1
    assert err == "recsys-ae: lists failed verification: files, counts, ranks\n"
    assert "FAILED       ranks     the list of user 'u15' in part-00001.parquet has rank 2 in place 1" in out
    assert call("verify", "absent")[2] == "recsys-ae: there is no folder absent\n"


def test_a_place_that_is_taken_is_one_sentence(call, shop):
    for place in (".", "..", "/"):
        code, _, err = call(*EXPORT, place)
        assert (code, err) == (1, f"recsys-ae: {place} already exists; choose another folder or remove it first\n")


def test_a_negative_sample_is_refused(call, shop):
    assert call(*EXPORT, "lists")[0] == 0
    assert call("verify", "lists", "--sample", "-1")[2] == "recsys-ae: sample must be at least 0, got -1\n"
    assert call("verify", "lists", "--sample", "0")[0] == 0


def test_a_changed_history_is_reported(call, shop):
    assert call(*EXPORT, "lists")[0] == 0
    Path("log.csv").write_text(Path("log.csv").read_text() + "u00,124,5.0\n")
    code, out, err = call("verify", "lists", "--sample", "5")
    assert (code, err.endswith("verification: inputs\n")) == (1, True)
    assert "FAILED       inputs    different from when the lists were made: history, seen, n_events" in out


def test_the_manifest_answers_an_audit(call, shop):
    Path("users.csv").write_text("user_id\nu03\nu01\nnew\n")
    assert call(*EXPORT, "lists", "--users", "users.csv", "--tracking-uri", "none")[0] == 0
    manifest = json.loads(Path("lists/_manifest.json").read_text())
    made = manifest["made"]
    assert made["started"] <= made["finished"] <= pd.Timestamp.now("UTC").isoformat()
    assert made["command"].split(" ", 1)[1].startswith("export model --history log.csv --k 4")
    assert made["sources"]["model"] == str(shop / "model")
    assert {name: one["path"] for name, one in made["sources"]["files"].items()} == {
        "history": str(shop / "log.csv"),
        "users": str(shop / "users.csv"),
    }
    assert (manifest["cold_users"], manifest["n_users"], manifest["parameters"]["factors"]) == (1, 3, 3)
    assert call("verify", "lists", "--sample", "3")[0] == 0


@pytest.mark.parametrize("declared", [{}, {"scale": [-100, 100]}, {"duplicates": "mean"}])
def test_the_lists_of_a_run_are_verified_against_its_model_and_data(call, shop, declared):
    if "duplicates" in declared:
        log = pd.read_csv("log.csv")
        pd.concat([log, log[:20].assign(rating=log["rating"][:20] + 1)]).to_csv("log.csv", index=False)
    columns = {"user": "user_id", "item": "item_id", "rating": "rating"}
    card = {"name": "shop", "kind": "ratings", "files": [{"path": "log.csv", "columns": columns}], **declared}
    pipeline = {"dataset": card, "split": {"kind": "random"}, "models": [{"name": "pca", "factors": 3}], "metrics": ["rmse"]}
    Path("mine.yaml").write_text(json.dumps({**pipeline, "export": {"k": 4}}))
    assert call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")[0] == 0
    code, out, err = call("verify", "out/recommendations", "--sample", "9")
    assert code == 0, err
    assert f"from {shop / 'out' / 'final'}" in out
    assert "the lists of 9 users, made again, are the same to the last bit" in out


def test_files_that_were_moved_are_found_in_an_archive(call, shop):
    Path("users.csv").write_text("user_id\nu03\nu01\nu20\n")
    Path("block.csv").write_text("item_id\n113\n")
    rules = "--users", "users.csv", "--block", "block.csv"
    assert call(*EXPORT, "lists", *rules)[0] == 0
    for name in ("log", "users", "block"):
        place = Path("archive") / name / "2026.csv"
        place.parent.mkdir(parents=True)
        shutil.move(f"{name}.csv", place)
    Path("archive/other.csv").write_text("item_id\n114\n")  # as long as that of the blocked items
    Path("block.csv").write_text("item_id\n114\n")  # that of another night
    code, out, err = call("verify", "lists", "--archive", "archive")
    assert code == 0, err
    assert "the lists of 3 users, made again, are the same to the last bit" in out
    code, _, err = call("verify", "lists", "--history", "archive/log/2026.csv", "--sample", "3")
    gone = f"{shop / 'users.csv'} no longer exists; if it was moved, pass a folder above it as --archive"
    assert (code, err) == (1, f"recsys-ae: {gone}\n")
    Path("archive/users/2026.csv").write_text("user_id\nu03\nu01\nu21\n")
    code, _, err = call("verify", "lists", "--archive", "archive")
    assert code == 1
    assert err.startswith(f"recsys-ae: no file below archive has the bytes that {shop / 'users.csv'} had (20 bytes, hash ")


def test_a_year_later_a_list_is_made_again_from_the_store(call, shop, tmp_path, monkeypatch):
    """The folder of the run is gone, and so is the one where the export was made."""
    store = f"sqlite:///{tmp_path}/mlflow.db"
    card = {"name": "shop", "kind": "ratings", "files": [{"path": "log.csv", "columns": {}}]}
    pipeline = {"dataset": card, "split": {"kind": "random"}, "models": [{"name": "ease"}], "metrics": ["ndcg@3"]}
    pipeline["dataset"]["files"][0]["columns"] = {"user": "user_id", "item": "item_id", "rating": "rating"}
    Path("mine.yaml").write_text(json.dumps({**pipeline, "export": {"k": 4}}))
    assert call("run", "mine.yaml", "--output", "out", "--tracking-uri", store)[0] == 0
    model, history = load_model("out/final"), read_history(Path("log.csv"), random_interactions().items)[0]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiments = [one.experiment_id for one in client.search_experiments()]
    (run,) = client.search_runs(experiments, "attributes.run_name = 'ease+final'")
    place, export = f"runs:/{run.info.run_id}/model", ("--history", "log.csv", "--k", "4", "--output", "lists")
    assert call("export", place, *export, "--tracking-uri", store)[0] == 0
    for gone in ("out", "model"):
        shutil.rmtree(gone)
    (tmp_path / "elsewhere").mkdir()
    shutil.move("lists", "elsewhere/lists")
    shutil.move("log.csv", "elsewhere/archived.csv")
    monkeypatch.chdir("elsewhere")
    code, out, err = call("verify", "lists", "--user", "u07", "--history", "archived.csv", "--tracking-uri", store)
    assert code == 0, err
    assert f"from {place}, run {run.info.run_id}" in out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│ u07")]
    expected = recommend(model, history, ["u07"], 4).to_frame()
    assert [row[2] for row in rows] == [str(item) for item in expected["item_id"]]
    code, _, err = call("verify", "lists", "--user", "u99", "--history", "archived.csv", "--tracking-uri", store)
    assert (code, "unknown id 'u99'" in err) == (1, True)
