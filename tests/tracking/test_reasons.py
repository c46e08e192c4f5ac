"""Messages of libraries in a phrase."""

import pytest

from recsys_ae.tracking.reasons import LOGIN, reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(sqlite3.OperationalError) database is locked\n[SQL: INSERT ...]", "database is locked"),
        ("(raised as a result of Query-invoked autoflush)\n(a.B) disk I/O error", "disk I/O error"),
        ("API request failed: Max retries (Caused by X('...: [Errno 111] Connection refused'))", "Connection refused"),
        ('... [Errno -2] Name or service not known")', "Name or service not known"),
        ("HTTPConnectionPool(host='h', port=1): Read timed out. (read timeout=20)", "the server does not answer"),
        ("API request to endpoint /api/x failed with error code 401 != 200. Response body: 'You are ...'", LOGIN),
        ("401 Client Error: Unauthorized for url: http://h/api", LOGIN),
        (
            "API request to endpoint /api/x failed with error code 403 != 200. Response body: 'Permission denied'",
            "permission denied, or there is no such thing",
        ),
        (
            "API request to https://me:pw@h/api failed with exception X",
            "API request to https://***@h/api failed with exception X",
        ),
        ("disk on fire", "disk on fire"),
        ("API request to https://me:secret@host/x?key=1 failed", "API request to https://***@host/x?*** failed"),
        ("", "ValueError"),
    ],
)
def test_a_phrase(text, said):
    assert reason(ValueError(text)) == said
