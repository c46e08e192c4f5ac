"""Threads: results do not depend on their number, and waiting threads sleep."""

import os
import subprocess
import sys

import numba
import pytest
import torch
from builders import SMALL, clicks, planted
from torch import nn

from recsys_ae import build_model
from recsys_ae.core import threads, trainer
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import TrainConfig
from recsys_ae.models.storage import model_digest


@pytest.mark.parametrize("name", ["autorec", "cdae", "elsa", "multdae", "multvae", "recvae"])
def test_results_do_not_depend_on_the_number_of_threads(name, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_IT", 0)  # or small batches would have one thread in any case
    before, digests = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            data = planted() if name == "autorec" else clicks()
            digests.append(model_digest(build_model(name, {**SMALL.get(name, {}), "epochs": 3}).fit(data)))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("shape", [(600, 131), (48, 701), (2, 3)])
def test_functions_of_rows_do_not_either(shape):
    x, before, found = torch.randn(shape, generator=torch.Generator().manual_seed(0)), torch.get_num_threads(), []
    try:
        for number in (1, 2, 3, 7):
            torch.set_num_threads(number)
            found.append(threads.by_rows(nn.functional.silu, x))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[0], nn.functional.silu(x))
    assert all(torch.equal(one, found[0]) for one in found)


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


def test_small_batches_have_one_thread_and_large_ones_all(monkeypatch):
    seen, run = [], trainer._run_epoch
    monkeypatch.setattr(
        trainer, "_run_epoch", lambda *args: seen.append((torch.get_num_threads(), numba.get_num_threads())) or run(*args)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for least in (0, 1e30):
            monkeypatch.setattr(threads, "WORTH_IT", least)
            build_model("autorec", {**SMALL["autorec"], "epochs": 1}).fit(planted())
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [(2, min(2, numba.config.NUMBA_NUM_THREADS)), (1, 1)]


def test_the_work_of_a_sampled_objective_is_that_of_its_entries():
    class Sampled:
        sampled = True

    rows = SparseRows.from_arrays([0, 1, 3], [0, 1, 4], [1.0, 1.0, 1.0], 6)
    network, config = nn.Linear(6, 4, bias=False), TrainConfig(1, 10)
    assert trainer._work(network, object(), rows, config) == 2 * 24
    assert trainer._work(network, Sampled(), rows, config) == 2 * 24 * 3 / 12
