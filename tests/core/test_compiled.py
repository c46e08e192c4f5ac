"""What compiled kernels return, where they are kept, what becomes of damaged ones, and what compiling costs."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import prange

import recsys_ae
from recsys_ae import folders
from recsys_ae.core.kernels import compiled as cache
from recsys_ae.core.kernels.compiled import compiled

ROOT = Path(recsys_ae.__file__).parent


def total(values: np.ndarray) -> float:
    """A function to compile."""
    found = 0.0
    for value in values:
        found += value
    return found


def use() -> bool:
    """Compile the function or load it from the cache, and use it; returns whether it was compiled."""
    function, before = cache.compiled()(total), seconds()
    assert function(np.arange(4.0)) == 6
    return seconds() > before


def seconds() -> float:
    """The time that was spent with compiling."""
    return cache.COMPILING.duration if cache.COMPILING.done else 0.0


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch) -> Path:
    """The folder of compiled code, empty."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.delenv("RECSYS_AE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(tmp_path))
    for function in (cache._where_to_save, cache._announce):
        function.cache_clear()
    yield tmp_path / "kept"
    for function in (cache._where_to_save, cache._announce):
        function.cache_clear()


def test_compiled_once(kept):
    assert [use(), use()] == [True, False]
    assert len(list(kept.iterdir())) == 1


def test_the_clock_stands_still_while_a_kernel_is_compiled(kept, monkeypatch):
    monkeypatch.setattr(cache, "perf_counter", lambda: 1000.0)
    start, compiled, after = cache.working_seconds(), use(), cache.working_seconds()
    assert compiled
    assert after < start
    assert not use()
    assert cache.working_seconds() == after


def test_compilation_is_announced_once(kept, caplog):
    caplog.set_level("INFO", "recsys_ae")
    use(), cache.compiled()(lambda x: x + 1)(1.0)
    (message,) = caplog.messages
    assert message == f"compiling the kernels that are needed, which takes seconds each; they are kept in {kept}"
    cache._announce.cache_clear()
    use()
    assert len(caplog.messages) == 1  # nothing is compiled


