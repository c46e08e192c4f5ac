import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import clicks, planted
from damage import flips, outcome

from recsys_ae import Rules, build_model, export_recommendations, read_recommendations, recommend
from recsys_ae.errors import ColdUserError, DataError, OutputError, UnknownIdError
from recsys_ae.export.local import export_vectors
from recsys_ae.export.manifest import ListManifest, VectorManifest
from recsys_ae.parquet import read_parquet, write_parquet


@pytest.fixture
def model():
    return build_model("bias", {}).fit(planted())


def test_files_hold_what_recommend_gives(model, tmp_path):
    manifest = export_recommendations(model, planted(), tmp_path / "out", 3, part_users=5, batch_users=2)
    frame, length = read_recommendations(tmp_path / "out")
    pd.testing.assert_frame_equal(frame, recommend(model, planted(), k=3).to_frame(), check_dtype=False)
    assert length == 3
    assert list(manifest.files) == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    schema = pq.read_schema(tmp_path / "out" / "part-00000.parquet")
    assert [str(field.type) for field in schema] == ["string", "int32", "int64", "float"]


def test_lists_that_are_longer_than_the_catalogue_are_warned_of(model, tmp_path, caplog):
    n_items = planted().n_items
    for k in (n_items, n_items + 1):
        export_recommendations(model, planted(), tmp_path / str(k), k)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"lists are shorter than {n_items + 1}, because there are only {n_items} items"]


def test_cold_users_are_counted_and_get_what_is_declared(model, tmp_path):
    history = planted().filter(planted().user_rows() != 7)
    popular = export_recommendations(model, history, tmp_path / "popular", 3)
    skipped = export_recommendations(model, history, tmp_path / "skipped", 3, cold="skip")
    assert (popular.cold_users, popular.rows) == (1, 14)  # the others have one item left
    assert (skipped.cold_users, skipped.rows) == (1, 11)
    assert skipped.users_without_items == 1
    with pytest.raises(ColdUserError, match="'u07'"):
        export_recommendations(model, history, tmp_path / "error", 3, cold="error")
    assert not list(tmp_path.glob("error*"))


def test_manifest_says_what_was_made_from_what(model, tmp_path):
    data = planted()
    manifest = export_recommendations(model, data, tmp_path / "out", 7, rules=Rules.of(data.items, blocked=[100, 101]))
    assert manifest == ListManifest.read(tmp_path / "out")
    assert manifest.data_digest == data.digest
    assert manifest.filters == {"exclude_seen": True, "cold": "popular", "blocked": {"items": 2}}
    assert manifest.cold_users == 0
    frame, _ = read_recommendations(tmp_path / "out")
    assert manifest.rows == len(frame)
    assert manifest.users_without_items == 12 - frame["user_id"].nunique() > 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["_manifest.json", "out", "part-00000.parquet"]


def test_a_flipped_bit_in_a_finished_export_is_reported(model, tmp_path):
    export_recommendations(model, planted(), tmp_path / "out", 3, part_users=5)
    expected, _ = read_recommendations(tmp_path / "out")
    for name in ("_manifest.json", "part-00001.parquet"):
        noticed = 0
        for what in flips(tmp_path / "out" / name, 100):
            found, error = outcome(lambda: read_recommendations(tmp_path / "out"))
            if error is None:
                assert found[1] == 3, what
                pd.testing.assert_frame_equal(found[0], expected)
            else:
                noticed += 1
                assert str(tmp_path / "out") in error, what
                assert error.endswith(f"; remove {tmp_path / 'out'} and export again"), what
        assert noticed > 95


def test_missing_and_additional_parts_are_reported(model, tmp_path):
    export_recommendations(model, planted(), tmp_path / "out", 3, part_users=5)
    part = tmp_path / "out" / "part-00001.parquet"
    shutil.copy(part, part.with_name("part-00007.parquet"))
    with pytest.raises(DataError, match=r"part-00007\.parquet is not in the manifest"):
        read_recommendations(tmp_path / "out")
    part.with_name("part-00007.parquet").rename(part)
    part.unlink()
    with pytest.raises(DataError, match=r"part-00001\.parquet is missing; remove .* and export again"):
        read_recommendations(tmp_path / "out")


def test_page_checksums_are_written_and_verified(tmp_path):
    """Even without a digest, as for a part alone."""
    table = pa.table({"number": np.arange(1000)})
    write_parquet(table.schema, [table], tmp_path / "a.parquet")
    noticed = 0
    for what in flips(tmp_path / "a.parquet", 100):
        found, error = outcome(lambda: read_parquet(tmp_path / "a.parquet"))
        if error is None:
            assert found.equals(table), what
        else:
            assert f"cannot read {tmp_path / 'a.parquet'} as Parquet" in error, what
            noticed += 1
    assert noticed > 90
    assert pq.read_table(tmp_path / "a.parquet").equals(table)


