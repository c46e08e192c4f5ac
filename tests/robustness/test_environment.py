"""Machines as they are: no home, caches of others, signals, shared folders, stores with odd names."""

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from robustness.catalogue import ROOT, Case, call, cases
from robustness.feeding import RUN, pipeline, small_log, small_model

SMALL = {
    "mine.yaml": pipeline(
        models=[{"name": "popularity"}, {"name": "mf", "factors": 2, "epochs": 2}], metrics=["rmse", "ndcg@5"]
    ),
    "log.csv": small_log(),
}
WITHOUT_TRAINING = {"mine.yaml": pipeline(models=[{"name": "popularity"}], metrics=["ndcg@5"]), "log.csv": small_log()}
FOR_LOG = {"mine.yaml": pipeline(), "log.csv": small_log()}
UNTRACKED = "run mine.yaml --tracking-uri none"


def many_at_once() -> tuple[set[int], int]:
    """Exit codes and number of folders of runs that start in the same second without `--output`."""
    codes = {call(UNTRACKED)[0] for _ in range(3)}
    return codes, len(list(Path("runs").iterdir()))


def tracked(uri: str) -> tuple[int, str]:
    return call(f"run mine.yaml --output out --tracking-uri '{uri}'")


def databases() -> list[str]:
    return sorted(path.as_posix() for path in Path().rglob("*") if path.suffix == ".db")


def store(name: str, written: str | None = None) -> tuple[int, list[str]]:
    """Exit code of a run, and the databases that it made, for a store in a folder of that name, `written` so in its URI."""
    Path(name).mkdir(parents=True)
    code, _ = tracked(f"sqlite:///{written or name}/own.db")
    return code, databases()


def alias_elsewhere() -> tuple[int, list[str], bool]:
    """A model under an alias in a store that is not there: an error, and no new database in this folder."""
    Path("history.csv").write_text("user,item,rating\n1,101,5\n")
    command = "export models:/shop@best --history history.csv --output lists --tracking-uri sqlite:///stores/own.db"
    Path("stores").mkdir()
    code, message = call(command)
    return code, [name for name in databases() if not name.startswith("stores")], "shop" in message


def alias_in_its_store() -> tuple[int, list[str]]:
    """A model registered under an alias in another store is found there."""
    from mlflow.tracking import MlflowClient

    Path("stores").mkdir()
    uri = f"sqlite:///{Path('stores').absolute()}/own.db"
    assert call(f"run mine.yaml --output out --tracking-uri {uri}")[0] == 0
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    run = next(found for found in client.search_runs([experiment.experiment_id]) if found.info.run_name == "popularity")
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    client.create_registered_model("shop")
    version = client.create_model_version("shop", model.artifact_location, run.info.run_id)
    client.set_registered_model_alias("shop", "best", version.version)
    Path("history.csv").write_text("user,item,rating\n1,101,5\n")
    code, message = call(f"export models:/shop@best --history history.csv --output lists --tracking-uri {uri}")
    assert code == 0, message
    return code, [name for name in databases() if not name.startswith("stores")]


