"""Parts and manifests of other exports are noticed by whatever reads the lists."""

import shutil
from pathlib import Path

import pytest
from builders import random_interactions
from damage import outcome

from recsys_ae import build_model, read_recommendations
from recsys_ae.export.local import export_request
from recsys_ae.export.manifest import MANIFEST
from recsys_ae.export.request import ListRequest
from recsys_ae.export.verification import verify_lists

PART = "part-00001.parquet"


def request(model: str = "popularity", seed: int = 0, k: int = 5) -> ListRequest:
    data = random_interactions(seed)
    return ListRequest.of(build_model(model, {}).fit(data), data, k, part_users=15)


OTHERS = {"model": request("bias"), "history": request(seed=1), "options": request(k=4)}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("swapped", [PART, MANIFEST])
def test_a_part_or_a_manifest_of_another_export_is_noticed(tmp_path, what, swapped):
    lists, other = tmp_path / "lists", tmp_path / "other"
    export_request(request(), lists)
    export_request(OTHERS[what], other)
    shutil.copy(other / swapped, lists / swapped)
    assert "files" in [check.name for check in verify_lists(lists) if check.wrong]
    for reader in (lambda: read_recommendations(lists), lambda: export_request(request(), lists)):
        _, error = outcome(reader)
        assert error is not None
        assert str(lists) in error


def test_a_whole_export_of_another_model_is_noticed(tmp_path):
    """It is intact, so only its inputs tell."""
    lists = Path(tmp_path / "lists")
    export_request(OTHERS["model"], lists)
    assert not any(check.wrong for check in verify_lists(lists))
    assert [check.name for check in verify_lists(lists, request()) if check.wrong] == ["inputs"]
    _, error = outcome(lambda: export_request(request(), lists))
    assert error is not None
    assert "already holds lists made from other inputs (model" in error
