"""A small pipeline of image models, run in this process, with keys changed."""

from pathlib import Path

import yaml
from rich.console import Console

from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import Tracker

# Codes of two numbers, which can be drawn as points at once.
PIPELINE = {
    "dataset": "digits",
    "split": {"train": 300, "valid": 50},
    "models": [
        {"name": "pca", "components": 2},
        {"name": "dense", "hidden": 2, "epochs": 3, "corruption": "masking", "noise": 0.2, "label": "basic"},
        {"name": "stacked", "hidden": [20, 2], "layer_epochs": 2, "fine_tune": "classes", "epochs": 3, "label": "classifier"},
    ],
    "metrics": ["mse", "denoising_mse", "error_rate"],
}


def run(output: str = "out", *, resume: bool = False, **changes: object) -> RunReport:
    """The report of the pipeline with these keys changed."""
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **changes}))
    return run_pipeline(read_pipeline("mine.yaml"), Path(output), Tracker(), Console(quiet=True), resume=resume)


def files(path: str) -> set[str]:
    """The files in a folder that are not hidden."""
    return {entry.name for entry in Path(path).iterdir() if not entry.name.startswith(".")}
