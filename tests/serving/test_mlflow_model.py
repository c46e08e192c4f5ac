"""Models in MLflow's format: nothing pickled, an explicit signature, and the same lists by every way to them."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from builders import USERS, planted
from mlflow.exceptions import MlflowException

from recsys_ae import Interactions, __version__, build_model, recommend, save_model
from recsys_ae.serving.mlflow_model import MlflowRecommender, write_mlflow_model
from recsys_ae.serving.recommender import Settings

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other
K = 4


@pytest.fixture(scope="module")
def model():
    return build_model("autorec", {"axis": "item", "hidden": 4, "epochs": 5}).fit(planted())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model) -> Path:
    """The model with text users, integer items and stored histories."""
    path = tmp_path_factory.mktemp("served")
    save_model(model, path / "saved")
    write_mlflow_model(path / "saved", path / "mlflow", Settings(k=3), planted())
    return path / "mlflow"


@pytest.fixture
def loaded(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    return mlflow.pyfunc.load_model(str(folder))


def test_all_files_are_data_or_code_to_read(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in names if "." in name and name.rpartition(".")[2] not in ("json", "parquet", "yaml", "txt")} == {
        "artifacts/model/arrays.safetensors",
        "model_code.py",
    }
    assert f"recsys-ae=={__version__}" in (folder / "requirements.txt").read_text()


def test_the_signature_has_the_types_of_the_ids(loaded):
    signature = loaded.metadata.signature
    assert [(one.name, str(one.type), one.required) for one in signature.inputs] == [
        ("user_id", "DataType.string", False),
        ("history", "Any", False),
    ]
    assert {one.name: str(one.type) for one in signature.outputs} == {
        "user_id": "DataType.string",
        "item_id": "Array(long)",
        "rank": "Array(integer)",
        "score": "Array(float)",
    }
    assert {one.name: one.default for one in signature.params} == {
        "k": 3,
        "exclude_seen": True,
        "candidates": [],
        "cold": "popular",
    }


def test_integer_users_and_text_items(tmp_path):
    frame = pd.DataFrame({"user_id": [2**60 + 1, 2**60 + 1, 7], "item_id": ["a", "b", "a"]})
    data = Interactions.from_frame(frame, rating=None)
    save_model(build_model("popularity").fit(data), tmp_path / "saved")
    write_mlflow_model(tmp_path / "saved", tmp_path / "mlflow", Settings(), data)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "mlflow"))
    found = loaded.predict(pd.DataFrame({"user_id": [7, 2**60 + 1, 2**60]}))
    assert found["item_id"].tolist() == [["b"], [], ["a", "b"]]
    assert found["user_id"].tolist() == [7, 2**60 + 1, 2**60]
    only = loaded.predict(pd.DataFrame({"history": [["a"]]}), {"candidates": ["a", "b", "c"], "exclude_seen": False})
    assert only["item_id"].tolist() == [["a", "b"]]


def test_the_lists_are_those_of_the_model(loaded, model):
    wanted = recommend(model, planted(), k=K)
    found = loaded.predict(pd.DataFrame({"user_id": USERS.values}), {"k": K})
    for items, scores, own, values in zip(found["item_id"], found["score"], wanted.item_rows, wanted.scores, strict=True):
        assert items == wanted.items.values[own[own >= 0]].tolist()
        assert np.array_equal(np.array(scores, np.float32), values[own >= 0])


def test_the_input_example_is_answered(loaded):
    frame, params = loaded.input_example if isinstance(loaded.input_example, tuple) else (loaded.input_example, {"k": 3})
    found = loaded.predict(frame, params)
    assert found["rank"].tolist()[0] == [1, 2, 3]
    assert frame["user_id"].tolist() == ["someone", "u00"]


def test_a_wrong_request_is_the_fault_of_the_client(loaded):
    for request, params, message in [
        ({"history": [[100]]}, {}, "has no ratings"),
        ({"user_id": ["u00"]}, {"k": 0}, "k must be"),
        ({"user_id": ["u00"]}, {"cold": "freeze"}, "cold must be one of error, popular, skip, got 'freeze'"),
        ({"user_id": ["u00"]}, {"k": "many"}, "k"),
        ({"user_id": ["u00"]}, {"candidates": ["x"]}, "candidates"),
    ]:
        with pytest.raises(MlflowException, match=message) as error:
            loaded.predict(pd.DataFrame(request), params)
        assert error.value.get_http_status_code() == 400


def test_unknown_parameters_are_refused_where_mlflow_lets_them_through(loaded):
    implementation = loaded.unwrap_python_model()
    assert type(implementation).__name__ == MlflowRecommender.__name__
    with pytest.raises(MlflowException, match="unknown parameter 'kk'; did you mean 'k'"):
        implementation.predict(None, pd.DataFrame({"user_id": ["u00"]}), {"kk": 3})


@pytest.mark.slow
def test_mlflow_models_serve(folder, model):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command, "-p", str(port)], env=environment, start_new_session=True, **quiet)
    try:
        status, found = patiently(port, {"dataframe_records": [{"user_id": "u03"}, {"user_id": "x"}], "params": {"k": K}})
        assert status == 200
        wanted = recommend(model, planted(), ["u03"], k=K).to_frame()
        assert found["predictions"][0]["item_id"] == wanted["item_id"].tolist()
        assert np.array_equal(np.array(found["predictions"][0]["score"], np.float32), wanted["score"])
        assert len(found["predictions"][1]["item_id"]) == K
        events = [{"item_id": 100, "rating": 5}, {"item_id": 104, "rating": 1.5}]
        status, found = patiently(port, {"dataframe_records": [{"history": events}]})
        assert (status, len(found["predictions"][0]["item_id"])) == (200, 3)
        status, found = patiently(port, {"dataframe_records": [{"history": "x"}]})
        assert status == 400
        assert "history in row 0 must be a list of item ids" in found["message"]
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def patiently(port: int, body: dict) -> tuple[int, dict]:
    """Status and content of an answer, as soon as there is one."""
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/invocations", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise AssertionError("the server did not answer")


@pytest.mark.slow
def test_spark(folder, model, monkeypatch):
    """Needs the extra `spark`, and Java 17."""
    pytest.importorskip("pyspark", reason="needs the extra spark")
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import col, struct

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        lists = mlflow.pyfunc.spark_udf(spark, str(folder), env_manager="local", params={"k": K})
        frame = spark.createDataFrame([(user, None) for user in USERS.values.tolist()], "user_id string, history array<string>")
        found = frame.select(lists(struct(col("user_id"))).alias("lists")).select("lists.*").toPandas()
        wanted = recommend(model, planted(), k=K).to_frame()
        exploded = found.explode(["item_id", "rank", "score"])
        assert exploded["item_id"].tolist() == wanted["item_id"].tolist()
        assert np.array_equal(exploded["score"].to_numpy(np.float32), wanted["score"])
        events = spark.createDataFrame(
            [("x", [(100, 5.0), (104, 1.0)])], "user_id string, history array<struct<item_id: bigint, rating: double>>"
        )
        (row,) = events.select(lists("user_id", "history").alias("lists")).select("lists.*").collect()
        assert (row["user_id"], len(row["item_id"])) == ("x", K)
    finally:
        spark.stop()
