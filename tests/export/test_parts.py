"""Parts of unfinished exports: what an interruption, a kill or damage leaves of them is the same in the end."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import planted
from damage import flips
from filelock import FileLock

from recsys_ae import Rules, build_model, export_recommendations, read_recommendations
from recsys_ae.errors import OutputError
from recsys_ae.export.manifest import MANIFEST, ListManifest
from recsys_ae.export.parts import PartStore

NAMES = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]


@pytest.fixture
def model():
    return build_model("bias", {}).fit(planted())


def export(model, folder: Path, k: int = 3, **options):
    """Twelve users in three parts."""
    return export_recommendations(model, planted(), folder, k, part_users=5, **options)


def die_after(parts: int, monkeypatch: pytest.MonkeyPatch, folder: Path, model, **options) -> None:
    """An export that is killed after so many parts; they are in `folder`.partial."""
    written, write = [], PartStore.write

    def die(self, name, *others):
        if len(written) == parts:
            raise KeyboardInterrupt
        written.append(name)
        return write(self, name, *others)

    with monkeypatch.context() as patch:
        patch.setattr(PartStore, "write", die)
        with pytest.raises(KeyboardInterrupt):
            export(model, folder, **options)


@pytest.fixture
def written(monkeypatch):
    """The names of the parts that are written."""
    found, write = [], PartStore.write
    monkeypatch.setattr(PartStore, "write", lambda self, name, *rest: (found.append(name), write(self, name, *rest))[1])
    return found


def content(folder: Path) -> dict:
    """The files by name; of the manifest, all but how it came about."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if MANIFEST in found:
        found[MANIFEST] = replace(ListManifest.read(folder), made=None)
    return found


