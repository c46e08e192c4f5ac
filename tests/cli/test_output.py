"""The folder of a run: resumed after any end, and left alone if it is another's."""

import os
import signal
import time

import pytest
import yaml
from commands import Command
from filelock import FileLock
from small_run import PIPELINE, metrics, run

from recsys_ae.errors import Terminated
from recsys_ae.models.baselines import Popularity


def test_a_finished_run_is_not_overwritten(call, ran):
    before = (ran / "out/report.json").read_bytes()
    code, _, err = run(call)
    assert (code, "already holds a finished run" in err) == (1, True)
    code, out, _ = run(call, "--resume")
    assert (code, "noise floor" in out) == (0, True)
    assert (ran / "out/report.json").read_bytes() == before


def test_resume_with_another_pipeline_is_refused(call, ran):
    code, _, err = run(call, "--resume", "--set", "seed=1")
    assert (code, "holds a run of another pipeline" in err) == (2, True)


def test_no_temporary_folder(call, folder, monkeypatch):
    from recsys_ae import folders

    def missing() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(folders.tempfile, "gettempdir", missing)
    code, _, err = run(call)
    assert code == 1
    assert err == "recsys-ae: there is no writable folder for temporary files; set TMPDIR to one\n"
    assert not (folder / "out").exists()


def test_two_runs_in_one_folder(call, folder):
    (folder / "out").mkdir()
    with FileLock(folder / "out/.lock"):
        code, _, err = run(call)
    assert code == 1
    assert f"a run is in progress in out; wait for it or choose another --output (process {os.getpid()} holds out/.lock)" in err
    assert list((folder / "out").iterdir()) == [folder / "out/.lock"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "killed_in"),
    [
        ({}, "autorec"),
        ({"seed": [3, 1], "refit": True}, "autorec-seed-3+refit"),
        ({"seed": [3, 1]}, "autorec-seed-1"),
        ({"search": {"trials": 3}}, "autorec-trial-2"),
        ({"export": {"k": 10, "model": "autorec"}}, "autorec+final"),
    ],
)
def test_killed_run_resumes_to_the_same_result(call, folder, more, killed_in):
    """SIGKILL during training; the resumed run ends with exactly the figures of an uninterrupted one."""
    autorec = {"name": "autorec", "hidden": 60, "epochs": 60, "patience": 0}
    if "search" in more:
        autorec["search"] = {"l2": [1, 10, 100]}
    slow = {**PIPELINE, **more, "models": [autorec, *PIPELINE["models"][1:]]}
    (folder / "slow.yaml").write_text(yaml.safe_dump(slow))
    arguments = ["run", "slow.yaml", "--tracking-uri", "none", "--output"]
    with Command(*arguments, "whole") as whole:  # a long-lived process may round in another way
        assert whole.wait() == 0, whole.communicate()
    checkpoint = folder / f"killed/.work/{killed_in}.checkpoint"
    with Command(*arguments, "killed") as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "killed/report.json").exists()
    if not more:
        code, _, told = call(*arguments, "killed")
        assert (code, "continue it with --resume" in told) == (1, True)
    with Command(*arguments, "killed", "--resume") as resumed:
        _, told = resumed.communicate()
    assert resumed.returncode == 0, told
    assert f"{killed_in.removesuffix('+refit').removesuffix('-trial-2')}: continuing after epoch" in told
    assert metrics(folder / "killed/report.json") == metrics(folder / "whole/report.json")
    for file in ("final/arrays.safetensors", "recommendations/part-00000.parquet"):
        assert (folder / "killed" / file).read_bytes() == (folder / "whole" / file).read_bytes()


def test_a_failing_model_loses_no_finished_one(call, folder, monkeypatch):
    from recsys_ae.models.mf import MatrixFactorisation

    fit = MatrixFactorisation.fit
    monkeypatch.setattr(MatrixFactorisation, "fit", lambda *_, **__: 1 / 0)
    code, _, err = run(call)
    assert (code, "unexpected ZeroDivisionError" in err) == (1, True)
    monkeypatch.setattr(MatrixFactorisation, "fit", fit)
    trained = (folder / "out/models/autorec/arrays.safetensors").stat().st_mtime_ns
    code, _, _ = run(call, "--resume")
    assert code == 0
    assert (folder / "out/models/autorec/arrays.safetensors").stat().st_mtime_ns == trained


def test_terminated_and_interrupted(call, folder, monkeypatch):
    for error, code, message in ((Terminated, 143, "terminated"), (KeyboardInterrupt, 130, "interrupted")):

        def stop(*_, error=error, **__):
            raise error

        monkeypatch.setattr(Popularity, "fit", stop)
        found, _, err = call("run", "mine.yaml", "--output", f"out{code}", "--tracking-uri", "none")
        assert (found, err.strip().splitlines()[-1]) == (code, f"recsys-ae: {message}")


def test_a_mistake_that_shows_late_leaves_the_place_free(call, folder):
    """The corrected run can use the same output folder."""
    impossible = {"name": "mf", "factors": 2, "epochs": 1, "warm_start": "nowhere"}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "models": [impossible]}))
    assert run(call)[0] != 0
    assert not (folder / "out").exists()
    (folder / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    assert run(call)[0] == 0
