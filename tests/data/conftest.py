"""Fixtures of tests of several modules."""

import threading
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
from downloads import RangeHandler


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
