"""Threads: the same results with any number, and none that spin."""

import os
import subprocess
import sys

import pytest
import torch
from builders import SMALL, clicks, planted

from recsys_ae import build_model
from recsys_ae.models.storage import model_digest


@pytest.mark.parametrize("name", ["autorec", "cdae", "elsa", "multdae", "multvae", "recvae"])
def test_results_do_not_depend_on_the_number_of_threads(name):
    before, digests = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            data = planted() if name == "autorec" else clicks()
            digests.append(model_digest(build_model(name, {**SMALL.get(name, {}), "epochs": 3}).fit(data)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert digests[0] == digests[1]


def run(script: str, **environment: str) -> str:
    names = ("GOMP_SPINCOUNT", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_WAIT_POLICY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=clean | environment)
    return done.stdout.strip()


def test_importing_the_package_sets_how_threads_wait():
    script = "import recsys_ae, os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('NUMBA_NUM_THREADS'))"
    assert run(script) == "3000 None"
    assert run(script, GOMP_SPINCOUNT="7", OMP_NUM_THREADS="1") == "7 1"
    assert run(script, OMP_WAIT_POLICY="passive") == "None None"


@pytest.mark.skipif(sys.platform != "linux", reason="only libgomp spins")
def test_if_torch_came_first_an_idle_team_makes_waiting_threads_sleep():
    names = "[thread.name for thread in threading.enumerate() if thread.name == 'recsys-ae-idle']"
    script = f"import torch, threading; import recsys_ae.core.trainer; print(len({names}))"
    assert run(script) == "1"
    assert run(script.replace("import torch,", "import recsys_ae,")) == "0"
    assert run(script, OMP_WAIT_POLICY="passive") == "0"