DAMAGES = {
    "empty": lambda content: content[:0],
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: os.urandom(len(content)),
    "one bit": lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
    "longer": lambda content: content + b"x",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_code_is_compiled_again(kept, damage):
    use()
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    assert [use(), use()] == [True, False]
    assert list(kept.iterdir()) == [file]


def test_a_folder_in_place_of_the_file(kept):
    use()
    (file,) = kept.iterdir()
    file.unlink()
    file.mkdir()
    assert use()


def test_code_of_other_sources_is_compiled_again(kept, monkeypatch):
    """Also of other kernels, which may be a part of it."""
    use()
    monkeypatch.setattr(cache, "_sources", lambda: b"newer")
    assert [use(), use()] == [True, False]
    assert len(list(kept.iterdir())) == 1


def test_the_next_folder_where_the_first_cannot_be_written(kept, tmp_path):
    kept.write_text("no folder")
    assert [use(), use()] == [True, False]
    assert len(list((tmp_path / "user/recsys-ae/kernels").iterdir())) == 1


def test_code_beside_the_sources_is_used_where_nothing_can_be_written(kept, tmp_path, monkeypatch):
    """For images of containers that are prepared as another user."""
    use()
    monkeypatch.setattr(cache, "writable", lambda _: False)
    cache._where_to_save.cache_clear()
    assert not use()


def test_nowhere(kept, tmp_path, monkeypatch):
    """Compiled in each process."""
    kept.write_text("no folder")
    (tmp_path / "user").write_text("no folder")
    monkeypatch.setattr(folders, "_private_folder", lambda: None)
    assert [use(), use()] == [True, True]


def test_a_full_disk(kept, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    use()
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(cache, "_sources", lambda: b"newer")
    assert use()
    assert len(list(kept.iterdir())) == 1


def test_the_private_folder_belongs_to_its_user_alone(tmp_path, monkeypatch):
    """Others could leave code in one that they can write to."""
    (tmp_path / "user").write_text("no folder")
    private = tmp_path / f"recsys-ae-{os.getuid()}"
    assert folders.cache_folder() == private
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    private.chmod(0o777)
    assert folders.cache_folder() is None
    private.rmdir()
    (tmp_path / "other").mkdir(mode=0o700)
    private.symlink_to(tmp_path / "other")
    assert folders.cache_folder() is None


def test_the_folder_that_is_named_is_the_only_one(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_AE_CACHE", str(tmp_path / "mine"))
    assert folders.cache_folders() == [tmp_path / "mine"]
    assert folders.cache_folder() == tmp_path / "mine"


FORKED = """
import multiprocessing, numpy as np, torch, recsys_ae as ra
from builders import random_interactions
from recsys_ae.core.kernels import best

kernels = [best.best_products, best.best_of_scores]
torch.set_num_threads(2)
data = random_interactions()
models = [ra.build_model(name, {}).fit(data) for name in ("als", "ease")]
before = [ra.recommend(model, data, k=5) for model in models]
square = torch.rand(900, 900) @ torch.rand(900, 900)

def work():
    assert torch.isfinite(square @ square).all()
    assert not any(kernel.targetoptions["parallel"] for kernel in kernels)
    for model, lists in zip(models, before):
        again = ra.recommend(model, data, k=5)
        np.testing.assert_array_equal(again.item_rows, lists.item_rows)
        np.testing.assert_array_equal(again.scores, lists.scores)
    ra.build_model("als", {}).fit(data)

process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join(300)
process.kill()
assert all(kernel.targetoptions["parallel"] for kernel in kernels)
raise SystemExit(process.exitcode)
"""


LATE = """
import multiprocessing, numba, recsys_ae as ra

numba.set_num_threads(2)  # starts them

def work():
    from builders import random_interactions
    data = random_interactions()
    ra.recommend(ra.build_model("als", {}).fit(data), data, k=5)

process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join(300)
process.kill()
raise SystemExit(process.exitcode)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@pytest.mark.parametrize("program", [FORKED, LATE], ids=["computing", "loading-numba"])
def test_a_process_forked_after(program):
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def is_compiled(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).startswith("compiled(") for decorator in function.decorator_list)


def test_no_kernel_gives_python_an_array():
    """numba runs Python code to make one, and crashes if a signal's handler raises in it."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in cache.HERE.glob("*.py")]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    kernels = [function for function in functions if is_compiled(function)]
    give = {kernel.name for kernel in kernels if ast.unparse(kernel.returns) not in {"None", "bool", "int", "float"}}
    assert "packed_rows" in give
    within = {id(node) for kernel in kernels for node in ast.walk(kernel)}
    outside = {node.func.id for tree in trees for node in ast.walk(tree) if calls_by_name(node) and id(node) not in within}
    assert give.isdisjoint(outside)
    others = [path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py") if path.parent != cache.HERE]
    assert not [name for name in give if not name.startswith("_") and any(f"{name}(" in other for other in others)]


def calls_by_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@compiled(fastmath=True)
def weighted(values, weights):
    found = np.float32(0)
    for n in range(len(values)):
        found += values[n] * weights[n]
    return found


@compiled(parallel=True)
def weighted_rows(matrix, weights, out):
    for row in prange(len(matrix)):
        out[row] = weighted(matrix[row], weights) / np.sqrt(weighted(weights, weights))


def test_a_kernel_gives_the_same_bits_in_the_process_that_compiles_it():
    """Code in it is optimised together with it, unlike what the compiler would link first."""
    matrix, weights = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((300, 41), 41))
    found = []
    for _ in range(2):
        out = np.empty(300, np.float32)
        function = cache.compiled(parallel=True)(weighted_rows.py_func)
        function(matrix, weights, out)
        found.append(out)
    np.testing.assert_array_equal(*found)
