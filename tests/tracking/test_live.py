"""Whole runs beside stores and processes that die: what is in the store at the end, and what the console says."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
import yaml
from commands import Command
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from stores import runs_in, steps

from recsys_ae.tracking import CONTINUES

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow's own dependencies warn about each other
EPOCHS = {"first": 60, "second": 300}
PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 200, "items": 80, "ratings": 3000, "factors": 2},
    "split": {"kind": "random", "valid": 0.1, "test": 0.2},
    "models": [
        {"name": "autorec", "label": label, "hidden": 4, "epochs": epochs, "patience": 0} for label, epochs in EPOCHS.items()
    ],
    "metrics": ["rmse"],
    "register": {"name": "films", "alias": "champion"},
}
Process = Command | subprocess.Popen[str]
NEVER_SAID = ("Traceback", "sqlalchemy", "urllib3", "alembic", "INFO", "WARNING", "Warning", "Downloading")


class Server:
    """An MLflow server with one worker on a port that stays the same; `uri` is that of its own SQLite store."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.store, self.folder = uri, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        line = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        line += ["--backend-store-uri", self.store, "--artifacts-destination", str(self.folder / "artifacts")]
        settings = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log, env=settings, start_new_session=True)
        for _ in range(600):
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            with suppress(OSError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            time.sleep(0.2)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(fresh, tmp_path) -> Iterator[Server]:
    own = Server(fresh, tmp_path)
    own.start()
    yield own
    own.kill()


def outcome(process: Process) -> tuple[int, str, list[str]]:
    """Exit code, output and lines of messages, in which nothing comes from a library."""
    out, messages = process.communicate(timeout=500)
    assert not [word for word in NEVER_SAID if word in messages], messages
    return process.returncode, out, messages.splitlines()


def run(folder: Path, uri: str, *options: str, before: tuple[str, ...] = ()) -> Process:
    """The pipeline in a process of its own, which is started by the command `before`, if any."""
    (folder / "films.yaml").write_text(yaml.safe_dump(PIPELINE))
    arguments = ["run", "films.yaml", "--output", "out", "--tracking-uri", uri, *options]
    if not before:
        return Command(*arguments, folder=folder)
    line, pipe = [*before, sys.executable, "-m", "recsys_ae", *arguments], subprocess.PIPE
    return subprocess.Popen(line, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def wait_for(found: Callable[[], bool], process: Process) -> None:
    while not found():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def has_losses(store: str, name: str) -> bool:
    """Whether a store has losses of the model of this name."""
    return any(one.info.run_name == name and "by_epoch/train_loss" in one.data.metrics for one in runs_in(store))


def check_complete(store: str, uri: str) -> None:
    """Check that a store has all of a finished run, exactly once."""
    client = MlflowClient(uri, uri)
    runs = {one.info.run_name: one for one in runs_in(store) if one.info.status == "FINISHED" and one.info.run_name != "one"}
    assert runs.keys() == {"films", "first", "second", next(name for name in runs if name.endswith("+final"))}
    for label, epochs in EPOCHS.items():
        for metric in ("by_epoch/train_loss", "by_epoch/valid_rmse"):
            assert [step for step, _ in steps(uri, runs[label], metric)] == [*range(1, epochs + 1)]
        assert runs[label].data.params["hidden"] == "[4]"
        assert runs[label].data.metrics["rmse"] > 0
    above = runs["films"]
    assert {"report.json", "pipeline.yaml"} <= {one.path for one in client.list_artifacts(above.info.run_id)}
    assert above.data.params["metrics"] == "['rmse']"
    models = client.search_logged_models([above.info.experiment_id])
    owners = Counter(one.source_run_id for one in models)
    assert owners == Counter(one.info.run_id for name, one in runs.items() if name != "films")
    assert {str(one.status) for one in models} == {"READY"}
    (version,) = client.search_model_versions("name = 'films'")
    assert client.get_model_version_by_alias("films", "champion").version == version.version
    path = mlflow.artifacts.download_artifacts(f"{version.source}/MLmodel", tracking_uri=uri)
    assert "python_function" in yaml.safe_load(Path(path).read_text())["flavors"]


@pytest.mark.parametrize("required", [False, True])
def test_a_server_that_is_killed_in_the_middle_of_a_run(server, tmp_path, required):
    process = run(tmp_path, server.uri, *(["--require-tracking"] if required else []))
    wait_for(lambda: has_losses(server.store, "first"), process)
    server.kill()
    code, out, messages = outcome(process)
    lacks = [message for message in messages if "MLflow lacks " in message]
    assert code == int(required), messages
    assert len(lacks) == 1
    assert "(Connection refused); send the rest with: recsys-ae runs upload out" in lacks[0]
    assert "3 models, 1 registered version" in lacks[0]
    assert (tmp_path / "out/report.json").exists()
    assert "best by rmse" in out
    if required:
        return
    code, _, messages = outcome(Command("runs", "upload", "out", folder=tmp_path))
    assert (code, messages[-1].startswith(f"recsys-ae: {server.uri} still lacks ")) == (1, True)
    server.start()
    code, out, messages = outcome(Command("runs", "upload", "out", folder=tmp_path))
    assert (code, out.startswith("sent ")) == (0, True), messages
    check_complete(server.store, server.uri)
    code, out, _ = outcome(Command("runs", "upload", "out", folder=tmp_path))
    assert (code, out) == (0, f"nothing was missing in {server.uri}\n")


def test_required_tracking_starts_nothing_without_a_server(tmp_path):
    code, _, messages = outcome(run(tmp_path, "http://127.0.0.1:1", "--require-tracking"))
    assert code == 1
    assert messages[-1] == (
        "recsys-ae: tracking is required, but http://127.0.0.1:1 cannot be used: Connection refused"
    )  # after which nothing stays
    assert not (tmp_path / "out").exists()


def test_a_store_that_may_not_be_written(fresh, tmp_path):
    store, folder = tmp_path / "mlflow.db", tmp_path / "store"
    folder.mkdir()
    store.rename(folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    (folder / "mlflow.db").chmod(0o444)
    folder.chmod(0o555)
    # root may write everywhere, unless it gives this up
    obeys = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    code, _, messages = outcome(run(tmp_path, uri, before=obeys))
    folder.chmod(0o755)
    assert code == 0, messages
    assert f"(cannot lock {folder}/mlflow.db.lock: Permission denied); send the rest with" in messages[-1]
    (folder / "mlflow.db").chmod(0o644)
    code, out, messages = outcome(Command("runs", "upload", "out", folder=tmp_path))
    assert (code, out.startswith("sent ")) == (0, True), messages
    check_complete(uri, uri)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_and_continued(fresh, tmp_path, how):
    process = run(tmp_path, fresh)
    wait_for(lambda: has_losses(fresh, "second"), process)
    process.send_signal(how)
    code, _, messages = outcome(process)
    assert code == (-how if how == signal.SIGKILL else 143)
    if how == signal.SIGKILL:
        code, out, _ = outcome(Command("runs", "close", "--tracking-uri", fresh, folder=tmp_path))
        assert (code, out.count("closed as killed: ")) == (0, 2)
    else:
        assert not [message for message in messages if "MLflow" in message]
    (killed,) = (one for one in runs_in(fresh) if one.info.run_name == "second")
    (above,) = (one for one in runs_in(fresh) if one.info.run_name == "films")
    assert killed.info.status == above.info.status == "KILLED"
    recorded = [step for step, _ in steps(fresh, killed, "by_epoch/train_loss")]
    assert recorded == [*range(1, len(recorded) + 1)]
    assert 0 < len(recorded) < EPOCHS["second"]

    code, _, messages = outcome(run(tmp_path, fresh, "--resume"))
    assert code == 0, messages
    code, out, _ = outcome(Command("runs", "upload", "out", folder=tmp_path))
    assert (code, out) == (0, f"nothing was missing in {fresh}\n")
    check_complete(fresh, fresh)
    (again,) = (one for one in runs_in(fresh) if one.data.tags.get(CONTINUES) == killed.info.run_id)
    assert again.info.run_name == "second"
    names = Counter(one.info.run_name for one in runs_in(fresh))
    assert {name: count for name, count in names.items() if count > 1} == {"second": 2}
    assert [step for step, _ in steps(fresh, killed, "by_epoch/train_loss")][: len(recorded)] == recorded


def test_nothing_is_logged_twice_by_a_record_that_is_sent_again(fresh, tmp_path):
    """As after a crash between sending entries and noting that; an alias that has moved on since then stays."""
    code, _, messages = outcome(run(tmp_path, fresh))
    assert code == 0, messages
    client = MlflowClient(fresh, fresh)
    (made,) = client.search_model_versions("name = 'films'")
    other = client.create_model_version("films", made.source, made.run_id)
    client.set_registered_model_alias("films", "champion", other.version)
    for note in (tmp_path / "out/.tracking").glob("sent-*.json"):
        note.unlink()
    code, out, messages = outcome(Command("runs", "upload", "out", folder=tmp_path))
    assert (code, out.startswith("sent ")) == (0, True), messages
    assert client.get_model_version_by_alias("films", "champion").version == other.version
    client.delete_model_version("films", other.version)
    client.set_registered_model_alias("films", "champion", made.version)
    check_complete(fresh, fresh)
    with pytest.raises(MlflowException):
        client.get_model_version("films", other.version)
