"""Verification: everything that is wrong is found, with an example, and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import clicks, planted, random_interactions
from damage import flips, outcome
from hypothesis import given, settings, strategies as st

from recsys_ae import Rules, build_model
from recsys_ae.digests import digest_of_file
from recsys_ae.export.local import export_request
from recsys_ae.export.manifest import MANIFEST, ListManifest, Part
from recsys_ae.export.request import ListRequest
from recsys_ae.export.verification import verify_lists
from recsys_ae.files import write_json
from recsys_ae.parquet import write_parquet


@pytest.fixture(scope="module")
def model():
    return build_model("ease", {"l2": 3.0}).fit(random_interactions())


@pytest.fixture(scope="module")
def request_of(model):
    return lambda **options: ListRequest.of(model, random_interactions(), **{"k": 4, "part_users": 15, **options})


@pytest.fixture(scope="module")
def made(request_of, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "lists"
    export_request(request_of(), folder)
    return folder


@pytest.fixture
def lists(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "lists")


def failed(folder: Path, request: ListRequest | None = None, **options) -> dict[str, str]:
    """The checks that failed, with what they say."""
    return {check.name: str(check) for check in verify_lists(folder, request, **options) if check.wrong}


def change(folder: Path, name: str, of_table, *, told: bool = True) -> None:
    """Replace a part by a function of its table; on request the manifest tells so."""
    table = of_table(pq.read_table(folder / name))
    write_parquet(table.schema, [table], folder / name)
    if told:
        manifest = ListManifest.read_alone(folder)
        part = Part(digest_of_file(folder / name), table.num_rows, len(table[0].unique()))
        files = {**manifest.files, name: part}
        served = sum(one.users for one in files.values())
        counts = {"rows": sum(one.rows for one in files.values()), "users_without_items": manifest.n_users - served}
        write_json(replace(manifest, files=files, **counts), folder / MANIFEST)


def with_column(table: pa.Table, name: str, values) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def test_good_lists_pass_every_check(lists, request_of):
    alone = verify_lists(lists)
    assert {check.name: check.wrong for check in alone} == {
        **dict.fromkeys(["files", "schema", "counts", "users", "ranks", "items", "scores"], 0),
        **dict.fromkeys(["inputs", "seen", "rules", "sample"]),
    }
    for sample in (1, 7, 1000):
        assert [check.wrong for check in verify_lists(lists, request_of(), sample=sample)] == [0] * 11


PART = "part-00001.parquet"
BREAKS = {  # by the check that must fail if the manifest has been adapted
    "ranks": {
        "a gap": lambda t: with_column(t, "rank", [5 if rank == 4 else rank for rank in t["rank"].to_pylist()]),
        "from 0": lambda t: with_column(t, "rank", np.array(t["rank"]) - 1),
        "a dropped row": lambda t: pa.concat_tables([t[:5], t[6:]]),
        "doubled": lambda t: with_column(t, "rank", [max(1, rank - 1) for rank in t["rank"].to_pylist()]),
    },
    "items": {"twice": lambda t: with_column(t, "item_id", [t["item_id"][at // 2 * 2].as_py() for at in range(len(t))])},
    "scores": {
        "rising": lambda t: with_column(t, "score", np.arange(len(t), dtype=np.float32)),
        "not a number": lambda t: with_column(t, "score", [np.nan, *t["score"].to_pylist()[1:]]),
    },
    "users": {
        "apart": lambda t: pa.concat_tables([t[:1], t[4:], t[1:4]]),
        "of another part": lambda t: with_column(t, "user_id", ["u00"] * 4 + t["user_id"].to_pylist()[4:]),
    },
    "sample": {"another score": lambda t: with_column(t, "score", np.nextafter(np.array(t["score"]), np.float32(9)))},
    "schema": {
        "a double": lambda t: t.set_column(3, "score", t["score"].cast(pa.float64())),
        "without a user": lambda t: with_column(t, "user_id", [None, *t["user_id"].to_pylist()[1:]]),
        "another name": lambda t: t.rename_columns(["user", "rank", "item_id", "score"]),
    },
}


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, names in BREAKS.items() for name in names])
def test_violations_are_reported_even_if_the_manifest_agrees(lists, request_of, check, name):
    change(lists, PART, BREAKS[check][name])
    found = failed(lists, request_of(), sample=1000)
    assert check in found
    assert "files" not in found
    assert PART in found[check] or "user 'u" in found[check]


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, names in BREAKS.items() for name in names])
def test_no_change_of_a_file_goes_unnoticed(lists, check, name):
    change(lists, PART, BREAKS[check][name], told=False)
    assert f"{PART} is damaged" in failed(lists)["files"]


def test_seen_items_are_found(model, tmp_path):
    """Lists made as if nobody had seen anything, under a manifest that says the contrary."""
    data = random_interactions()
    manifest = export_request(ListRequest.of(model, data, 4, exclude_seen=False), tmp_path / "lists")
    honest = ListRequest.of(model, data, 4)
    assert not failed(tmp_path / "lists", ListRequest.of(model, data, 4, exclude_seen=False))
    lied = replace(honest.planned, files=manifest.files, rows=manifest.rows, users_without_items=manifest.users_without_items)
    write_json(lied, tmp_path / "lists" / MANIFEST)
    found = failed(tmp_path / "lists", honest)
    assert found.keys() == {"seen", "sample"}
    table = pq.read_table(tmp_path / "lists" / "part-00000.parquet").to_pylist()
    pairs = set(zip(data.users.values[data.user_rows()], data.items.values[data.item_rows()], strict=True))
    assert f"({sum((row['user_id'], row['item_id']) in pairs for row in table)} such cases)" in found["seen"]


def test_missing_additional_and_damaged_files(lists):
    shutil.copy(lists / PART, lists / "part-00007.parquet")
    assert "part-00007.parquet is not in the manifest" in failed(lists)["files"]
    (lists / "part-00007.parquet").unlink()
    (lists / PART).unlink()
    found = failed(lists)
    assert f"{PART} is missing" in found["files"]
    assert "counts" in found


def test_a_flipped_bit_is_found(lists):
    for name in (MANIFEST, "part-00002.parquet"):
        for what in flips(lists / name, 100):
            found, error = outcome(lambda: failed(lists))
            assert error is not None or "files" in found, what


def test_other_inputs_are_reported(lists, request_of, model):
    other = build_model("ease", {"l2": 4.0}).fit(random_interactions())
    fewer = random_interactions().filter(np.arange(len(random_interactions())) != 5)
    for what, request in {
        "model": ListRequest.of(other, random_interactions(), 4, part_users=15),
        "history": ListRequest.of(model, fewer, 4, part_users=15),
        "k": request_of(k=5),
        "filters": request_of(cold="skip"),
        "rules": request_of(rules=Rules.of(random_interactions().items, candidates=[100, 101, 102, 103, 104, 105])),
        "users": request_of(users=random_interactions().users.values[::-1]),
    }.items():
        found = failed(lists, request)
        assert what in found["inputs"]
        assert found.keys() == {"inputs"}
    assert "files" in {check.name: check for check in verify_lists(lists, request_of(k=5))}


def test_the_list_of_a_user_is_made_again(lists, request_of):
    users = random_interactions().users.rows(["u20", "u03"])
    assert not failed(lists, request_of(), users=users)
    change(lists, PART, lambda t: with_column(t, "item_id", [100 if u == "u20" else i for u, i in pairs_in(t)]))
    found = failed(lists, request_of(), users=users)
    assert "the list of user 'u20' is different when it is made again" in found["sample"]
    assert "such cases" not in found["sample"]


def pairs_in(table: pa.Table) -> list[tuple]:
    return list(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))


def test_lists_without_rows_and_with_integer_ids(tmp_path):
    history = clicks()
    model = build_model("popularity", {}).fit(history)
    nobody = ListRequest.of(model, history, 3, users=np.array([], dtype=object))
    export_request(nobody, tmp_path / "nobody")
    assert not failed(tmp_path / "nobody", nobody)
    full = ListRequest.of(model, planted(), 3, rules=Rules.of(planted().items, candidates=[100]))  # most users have it
    export_request(full, tmp_path / "full")
    assert not failed(tmp_path / "full", full)


@settings(max_examples=15)
@given(st.integers(1, 30), st.integers(1, 45), st.booleans(), st.integers(0, 5))
def test_every_export_passes_verification(tmp_path_factory, k, part_users, exclude_seen, seed):
    data = random_interactions(seed)
    request = ListRequest.of(build_model("popularity", {}).fit(data), data, k, part_users=part_users, exclude_seen=exclude_seen)
    folder = tmp_path_factory.mktemp("any") / "lists"
    export_request(request, folder)
    assert not failed(folder, request, sample=10)


def test_repeatable_items_may_be_seen(model, tmp_path):
    data = random_interactions()
    again = pd.DataFrame({"user_id": data.users.values[data.user_rows()], "item_id": data.items.values[data.item_rows()]})
    request = ListRequest.of(model, data, 20, rules=Rules.of(data.items, repeatable=again[::2]))
    lists = request.scorer.table(np.arange(data.n_users)).to_pandas()[["user_id", "item_id"]]
    assert 0 < len(lists.merge(again)) < len(again)
    export_request(request, tmp_path / "lists")
    assert not failed(tmp_path / "lists", request)


def test_items_against_the_rules_are_found(model, tmp_path):
    """Lists made without rules, under a manifest that says the contrary."""
    data = random_interactions()
    manifest = export_request(ListRequest.of(model, data, 4), tmp_path / "lists")
    ruled = ListRequest.of(model, data, 4, rules=Rules.of(data.items, blocked=[103]))
    lied = replace(ruled.planned, files=manifest.files, rows=manifest.rows, users_without_items=manifest.users_without_items)
    write_json(lied, tmp_path / "lists" / MANIFEST)
    found = failed(tmp_path / "lists", ruled)
    assert found.keys() == {"rules", "sample"}
    listed = pq.read_table(tmp_path / "lists" / "part-00000.parquet")["item_id"].to_pylist()
    assert f"item 103 against the rules ({listed.count(103)} such cases)" in found["rules"]
