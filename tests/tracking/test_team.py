"""Several people log to one server with PostgreSQL, logins and proxied artifacts, started as docs/team/compose.yaml does."""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

import postgres
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docs/team/compose.yaml").read_text())
SECRET = "a-secret-of-the-test"
SMALL = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 100, "items": 60, "ratings": 1100, "factors": 2},
    "split": {"kind": "random", "test": 0.2},
    "models": [{"name": "ease"}, {"name": "popularity"}],
    "metrics": ["ndcg@5"],
    "export": {"k": 3},
}


UNMET = postgres.missing("flask_wtf")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(UNMET is not None, reason=str(UNMET))]


@dataclass(frozen=True)
class Server:
    """A running server."""

    uri: str
    folder: Path  # with its artifacts

    def ask(self, path: str, user: str | None = None, content: object = None) -> tuple[int, dict[str, object]]:
        """Status and content of the answer to a request, which is a POST if there is content."""
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}", None if content is None else json.dumps(content).encode()
        )
        request.add_header("Content-Type", "application/json")
        if user is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password(user)}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, {}

    def command(self, user: str, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
        """A command of a user in a folder of their own."""
        own = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password(user)}
        folder.mkdir(exist_ok=True)
        pipe = subprocess.PIPE
        line = [sys.executable, "-m", "recsys_ae", *arguments]
        return subprocess.Popen(line, cwd=folder, env={**os.environ, **own}, stdout=pipe, stderr=pipe, text=True)

    def runs(self, name: str, owner: str | None = None) -> list[dict[str, dict[str, object]]]:
        """The runs of this name in the experiment `team`, of all users or of one."""
        _, found = self.ask("experiments/get-by-name?experiment_name=team", "admin")
        condition = f"attributes.run_name = '{name}'" + (f" and tags.`mlflow.user` = '{owner}'" if owner else "")
        where = {"experiment_ids": [found["experiment"]["experiment_id"]], "filter": condition}
        return self.ask("runs/search", "admin", where)[1].get("runs", [])


def password(user: str) -> str:
    return f"{SECRET}-of-{user}"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    with postgres.postgres("mlflow", SECRET) as address:
        yield address


@pytest.fixture(scope="module")
def server(database, tmp_path_factory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("server"), postgres.free_port()

    def here(text: str) -> str:
        """A setting of the compose file, adapted to the paths and ports of this test."""
        for name, value in {
            "${POSTGRES_PASSWORD}": SECRET,
            "postgres:5432/mlflow": f"{database}/postgres",
            "=/artifacts": f"={folder}/artifacts",
            "=0.0.0.0": "=127.0.0.1",
            "--port=5000": f"--port={port}",
        }.items():
            text = text.replace(name, value)
        return text

    (folder / "auth.ini").write_text(here(COMPOSE["configs"]["auth"]["content"]))
    environment = {
        "MLFLOW_BACKEND_STORE_URI": here(COMPOSE["services"]["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password("admin"),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost:*,127.0.0.1:*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    assert environment.keys() == COMPOSE["services"]["mlflow"]["environment"].keys()
    line = [sys.executable, "-m", *map(here, COMPOSE["services"]["mlflow"]["command"])]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(line, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log)
    found = Server(f"http://127.0.0.1:{port}", folder)
    try:
        for _ in range(3000):  # busy machines need minutes
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{found.uri}/health", timeout=5).close()
                break
            except (URLError, OSError):
                time.sleep(0.2)
        for user in ("alice", "bob"):
            assert found.ask("users/create", "admin", {"username": user, "password": password(user)})[0] == 200
        yield found
    finally:
        process.terminate()
        process.wait(30)


def test_a_team_logs_to_one_server(server, tmp_path):
    (tmp_path / "team.yaml").write_text(yaml.safe_dump(SMALL))
    assert server.ask("experiments/search?max_results=1")[0] == 401
    users = ("alice", "bob")
    at_once = [server.command(user, tmp_path / user, "run", "../team.yaml", "--output", "out") for user in users]
    for process in at_once:  # both create the experiment, and record the same data
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "MLflow" not in err
        assert server.uri in out
    runs = server.runs("team")
    assert [run["info"]["status"] for run in runs] == ["FINISHED"] * 2
    assert all(run["info"]["artifact_uri"].startswith("mlflow-artifacts:/") for run in runs)
    digests = [{one["dataset"]["digest"] for one in run["inputs"]["dataset_inputs"]} for run in runs]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2
    assert len(list((server.folder / "artifacts").rglob("report.json"))) == 2

    # bob repeats what is not his, and ships it
    first = runs[0]["info"]["run_id"]
    process = server.command("bob", tmp_path / "bob", "run", "--from-run", first, "--output", "again")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"all 2 metric values equal those of run {first}" in out
    (tmp_path / "bob" / "new.csv").write_text("user_id,item_id,rating\nnew,1001,4\n")
    model = next(run["info"]["run_id"] for run in server.runs("ease") if "model" in str(run))
    options = ("--history", "new.csv", "--k", "3", "--output", "lists")
    process = server.command("bob", tmp_path / "bob", "export", f"runs:/{model}/model", *options)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (shipped,) = server.runs("lists")
    assert {"key": "mlflow.parentRunId", "value": model} in shipped["data"]["tags"]


def test_a_wrong_password_costs_no_results(server, tmp_path):
    (tmp_path / "team.yaml").write_text(yaml.safe_dump(SMALL))
    process = server.command("mallory", tmp_path, "run", "team.yaml", "--output", "out")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "MLflow cannot be used (the server does not accept this login; set MLFLOW_TRACKING_USERNAME" in err
    assert (tmp_path / "out/report.json").exists()
    assert not server.runs("team", owner="mallory")

    # what the server lacks is sent later, by somebody who may; the login is kept nowhere
    process = server.command("alice", tmp_path, "runs", "upload", "out")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"to {server.uri}" in out
    assert [run["info"]["status"] for run in server.runs("team", owner="mallory")] == ["FINISHED"]
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_a_login_in_the_address_is_kept_nowhere(server, tmp_path):
    (tmp_path / "team.yaml").write_text(yaml.safe_dump(SMALL))
    with_login = server.uri.replace("://", f"://alice:{password('alice')}@")
    process = server.command("nobody", tmp_path, "run", "team.yaml", "--output", "out", "--tracking-uri", with_login)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "MLflow" not in err
    assert f"{server.uri}/#/experiments/" in out
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in out + err + json.dumps(server.runs("team", owner="nobody"))
    process = server.command("alice", tmp_path, "runs", "upload", "out")  # the same store, with the login elsewhere
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == f"nothing was missing in {server.uri}\n"
