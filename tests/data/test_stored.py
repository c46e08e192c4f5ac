"""Interactions in a folder: the same when opened, mapped into memory, and what is damaged is found."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import from_dense, random_interactions

from recsys_ae import Interactions, build_model, open_interactions, save_interactions
from recsys_ae.errors import DataError, OutputError
from recsys_ae.features import FeatureTable

LOG = pd.DataFrame(
    {"user_id": ["a", "a", "b", "a"], "item_id": [3, 3, 1, 2], "rating": [1.0, 0.0, 5.0, 2.0], "time": [9, 4, 4, 4]}
)


def clicks_and_features():
    data = random_interactions()
    features = pd.DataFrame({"item_id": data.items.values, "genre": [f"g{row % 3}" for row in range(data.n_items)]})
    return replace(data, item_features=FeatureTable.from_frame(features, {"genre": "category"}, id_column="item_id"))


EXAMPLES = {
    "with times and repeated pairs": lambda: Interactions.from_frame(LOG, time="time", duplicates="last", scale=(0, 5)),
    "with ties": lambda: Interactions.from_frame(LOG[1:], time="time"),
    "without times": random_interactions,
    "with features": clicks_and_features,
    "of one user": lambda: from_dense(np.ones((1, 3), np.float32), np.ones((1, 3), bool)),
}


@pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES)
def test_opened_interactions_are_those_that_were_saved(make, tmp_path):
    data = make()
    save_interactions(data, tmp_path / "data")
    for verify in (False, True):
        opened = open_interactions(tmp_path / "data", verify=verify)
        assert opened.digest == data.digest
        assert (opened.duplicates, opened.scale, opened.n_events) == (data.duplicates, data.scale, data.n_events)
        assert not opened.matrix.data.flags.writeable
    save_interactions(opened, tmp_path / "copy")
    assert open_interactions(tmp_path / "copy").digest == data.digest


@pytest.mark.parametrize("name", ["elsa", "cdae", "multdae", "recvae", "autorec", "ease", "popularity"])
def test_models_learn_the_same_from_mapped_interactions(name, tmp_path):
    data = random_interactions()
    save_interactions(data, tmp_path)
    params = {} if name in ("ease", "popularity") else {"epochs": 2}
    models = [build_model(name, params).fit(train) for train in (data, open_interactions(tmp_path))]
    ours, mapped = (model.scores(data, np.arange(4)) for model in models)
    np.testing.assert_array_equal(ours, mapped)


def test_damage_is_found(tmp_path):
    save_interactions(random_interactions(), tmp_path)
    ratings = tmp_path / "data.npy"
    whole = ratings.read_bytes()
    ratings.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    open_interactions(tmp_path)  # nothing impossible
    with pytest.raises(DataError, match=r"data\.npy is damaged: its content has changed"):
        open_interactions(tmp_path, verify=True)
    ratings.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"data\.npy is missing or damaged"):
        open_interactions(tmp_path)
    ratings.write_bytes(whole)
    columns = np.load(tmp_path / "indices.npy")
    columns[0] = 10**6
    np.save(tmp_path / "indices.npy", columns)
    with pytest.raises(DataError, match="is damaged: matrix is no valid csr_array"):
        open_interactions(tmp_path)
    (tmp_path / "users.parquet").unlink()
    with pytest.raises(DataError, match=r"users\.parquet is missing"):
        open_interactions(tmp_path)


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="does not hold interactions"):
        save_interactions(random_interactions(), tmp_path)
    with pytest.raises(DataError, match="holds no interactions"):
        open_interactions(tmp_path)
    for _ in range(2):
        save_interactions(random_interactions(), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt", "new"] or len(list(tmp_path.iterdir())) == 2


# Trains on 18 million interactions in 144 MB of arrays after the process was forbidden to allocate half of that.
WITHIN_LIMIT = """
import resource, sys
import numpy as np
from scipy.sparse import csr_array
from recsys_ae import IdMap, Interactions, build_model, open_interactions, save_interactions

def data(users, items, per_user):
    starts = np.arange(users + 1, dtype=np.int32) * per_user
    first = np.arange(users, dtype=np.int32)[:, None] % 7
    columns = (first + np.arange(per_user, dtype=np.int32) * (items // per_user)).ravel()
    matrix = csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(users, items))
    return Interactions(matrix, IdMap(np.arange(users)), IdMap(np.arange(items)))

params = {"factors": 4, "epochs": 1, "batch_size": 50, "popularity": 0.0} if sys.argv[1] == "elsa" else {
    "hidden": 4, "epochs": 1, "batch_size": 50, "popularity": 0.0, "negatives": 1}
if sys.argv[1] == "write":
    save_interactions(data(9_000, 20_000, 2_000), sys.argv[2])  # 72 MB of columns, and as much of values
    save_interactions(data(200, 20_000, 2_000), sys.argv[2] + "-small")
else:
    build_model(sys.argv[1], params).fit(open_interactions(sys.argv[2] + "-small"))  # kernels, threads and buffers
    used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 2**26, used + 2**26))
    mapped = open_interactions(sys.argv[2])
    build_model(sys.argv[1], params).fit(mapped)
    try:
        np.array(mapped.matrix.indices) + np.array(mapped.matrix.data)
    except MemoryError:
        print("trained within the limit, which holds")
"""


def within_limit(step: str, path: Path) -> str:
    """The output of the script above."""
    done = subprocess.run([sys.executable, "-c", WITHIN_LIMIT, step, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("large") / "data"
    within_limit("write", path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process like this")
@pytest.mark.parametrize("name", ["elsa", "cdae"])
def test_training_does_not_copy_mapped_interactions(name, large):
    assert within_limit(name, large) == "trained within the limit, which holds"
