"""Pipelines that predict each next event."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys_ae import load_model
from recsys_ae.errors import ConfigError
from recsys_ae.experiment.pipeline_file import ratings_card, read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.export.histories import history_for
from recsys_ae.reporting.results import RunReport
from recsys_ae.split import Split
from recsys_ae.tracking import Tracker

CARD = {
    "name": "clicks",
    "kind": "ratings",
    "files": [{"path": "log.csv", "columns": {"user": "user_id", "item": "item_id", "time": "time"}}],
    "duplicates": "sum",
    "session_gap": 10,
    "splits": {"parts": {"train": "log.csv", "test": "later.csv"}},
}
MODELS = [{"name": "itemknn", "similarity": "cosine"}, {"name": "popularity"}]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """30 users with sessions of four events a minute apart, an hour between sessions; some items are repeated."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, start, sessions in (("log.csv", 0, 3), ("later.csv", 100_000, 1)):
        number = np.arange(30 * sessions * 4)
        user, place = number // (sessions * 4), number % (sessions * 4)
        item = (user % 5) * 4 + rng.integers(0, 4, len(number))
        time = start + 7 * user + 3600 * (place // 4) + 60 * (place % 4)
        pd.DataFrame({"user_id": user, "item_id": item, "time": time}).to_csv(name, index=False)
    return tmp_path


def write(split: dict, **more: object) -> str:
    content = {"dataset": CARD, "split": split, "models": MODELS, "metrics": ["recall@3", "mrr@3"], **more}
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    return "mine.yaml"


def run(split: dict, **more: object) -> RunReport:
    return run_pipeline(read_pipeline(write(split, **more)), Path("out"), Tracker(), Console(quiet=True))


def drawn(split: dict) -> Split:
    return RatingTask(read_pipeline(write(split))).data(0)


def test_a_given_split_is_validated_on_its_latest_sessions(folder):
    split = drawn({"kind": "given", "name": "parts", "predict": "next", "valid": 0.1})
    assert split.repeats == "wanted"
    assert (split.train.sequences.n_sessions, split.valid.sequences.n_sessions, split.test.sequences.n_sessions) == (81, 9, 30)
    starts = [part.sequences.times[part.sequences.session_starts[:-1]] for part in (split.train, split.valid)]
    assert starts[0].max() <= starts[1].min()


def test_the_last_session_is_predicted_event_by_event(folder):
    report = run({"kind": "last_session", "valid": 1})
    counts = report.models["itemknn-cosine"].runs[0].counts
    assert (counts["users_evaluated"], counts["relevant"], counts["events"]) == (30, 90, 120)
    assert report.models["itemknn-cosine"].metrics["recall@3"] > 2 * report.models["popularity"].metrics["recall@3"]


def test_models_are_compared_over_users_not_events(folder):
    report = run({"kind": "last_session"}, compare=[["itemknn-cosine", "popularity"]])
    (comparison,) = report.comparisons
    assert (comparison.over, comparison.n) == ("users", 30)
    assert comparison.p_value < 0.01
    per_user = pd.read_parquet(next(Path("out").rglob("itemknn-cosine*.parquet")))
    assert len(per_user) == 90


def test_the_shipped_model_knows_all_sessions(folder):
    run({"kind": "last_session"}, export={"k": 3, "model": "itemknn-cosine"})
    assert load_model("out/final").fitted.arrays["popularity"].sum() > 0
    lists = pd.read_parquet("out/recommendations")
    assert lists.groupby("user_id").size().eq(3).all()


def test_histories_have_the_times_and_sessions_that_a_session_model_reads(folder):
    run({"kind": "last_session"}, models=[{"name": "slist", "l2": 1.0}], export={"k": 3, "model": "slist"})
    model, log = load_model("out/final"), pd.read_csv("log.csv")
    with pytest.raises(ConfigError, match=r"log.csv: the model was trained on sessions, but the history has none"):
        history_for(model, Path("log.csv"))
    log.drop(columns="time").to_csv("untimed.csv", index=False)
    with pytest.raises(
        ConfigError, match=r"untimed.csv: the model reads events in order, but no column is recognised as the time"
    ):
        history_for(model, Path("untimed.csv"))
    history, _ = history_for(model, Path("log.csv"), ratings_card("mine.yaml"))
    assert history.sequences.n_sessions == 90
