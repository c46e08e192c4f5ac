"""A small pipeline of recommenders, run in this process, with keys changed."""

from pathlib import Path

import yaml
from rich.console import Console

from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.reporting.results import RunReport
from recsys_ae.split import Split
from recsys_ae.tracking import Tracker

PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 80, "items": 50, "ratings": 700, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [
        {"name": "autorec", "hidden": 6, "epochs": 9, "patience": 3, "learning_rate": 0.05},
        {"name": "ease", "l2": 5.0},
        {"name": "popularity"},
    ],
    "metrics": ["rmse", "ndcg@5"],
    "export": {"k": 5, "model": "autorec"},
}


def write(**changes: object) -> str:
    """The file of the pipeline with these keys changed."""
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **changes}))
    return "mine.yaml"


def run(output: str = "out", *, resume: bool = False, tracker: object = None, **changes: object) -> RunReport:
    """The report of the pipeline with these keys changed."""
    tracker = tracker or Tracker()
    return run_pipeline(read_pipeline(write(**changes)), Path(output), tracker, Console(quiet=True), resume=resume)


def split(seed: int = 0) -> Split:
    return RatingTask(read_pipeline("mine.yaml")).data(seed)
