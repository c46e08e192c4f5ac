"""Shards: whoever makes them in whatever order, merging gives the files of a single process, or says what is wrong."""

import os
import shutil
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from builders import random_interactions
from filelock import FileLock
from hypothesis import given, settings, strategies as st

from recsys_ae import build_model
from recsys_ae.errors import ConfigError, DataError, OtherInputsError, OutputError
from recsys_ae.export import shards as module
from recsys_ae.export.local import export_request
from recsys_ae.export.manifest import MANIFEST, ListManifest
from recsys_ae.export.parts import PartStore, Shard
from recsys_ae.export.publication import Checks, publish
from recsys_ae.export.request import ListRequest
from recsys_ae.export.shards import export_shard, merge_shards, shards_of
from recsys_ae.export.verification import verify_lists
from recsys_ae.export.writing import Writing

DATA = random_interactions()
MODEL = build_model("bias", {}).fit(DATA)


def asked(k: int = 5, part_users: int = 6, **options) -> ListRequest:
    """Lists of forty users, in seven parts."""
    return ListRequest.of(MODEL, DATA, k, part_users=part_users, **options)


def content(folder: Path) -> dict:
    """The files by name; of the manifest, all but how it came about."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**found, MANIFEST: replace(ListManifest.read(folder), made=None)}


@pytest.fixture
def lists(tmp_path) -> Path:
    return tmp_path / "lists"


@pytest.fixture
def whole(tmp_path) -> dict:
    """The content of the export by one process."""
    export_request(asked(), tmp_path / "whole")
    found = content(tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole")
    return found


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """The names of the parts that are written."""
    found, write = [], PartStore.write
    monkeypatch.setattr(PartStore, "write", lambda self, name, *rest: (found.append(name), write(self, name, *rest))[1])
    return found


def make(lists: Path, of: int, numbers=None, request: ListRequest | None = None) -> None:
    for number in numbers or range(1, of + 1):
        export_shard(request or asked(), lists, Shard(number, of))


def merge(lists: Path) -> ListManifest:
    return merge_shards(lists, shards_of(lists))


@settings(max_examples=8)
@given(st.data())
def test_shards_in_any_order_are_the_export_of_one_process(data):
    users = data.draw(st.one_of(st.none(), st.permutations(list(DATA.users.values)).map(lambda ids: ids[:23])))
    writing = data.draw(st.sampled_from([Writing(), Writing("csv"), Writing("jsonl", "lists")]))
    request = asked(part_users=data.draw(st.integers(1, 45)), users=users, writing=writing)
    of = data.draw(st.integers(1, 9))  # perhaps more than there are parts
    with TemporaryDirectory() as folder:
        whole, lists = Path(folder) / "whole", Path(folder) / "lists"
        export_request(request, whole)
        make(lists, of, data.draw(st.permutations(range(1, of + 1))), request)
        merge(lists)
        assert content(lists) == content(whole)
        assert sorted(os.listdir(folder)) == ["lists", "whole"]


@given(st.integers(0, 50), st.integers(1, 60))
def test_shares_are_consecutive_and_even(n, of):
    names = [str(number) for number in range(n)]
    shares = [Shard(number, of).share(names) for number in range(1, of + 1)]
    assert [name for share in shares for name in share] == names
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


NO_SHARDS = ["0/3", "4/3", "1/0", "3", "1/", "/2", "1/2/3", "-1/2", "1.0/2", "a/b", "1 /2", "²/3", "9" * 30 + "/2"]


@pytest.mark.parametrize("text", NO_SHARDS)
def test_invalid_shards(text):
    with pytest.raises(ConfigError, match=r"no shard|a shard is written as .* such as 2/4"):
        Shard.parse(text)


def test_a_merge_ends_a_removal_that_was_killed(lists, tmp_path):
    make(lists, 2)
    merge(lists)
    (tmp_path / ".lists.shards.removed" / "2-of-2").mkdir(parents=True)
    merge(lists)
    assert os.listdir(tmp_path) == ["lists"]


def test_the_manifest_says_who_made_what(lists):
    make(lists, 2)
    made = merge(lists).made
    assert [*made.shards] == ["1/2", "2/2"]
    assert made.started == made.shards["1/2"].started <= made.shards["2/2"].finished <= made.finished
    assert ListManifest.read(lists).made == made
    assert "shard 2/2: " in "\n".join(ListManifest.read(lists).lines())
    assert not any(check.wrong for check in verify_lists(lists, asked()))


def test_an_interrupted_shard_continues(lists, whole, monkeypatch, written):
    make(lists, 2, [2])
    write = PartStore.write

    def die(self, name, *others):
        if name == "part-00001.parquet":
            raise KeyboardInterrupt
        return write(self, name, *others)

    with monkeypatch.context() as patch:
        patch.setattr(PartStore, "write", die)
        with pytest.raises(KeyboardInterrupt):
            make(lists, 2, [1])
    with pytest.raises(DataError, match=r"lists\.shards lacks shard 1/2; export it with --shard 1/2"):
        merge(lists)
    written.clear()
    make(lists, 2, [1])
    assert written == ["part-00001.parquet", "part-00002.parquet"]
    merge(lists)
    assert content(lists) == whole


def test_a_repeated_shard_does_nothing(lists, whole, written):
    make(lists, 3)
    written.clear()
    make(lists, 3)
    merge(lists)
    make(lists, 3)  # by a scheduler that did not see that it was done
    merge(lists)
    assert written == []
    assert content(lists) == whole
    assert not shards_of(lists).exists()


@pytest.mark.parametrize("damage", ["part", "description", "missing", "inputs", "number"])
def test_a_damaged_or_different_shard_is_replaced(lists, whole, caplog, damage):
    make(lists, 2, request=asked(k=4) if damage == "inputs" else None)
    place = shards_of(lists) / "1-of-2"
    if damage == "part":
        (place / "part-00001.parquet").write_bytes(b"something else")
    elif damage == "description":
        (place / "_shard.json").write_text("{}")
    elif damage == "missing":
        (place / "part-00001.parquet").unlink()
    elif damage == "number":
        shutil.rmtree(place)
        shutil.copytree(place.with_name("2-of-2"), place)
    make(lists, 2)
    assert "it is replaced" in caplog.text
    merge(lists)
    assert content(lists) == whole


def test_missing_shards_are_reported(lists):
    with pytest.raises(DataError, match=r"there are no finished shards in .*lists\.shards; make them with export --shard"):
        merge(lists)
    make(lists, 5, [1, 4])
    with pytest.raises(DataError, match=r"lacks shard 2/5 and 2 more; export it with --shard 2/5"):
        merge(lists)
    assert not lists.exists()


def test_duplicate_shards_are_reported(lists):
    make(lists, 2)
    shutil.copytree(shards_of(lists) / "1-of-2", shards_of(lists) / "1-of-2 (copy)")
    with pytest.raises(DataError, match=r"holds shard 1/2 twice, as 1-of-2 and 1-of-2 \(copy\); remove one of them"):
        merge(lists)


def test_different_numbers_of_shards_are_reported(lists):
    make(lists, 2)
    make(lists, 3, [2])
    with pytest.raises(DataError, match=r"mixes exports in 2 and in 3 shards; remove the shards that are not wanted"):
        merge(lists)


def test_shards_from_different_inputs_are_reported(lists, monkeypatch):
    fewer = DATA.filter(DATA.item_rows() != 3)
    others = {
        "k": asked(k=4),
        "part_users": asked(part_users=5),
        "history": ListRequest.of(MODEL, fewer, 5, part_users=6),
        "model": ListRequest.of(build_model("bias", {"user_reg": 9.0}).fit(DATA), DATA, 5, part_users=6),
    }
    with monkeypatch.context() as patch:
        patch.setattr("recsys_ae.export.request.versions", lambda: {"numpy": "1.0"})
        others["version of numpy, version of pyarrow"] = asked()
    for message, other in others.items():
        make(lists, 2)
        export_shard(other, lists, Shard(2, 2))
        with pytest.raises(DataError, match=rf"1-of-2 and 2-of-2 were made from different inputs \(.*{message}.*\)"):
            merge(lists)
        assert not lists.exists()


@pytest.mark.parametrize("damage", ["flipped", "gone", "description"])
def test_a_damaged_shard_is_not_merged(lists, whole, damage):
    make(lists, 3)
    part = shards_of(lists) / "2-of-3" / ("_shard.json" if damage == "description" else "part-00003.parquet")
    before = part.read_bytes()
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
    with pytest.raises(DataError, match=r"2-of-3.*remove .*2-of-3 and export the shard again"):
        merge(lists)
    assert not lists.exists()
    part.write_bytes(before)
    merge(lists)
    assert content(lists) == whole


@pytest.mark.parametrize("step", ["_put", "with_parts", "move", "shutil.rmtree"])
def test_the_next_merge_recovers_from_a_kill_at_any_step(lists, whole, monkeypatch, step):
    make(lists, 3)
    calls, real = [], attrgetter(step)(module)

    def die(*arguments, **options):
        calls.append(arguments)
        if len(calls) == (3 if step == "shutil.rmtree" else 2 if step == "_put" else 1):
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(f"recsys_ae.export.shards.{step}", die)
        with pytest.raises(KeyboardInterrupt):
            merge(lists)
    merge(lists)
    assert content(lists) == whole
    assert not shards_of(lists).exists()


def test_shards_of_another_file_system_are_copied(lists, whole, monkeypatch):
    make(lists, 2)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("cross-device link")))
    merge(lists)
    assert content(lists) == whole


def test_other_lists_are_not_replaced(lists):
    export_request(asked(k=3), lists)
    with pytest.raises(OtherInputsError, match=r"lists already holds lists made from other inputs \(k\)"):
        make(lists, 2, [1])
    moved = lists.rename(lists.with_name("moved"))
    make(lists, 2)
    moved.rename(lists)
    with pytest.raises(OtherInputsError, match=r"lists already holds lists made from other inputs \(k\)"):
        merge(lists)
    assert ListManifest.read(lists).k == 3


def test_two_processes_cannot_write_the_same_shard(lists):
    place = shards_of(lists) / "1-of-2.partial"
    place.mkdir(parents=True)
    with FileLock(place / ".lock"), pytest.raises(OutputError, match=r"another export is writing .*1-of-2"):
        make(lists, 2, [1])


def test_checks_come_after_the_merge(tmp_path, whole):
    root, date = tmp_path / "lists", "2026-11-26"
    make(root / date, 2)
    for _ in range(2):  # the second time there are no shards any more
        with pytest.raises(OutputError, match="40 users have a list, fewer than 41"):
            publish(partial(merge_shards, shards=shards_of(root / date)), root, date, Checks(min_users=41))
    make(root / date, 2)  # a late retry
    assert sorted(os.listdir(root)) == [".lock", f"{date}.unpublished"]
    publish(partial(merge_shards, shards=shards_of(root / date)), root, date, Checks(min_users=40))
    assert sorted(os.listdir(root)) == [".lock", date, "latest"]
    assert content(root / "latest") == whole