def test_drafts_of_dead_workers_are_removed(model, tmp_path, monkeypatch):
    """A worker of an engine that dies while it writes a part leaves its draft, and another one makes the part."""
    write = PartStore.write

    def after_a_dead_one(self, name, *others):
        (self.lists / f".{name}.0123abcd.draft").write_bytes(b"half of a part")
        (self.records / f".{name}.json.0123abcd.draft").touch()
        return write(self, name, *others)

    export(model, tmp_path / "whole")
    monkeypatch.setattr(PartStore, "write", after_a_dead_one)
    export(model, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_interrupted_export_continues(model, tmp_path, monkeypatch, written, caplog):
    export(model, tmp_path / "whole")
    die_after(1, monkeypatch, tmp_path / "out", model)
    assert not (tmp_path / "out").exists()
    written.clear()
    with caplog.at_level("INFO", "recsys_ae"):
        export(model, tmp_path / "out")
    assert written == NAMES[1:]
    assert "2 files written, 1 kept from an earlier attempt" in caplog.text
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


@pytest.mark.parametrize(
    "options",
    [{"k": 2}, {"exclude_seen": False}, {"rules": Rules.of(planted().items, blocked=[101])}, {"users": ["u03", "u01"]}],
)
def test_parts_of_another_request_are_not_continued(model, tmp_path, monkeypatch, options):
    export(model, tmp_path / "whole", **options)
    die_after(2, monkeypatch, tmp_path / "out", model)
    export(model, tmp_path / "out", **options)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_parts_of_another_model_or_history_are_not_continued(model, tmp_path, monkeypatch):
    other, fewer = build_model("bias", {"user_reg": 9.0}).fit(planted()), planted().filter(planted().item_rows() != 3)
    for name, used, history in (("model", other, planted()), ("history", model, fewer)):
        export_recommendations(used, history, tmp_path / f"whole-{name}", 3, part_users=5)
        die_after(2, monkeypatch, tmp_path / name, model)
        export_recommendations(used, history, tmp_path / name, 3, part_users=5)
        assert content(tmp_path / name) == content(tmp_path / f"whole-{name}")


def test_parts_of_other_versions_are_not_continued(model, tmp_path, monkeypatch, written):
    die_after(2, monkeypatch, tmp_path / "out", model)
    written.clear()
    monkeypatch.setattr("recsys_ae.export.request.versions", lambda: {"recsys-ae": "another"})
    export(model, tmp_path / "out")
    assert written == NAMES


def test_a_flipped_bit_in_an_unfinished_export_is_repaired(model, tmp_path, monkeypatch):
    export(model, tmp_path / "whole")
    die_after(2, monkeypatch, tmp_path / "out", model)
    partial, killed = tmp_path / "out.partial", tmp_path / "killed"
    partial.rename(killed)
    assert sorted(content(killed)) == [
        ".lock",
        *(f"lists/{name}" for name in NAMES[:2]),
        *(f"records/{name}.json" for name in NAMES[:2]),
    ]
    for name in sorted(content(killed))[1:]:
        for what in flips(killed / name, 20):
            shutil.copytree(killed, partial)
            export(model, tmp_path / "out")
            assert content(tmp_path / "out") == content(tmp_path / "whole"), what
            shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("damage", ["truncated", "another", "unrecorded", "gone", "more"])
def test_damaged_parts_of_an_unfinished_export_are_written_again(model, tmp_path, monkeypatch, caplog, damage):
    export(model, tmp_path / "whole")
    die_after(2, monkeypatch, tmp_path / "out", model)
    part = tmp_path / "out.partial" / "lists" / NAMES[1]
    if damage == "truncated":
        part.write_bytes(part.read_bytes()[:-5])
    elif damage == "another":
        shutil.copy(part.with_name(NAMES[0]), part)
    elif damage == "unrecorded":  # written, but the process was killed before it said so
        shutil.copy(part, part.with_name(NAMES[2]))
    elif damage == "more":
        shutil.copy(part, part.with_name("part-00003.parquet"))
    else:
        part.unlink()
    export(model, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert ("is missing or damaged; it is written again" in caplog.text) == (damage in ("truncated", "another", "gone"))


def test_a_kill_between_the_last_steps_changes_nothing(model, tmp_path, monkeypatch):
    """After the manifest, and after the move to the final place."""
    export(model, tmp_path / "whole")
    for module, function in (("local", "move"), ("local.shutil", "rmtree")):
        with monkeypatch.context() as patch:
            patch.setattr(f"recsys_ae.export.{module}.{function}", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                export(model, tmp_path / function)
        assert (tmp_path / f"{function}.partial").exists()
        export(model, tmp_path / function)
        assert content(tmp_path / function) == content(tmp_path / "whole")
        assert not (tmp_path / f"{function}.partial").exists()


def test_full_disk(model, tmp_path, monkeypatch):
    write = pq.ParquetWriter.write_table

    def fail_later(writer, table):
        if "u05" in table["user_id"].to_pylist():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(writer, table)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail_later)
    with pytest.raises(OutputError, match="No space left on device"):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(pq.ParquetWriter, "write_table", write)
    assert export(model, tmp_path / "out").n_users == 12


def test_two_exports_to_one_folder(model, tmp_path):
    (tmp_path / "out.partial").mkdir()
    with FileLock(tmp_path / "out.partial" / ".lock"), pytest.raises(OutputError, match="another export is writing"):
        export(model, tmp_path / "out")


def test_lists_depend_neither_on_parts_nor_on_blocks(model, tmp_path):
    expected, _ = read_recommendations(export_to(model, tmp_path / "0", {}))
    for number, sizes in enumerate([{"part_users": 1}, {"part_users": 5, "batch_users": 2}, {"batch_users": 7}], start=1):
        found, _ = read_recommendations(export_to(model, tmp_path / str(number), sizes))
        assert found.equals(expected)


def test_files_do_not_depend_on_blocks(model, tmp_path):
    assert content(export_to(model, tmp_path / "a", {"batch_users": 1})) == content(export_to(model, tmp_path / "b", {}))


def export_to(model, folder: Path, options: dict) -> Path:
    export_recommendations(model, planted(), folder, 3, **options)
    return folder


def test_the_manifest_counts_each_part(model, tmp_path):
    history = planted().filter(planted().user_rows() != 7)  # who is cold
    manifest = export_recommendations(model, history, tmp_path / "out", 3, part_users=5, cold="skip")
    for name, part in manifest.files.items():
        users = pq.read_table(tmp_path / "out" / name)["user_id"]
        assert (part.rows, part.users) == (len(users), len(users.unique()))
    assert [part.users for part in manifest.files.values()] == [5, 4, 2]
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["files"][NAMES[1]]["users"] == 4


def test_no_users(model, tmp_path):
    manifest = export(model, tmp_path / "out", users=np.array([], dtype=object))
    assert (manifest.rows, list(manifest.files)) == (0, NAMES[:1])
