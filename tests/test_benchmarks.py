"""Every benchmark runs on tiny sizes and prints its results, whose values are not checked here."""

import json
import sys
from pathlib import Path

import pytest
from commands import Command

ROOT = Path(__file__).parents[1]
PEERS = ["evaluation_peers.py", "library_peers.py", "recbole_peer.py"]  # run in an environment of their own
BENCHMARKS = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))


def smoke(name: str) -> list[str]:
    """The output lines of a benchmark with `--smoke`."""
    with Command("--smoke", folder=ROOT, program=ROOT / "benchmarks" / name) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return out.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in PEERS])
def test_every_benchmark_prints_its_results(name):
    figures = json.loads(smoke(name)[-1])
    assert figures


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_script_says_what_is_missing(name):
    """RecBole needs its own environment; in this one the script says so and does not fail."""
    (sentence,) = smoke(name)
    assert sentence.startswith(("all peers are installed in ", f"{sys.prefix} has no "))
