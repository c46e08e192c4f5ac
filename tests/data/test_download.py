"""Downloads, from good servers and bad ones."""

import contextlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from downloads import LINES, RangeHandler, card, md5
from pydantic import ValidationError

from recsys_ae.data import download as downloads
from recsys_ae.data.download import download
from recsys_ae.errors import DataError


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
