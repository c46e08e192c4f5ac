"""The line that announces an expensive fit."""

import pytest

from recsys_ae.models.costs import announce


@pytest.mark.parametrize(
    ("needed", "seconds", "said"),
    [
        (99_000_000, 9.9, ""),
        (100_000_000, 0.2, "x: 100 MB of memory, about 1 s"),
        (1_000, 10, "x: 1 MB of memory, about 10 s"),
        (1_260_000_000, 119.5, "x: 1.3 GB of memory, about 120 s"),
        (1, 3600, "x: 1 MB of memory, about 60 minutes"),
    ],
)
def test_large_costs_are_announced_in_units_that_fit(monkeypatch, caplog, needed, seconds, said):
    monkeypatch.setattr("recsys_ae.limits.available_memory", lambda: 10**10)
    with caplog.at_level("INFO", logger="recsys_ae"):
        announce("x", needed, seconds, "use less")
    assert "".join(caplog.messages) == said
