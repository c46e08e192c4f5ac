"""Exports killed at any moment, each followed by the same call."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
from builders import random_interactions

from recsys_ae import build_model
from recsys_ae.export.local import export_request
from recsys_ae.export.manifest import MANIFEST, ListManifest
from recsys_ae.export.parts import Shard
from recsys_ae.export.publication import Checks, publish
from recsys_ae.export.request import ListRequest
from recsys_ae.export.shards import export_shard, merge_shards, shards_of
from recsys_ae.export.verification import verify_lists

KILLS = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def request_of_all():
    """Forty parts with one user each."""
    data = random_interactions()
    return ListRequest.of(build_model("popularity", {}).fit(data), data, 5, part_users=1)


def killed_after(seconds: float, action) -> bool:
    """Run an action in a process that is killed after some time, unless it was done by then; returns whether it was killed."""
    process = multiprocessing.get_context("fork").Process(target=action)
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}


def finished(folder: Path) -> dict[str, tuple[int, int]]:
    """What identifies the files of the parts that have a record: whoever writes one again changes it."""
    lists, records = folder / "lists", folder / "records"
    names = [path.stem for path in records.glob("part-*.json")] if records.exists() else []
    return {
        name: ((lists / name).stat().st_ino, (lists / name).stat().st_mtime_ns) for name in names if (lists / name).exists()
    }


def test_a_killed_export_continues_to_the_same_files(request_of_all, tmp_path):
    export_request(request_of_all, tmp_path / "first")
    assert not killed_after(60, lambda: export_request(request_of_all, tmp_path / "compiled"))  # without threads
    started = time.perf_counter()
    assert not killed_after(60, lambda: export_request(request_of_all, tmp_path / "whole"))
    whole, seconds = parts(tmp_path / "whole"), time.perf_counter() - started
    kills, kept = 0, 0
    for number, share in enumerate(np.random.default_rng(0).random(KILLS)):
        folder = tmp_path / f"killed-{number}"
        kills += killed_after(1.2 * share * seconds, lambda folder=folder: export_request(request_of_all, folder))
        before = finished(folder.with_name(f"{folder.name}.partial"))
        kept += len(before)
        manifest = export_request(request_of_all, folder)
        assert parts(folder) == whole
        assert not manifest.differences(ListManifest.read(tmp_path / "whole"))
        for name, (inode, time_ns) in before.items():
            assert ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) == (inode, time_ns)
        assert not any(check.wrong for check in verify_lists(folder, request_of_all))
    assert kills > 5
    assert kept > 40
    assert not list(tmp_path.glob("*.partial"))


def test_a_killed_publication_never_shows_half_of_a_night(request_of_all, tmp_path):
    root = tmp_path / "lists"
    dates = [f"2026-11-{day:02d}" for day in range(1, 13)]

    def night(date: str) -> ListManifest:
        return publish(lambda folder: export_request(request_of_all, folder), root, date, Checks(min_overlap=0.9), keep=2)

    started = time.perf_counter()
    night("2026-10-31")
    seconds = time.perf_counter() - started
    for date, share in zip(dates, np.random.default_rng(1).random(len(dates)), strict=True):
        killed_after(1.2 * share * seconds, lambda date=date: night(date))
        assert not any(check.wrong for check in verify_lists(root / "latest"))
        night(date)
        assert (root / "latest").resolve().name == date
    assert sorted(path.name for path in root.iterdir() if path.name != ".lock") == [*dates[-2:], "latest"]


def test_killed_shards_and_merges_continue_to_the_same_files(request_of_all, tmp_path):
    started = time.perf_counter()
    export_request(request_of_all, tmp_path / "whole")
    whole, seconds = parts(tmp_path / "whole"), time.perf_counter() - started
    kills = 0
    for number, shares in enumerate(np.random.default_rng(2).random((8, 4))):
        folder = tmp_path / f"killed-{number}"
        shards = [lambda at=at, folder=folder: export_shard(request_of_all, folder, Shard(at, 2)) for at in (1, 2)]
        for share, shard in zip(shares, shards, strict=False):
            kills += killed_after(0.7 * share * seconds, shard)
            shard()
        for share in shares[2:]:
            kills += killed_after(0.7 * share * seconds, lambda folder=folder: merge_shards(folder, shards_of(folder)))
        merge_shards(folder, shards_of(folder))
        assert parts(folder) == whole
        assert [path.name for path in tmp_path.glob(f"*{folder.name}*")] == [folder.name]
    assert kills > 5
