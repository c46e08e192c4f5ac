"""Fixtures and the rule for real data: absent data skips a test, except where CI says that it must be there."""

import os
from pathlib import Path

import numpy as np
import pytest

import recsys_ae  # noqa: F401 - sets how threads wait, before torch is loaded


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch, tmp_path_factory):
    """No test reads or writes a user's own cache or MLflow store."""
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("data"):
        folder = os.environ.get("RECSYS_AE_DATA")
        if folder and (Path(folder) / marker.args[0]).is_dir():
            continue
        reason = f"needs {marker.args[0]} in the folder that RECSYS_AE_DATA names (now {folder!r})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
