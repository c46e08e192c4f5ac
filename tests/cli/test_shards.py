"""Shards on the command line: made, merged, checked, published and recorded."""

import os
from pathlib import Path

import pandas as pd
import pytest
from builders import random_interactions

from recsys_ae import build_model, save_model

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other

EXPORT = "export", "model", "--history", "log.csv", "--k", "4", "--part-users", "9", "--output", "lists"


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A log of 40 users, and a model of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    data = random_interactions(times=False)
    data.to_frame().to_csv("log.csv", index=False)
    save_model(build_model("pca", {"factors": 3}).fit(data), "model")
    return tmp_path


def test_shards_are_merged_and_verified(call, shop):
    for shard in ("2/2", "1/2"):
        code, out, err = call(*EXPORT, "--shard", shard)
        assert code == 0, err
    assert "shard 1/2: 18 lists in 2 files; once all shards are there, `recsys-ae merge` makes lists" in out
    for _ in range(2):
        code, out, err = call("merge", "lists")
        assert code == 0, err
        assert "160 recommendations for 40 users: lists" in out
    code, out, err = call("verify", "lists", "--sample", "10")
    assert code == 0, err
    assert "shard 2/2: " in out
    before = {path.name: path.stat().st_mtime_ns for path in Path("lists").iterdir()}
    assert call(*EXPORT)[0] == 0  # by one process, which would have made the same
    assert {path.name: path.stat().st_mtime_ns for path in Path("lists").iterdir()} == before


def test_dated_shards_are_checked_when_they_are_merged(call, shop):
    for number in (1, 2, 3):
        assert call(*EXPORT, "--date", "2026-11-26", "--shard", f"{number}/3")[0] == 0
    assert os.listdir("lists") == ["2026-11-26.shards"]
    merge = "merge", "lists", "--date", "2026-11-26"
    code, _, err = call(*merge, "--min-users", "41")
    assert code == 1
    assert "40 users have a list, fewer than 41 (min_users)" in err
    assert call(*EXPORT, "--date", "2026-11-26", "--shard", "2/3")[0] == 0  # a late retry changes nothing
    code, _, err = call(*merge, "--min-users", "40", "--keep", "3")
    assert code == 0, err
    assert os.readlink("lists/latest") == "2026-11-26"
    assert len(pd.read_parquet("lists/latest")) == 160


def test_a_merge_is_one_run(call, shop):
    store = "--tracking-uri", "sqlite:///mlflow.db"
    for shard in ("1/2", "2/2"):
        assert call(*EXPORT, "--shard", shard, *store)[0] == 0
    assert not Path("mlflow.db").exists()
    for _ in range(2):
        assert call("merge", "lists", *store)[0] == 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store[1])
    (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert (run.data.metrics["rows"], run.data.params["k"]) == (160, "4")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--shard", "3/2"], 2, "there is no shard 3/2; write I/N with I from 1 to N"),
        (["--shard", "1"], 2, "such as 2/4, got '1'"),
        (["--shard", "1/2", "--date", "2026-11-31"], 2, "'2026-11-31' is not a date such as 2026-11-26"),
        (["--shard", "1/2", "--dated"], 2, "give --date instead of --dated"),
        (["--shard", "1/2", "--date", "2026-11-26", "--min-users", "3"], 2, "are options of merge, not of its shards"),
        (["--shard", "1/2", "--engine", "spark"], 2, "--shard is for the local engine"),
    ],
)
def test_incompatible_options(call, shop, options, code, message):
    found, _, err = call(*EXPORT, *options)
    assert found == code
    assert message in err
    assert sorted(os.listdir()) == ["log.csv", "model"]


def test_a_merge_without_shards(call, shop):
    code, _, err = call("merge", "lists")
    assert code == 1
    assert err.strip() == "recsys-ae: there are no finished shards in lists.shards; make them with export --shard"
    code, _, err = call("merge", "lists", "--keep", "3")
    assert code == 2
    assert "are for dated lists; add --dated" in err
