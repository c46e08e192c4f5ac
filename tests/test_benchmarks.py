"""Every benchmark still starts, runs through on tiny sizes, and prints what it promises. No figure is judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))


def smoke(name: str) -> list[str]:
    """The lines that a benchmark prints with `--smoke`."""
    command = [sys.executable, f"benchmarks/{name}", "--smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "recbole_peer.py"])
def test_every_benchmark_ends_with_its_figures(name):
    figures = json.loads(smoke(name)[-1])
    assert figures


def test_the_peer_says_what_is_missing():
    """RecBole needs an environment of its own; in this one the script says so and does not fail."""
    (sentence,) = smoke("recbole_peer.py")
    assert sentence.startswith(("the peers are complete in ", f"{sys.prefix} has no "))
