"""A server of files, and a card of a dataset that is downloaded from it."""

import hashlib
import zipfile
from http.server import SimpleHTTPRequestHandler
from typing import ClassVar

from recsys_ae.data.cards import RatingsCard

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