def locked_store() -> tuple[bool, bool]:
    """A store that another process has locked for good: the run ends in time, and says what it waited for or goes on."""
    Path("stores").mkdir()
    with FileLock("stores/own.db.lock"):
        script = [
            sys.executable,
            "-c",
            "from recsys_ae import cli; from recsys_ae.tracking import mlflow_store; mlflow_store.CREATION = 1; cli.main()",
            "run",
            "mine.yaml",
            "--output",
            "out",
            "--tracking-uri",
            "sqlite:///stores/own.db",
        ]
        try:
            done = subprocess.run(
                script, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        except subprocess.TimeoutExpired:
            return False, False
    return True, done.returncode in (0, 1) and "lock" in done.stderr


def occupied(name: str) -> tuple[int, bool]:
    """A second run in a folder where one is running: refused, without the advice to remove it."""
    Path("out").mkdir()
    with FileLock(f"out/{name}"):
        code, message = call(RUN)
    return code, "remove" not in message and "another run" in message


def failed_then_corrected(wrong: str, right: str) -> tuple[bool, int]:
    return call(f"{RUN} {wrong}")[0] != 0, call(f"{RUN} {right}")[0]


TO_DOWNLOAD = {
    "name": "x",
    "kind": "ratings",
    "files": [{"path": "x.csv", "columns": {"user": "u", "item": "i"}}],
    "sources": [{"url": "http://127.0.0.1:9/x.csv", "path": "x.csv"}],
}
ENVIRONMENT = [
    Case("several-runs-in-one-second", many_at_once, FOR_LOG, gives=({0}, 3)),
    Case(
        "failed-run-leaves-the-folder",
        lambda: failed_then_corrected("--set models.popularity.x=1", ""),
        FOR_LOG,
        gives=(True, 0),
    ),
    Case(
        "diverged-run-leaves-the-folder",
        lambda: failed_then_corrected("--set models=[{name:\\ mf,learning_rate:\\ 1e30}]", ""),
        FOR_LOG,
        gives=(True, 0),
    ),
    Case(
        "run-with-a-bad-split-leaves-the-folder",
        lambda: failed_then_corrected("--set split={kind:\\ time_cut,at:\\ 1960-01-01}", ""),
        FOR_LOG,
        gives=(True, 0),
    ),
    Case(
        "second-model-fails-then-is-corrected",
        lambda: failed_then_corrected(
            "--set models=[{name:\\ popularity},{name:\\ mf,learning_rate:\\ 1e30}]",
            "--set models=[{name:\\ popularity},{name:\\ mf,epochs:\\ 1}]",
        ),
        FOR_LOG,
        gives=(True, 0),
    ),
    Case("store-with-odd-characters", lambda: store("a b#\u00e9"), FOR_LOG, gives=(0, ["a b#\u00e9/own.db"]), slow=True),
    Case("store-percent-encoded", lambda: store("50 off", "50%20off"), FOR_LOG, gives=(0, ["50 off/own.db"]), slow=True),
    Case("store-with-a-per-cent", lambda: store("50%20off", "50%2520off"), FOR_LOG, gives=(0, ["50%20off/own.db"])),
    Case("store-with-a-question-mark", lambda: store("a?b=c", "a%3Fb=c"), FOR_LOG, gives=(0, ["a?b=c/own.db"]), slow=True),
    Case("store-with-an-unknown-option", lambda: tracked("sqlite:///a?b=c/own.db")[0], FOR_LOG, gives=2),
    Case("store-in-a-folder-that-is-missing", lambda: tracked("sqlite:///nowhere/own.db")[0], FOR_LOG, gives=0),
    Case("store-is-a-folder", lambda: (Path("own.db").mkdir(), tracked("sqlite:///own.db")[0])[1], FOR_LOG, gives=0),
    Case("store-is-text", lambda: (Path("own.db").write_text("hello"), tracked("sqlite:///own.db")[0])[1], FOR_LOG, gives=0),
    Case("store-of-unknown-scheme", lambda: tracked("ftp://example.org")[0] in (0, 2), FOR_LOG, gives=True),
    Case("store-with-a-bad-port", lambda: tracked("http://127.0.0.1:port")[0] in (0, 2), FOR_LOG, gives=True),
    Case("store-empty-name", lambda: tracked("sqlite:///")[0] in (0, 2), FOR_LOG, gives=True),
    Case("store-in-proc", lambda: tracked("sqlite:////proc/own.db")[0], FOR_LOG, gives=0),
    Case("store-locked-for-ever", locked_store, FOR_LOG, gives=(True, True), slow=True),
    Case("alias-in-a-store-that-is-missing", alias_elsewhere, {}, gives=(1, [], True)),
    Case("alias-in-its-store", alias_in_its_store, FOR_LOG, gives=(0, []), slow=True),
    Case(
        "run-id-of-nobody",
        "export runs:/0123/model --history log.csv --output lists --tracking-uri sqlite:///stores/own.db",
        {**FOR_LOG, "stores": lambda path: path.mkdir()},
        1,
        ("0123",),
    ),
    Case(
        "mlflow-uri-without-an-id",
        "export runs:/ --history log.csv --output lists --tracking-uri sqlite:///stores/own.db",
        {**FOR_LOG, "stores": lambda path: path.mkdir()},
        1,
        ("runs:/",),
    ),
    Case(
        "own-package-unwritable",
        RUN,
        WITHOUT_TRAINING,
        0,
        alone=True,
        environment={"NUMBA_CACHE_DIR": "/proc/nowhere"},
        slow=True,
    ),
    Case(
        "no-home-at-all",
        RUN,
        WITHOUT_TRAINING,
        0,
        alone=True,
        environment={
            "HOME": "/proc/nowhere",
            "NUMBA_CACHE_DIR": "/proc/nowhere",
            "XDG_CACHE_HOME": "/proc/nowhere",
            "MPLCONFIGDIR": "",
        },
        slow=True,
    ),
    Case(
        "cache-is-a-file",
        "datasets fetch card.yaml",
        {"card.yaml": TO_DOWNLOAD},
        1,
        ("/dev/null",),
        alone=True,
        environment={"RECSYS_AE_CACHE": "/dev/null"},
        slow=True,
    ),
    Case(
        "cache-unwritable",
        "datasets fetch card.yaml",
        {"card.yaml": TO_DOWNLOAD},
        1,
        ("/proc/nowhere",),
        alone=True,
        environment={"RECSYS_AE_CACHE": "/proc/nowhere"},
    ),
    Case(
        "data-folder-missing",
        "datasets fetch ml-100k",
        {},
        1,
        ("ml-100k",),
        alone=True,
        environment={"RECSYS_AE_DATA": "/nowhere", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
    ),
    Case("output-closed", "models", alone=True, environment={"PYTHONIOENCODING": "ascii"}),
    Case(
        "ascii-terminal-and-a-name-beyond",
        "datasets fetch card.yaml",
        {"card.yaml": {"name": "caf\u00e9", "kind": "digits"}},
        0,
        (r"caf\\xe9: ",),
        alone=True,
        environment={"PYTHONIOENCODING": "ascii"},
    ),
    Case(
        "cache-home-is-a-file",
        RUN,
        FOR_LOG,
        never=("matplotlib",),
        alone=True,
        environment={"XDG_CACHE_HOME": "/dev/null"},
        slow=True,
    ),
    Case("ascii-terminal", "datasets show ml-1m", alone=True, environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}),
    Case(
        "threads-zero-for-export",
        "export model --history log.csv --output lists",
        {"model": small_model(), "log.csv": small_log()},
        alone=True,
        environment={"OMP_NUM_THREADS": "0"},
    ),
    Case("threads-a-word", "models", alone=True, environment={"OMP_NUM_THREADS": "many"}),
    Case("threads-zero", RUN, SMALL, 0, alone=True, environment={"OMP_NUM_THREADS": "0"}, slow=True),
]


@cases(*ENVIRONMENT)
def test_environment(case, examine):
    examine(case)
