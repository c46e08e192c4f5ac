import contextlib
import gzip
import hashlib
import shutil
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import yaml
from filelock import FileLock
from pydantic import ValidationError

from recsys_ae.data import download as downloads, fetch
from recsys_ae.data.cards import RatingsCard, read_card
from recsys_ae.data.download import download
from recsys_ae.data.fetch import locate, locate_table, locate_titles
from recsys_ae.data.id_tables import read_titles
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.folders import cache_folder

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
    with pytest.raises(DataError, match=r"MD5 checksum of .*u\.data is .*, but its card says"):
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
    with pytest.raises(DataError, match=r"the MD5 checksum of .*, but its card says"):
        download(f"{address}/big", tmp_path / "big", md5(b"other"))
    assert list(tmp_path.iterdir()) == [folder]


def test_failed_download_says_what_to_do(server, tmp_path):
    with pytest.raises(DataError, match="failed: 404"):
        download(f"{server[1]}/none", tmp_path / "none", None)
    with pytest.raises(DataError, match="run again to continue, or set RECSYS_AE_DATA"):
        download("http://127.0.0.1:1/none", tmp_path / "none", None)


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


class BadHandler(BaseHTTPRequestHandler):
    """A server of the kind that the address names."""

    def do_GET(self):
        getattr(self, self.path.strip("/").replace("-", "_"))()

    def head(self, code: int = 200, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def endless(self):
        self.head()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))

    def huge(self):
        self.head(Content_Length=10**15)

    def larger_than_the_disk(self):
        self.head(Content_Length=10**12 - 1)

    def lying(self):
        self.head(Content_Length=100)
        self.wfile.write(LINES)

    def silent(self):
        self.head(Content_Length=100)
        self.wfile.flush()
        done.wait()

    def dripping(self):
        self.head(Content_Length=10**6)
        with contextlib.suppress(OSError):
            while not done.wait(0.02):
                self.wfile.write(b"x")
                self.wfile.flush()

    def nonsense(self):
        self.wfile.write(b"hello\r\n\r\n")

    def odd_length(self):
        self.head(Content_Length="many")
        self.wfile.write(LINES)

    def broken_chunks(self):
        self.protocol_version = "HTTP/1.1"
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"5\r\nabc")

    def to_file(self):
        self.head(302, Location="file:///etc/passwd")

    def to_ftp(self):
        self.head(302, Location="ftp://127.0.0.1/x")

    def to_itself(self):
        self.head(302, Location="/to-itself")

    def other_part(self):
        self.head(206, Content_Range="bytes 0-9/10", Content_Length=10)
        self.wfile.write(LINES[:10])

    def log_message(self, *_):
        pass


done = threading.Event()


@pytest.fixture
def bad_server(monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.5)
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    done.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), BadHandler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        done.set()
        http.shutdown()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("endless", r"was stopped: it is over the limit of 0.01 GB; raise `max_gb` of its source$"),
        ("huge", r"was stopped: at 1000000.0 GB, it is over the limit of 0.01 GB"),
        ("silent", "failed: timed out; run again to continue"),
        ("dripping", "failed: only [0-9]+ bytes arrived in 0 seconds"),
        ("nonsense", "failed: "),
        ("odd-length", "failed: invalid literal"),
        ("broken-chunks", "failed: "),
        ("to-file", "failed: .*file:///etc/passwd"),
        ("to-ftp", "failed: it redirects to ftp://127.0.0.1/x; only http"),
        ("to-itself", "failed: 302 .*infinite loop"),
        ("lying", "MD5 checksum of .* is .*, but its card says"),
    ],
)
def test_bad_servers(bad_server, tmp_path, kind, message):
    with pytest.raises(DataError, match=message) as refused:
        download(f"{bad_server}/{kind}", tmp_path / "big", md5(LINES), max_gb=0.01)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "big").exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2e7


def test_a_download_that_does_not_fit_on_the_disk(bad_server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 10**6, 10**6))
    with pytest.raises(DataError, match=r"it has 1000.0 GB, but only 0.0 GB are free for .*big.part"):
        download(f"{bad_server}/larger-than-the-disk", tmp_path / "big", None, max_gb=2000)


def test_a_wrong_part_is_not_appended(bad_server, tmp_path):
    (tmp_path / "big.part").write_bytes(LINES[:20])
    with pytest.raises(DataError, match="another range of bytes than requested; run again"):
        download(f"{bad_server}/other-part", tmp_path / "big", md5(LINES))
    assert list(tmp_path.iterdir()) == []


def test_a_redirection_is_followed(server, tmp_path, monkeypatch):
    folder, address = server
    (folder / "there").write_bytes(LINES)
    monkeypatch.setattr(BadHandler, "moved", lambda self: self.head(302, Location=f"{address}/there"), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), BadHandler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        download(f"http://127.0.0.1:{http.server_port}/moved", tmp_path / "big", md5(LINES))
        http.shutdown()
    assert (tmp_path / "big").read_bytes() == LINES


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:,x", "x/y", "//x/y", "http:///y", "http://x:p/y"])
def test_only_web_addresses(tmp_path, url):
    with pytest.raises(DataError, match="is not a URL that begins with http:// or https://"):
        download(url, tmp_path / "x", None)
    with pytest.raises(ValidationError, match="is not a URL that begins with http:// or https://"):
        card(url, "")


