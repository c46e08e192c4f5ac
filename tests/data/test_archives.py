"""Zip archives made to do harm, and whole ones."""

import stat
import struct
import warnings
import zipfile

import pytest

from recsys_ae.data import archives
from recsys_ae.data.archives import extract_zip
from recsys_ae.errors import DataError

LINES = b"1\t10\t3\t5\n" * 50


def zipped(path, **members: bytes | str):
    """An archive at `path`; members by name, with two underscores for a slash."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return path


def refused(archive, folder, match: str, **options: float) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=match):
        extract_zip(archive, folder, **options)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../x", "a\\..\\x", "C:/x", "~/x", "a//b", "x" * 300])
def test_a_member_that_would_leave_the_folder(tmp_path, name):
    (tmp_path / "inside").mkdir()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr("fine.txt", "x")
        file.writestr(name, "x")
    refused(tmp_path / "bad.zip", tmp_path / "inside", "points outside the target folder; nothing was unpacked")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bad.zip", "inside"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path, kind):
    link = zipfile.ZipInfo("link")
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    refused(tmp_path / "bad.zip", tmp_path, "holds 'link', which is a link or device; nothing was unpacked")


def test_a_truncated_archive(tmp_path):
    (tmp_path / "bad.zip").write_bytes(zipped(tmp_path / "set.zip", a=LINES).read_bytes()[:60])
    refused(tmp_path / "bad.zip", tmp_path, "not a complete zip")


def test_an_encrypted_member(tmp_path):
    content = bytearray(zipped(tmp_path / "bad.zip", a=LINES).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "bad.zip").write_bytes(content)
    refused(
        tmp_path / "bad.zip",
        tmp_path,
        "holds 'a', which is encrypted; if you trust it, unpack it yourself",
    )


def test_a_repeated_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("a", "x")
        file.writestr("a", "y")
    refused(tmp_path / "bad.zip", tmp_path, "holds 'a' twice; nothing was unpacked")


def test_a_file_where_a_folder_is_needed(tmp_path):
    refused(zipped(tmp_path / "bad.zip", a="x", a__b="y"), tmp_path, "cannot be unpacked: ")


def test_an_unknown_compression(tmp_path):
    content = bytearray(zipped(tmp_path / "bad.zip", a=LINES).read_bytes())
    for place in (8, content.index(b"PK\x01\x02") + 10):
        content[place : place + 2] = struct.pack("<H", 97)
    (tmp_path / "bad.zip").write_bytes(content)
    refused(tmp_path / "bad.zip", tmp_path, "cannot be unpacked: .*compression")


def test_limits_of_size_and_number(tmp_path, monkeypatch):
    bomb = zipped(tmp_path / "bad.zip", a=bytes(60_000_000))
    refused(bomb, tmp_path, "unpacks to 0.1 GB, over the limit of 0.01 GB; raise `max_gb` of its source", max_gb=0.01)
    refused(bomb, tmp_path, "unpacks to [0-9]+ times its size, over the limit of 200")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    refused(zipped(tmp_path / "many.zip", a="", b="", c=""), tmp_path, "holds 3 files, over the limit of 2")


def test_no_more_is_unpacked_than_announced(tmp_path):
    """A directory that lies about a size."""
    content = bytearray(zipped(tmp_path / "bad.zip", a=bytes(1_000_000)).read_bytes())
    for place in (22, content.index(b"PK\x01\x02") + 24):
        content[place : place + 4] = struct.pack("<I", 10)
    (tmp_path / "bad.zip").write_bytes(content)
    refused(tmp_path / "bad.zip", tmp_path, "not a complete zip archive: Bad CRC")


@pytest.mark.parametrize("value", [0, 255, None])
def test_a_wrong_byte_anywhere(tmp_path, value):
    """Unpacked or refused, in one sentence, and nothing is outside the folder."""
    (tmp_path / "inside").mkdir()
    whole = zipped(tmp_path / "whole.zip", a__b=LINES, c="x").read_bytes()
    outcomes: list[str] = []
    for place in range(len(whole)):
        changed = whole[place] ^ 0x55 if value is None else value
        (tmp_path / "bad.zip").write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        try:
            extract_zip(tmp_path / "bad.zip", tmp_path / "inside")
            outcomes.append("")
        except DataError as error:
            outcomes.append(str(error))
    refused = [message for message in outcomes if message]
    assert 10 < len(refused) < len(outcomes)
    assert all(str(tmp_path / "bad.zip") in message and "\n" not in message for message in refused)
    assert {path.name for path in tmp_path.iterdir()} == {"inside", "whole.zip", "bad.zip"}


def test_a_deleted_member_is_brought_back(tmp_path):
    zipped(tmp_path / "set.zip", set__data=LINES)
    extract_zip(tmp_path / "set.zip", tmp_path)
    (tmp_path / "set/own.txt").write_text("mine")
    (tmp_path / "set/data").unlink()
    extract_zip(tmp_path / "set.zip", tmp_path)
    assert (tmp_path / "set/data").read_bytes() == LINES
    assert (tmp_path / "set/own.txt").read_text() == "mine"
