"""Saving and loading of recommenders and image models."""

import json
from functools import partial

import numpy as np
import pytest
from builders import planted
from damage import flips, outcome
from hypothesis import given, strategies as st
from image_builders import make, some, some_labels

from recsys_ae import build_model, load_image_model, load_model, save_image_model, save_model
from recsys_ae.errors import DataError, OutputError
from recsys_ae.files import CHECKSUM, write_json
from recsys_ae.fitted import ARRAYS, DESCRIPTION, Fitted
from recsys_ae.ids import IdMap
from recsys_ae.models.base import fitted_on

SAVED = {
    "mf": (lambda: build_model("mf", {"epochs": 2}).fit(planted()), save_model, load_model),
    "popularity": (lambda: build_model("popularity").fit(planted()), save_model, load_model),
    "dense": (lambda: make("dense", epochs=1).fit(some()), save_image_model, load_image_model),
    "classes": (lambda: make("stacked-classes", epochs=1).fit(some(), some_labels()), save_image_model, load_image_model),
}
FITTED: dict[str, object] = {}


@pytest.fixture(params=SAVED)
def saved(request, tmp_path):
    """The folder of a saved model, and functions that save and load it."""
    fit, save, load = SAVED[request.param]
    if request.param not in FITTED:
        FITTED[request.param] = fit()
    save(FITTED[request.param], tmp_path / "model")
    return tmp_path / "model", lambda folder: save(FITTED[request.param], folder), load


def test_the_order_of_feature_tables_does_not_matter():
    """That of a set depends on the process."""
    orders = (["user_features", "item_features"], ["item_features", "user_features"])
    one, other = (fitted_on(planted(), {}, keep_users=True, features=order).digest("mf", {}) for order in orders)
    assert one == other


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_missing_file_is_named(saved):
    folder, _, load = saved
    for name in files_of(folder):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"is not a complete model: {name} is missing"):
            load(folder)
        (folder / name).write_bytes(content)
    load(folder)


def test_every_damaged_file_is_noticed(saved):
    folder, save, load = saved
    for name in files_of(folder):
        (folder / name).write_bytes(b"\x80\x04damaged")
        with pytest.raises(DataError, match="is damaged"):
            load(folder)
        save(folder)


def test_every_flipped_bit_is_named_or_changes_nothing(saved, tmp_path):
    """A sample of each file; what loads in spite of it is saved again as the same files."""
    folder, _, load = saved
    save = save_model if load is load_model else save_image_model
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for number, name in enumerate(whole):
        noticed = 0
        for what in flips(folder / name, 60, seed=number):
            model, error = outcome(partial(load, folder))
            if error is None:
                save(model, tmp_path / "again")
                assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == whole, what
            else:
                assert str(folder) in error, what
                noticed += 1
        assert noticed > 54, name


def test_one_flipped_bit_in_an_array_is_noticed(saved):
    folder, _, load = saved
    content = bytearray((folder / ARRAYS).read_bytes())
    content[-10] ^= 1
    (folder / ARRAYS).write_bytes(content)
    with pytest.raises(DataError, match=r"arrays\.safetensors is damaged: its content has changed"):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "metric"},
        {"version": "0"},
        {"model": "mlp"},
        {"params": {"sides": 3}},
        {"meta": {"shape": 64, "scale": None}},
        {"model_digest": "0" * 32},
        {"files": {}},
    ],
)
def test_every_change_of_the_description_is_noticed(saved, change):
    folder, _, load = saved
    description = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**description, **change}))
    with pytest.raises(DataError, match=r"model\.json is damaged: its checksum does not match; fit the model again"):
        load(folder)


def test_a_description_of_another_format_or_shape_is_refused(saved):
    """Even with the right checksum."""
    folder, _, load = saved
    description = json.loads((folder / DESCRIPTION).read_text())
    del description[CHECKSUM]
    for content, message in (
        ({"format": 2, "layers": []}, r"model\.json: .* format 2, but this version .* only format 1; fit the model again"),
        ({**description, "params": 3}, r"model\.json is damaged: params"),
        ({**description, "files": {"arrays.safetensors": 7}}, r"model\.json is damaged: files\.arrays\.safetensors"),
        ({**description, "more": 3}, r"model\.json is damaged: 'more': unknown key"),
        ({**description, "params": {"hidden": [10**9, 10**9]}}, "cannot be loaded"),
    ):
        write_json(content, folder / DESCRIPTION)
        with pytest.raises(DataError, match=message):
            load(folder)


def test_a_model_of_the_other_kind_is_refused(saved):
    folder, _, load = saved
    other = load_image_model if load is load_model else load_model
    with pytest.raises(DataError, match=r"a model of the kind '(image model|recommender)', not '(recommender|image model)'"):
        other(folder)


def test_saving_again_replaces_the_whole_folder(saved):
    folder, save, load = saved
    before = files_of(folder)
    (folder / "left-over").touch()
    save(folder)
    assert files_of(folder) == before
    assert files_of(folder.parent) == ["model"]
    load(folder)


def test_a_folder_with_something_else_is_left_alone(saved, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(OutputError, match="exists and is not a model"):
            saved[1](folder)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@given(st.integers(0, 5), st.lists(st.integers(), unique=True, min_size=1), st.text())
def test_the_digest_covers_everything(number, ids, text):
    ids = [value % 2**40 for value in ids[:1]]
    one = Fitted({"a": np.arange(number)}, {"items": IdMap(ids)}, {"text": text})
    digest = one.digest("model", {"k": 1})
    assert digest == Fitted({"a": np.arange(number)}, {"items": IdMap(ids)}, {"text": text}).digest("model", {"k": 1.0})
    others = [
        one.digest("other", {"k": 1}),
        one.digest("model", {"k": 2}),
        Fitted({"b": np.arange(number)}, one.ids, one.meta).digest("model", {"k": 1}),
        Fitted({"a": np.arange(number + 1)}, one.ids, one.meta).digest("model", {"k": 1}),
        Fitted(one.arrays, {"users": IdMap(ids)}, one.meta).digest("model", {"k": 1}),
        Fitted(one.arrays, {"items": IdMap([ids[0] + 1])}, one.meta).digest("model", {"k": 1}),
        Fitted(one.arrays, one.ids, {"text": text + "x"}).digest("model", {"k": 1}),
    ]
    assert digest not in others
