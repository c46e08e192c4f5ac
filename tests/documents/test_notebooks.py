"""Each notebook runs in a process of its own, on smaller data, and finds what its text says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import Command

NOTEBOOKS = Path(__file__).parents[2] / "docs/notebooks"
RUN = """
import json, runpy, sys
_, found = runpy.run_path(sys.argv[1])["app"].run(defs=json.loads(sys.argv[2]))
print(json.dumps(eval(sys.argv[3], dict(found))))
"""


@pytest.fixture
def run(tmp_path):
    """A function: the value of the expression `wanted` after a notebook has run with these `settings` in place of its own."""
    program = tmp_path / "run_notebook.py"
    program.write_text(RUN)

    def run_notebook(name: str, settings: dict[str, Any], wanted: str) -> Any:
        with Command(NOTEBOOKS / name, json.dumps(settings), wanted, program=program) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return json.loads(out.splitlines()[-1])

    return run_notebook


@pytest.mark.slow
def test_from_file_to_export(run):
    settings = {"n_users": 300, "n_items": 150, "n_ratings": 8000}
    ndcg, letters, wrong, rows = run(
        "from_file_to_export.py", settings, "[dict(results['ndcg@10']), dict(results['letters']), len(wrong), len(lists)]"
    )
    assert min(ndcg, key=ndcg.get) == "popularity"
    assert all(letters.values())
    assert (wrong, rows) == (0, 3000)


@pytest.mark.slow
def test_lineage(run):
    settings = {"dataset": "digits", "epochs": 4}
    errors, angle, damage, rest, activity, drawn = run(
        "lineage_on_mnist.py",
        settings,
        "[list(subspaces['error']), float(subspaces.iloc[1, 1]), damage, rest, activity, list(generated.shape)]",
    )
    assert errors[1] == pytest.approx(errors[0], rel=0.01)
    assert angle < 15
    assert rest < damage
    assert activity["sparse"] < activity["tied"]
    assert drawn == [40, 64]


@pytest.mark.slow
def test_sessions(run):
    found, events = run("sessions.py", {"n_users": 300, "gru_epochs": 4}, "[results['mrr@20'].to_dict(), len(unfolding)]")
    assert all(found[model] > found["popularity"] for model in ("vsknn", "slist", "gru"))
    assert found["best possible"] > max(found[model] for model in ("vsknn", "slist", "gru"))
    assert events >= 3


def test_marimo_has_nothing_to_say():
    paths = sorted(map(str, NOTEBOOKS.glob("*.py")))
    done = subprocess.run([sys.executable, "-m", "marimo", "check", "--strict", *paths], capture_output=True, text=True)
    assert (done.returncode, len(paths)) == (0, 3), done.stdout + done.stderr
