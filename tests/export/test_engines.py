"""One process, shards and Spark make the same lists of real data."""

import sys

import pytest

from recsys_ae import build_model, load_model, save_model
from recsys_ae.data.cards import read_card
from recsys_ae.data.ratings import load_ratings
from recsys_ae.export.local import engine_of, export_request
from recsys_ae.export.manifest import ListManifest
from recsys_ae.export.parts import Shard
from recsys_ae.export.request import ListRequest
from recsys_ae.export.shards import export_shard, merge_shards, shards_of
from recsys_ae.export.verification import verify_lists

MODELS = {  # a few epochs are enough for scores that differ from user to user
    "autorec": {"axis": "item", "hidden": [64], "epochs": 2},
    "cdae": {"hidden": 32, "epochs": 2},
    "ease": {},
    "mf": {"factors": 16, "epochs": 3},
}


@pytest.fixture(scope="module")
def spark():
    """A session with two executors' threads."""
    pyspark = pytest.importorskip("pyspark.sql", reason="needs pyspark (recsys-ae[spark]) and Java")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = pyspark.SparkSession.builder.master("local[2]").getOrCreate()
    yield session
    session.stop()


@pytest.mark.slow
@pytest.mark.data("ml-1m")
@pytest.mark.filterwarnings("default")  # PySpark leaves sockets open
@pytest.mark.parametrize("name", MODELS)
def test_engines_make_the_same_files(name, tmp_path, spark):
    data = load_ratings(*read_card("ml-1m")).interactions
    save_model(build_model(name, MODELS[name]).fit(data), tmp_path / "model")
    request = ListRequest.of(load_model(tmp_path / "model"), data, 100, part_users=700)
    export_request(request, tmp_path / "local")
    for number in (3, 1, 2):
        export_shard(request, tmp_path / "sharded", Shard(number, 3))
    merge_shards(tmp_path / "sharded", shards_of(tmp_path / "sharded"))
    export_request(request, tmp_path / "spark", engine_of("spark"))
    local, *others = (ListManifest.read(tmp_path / engine) for engine in ("local", "sharded", "spark"))
    assert (len(local.files), local.rows, local.n_users) == (9, 604_000, 6_040)
    for other in others:
        assert other.files == local.files  # with their digests
        assert not other.differences(local)
    assert not any(check.wrong for check in verify_lists(tmp_path / "spark", request))
