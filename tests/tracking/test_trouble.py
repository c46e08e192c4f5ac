"""Stores that cannot be used: the run goes on, says what is missing, and its record is completed later."""

import logging
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from mlflow.tracking import MlflowClient
from stores import found, runs_in, steps

from recsys_ae.errors import ConfigError, DataError, OutputError, TrackingError
from recsys_ae.files import locked_folder
from recsys_ae.tracking import CONTINUES, Tracker, make_tracker, mlflow_store, mlflow_tracker, open_store
from recsys_ae.tracking.listing import listed
from recsys_ae.tracking.mlflow_store import close_lost
from recsys_ae.tracking.mlflow_tracker import MlflowTracker
from recsys_ae.tracking.processes import HEARTBEAT, PLACE, PROCESS
from recsys_ae.tracking.record import Record, sent_path
from recsys_ae.tracking.upload import recorded_store, upload

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other


def tracked(uri: str, output: Path, **options) -> Tracker:
    """A tracker after a small run whose record is in `output`."""
    tracker = make_tracker(uri, "x", **options)
    tracker.keep_record(output)
    with tracker.run("pipeline") as above, tracker.run("model", parent=above.id) as run:
        run.params({"a": 1})
        for epoch in range(1, 4):
            run.history("loss", {epoch: 1 / epoch})
        run.dataset("planted", "0" * 32, "train", {"users": 3})
        run.artifact(output / "model")
    return tracker


@pytest.fixture
def output(tmp_path) -> Path:
    (tmp_path / "out/model").mkdir(parents=True)
    (tmp_path / "out/model/model.json").write_text("{}")
    return tmp_path / "out"