def test_a_repeated_export_is_verified_and_left_alone(model, tmp_path, caplog):
    folder = tmp_path / "out"
    manifest = export_recommendations(model, planted(), folder, 3, part_users=5)
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with caplog.at_level("INFO", "recsys_ae"):
        assert export_recommendations(model, planted(), folder, 3, part_users=5) == manifest
    assert f"{folder} is already complete" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    rules = Rules.of(planted().items, blocked=[100])
    others = {"k": {"k": 4}, "filters, rules": {"rules": rules}, "users": {"users": ["u01"]}, "seen": {"seen": clicks()}}
    others |= {"filters": {"cold": "skip"}, "part_users": {"part_users": 6}}
    for what, other in others.items():
        with pytest.raises(OutputError, match=rf"already holds lists made from other inputs \(.*{what}.*\); choose another"):
            export_recommendations(model, planted(), folder, **{"k": 3, "part_users": 5, **other})
    with pytest.raises(OutputError, match=r"already holds lists made from other inputs \(history"):
        export_recommendations(model, clicks(), folder, 3, part_users=5)
    (folder / "part-00002.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"part-00002\.parquet is damaged: its content has changed; remove"):
        export_recommendations(model, planted(), folder, 3, part_users=5)


def test_the_folder_is_read_as_one_table(model, tmp_path):
    """By whatever reads folders of Parquet files: names that begin with an underscore are not theirs."""
    export_recommendations(model, planted(), tmp_path / "out", 3, part_users=5)
    frame, _ = read_recommendations(tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out"), frame)


def test_vectors_are_no_lists(tmp_path):
    about = VectorManifest("elsa", "0" * 32, "1" * 32, 2, {}, "item vectors", 3)
    manifest = export_vectors({"item_id": np.arange(2)}, np.ones((2, 3), np.float32), tmp_path / "out", about)
    assert manifest == VectorManifest.read(tmp_path / "out")
    assert np.stack(pd.read_parquet(tmp_path / "out")["vector"]).tolist() == [[1.0] * 3] * 2
    with pytest.raises(DataError, match="holds item vectors, not lists"):
        read_recommendations(tmp_path / "out")


def test_existing_folder_is_left_alone(model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(OutputError, match="already exists"):
        export_recommendations(model, planted(), tmp_path / "out", 3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_unknown_user(model, tmp_path):
    with pytest.raises(UnknownIdError):
        export_recommendations(model, planted(), tmp_path / "out", 3, users=["nobody"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "there is no file or folder"),
        ("x.csv", "user,item\n1,2\n", "there is no column 'user_id'"),
        ("x.csv", "user_id,rank,item_id\n", "holds no recommendations"),
        ("x.parquet", "text", "not a readable Parquet file"),
    ],
)
def test_unreadable_recommendations(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_recommendations(tmp_path / name)


def test_incomplete_export_is_not_read(model, tmp_path):
    export_recommendations(model, planted(), tmp_path / "out", 3)
    (tmp_path / "out" / "_manifest.json").unlink()
    with pytest.raises(DataError, match=r"is not a complete export: _manifest\.json is missing$"):
        read_recommendations(tmp_path / "out")


@pytest.mark.parametrize("inner", ["recommendations", "latest"])
def test_the_lists_in_a_folder_are_named_if_it_is_given_instead(model, tmp_path, inner):
    export_recommendations(model, planted(), tmp_path / "out" / inner, 3)
    with pytest.raises(DataError, match=rf"_manifest\.json is missing; did you mean {tmp_path}/out/{inner}\?$"):
        read_recommendations(tmp_path / "out")


def test_memory_does_not_grow_with_users_times_items(tmp_path):
    """All scores of 200,000 users x 20,000 items would be 16 GB; exporting some of the users needs less than 1 GB."""
    script = f"""
        import re
        import numpy as np
        from scipy.sparse import csr_array
        from recsys_ae import IdMap, Interactions, build_model, export_recommendations
        from recsys_ae.models.base import fitted_on
        n, m, k = 200_000, 20_000, 16
        rng = np.random.default_rng(0)
        item = rng.integers(0, m, n).astype(np.int32)
        matrix = csr_array((np.ones(n, np.float32), item, np.arange(n + 1)), shape=(n, m))
        data = Interactions(matrix, IdMap(np.arange(n)), IdMap(np.arange(m)), scale=(1.0, 5.0))
        model = build_model("mf", {{"factors": k}})
        normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
        arrays = dict(users=normal(n, k), items=normal(m, k), user_bias=normal(n), item_bias=normal(m))
        arrays |= dict(mean=np.array([3.0]), unit=np.array([1.0]), item_centre=np.zeros(m))
        model.fitted = fitted_on(data, arrays, keep_users=True, keep_scale=True)
        export_recommendations(model, data, {str(tmp_path / "out")!r}, 10, users=np.arange(4_000), batch_users=512)
        print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert int(done.stdout) / 2**20 < 1.0  # KiB; not ru_maxrss, which a child inherits from its parent
    lists, _ = read_recommendations(tmp_path / "out")
    assert len(lists) == 40_000
    assert np.isfinite(lists["score"]).all()
