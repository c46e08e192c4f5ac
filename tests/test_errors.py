"""Tests of the parts of messages."""

import os

import pytest

from recsys_ae import errors
from recsys_ae.errors import similar_path


@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_what_is_not_a_file_is_not_suggested_for_itself(tmp_path, make):
    make(tmp_path / "log.csv")
    assert similar_path(tmp_path / "log.csv") == ""
    (tmp_path / "logs.csv").touch()
    assert similar_path(tmp_path / "log.csv") == f"; did you mean '{tmp_path}/logs.csv'?"


def test_of_a_folder_with_many_files_only_some_are_compared(tmp_path, monkeypatch):
    compared = []

    def matches(_, names, **_options):
        compared.extend(names)
        return []

    monkeypatch.setattr(errors, "get_close_matches", matches)
    monkeypatch.setattr(errors, "MOST_NAMES", 3)
    for number in range(5):
        (tmp_path / f"part-{number}").touch()
    assert similar_path(tmp_path / "part-9") == ""
    assert len(compared) == 3


def test_what_is_below_a_similar_folder_is_suggested_if_it_is_there(tmp_path):
    (tmp_path / "out" / "final").mkdir(parents=True)
    assert similar_path(tmp_path / "outx" / "final") == f"; did you mean '{tmp_path}/out/final'?"
    assert similar_path(tmp_path / "outx" / "a" / "b") == f"; did you mean '{tmp_path}/out'?"
