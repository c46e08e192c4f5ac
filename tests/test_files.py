"""Whole files and folders, and JSON that is believed only with its checksum."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from damage import flips, outcome

from recsys_ae import files
from recsys_ae.digests import digest_of_json
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.files import CHECKSUM, locked_folder, path_of, present, read_json, whole_file, whole_folder, write_json


@dataclass(frozen=True)
class Inner:
    value: float
    names: list[str]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    by_seed: dict[int, Inner]
    pair: tuple[str, int]
    optional: str | None = None
    anything: dict[str, object] = field(default_factory=dict)


VALUE = Outer(Inner(0.1 + 0.2, ["ä", "b"]), {3: Inner(-0.0, [])}, ("x", 2**60), None, {"k": [1, 2.5, None, {"deep": True}]})


def with_checksum(content: dict, of: str = "") -> str:
    return json.dumps({**content, CHECKSUM: digest_of_json(of, content)})


def plain(value: Outer) -> dict:
    """The content of a file with this value, without its checksum."""
    write_json(value, Path("plain.json"))
    content = json.loads(Path("plain.json").read_text())
    del content[CHECKSUM]
    return content


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_json_round_trip():
    write_json(VALUE, Path("a.json"))
    assert read_json(Outer, Path("a.json"), "mend it") == VALUE
    assert read_json(dict[str, object], Path("a.json"), "mend it")["pair"] == ["x", 2**60]
    assert [path.name for path in Path().iterdir()] == ["a.json"]


def test_json_of_something_else_is_refused():
    write_json({"text": "a"}, Path("a.json"), of="run 1")
    assert read_json(dict[str, str], Path("a.json"), "mend it", of="run 1") == {"text": "a"}
    with pytest.raises(DataError, match=r"a\.json is damaged or belongs to another run or model: .* checksum .*; mend it"):
        read_json(dict[str, str], Path("a.json"), "mend it", of="run 2")


def test_every_flipped_bit_in_json_is_noticed_or_changes_nothing():
    write_json(VALUE, Path("a.json"), of="run")
    noticed, n = 0, 8 * Path("a.json").stat().st_size
    for what in flips(Path("a.json"), n):
        found, error = outcome(lambda: read_json(Outer, Path("a.json"), "mend it", of="run"))
        if error is None:
            assert found == VALUE, what
        else:
            noticed += 1
            assert error.startswith("a.json is damaged"), what
            assert error.endswith("; mend it"), what
    assert noticed > 0.99 * n


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (b"\x00" * 50, "Expecting value"),
        ('{"a": "\u00e9"}'.encode("latin-1"), "byte 7 is not UTF-8"),
        ("\ufeff{}".encode(), "BOM"),
        (b"[1, 2]", "it does not hold a JSON object"),
        (b"7", "it does not hold a JSON object"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
        (b'{"a": NaN}', "'NaN' is not a finite number"),
        (b'{"a": -Infinity}', "'-Infinity' is not a finite number"),
        (b'{"a": 1e999}', "'1e999' is not a finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "the number '999.*' is too long"),
        (b'{"a": 1, "b": 2, "a": 1}', "key 'a' occurs twice"),
        (b'{"a": 1} {}', "Extra data"),
        (b'{"a": 1, "checksum": 7}', "its checksum does not match"),
        (b'{"a": 1}', "its checksum does not match"),
    ],
)
def test_hostile_json_is_one_sentence(content, message):
    Path("a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"^a\.json is damaged: .*{message}.*; mend it$") as raised:
        read_json(dict[str, object], Path("a.json"), "mend it")
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"inner": 3}, "inner"),
        ({"inner": {"value": "0.3", "names": []}}, "inner.value"),
        ({"inner": {"value": True, "names": []}}, "inner.value"),
        ({"inner": {"value": 1.0}}, "inner.names"),
        ({"inner": {"value": 1.0, "names": [], "more": 1}}, "inner.'more'"),
        ({"by_seed": {"one": {"value": 1.0, "names": []}}}, r"by_seed.one.\[key\]"),
        ({"by_seed": {"1": {"value": 1.0, "names": [], "more": 1}}}, "by_seed.1.'more'"),
        ({"pair": ["x", 1, 2]}, "pair"),
        ({"pair": ["x", 1.5]}, "pair.1"),
        ({"optional": 3}, "optional"),
        ({"more": 3}, "'more'"),
    ],
)
def test_another_shape_is_named_even_with_the_right_checksum(change, place):
    Path("a.json").write_text(with_checksum({**plain(VALUE), **change}))
    with pytest.raises(DataError, match=rf"^a\.json is damaged: {place}: .*; mend it$"):
        read_json(Outer, Path("a.json"), "mend it")


def test_paths_that_are_not_files_are_one_sentence():
    Path("folder.json").mkdir()
    os.mkfifo("pipe.json")
    for name in ("folder.json", "pipe.json"):
        with pytest.raises(DataError, match=f"^{name} is damaged: it is not a file, or too large; mend it$"):
            read_json(dict[str, object], Path(name), "mend it")
    with pytest.raises(DataError, match=r"^cannot read absent\.json: No such file or directory; mend it$"):
        read_json(dict[str, object], Path("absent.json"), "mend it")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_not_written(value):
    with pytest.raises(OutputError, match=r"cannot write a\.json"):
        write_json({"a": value}, Path("a.json"))
    assert list(Path().iterdir()) == []


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is synced and renamed from now on, in order."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), sync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"rename to {Path(b).name}"), replace(a, b))[1])
    return done


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("recsys_ae.files.token_hex", lambda _: "0a0b0c0d")
    done, draft = synced(monkeypatch), ".a.0a0b0c0d.draft"
    with whole_file(Path("a")) as path:
        path.write_text("1")
    assert done == [draft, "rename to a", tmp_path.name]
    done.clear()
    Path("a").unlink()
    with whole_folder(Path("a")) as path:
        (path / "sub").mkdir()
        (path / "sub" / "x").write_text("1")
    assert sorted(done[:3]) == sorted(["sub", "x", draft])
    assert done[3:] == ["rename to a", tmp_path.name]


def folder(content: str) -> None:
    with whole_folder(Path("a")) as path:
        (path / "x").write_text(content)


@pytest.mark.parametrize("renames", [0, 1])
def test_an_old_folder_survives_a_kill_at_every_moment(monkeypatch, renames):
    """The process ends after that many renames; whoever reads finds the old folder, and whoever writes next puts it back."""
    folder("old")
    left, replace = [renames], os.replace

    def die(source, target):
        if not left[0]:
            os._exit(9)
        left[0] -= 1
        replace(source, target)

    if not (child := os.fork()):
        monkeypatch.setattr(os, "replace", die)
        folder("new")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert Path("a").exists() == (renames == 0)
    assert (present(Path("a")) / "x").read_text() == "old"
    with locked_folder(Path(), "busy"):
        assert sorted(path.name for path in Path().iterdir()) == [".lock", "a"]
    assert (Path("a") / "x").read_text() == "old"
    folder("new")
    assert (Path("a") / "x").read_text() == "new"
    assert sorted(path.name for path in Path().iterdir()) == [".lock", "a"]


def test_a_folder_that_fails_leaves_the_old_one():
    folder("old")

    def fail():
        with whole_folder(Path("a")) as path:
            (path / "x").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (Path("a") / "x").read_text() == "old"
    assert [path.name for path in Path().iterdir()] == ["a"]


def test_a_file_system_that_cannot_sync_folders_is_no_error(monkeypatch):
    def refuse(opened: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(files.os, "fsync", refuse)
    folder("new")
    assert (Path("a") / "x").read_text() == "new"


def test_no_folder_is_made_around_one_that_cannot_be(tmp_path):
    with pytest.raises(OutputError, match="long"), locked_folder(tmp_path / "new" / ("x" * 300), "busy"):
        pass
    with pytest.raises(OutputError, match="long"), whole_folder(tmp_path / "new" / ("x" * 300)):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_below_a_file_is_one_sentence():
    with (
        pytest.raises(OutputError, match="cannot write /dev/null/model: Not a directory"),
        whole_folder(Path("/dev/null/model")),
    ):
        pass


@pytest.mark.parametrize("path", ["a\0b", "a\ud800"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ConfigError, match="is not a path"):
        path_of(path)


def test_a_lock_that_cannot_be_made_is_not_waited_for():
    with pytest.raises(OutputError, match="cannot lock"), files.locked(Path("/proc/nowhere.lock"), "busy", wait=10_000):
        pass
    with pytest.raises(OutputError, match=r"there is no folder /nowhere$"), files.locked(Path("/nowhere/.lock"), "busy"):
        pass
