"""A folder with a pipeline, in which commands run."""

from pathlib import Path

import pytest
import yaml
from small_run import PIPELINE


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    return tmp_path
