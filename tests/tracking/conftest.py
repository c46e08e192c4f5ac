"""A store whose tables exist, as making them takes seconds."""

import shutil
from pathlib import Path

import pytest

from recsys_ae.tracking import make_tracker


@pytest.fixture(scope="session")
def _empty(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with make_tracker(f"sqlite:///{path}", "first", required=True).run("one"):  # waits for the tables
        pass
    return path


@pytest.fixture
def fresh(_empty, tmp_path) -> str:
    """The URI of a new store in `tmp_path`, with one run of another experiment."""
    shutil.copy(_empty, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"
