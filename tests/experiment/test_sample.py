"""Pipelines on a sample of each user's interactions, and with a blend among the models."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys_ae import load_model
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.splitting import sample_per_user
from recsys_ae.tracking import Tracker

PLANTED = {"name": "small", "kind": "planted-ratings", "users": 80, "items": 50, "ratings": 700, "factors": 2}
BLEND = {"name": "blend", "members": [{"name": "mf", "factors": 2, "epochs": 4}, {"name": "bias"}]}


def pipeline(**changes: object):
    content = {
        "dataset": PLANTED,
        "split": {"kind": "random", "test": 0.2, "valid": 0.1},
        "models": [{"name": "bias"}],
        "metrics": ["rmse"],
    }
    Path("mine.yaml").write_text(yaml.safe_dump({**content, **changes}))
    return read_pipeline("mine.yaml")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_sample_is_drawn_before_the_split():
    whole, sampled = (RatingTask(pipeline(**more)).data(0).everything for more in ({}, {"sample": {"per_user": 3}}))
    n = np.diff(whole.matrix.indptr)
    np.testing.assert_array_equal(np.diff(sampled.matrix.indptr), np.minimum(n, 3))
    assert np.isin(sampled.keys(), whole.keys()).all()
    assert sampled.digest == sample_per_user(whole, 3, seed=0).digest != sample_per_user(whole, 3, seed=1).digest


def test_the_test_part_of_a_given_split_stays_whole():
    frame = pd.DataFrame({"user_id": np.repeat(np.arange(6), 10), "item_id": np.tile(np.arange(10), 6), "rating": 3.0})
    frame["rating"] += frame["item_id"] % 2
    (frame[frame["item_id"] < 7]).to_csv("train.csv", index=False)
    (frame[frame["item_id"] >= 7]).to_csv("test.csv", index=False)
    columns = {"user": "user_id", "item": "item_id", "rating": "rating"}
    card = {"name": "mine", "kind": "ratings", "files": [{"path": "train.csv", "columns": columns}]}
    card["splits"] = {"a": {"train": "train.csv", "test": "test.csv"}}
    split = {"kind": "given", "name": "a", "valid": 0.5}
    data = RatingTask(pipeline(dataset=card, split=split, sample={"per_user": 2, "seed": 4})).data(0)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [6, 6, 18]


def test_a_blend_runs_in_a_pipeline_like_any_model():
    declared = pipeline(sample={"per_user": 8}, models=[{"name": "bias"}, BLEND], refit=True, export={"k": 3, "model": "blend"})
    report = run_pipeline(declared, Path("out"), Tracker(), Console(quiet=True))
    assert report.settings["sample"] == {"per_user": 8, "seed": 0}
    members = report.models["blend"].runs[0].params["members"]
    assert members[0]["l2"] == 0.04  # with all defaults
    assert report.models["blend"].runs[0].metrics["rmse"] < 2
    assert load_model("out/final").predicts_ratings
    assert len(pd.read_parquet("out/recommendations/part-00000.parquet")) == 3 * 80
