import gzip
import hashlib
import stat
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.fetch import cache_folder, download, extract_zip, locate
from recsys_ae.errors import DataError

LINES = b"1\t10\t3\t5\n" * 50


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves a folder, with support for range requests."""

    requests: ClassVar[list[str | None]] = []

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.requests.append(wanted)
        if wanted is None:
            super().do_GET()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        with open(self.translate_path(self.path), "rb") as file:
            content = file.read()
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    handler = partial(RangeHandler, directory=str(folder))
    RangeHandler.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def card(url: str, checksum: str, **more) -> RatingsCard:
    table = {"path": "set/u.data", "separator": "\t", "header": False, "columns": {"user": 1, "item": 2, "rating": 3}}
    source = {"url": url, "md5": checksum, "unpack": "zip"}
    return RatingsCard.model_validate({"name": "set", "kind": "ratings", "files": [table], "sources": [source], **more})


def archive(folder) -> bytes:
    with zipfile.ZipFile(folder / "set.zip", "w") as file:
        file.writestr("set/u.data", LINES)
    return (folder / "set.zip").read_bytes()


def test_downloaded_unpacked_and_kept(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RECSYS_AE_DATA", str(tmp_path / "elsewhere"))
    folder, address = server
    wanted = card(f"{address}/set.zip", md5(archive(folder)), checksums={"set/u.data": md5(LINES)})
    path = locate(wanted, ["set/u.data"], tmp_path)
    assert path == cache_folder() / "set/u.data"
    assert path.read_bytes() == LINES
    (folder / "set.zip").unlink()
    assert locate(wanted, ["set/u.data"], tmp_path) == path


def test_own_data_folder_comes_first_and_is_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_DATA", str(tmp_path))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/u.data").write_bytes(LINES)
    wanted = card("http://127.0.0.1:1/none", "", checksums={"set/u.data": md5(LINES)})
    assert locate(wanted, ["set/u.data"], tmp_path) == tmp_path / "set/u.data"
    (tmp_path / "set/u.data").write_bytes(LINES[:-1])
    with pytest.raises(DataError, match=r"checksum of .*u\.data is .*, its card says"):
        locate(wanted, ["set/u.data"], tmp_path)


def test_checksum_of_gzip_is_that_of_its_content(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(LINES, 1))
    table = {"path": "x.gz", "columns": {"user": "a", "item": "b"}}
    wanted = RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [table], "checksums": {"x.gz": md5(LINES)}})
    assert locate(wanted, ["x.gz"], tmp_path) == tmp_path / "x.gz"


def test_interrupted_download_is_continued(server, tmp_path):
    folder, address = server
    (folder / "big").write_bytes(LINES)
    (tmp_path / "big.part").write_bytes(LINES[:100])
    download(f"{address}/big", tmp_path / "big", md5(LINES))
    assert (tmp_path / "big").read_bytes() == LINES
    assert RangeHandler.requests == ["bytes=100-"]
    assert not (tmp_path / "big.part").exists()


def test_complete_but_unrenamed_download_is_used(server, tmp_path):
    folder, address = server
    (folder / "big").write_bytes(LINES)
    (tmp_path / "big.part").write_bytes(LINES)
    download(f"{address}/big", tmp_path / "big", md5(LINES))
    assert (tmp_path / "big").read_bytes() == LINES


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    folder, address = server
    (folder / "big").write_bytes(LINES)
    with pytest.raises(DataError, match="checksum"):
        download(f"{address}/big", tmp_path / "big", md5(b"other"))
    assert list(tmp_path.iterdir()) == [folder]


def test_failed_download_says_what_to_do(server, tmp_path):
    with pytest.raises(DataError, match="failed: 404"):
        download(f"{server[1]}/none", tmp_path / "none", None)
    with pytest.raises(DataError, match="run again to continue, or set RECSYS_AE_DATA"):
        download("http://127.0.0.1:1/none", tmp_path / "none", None)


def test_archive_cannot_write_outside_its_folder(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr("fine.txt", "x")
        file.writestr("../outside.txt", "x")
    with pytest.raises(DataError, match="would leave its folder"):
        extract_zip(tmp_path / "bad.zip", inside)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bad.zip", "inside"]


def test_archive_with_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="would leave its folder"):
        extract_zip(tmp_path / "bad.zip", tmp_path)


def test_truncated_archive(tmp_path):
    (tmp_path / "bad.zip").write_bytes(archive(tmp_path)[:60])
    with pytest.raises(DataError, match="not a complete zip"):
        extract_zip(tmp_path / "bad.zip", tmp_path)


def test_short_download_is_not_complete(server, tmp_path, monkeypatch):
    folder, address = server
    (folder / "big").write_bytes(LINES)
    send = RangeHandler.copyfile
    monkeypatch.setattr(RangeHandler, "copyfile", lambda _, source, target: target.write(source.read(100)))
    with pytest.raises(DataError, match=f"ended after 100 of {len(LINES)} bytes; run again to continue"):
        download(f"{address}/big", tmp_path / "big", None)
    monkeypatch.setattr(RangeHandler, "copyfile", send)
    download(f"{address}/big", tmp_path / "big", None)
    assert (tmp_path / "big").read_bytes() == LINES


def test_deleted_member_is_brought_back(tmp_path):
    archive(tmp_path)
    extract_zip(tmp_path / "set.zip", tmp_path)
    (tmp_path / "set/own.txt").write_text("mine")
    (tmp_path / "set/u.data").unlink()
    extract_zip(tmp_path / "set.zip", tmp_path)
    assert (tmp_path / "set/u.data").read_bytes() == LINES
    assert (tmp_path / "set/own.txt").read_text() == "mine"
