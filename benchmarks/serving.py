"""How long `mlflow models serve` takes to answer on loopback, and whether it serves the lists that an export writes.

    [RECSYS_AE_DATA=...] python benchmarks/serving.py [--requests 300] [--smoke]

Item AutoRec, on MovieLens 1M or, with --smoke, on planted ratings. Two epochs are enough, because latency depends on sizes
only. One server process and one connection, with one request at a time, each for different users. `processor` is the processor
time of the server per request, `in process` the wall time of the same request to `mlflow.pyfunc.load_model`. Prints a table;
the last line is a JSON object, times in ms.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import numpy as np
import pandas as pd

from recsys_ae import Interactions, build_model, export_recommendations, save_model
from recsys_ae.data.cards import read_card
from recsys_ae.data.planted import PLANTED
from recsys_ae.data.ratings import load_ratings
from recsys_ae.export.local import read_recommendations
from recsys_ae.serving.mlflow_model import write_mlflow_model
from recsys_ae.serving.recommender import Settings

K, PATIENCE = 10, 120  # items; seconds until the server must be ready
USERS = (1, 10, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    requests = 5 if arguments.smoke else arguments.requests
    if arguments.smoke:
        data, _ = PLANTED["planted-ratings"](users=60, items=40, ratings=400, factors=2, noise=0.5)
    else:
        data = load_ratings(*read_card("ml-1m")).interactions
    model = build_model("autorec", {"axis": "item", "epochs": 2}).fit(data)
    with tempfile.TemporaryDirectory() as temporary:
        saved, served, lists = (Path(temporary, name) for name in ("saved", "served", "lists"))
        save_model(model, saved)
        write_mlflow_model(saved, served, Settings(k=K), data)
        export_recommendations(model, data, lists, K)
        found: dict[str, Any] = {"users": data.n_users, "items": data.n_items, "events": len(data)}
        here = mlflow.pyfunc.load_model(str(served))
        with server(served) as (port, process):
            found["equal"] = served_lists(connected(port), data).equals(exported_lists(lists))
            for name, rows in questions(data).items():
                before, connection = processor_seconds(process), connected(port)
                times = timed(partial(ask, connection), rows, requests)
                spent = 1000 * (processor_seconds(process) - before) / requests
                found[name] = summary(times) | {"processor": round(spent, 2)}
                frames = [pd.DataFrame(own) for own in rows]
                found[name]["in process"] = summary(timed(here.predict, frames, min(requests, 100)))["p50"]
    for name in questions(data):
        print(f"{name:>16}: " + ", ".join(f"{key} {value:.1f} ms" for key, value in found[name].items()))
    print(f"served lists equal exported ones: {found['equal']}")
    print(json.dumps(found))


def questions(data: Interactions) -> dict[str, list[list[dict[str, Any]]]]:
    """Requests by what they ask for: several of each kind, each of them a table."""
    users = np.random.default_rng(0).permutation(data.users.values).tolist()
    found = {
        f"{n} known": [[{"user_id": user} for user in users[start : start + n]] for start in range(0, len(users) - n + 1, n)]
        for n in USERS
        if n <= len(users)
    }
    frame = data.to_frame().groupby("user_id", sort=False)
    events = {user: own[["item_id", "rating"]].to_dict("records") for user, own in list(frame)[:50]}
    return found | {"1 with history": [[{"history": own}] for own in events.values()]}


def timed(act: Callable[[Any], object], questions: list[Any], n: int) -> list[float]:
    """Milliseconds of each of `n` requests, after a few to warm up."""
    for number in range(5):
        act(questions[number % len(questions)])
    times = []
    for number in range(n):
        start = time.perf_counter()
        act(questions[number % len(questions)])
        times.append(1000 * (time.perf_counter() - start))
    return times


def summary(times: list[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(times, share)), 2) for share in (50, 95)}


def connected(port: int) -> http.client.HTTPConnection:
    """A new connection; the server closes one that is idle for five seconds."""
    return http.client.HTTPConnection("127.0.0.1", port)


def ask(connection: http.client.HTTPConnection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = json.dumps({"dataframe_records": rows, "params": {"k": K}})
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = json.loads(response.read())
    assert response.status == 200, content
    predictions: list[dict[str, Any]] = content["predictions"]
    return predictions


def served_lists(connection: http.client.HTTPConnection, data: Interactions) -> pd.DataFrame:
    """The lists of all users, in the columns of an export."""
    users, found = data.users.values.tolist(), []
    for start in range(0, len(users), 1000):
        found += ask(connection, [{"user_id": user} for user in users[start : start + 1000]])
    rows = [(one["user_id"], *own) for one in found for own in zip(one["rank"], one["item_id"], one["score"], strict=True)]
    return typed(pd.DataFrame(rows, columns=["user_id", "rank", "item_id", "score"]))


def exported_lists(folder: Path) -> pd.DataFrame:
    return typed(read_recommendations(folder)[0])


def typed(lists: pd.DataFrame) -> pd.DataFrame:
    return lists.astype({"rank": "int32", "score": "float32"})


@contextmanager
def server(model: Path) -> Iterator[tuple[int, int]]:
    """The port and the process id of a server of a model, which ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model), "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # it calls uvicorn by name
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_for(port, process)
            yield port, process.pid
        finally:
            for pid in [*children(process.pid), process.pid]:
                subprocess.run(["kill", str(pid)], check=False, stderr=subprocess.DEVNULL)
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with code {process.returncode}")
        try:
            connection = connected(port)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the server did not answer within {PATIENCE} seconds")


def children(pid: int) -> list[int]:
    """All processes below a process, on Linux."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def processor_seconds(pid: int) -> float:
    """Processor time of a process and all below it, on Linux; else 0."""
    total = 0
    for one in [pid, *children(pid)]:
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
