"""Threads, fixtures, and the rule for real data: absent data skips a test, except where CI says that it must be there."""

import logging
import os
import signal
import subprocess
import sys

# A worker of pytest-xdist, of which there is one per core, takes one thread, and so do the processes that tests start.
# Numba may be asked for two by a test about threads.
os.environ.update(
    {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    if "PYTEST_XDIST_WORKER" in os.environ
    else {}
)

from pathlib import Path

import hypothesis
import numpy as np
import pytest

import recsys_ae  # noqa: F401 - sets how threads wait, before torch is loaded

hypothesis.settings.register_profile("no deadline", deadline=None)  # examples compile, and other work may be going on
hypothesis.settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutations", type=int, help="mutations of the files of each reader in tests/robustness (default: a few)")


def set_threads(n: int) -> None:
    """Sets the number of threads of PyTorch and the compiled kernels."""
    import numba
    import torch

    torch.set_num_threads(n)
    numba.set_num_threads(n)


def pytest_sessionstart() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        set_threads(1)  # not by NUMBA_NUM_THREADS, because a test about threads may want two


@pytest.fixture
def two_threads():
    """A function that sets the number of threads, on machines with at least two; reset afterwards."""
    import numba
    import torch

    before = torch.get_num_threads(), numba.get_num_threads()
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two cores, and NUMBA_NUM_THREADS of at least 2")
    yield set_threads
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch, tmp_path_factory):
    """No test reads or writes a user's own cache or MLflow store."""
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module", autouse=True)
def _charts(request):
    """Pages of runs have charts, which take seconds, only in test files that are marked `charts`."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("charts") is None:
            patch.setattr("recsys_ae.reporting.html.render.drawn", lambda specs: [None] * len(specs))
        yield


@pytest.fixture
def call(capsys, monkeypatch):
    """Runs a command line in this process; returns exit code, stdout and stderr."""
    from recsys_ae import cli

    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recsys-ae", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capsys.readouterr()
        return exited.value.code, out, err

    return run


@pytest.fixture
def run_alone():
    """Runs a command in a process of its own; returns its exit code, stdout, stderr and the large libraries it imported."""

    def run(*arguments: str) -> tuple[int, str, str, set[str]]:
        script = (
            f"import sys; sys.argv[1:] = {list(arguments)}; from recsys_ae import cli\n"
            "try: cli.main()\n"
            "finally: print(*{'torch', 'mlflow', 'matplotlib', 'sklearn', 'numba', 'pandas'} & {*sys.modules}, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        messages, _, imported = done.stderr.rstrip("\n").rpartition("\n")
        return done.returncode, done.stdout, messages, {*imported.split()}

    return run


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("data"):
        folder = os.environ.get("RECSYS_AE_DATA")
        if folder and (Path(folder) / marker.args[0]).is_dir():
            continue
        reason = f"needs {marker.args[0]} in the folder that RECSYS_AE_DATA names (now {folder!r})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