def check_complete(uri: str) -> None:
    """Check that the store has all of the run of `tracked`, exactly once."""
    run, _, above = sorted(runs_in(uri), key=lambda one: ["model", "one", "pipeline"].index(one.info.run_name))
    assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
    assert [above.info.run_name, above.info.status, run.info.status] == ["pipeline", "FINISHED", "FINISHED"]
    assert steps(uri, run, "loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert run.data.params == {"a": "1"}
    assert len(run.inputs.dataset_inputs) == 1
    assert [one.path for one in MlflowClient(uri).list_artifacts(run.info.run_id, "")] == ["model.json"]
    assert run.info.start_time <= run.info.end_time <= above.info.end_time


def test_a_locked_store(fresh, output, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mlflow_store, "WAIT", 0.1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other, caplog.at_level(logging.WARNING, "recsys_ae"):
        other.execute("BEGIN EXCLUSIVE")
        tracker = tracked(fresh, output)
        other.rollback()
    assert "3 metric values, 1 artifact, 2 other entries (database is locked)" in tracker.missing
    assert [message.split(" (")[0] for message in caplog.messages] == ["MLflow cannot be used", tracker.missing.split(" (")[0]]
    assert upload(output, fresh) > 0
    check_complete(fresh)


def test_a_crash_after_sending_doubles_nothing(fresh, output):
    assert tracked(fresh, output).missing is None
    sent_path(output, fresh).unlink()  # the store got everything, but the process died before it could note that
    assert upload(output, fresh) > 0
    assert len(runs_in(fresh)) == 3
    check_complete(fresh)


def test_the_moved_record_of_a_dead_server_can_go_to_any_store(fresh, output, tmp_path):
    tracker = tracked("http://127.0.0.1:1", output)
    assert "(Connection refused); send the rest with: recsys-ae runs upload " in tracker.missing
    output.rename(tmp_path / "moved")
    assert recorded_store(tmp_path / "moved") == "http://127.0.0.1:1"
    with pytest.raises(TrackingError, match=r"http://127.0.0.1:1 still lacks 2 runs, .* \(Connection refused\); repeat"):
        upload(tmp_path / "moved", "http://127.0.0.1:1")
    assert upload(tmp_path / "moved", fresh) == 10
    assert upload(tmp_path / "moved", fresh) == 0
    check_complete(fresh)


def test_a_server_that_accepts_and_never_answers(output, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(mlflow_tracker, "HEAD_START", 0.01)
    closing_time, server = Event(), socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.05)
    accepted = []

    def accept() -> None:
        while not closing_time.is_set():
            with suppress(TimeoutError):
                accepted.append(server.accept()[0])

    thread = Thread(target=accept)
    thread.start()
    tracker = tracked(f"http://127.0.0.1:{server.getsockname()[1]}", output)
    closing_time.set()
    thread.join()
    for one in (server, *accepted):
        one.close()
    assert "(the server does not answer)" in tracker.missing


def test_a_folder_that_cannot_be_written(output):
    assert "cannot lock /proc/own.db.lock" in tracked("sqlite:////proc/own.db", output).missing


def test_a_store_of_another_version_is_not_upgraded(fresh, output, tmp_path):
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = 'f00'")
        store.execute("DROP TABLE webhooks")
    before = (tmp_path / "mlflow.db").read_bytes()
    tracker = tracked(fresh, output)
    assert "was written by another version of MLflow (schema f00, this one has " in tracker.missing
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_a_database_of_another_program_gets_no_tables(fresh, output, tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as store, store:
        store.execute("CREATE TABLE orders (id INTEGER)")
    before = (tmp_path / "shop.db").read_bytes()
    tracker = tracked(f"sqlite:///{tmp_path}/shop.db", output)
    assert "shop.db is a database of another program, without tables of MLflow; name another file" in tracker.missing
    assert (tmp_path / "shop.db").read_bytes() == before


def test_a_deleted_experiment(fresh, output):
    client = MlflowClient(fresh)
    client.delete_experiment(client.create_experiment("x"))
    assert "the experiment x has been deleted; restore it" in tracked(fresh, output).missing


def test_required_tracking_fails_before_anything_runs(output):
    with pytest.raises(TrackingError, match=r"is required, but http://127\.0\.0\.1:1 cannot be used: Connection refused"):
        tracked("http://127.0.0.1:1", output, required=True)
    with pytest.raises(ConfigError, match="tracking is required"):
        make_tracker("none", "x", required=True)


def test_what_cannot_be_uploaded(output, fresh, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="holds no record of a run"):
        upload(tmp_path, fresh)
    record = Record(output)
    record.append("record", store="postgresql://***@host/runs", experiment="x")
    with pytest.raises(ConfigError, match=r"recorded for postgresql://\*\*\*@host/runs, whose password is not kept; give"):
        recorded_store(output)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/runs")
    assert recorded_store(output) == "postgresql://me:secret@host/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://host/runs")  # with the login in variables of its own
    assert recorded_store(output) == "postgresql://host/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/other")
    with pytest.raises(ConfigError):
        recorded_store(output)
    with locked_folder(output, "busy"), pytest.raises(OutputError, match="sends its record itself; wait for it"):
        upload(output, fresh)


KILLED = """
import sys, time
from pathlib import Path
from recsys_ae.tracking import make_tracker
tracker = make_tracker(sys.argv[1], "x")
tracker.keep_record(Path(sys.argv[2]))
with tracker.run("pipeline") as above, tracker.run("model", parent=above.id) as run:
    run.history("loss", {1: 1.0})
    print(above.id, run.id, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_runs_of_a_killed_process_are_closed_and_continued(fresh, output):
    """By the next run on this host, and never those of a process that lives."""
    processes = [
        subprocess.Popen([sys.executable, "-c", KILLED, fresh, output / name], stdout=subprocess.PIPE, text=True)
        for name in ("killed", "lives")
    ]
    above, model = processes[0].stdout.readline().split()
    lives = processes[1].stdout.readline().split()
    while sum(one.data.metrics == {"loss": 1.0} for one in runs_in(fresh)) < 2:
        time.sleep(0.1)
    processes[0].kill()
    processes[0].communicate()
    with open_store(fresh) as client:
        assert sorted(one.status for one in listed(client, "x", 9)) == ["LOST", "RUNNING"]
    with make_tracker(fresh, "y").run("next"):
        pass
    assert {found(fresh, one).info.status for one in (above, model)} == {"KILLED"}
    assert {found(fresh, one).info.status for one in lives} == {"RUNNING"}
    resumed = time.time() * 1000
    tracker = MlflowTracker(fresh, "x")
    tracker.keep_record(output / "killed")
    with tracker.run("pipeline", resume=above) as again, tracker.run("model", parent=again.id) as run:
        run.tags({CONTINUES: model})
        run.history("loss", {1: 1.0})
    assert again.id == above
    assert found(fresh, above).info.status == "FINISHED"
    assert found(fresh, run.id).data.tags[CONTINUES] == found(fresh, model).info.run_id
    assert found(fresh, model).info.end_time <= resumed
    assert found(fresh, model).info.status == "KILLED"
    assert steps(fresh, found(fresh, model), "loss") == steps(fresh, found(fresh, run.id), "loss") == [(1, 1.0)]
    processes[1].kill()
    processes[1].communicate()


def test_a_run_of_another_host_is_closed_only_when_it_is_silent(fresh):
    client = MlflowClient(fresh)
    experiment = client.create_experiment("x")
    elsewhere, now = {PLACE: "elsewhere", PROCESS: "1 2", mlflow_store.RECORD: "r"}, int(time.time() * 1000)
    recent = client.create_run(experiment, tags={**elsewhere, HEARTBEAT: str(now)}).info.run_id
    silent = client.create_run(experiment, start_time=1, tags={**elsewhere, HEARTBEAT: "1000"}).info.run_id
    of_recent = client.create_run(experiment, tags={**elsewhere, HEARTBEAT: "1", "mlflow.parentRunId": recent}).info.run_id
    other = client.create_run(experiment, start_time=1).info.run_id
    assert [run.info.run_id for run in close_lost(client)] == [silent]
    assert {client.get_run(run).info.status for run in (recent, of_recent, other)} == {"RUNNING"}
    assert (client.get_run(silent).info.status, client.get_run(silent).info.end_time) == ("KILLED", 1000)


@pytest.mark.slow
def test_nothing_of_a_library_reaches_the_console(fresh, output, tmp_path):
    """The store breaks in the middle of a run."""
    script = (
        "import logging, sqlite3; logging.basicConfig(format='%(message)s')\n"
        "from pathlib import Path\n"
        "from recsys_ae.tracking import make_tracker, mlflow_tracker\n"
        "mlflow_tracker.PATIENCE = 1\n"
        "tracker = make_tracker('sqlite:///mlflow.db', 'x'); tracker.keep_record(Path('out'))\n"
        "with tracker.run('pipeline') as run:\n"
        "    other = sqlite3.connect('mlflow.db', timeout=60); other.execute('BEGIN EXCLUSIVE')\n"
        "    for step in range(10): run.metrics({'a': step})\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert done.stderr.splitlines()[-1].startswith("MLflow lacks ")
