"""A folder with a pipeline, in which commands run, and the output of its run."""

import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from small_run import PIPELINE

from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.tracking import Tracker


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The output of the pipeline."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    run_pipeline(read_pipeline(str(folder / "mine.yaml")), folder / "out", Tracker(), Console(quiet=True))
    return folder / "out"


@pytest.fixture
def ran(folder, finished) -> Path:
    """The folder after a run of the pipeline, with its output `out`."""
    shutil.copytree(finished, folder / "out")
    return folder