PATHS = ["../x", "/x", "a/../../x", "~/x", "a\\x", "C:/x", "", ".", "a//b", "x" * 256, "..", "a\nb", "a/."]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "key",
    ["sources.0.path", "files.0.path", "folder", "checksums", "splits.a.train", "splits.a.flags", "features.users.path"],
)
def test_paths_of_cards_with_downloads_stay_inside(tmp_path, monkeypatch, path, key):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "cache"))
    table = {"path": "x.csv", "columns": {"user": "u", "item": "i"}}
    declared = {"name": "x", "kind": "ratings", "files": [table], "sources": [{"url": "http://h/x.csv", "path": "x.csv"}]}
    value = {
        "sources.0.path": {"sources": [{"url": "http://h/x.csv", "path": path}]},
        "files.0.path": {"files": [{**table, "path": path}]},
        "folder": {"folder": path},
        "checksums": {"checksums": {path: "0"}},
        "splits.a.train": {"splits": {"a": {"train": path or "..", "test": "y"}}},
        "splits.a.flags": {"splits": {"a": {"flags": path or "..", "column": "y"}}},
        "features.users.path": {
            "features": {"users": {"path": path, "id": "u", "columns": {"a": {"kind": "numeric", "column": "a"}}}}
        },
    }[key]
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**declared, **value}))
    with pytest.raises(ConfigError, match=rf"card.yaml: {key}.* must be a relative path below the data folder") as refused:
        read_card("card.yaml", tmp_path)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "url", ["http://h/", "http://h", "http://h/..", "http://h/a/?x=b.zip", "http://h/%00/..", "http://h/~x"]
)
def test_archives_need_a_name(url):
    with pytest.raises(ValidationError, match="does not end in a file name"):
        card(url, "")


def test_the_name_of_an_archive_has_no_query(tmp_path):
    assert card("http://h/a/set.zip?token=/../x#part", "").sources[0].name == "set.zip"


def test_a_misspelt_file_of_an_own_card_is_recognised(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_AE_DATA", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.csv").touch()

    def message(path: str) -> str:
        layout = {"path": path, "columns": {"user": 1, "item": 2}, "header": False}
        with pytest.raises(DataError) as caught:
            locate(RatingsCard(name="x", kind="ratings", files=[layout]), [path], tmp_path)
        return str(caught.value)

    assert message("data/lgo.csv").endswith(f"no file data/lgo.csv in {tmp_path}; did you mean '{tmp_path}/data/log.csv'?")
    assert message("dta/log.csv").endswith(f"; did you mean '{tmp_path}/data/log.csv'?")
    assert message("other.txt").endswith("; set RECSYS_AE_DATA to its folder")


@pytest.mark.parametrize("there", ["log.csv", "mylog.csv", "my/log.csv"])
def test_the_layout_is_that_of_the_file_that_is_found(tmp_path, there):
    layouts = [{"path": path, "columns": {"user": path, "item": "b"}} for path in ("log.csv", "mylog.csv", "my/log.csv")]
    (tmp_path / "my").mkdir()
    (tmp_path / there).touch()
    card = RatingsCard(name="x", kind="ratings", files=layouts)
    path, table = locate_table(card, card.files, tmp_path)
    assert (path, table.columns.user) == (tmp_path / there, there)


def test_a_given_file_of_titles_with_names_of_columns_is_read_by_them(tmp_path):
    """Columns that are declared by number are in any file."""
    columns = {"path": "films", "separator": "|", "header": False, "id": 1, "title": 2}
    log = {"path": "log.csv", "columns": {"user": "a", "item": "b"}}
    card = RatingsCard(name="x", kind="ratings", files=[log], titles=columns)
    (tmp_path / "films").write_text("7|Heat|1995\n")
    (tmp_path / "named").write_text("title|year|item_id\nHeat|1995|7\n")
    for name in ("films", "named"):
        path, layout = locate_titles(card, tmp_path, tmp_path / name)
        assert read_titles(path, "int", layout).to_dict("list") == {"item_id": [7], "title": ["Heat"]}


def test_own_cards_read_from_anywhere(tmp_path):
    """Nothing is written for a card without downloads."""
    (tmp_path / "data").mkdir()
    (tmp_path / "cards").mkdir()
    (tmp_path / "data/x.csv").write_bytes(LINES)
    for folder, path in (("../data", "x.csv"), (None, "../data/x.csv"), (None, str(tmp_path / "data/x.csv"))):
        table = {"path": path, "columns": {"user": "u", "item": "i"}}
        own = RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [table], "folder": folder})
        assert locate(own, [path], tmp_path / "cards").samefile(tmp_path / "data/x.csv")
    for name in ("x" * 300, "\ud800", ""):
        table = {"path": name, "columns": {"user": "u", "item": "i"}}
        own = RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [table]})
        with pytest.raises(DataError, match="dataset 'x': no file"):
            locate(own, [name], tmp_path)
    with pytest.raises(ValidationError, match=r"files.0.path: .* is not a path"):
        RatingsCard.model_validate({"name": "x", "kind": "ratings", "files": [{**table, "path": "a\0"}]})


def test_a_link_in_the_cache_does_not_lead_out(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/set").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"leads outside of .*cache through a link"):
        locate(card(f"{server[1]}/set.zip", md5(archive(server[0]))), ["set/u.data"], tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(DataError, match=r"cannot write downloads to .*file/cache; set RECSYS_AE_CACHE"):
        locate(card("http://127.0.0.1:1/x.zip", ""), ["x"], tmp_path)


def test_a_locked_cache_is_waited_for_so_long(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path))
    monkeypatch.setattr(fetch, "WAIT", 0.1)
    with FileLock(tmp_path / ".lock"), pytest.raises(OutputError, match=r"another process is downloading .*\.lock after"):
        locate(card("http://127.0.0.1:1/x.zip", ""), ["x"], tmp_path)
