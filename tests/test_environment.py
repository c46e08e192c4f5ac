"""The command line in surroundings that others decide: signals, closed or full outputs, other processes, no home."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import recsys_ae

ROOT = Path(recsys_ae.__file__).parent.parent
COMMAND = [sys.executable, "-m", "recsys_ae"]
PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 100, "items": 60, "ratings": 1000, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [{"name": "popularity"}],
    "metrics": ["ndcg@5"],
}
ENDLESS = {**PIPELINE, "models": [{"name": "autorec", "hidden": 60, "epochs": 100_000, "patience": 0}]}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with `mine.yaml`, a quick pipeline, and `endless.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    (tmp_path / "endless.yaml").write_text(yaml.safe_dump(ENDLESS))
    return tmp_path


def output_of(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, **options)


def start_endless(**options: object) -> subprocess.Popen[str]:
    """A run in `out` that is training."""
    command = [*COMMAND, "run", "endless.yaml", "--tracking-uri", "none", "--output", "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    while not Path("out/.work/autorec.checkpoint").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_run_in_progress_is_not_disturbed(folder):
    process = start_endless()
    try:
        for more in ([], ["--resume"]):
            refused = output_of("run", "endless.yaml", "--tracking-uri", "none", "--output", "out", *more)
            assert refused.returncode == 1
            assert "a run is in progress in out; wait for it or choose another --output" in refused.stderr
            assert f"process {process.pid} holds out/.lock" in refused.stderr
            assert "remove" not in refused.stderr
    finally:
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 143
    assert errors.splitlines()[-1] == "recsys-ae: terminated"
    again = output_of("run", "endless.yaml", "--tracking-uri", "none", "--output", "out")
    assert "out holds an interrupted run; continue it with --resume" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
def test_a_hangup_ends_a_run_unless_it_is_ignored(folder, ignored):
    """As `nohup` does."""
    process = start_endless(preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignored else None)
    before = Path("out/.work/autorec.checkpoint").stat().st_mtime_ns
    process.send_signal(signal.SIGHUP)
    if ignored:
        while Path("out/.work/autorec.checkpoint").stat().st_mtime_ns == before:  # training goes on
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors.splitlines()[-1]) == (
        (130, "recsys-ae: interrupted") if ignored else (143, "recsys-ae: terminated")
    )


@pytest.mark.slow
def test_runs_started_at_the_same_moment_have_their_own_folders(folder):
    command = [*COMMAND, "run", "mine.yaml", "--tracking-uri", "none"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert len(list(folder.glob("runs/*/report.json"))) == 3


@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["datasets", "show", "digits"], ["models", "mf"]])
def test_a_full_disk_or_a_closed_pipe_behind_the_output(folder, arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "recsys-ae: cannot write the output: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_streams(folder):
    done = subprocess.run(f"{sys.executable} -m recsys_ae models >&- 2>&-", shell=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("module", ["typer", "yaml"])
def test_interrupted_while_importing(folder, module):
    """The first is imported by the command line itself, the second by a command."""
    (folder / f"{module}.py").write_text("raise KeyboardInterrupt")
    done = output_of("datasets", env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"})
    assert (done.returncode, done.stderr) == (130, "recsys-ae: interrupted\n")


@pytest.fixture
def installed(tmp_path) -> dict[str, str]:
    """The environment of a user without a home, with a copy of the package in which not even root can keep compiled code."""
    copy = tmp_path / "installed"
    shutil.copytree(ROOT / "recsys_ae", copy / "recsys_ae", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("datasets", "pipelines"):
        shutil.copytree(ROOT / name, copy / name)
    for package in (path for path in (copy / "recsys_ae").rglob("*") if path.is_dir()):
        (package / "__pycache__").write_text("no folder")
    (tmp_path / "temporary").mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "RECSYS_AE_", "NUMBA_", "MPL"))}
    return {**kept, "HOME": "/dev/null", "PYTHONPATH": str(copy), "TMPDIR": str(tmp_path / "temporary")}


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.slow
@pytest.mark.parametrize("temporary", [True, False])
def test_a_read_only_installation_without_a_home(tmp_path, installed, temporary):
    """Runs, evaluates and exports; besides the outputs, only the temporary folder has anything new. Without one, too."""
    if not temporary:  # a folder of another kind, so that no cache can be made even by root
        (tmp_path / "temporary" / f"recsys-ae-{os.getuid()}").write_text("no folder")
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "export": {"k": 5}}))
    (here / "log.csv").write_text("user,item,rating\n1,1001,5\n2,1002,4\n")
    (here / "truth.csv").write_text("user,item\nu001,1003\nu002,1003\n")
    before, out = below(tmp_path), tmp_path / "out"
    for arguments in (
        ["run", "mine.yaml", "--tracking-uri", "none", "--output", out / "run"],
        ["export", out / "run/models/popularity", "--history", "log.csv", "--k", "5", "--output", out / "lists"],
        ["evaluate", out / "run/recommendations", "--truth", "truth.csv", "--metrics", "ndcg@5"],
    ):
        done = output_of(*map(str, arguments), cwd=here, env=installed)
        assert done.returncode == 0, done.stderr
        assert "cannot cache" not in done.stderr
    new = {path for path in below(tmp_path) - before if not path.startswith("out")}
    assert {path.split("/")[0] for path in new} <= {"temporary"}
    compiled = [path for path in new if path.endswith(".nbc")]
    assert bool(compiled) == temporary
    assert {Path(path).parts[:3] for path in compiled} <= {("temporary", f"recsys-ae-{os.getuid()}", "kernels")}
