"""Training in two processes is that in one: losses to a relative 1e-5, scores and codes to 1e-5.

Sums are rounded in another order. The data and the batches are those of `ranks.py`.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
import ranks
import yaml
from commands import Command

TESTS = Path(__file__).parent
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ON_RANK_0 = {"mf", "wide-deep", "wide-deep-softmax", "wide-deep-ordinal", "wide-deep-ids", "wide", "images-dense-wide-sparse"}
PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 120, "items": 61, "ratings": 1400, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [
        {"name": "autorec", "hidden": 10, "epochs": 8, "patience": 2, "search": {"l2": [1, 20]}},
        {"name": "multvae", "hidden": 10, "epochs": 8, "precision": "float32"},
        {"name": "ease"},
    ],
    "metrics": ["rmse", "ndcg@5"],
    "refit": True,
    "export": {"k": 5, "model": "autorec"},
}
pytestmark = pytest.mark.slow


def start(folder: Path, *command: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "OMP_NUM_THREADS": "1"}
    line, pipe = [*map(str, command)], subprocess.PIPE
    return subprocess.Popen(line, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def finished(folder: Path, *command: object) -> tuple[str, str]:
    """Standard output and error of a command that succeeds."""
    process = start(folder, *command)
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return out, err


def run_of(name: str, *more: str) -> list[str]:
    return ["-m", "recsys_ae", "run", "mine.yaml", "--output", name, "--tracking-uri", "none", *more]


def run_alone(folder: Path) -> None:
    """The run `one` in one process."""
    with Command(*run_of("one")[2:], folder=folder) as process:
        assert process.wait() == 0, process.communicate()


def results(output: Path) -> dict[str, tuple[object, ...]]:
    models = json.loads((output / "report.json").read_text())["models"]
    return {label: (one["metrics"], one["params"]) for label, one in models.items()}


@pytest.fixture(scope="module")
def alone():
    return ranks.outcomes()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    finished(folder, *LAUNCH, TESTS / "ranks.py", folder / "found.json")
    return json.loads((folder / "found.json").read_text())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    return tmp_path


def test_losses_and_outputs_are_those_of_one_process(alone, together):
    labels = alone.keys() - {"disturbed", "afterwards"}
    assert len(labels) > 40
    for label in labels:
        (expected, _, outputs), (curves, _, found) = alone[label], together[label]
        assert curves.keys() == expected.keys()
        for stage, epochs in expected.items():
            # The line search of L-BFGS (`head`) and training after training (`tuning`) enlarge differences in rounding.
            tolerance = 1e-4 if stage in ("head", "tuning") else 1e-5
            values = (np.array(side, np.float64) for side in (curves[stage], epochs))  # None, without validation, becomes NaN
            np.testing.assert_allclose(*values, rtol=tolerance, err_msg=f"{label} {stage}")
        np.testing.assert_allclose(found, outputs, atol=1e-4 if "tuning" in expected else 1e-5, err_msg=label)


def test_only_losses_that_are_not_sums_over_rows_are_left_to_rank_0(alone, together):
    own = {label for label, (_, processes, _) in list(together.items())[:-2] if set(processes) == {1}}
    assert own == ON_RANK_0
    assert all(set(together[label][1]) == {2} for label in alone.keys() - own - {"disturbed", "afterwards"})


def test_weights_that_differ_are_noticed_and_do_not_spoil_the_next_training(alone, together):
    assert alone["disturbed"] is None
    assert together["disturbed"].startswith("after epoch 2, rank 1 and rank 0 have different weights; ")
    np.testing.assert_allclose(together["afterwards"][""], alone["afterwards"][""], rtol=1e-5)


def test_a_pipeline_gives_the_results_of_one_process_once(folder):
    """With three ranks, whose output, log and tracked runs are those of the first."""
    run_alone(folder)
    out, err = finished(folder, *LAUNCH[:-1], "3", *run_of("three", "--tracking-uri", "sqlite:///mlflow.db"))
    assert results(folder / "three").keys() == {"autorec", "multvae-float32", "ease"}
    for label, (metrics, params) in results(folder / "one").items():
        found, chosen = results(folder / "three")[label]
        assert chosen == params
        assert found == pytest.approx(metrics, abs=1e-4)
    assert out.count("results: three") == out.count("small: 120 users, 61 items") == 1
    assert err.count("autorec: trial 2 of 2") == err.count("multvae-float32: fitted in") == 1
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        names = sorted(name for (name,) in store.execute("select name from runs"))
    trained = ["autorec", "autorec+final", "autorec-trial-1", "autorec-trial-2", "ease", "multvae-float32"]
    assert names == sorted(["mine", "recommendations", *trained])


@pytest.mark.parametrize(("given", "threads"), [({}, "4"), ({"OMP_NUM_THREADS": "3"}, "3"), ({"NUMBA_NUM_THREADS": "1"}, "1")])
def test_ranks_share_the_cores_of_a_machine(monkeypatch, given, threads):
    """The launcher sets OMP_NUM_THREADS to 1, if it is not set."""
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    environment = {**os.environ, "LOCAL_WORLD_SIZE": "3", "OMP_NUM_THREADS": "1", **given}
    cores = "import os; os.sched_getaffinity = lambda _: set(range(12))"
    line = [sys.executable, "-c", f"{cores}; import recsys_ae; print(os.environ['OMP_NUM_THREADS'])"]
    assert subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout.strip() == threads


def test_an_error_is_one_sentence(folder):
    process = start(folder, *LAUNCH, *run_of("two", "--set", "models.ease.l2=-1"))
    _, err = process.communicate()
    assert process.returncode
    assert sum(line.startswith("recsys-ae: ") for line in err.splitlines()) == 1


def test_a_killed_rank_ends_the_run_with_a_sentence_and_it_resumes(folder):
    """First rank 1, then, during the resumption, rank 0."""
    long = {"models": [{"name": "autorec", "hidden": 10, "epochs": 200, "patience": 0}], "refit": False, "export": None}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **long}))
    reached = 0.0
    for victim, *more in (["1"], ["0", "--resume"]):
        process = start(folder, *LAUNCH, *run_of("two", *more))
        while checkpointed(folder / "two") <= reached:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.kill(rank_of(process.pid, victim), signal.SIGKILL)
        _, err = process.communicate()
        reached = checkpointed(folder / "two")
        assert process.returncode
        sentences = [line for line in err.splitlines() if line.startswith("recsys-ae: ") and "--resume" not in line]
        assert len(sentences) == 1, err
        # the launcher may have sent SIGTERM to the other rank before that could notice
        lost, terminated = "another of the 2 ranks has ended, and so this training ends", sentences[0].endswith("terminated")
        assert lost in sentences[0] or terminated
        assert not (folder / "two/report.json").exists()
    _, err = finished(folder, *LAUNCH, *run_of("two", "--resume"))
    assert "continuing after epoch" in err
    run_alone(folder)
    (resumed, _), (expected, _) = (results(folder / name)["autorec"] for name in ("two", "one"))
    assert resumed == pytest.approx(expected, rel=1e-4)


def checkpointed(output: Path) -> float:
    """When the latest checkpoint of a training was written; 0 without one."""
    times = [0.0]
    for path in output.glob(".work/*.checkpoint"):
        with suppress(FileNotFoundError):  # replaced by a later one
            times.append(path.stat().st_mtime)
    return max(times)


def rank_of(launcher: int, rank: str) -> int:
    """The process of a rank."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    own = [
        int(child) for child in children if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    ]
    assert len(own) == 1
    return own[0]
