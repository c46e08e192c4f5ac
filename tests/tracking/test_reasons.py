"""Messages of libraries in a phrase."""

import pytest

from recsys_ae.tracking.reasons import reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(sqlite3.OperationalError) database is locked\n[SQL: INSERT ...]", "database is locked"),
        ("(raised as a result of Query-invoked autoflush)\n(a.B) disk I/O error", "disk I/O error"),
        ("API request failed: Max retries (Caused by X('...: [Errno 111] Connection refused'))", "Connection refused"),
        ('... [Errno -2] Name or service not known")', "Name or service not known"),
        ("HTTPConnectionPool(host='h', port=1): Read timed out. (read timeout=20)", "the server does not answer"),
        ("disk on fire", "disk on fire"),
        ("API request to https://me:secret@host/x?key=1 failed", "API request to https://***@host/x?*** failed"),
        ("", "ValueError"),
    ],
)
def test_a_phrase(text, said):
    assert reason(ValueError(text)) == said
