import json
from dataclasses import replace

import numpy as np
import pytest
from builders import planted

from recsys_ae import build_model, load_model, save_model
from recsys_ae.errors import ConfigError, DataError, OutputError
from recsys_ae.models.storage import model_digest


@pytest.fixture
def saved(tmp_path):
    save_model(build_model("mf", {"epochs": 2}).fit(planted()), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors", "items.parquet"])
def test_missing_file(saved, name):
    (saved / name).unlink()
    with pytest.raises(DataError, match=f"no complete model in .*: {name} is missing"):
        load_model(saved)


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors", "items.parquet"])
def test_damaged_file(saved, name):
    (saved / name).write_bytes(b"\x80\x04damaged")
    with pytest.raises(DataError, match="is damaged"):
        load_model(saved)


def test_altered_weights_are_noticed(saved):
    content = bytearray((saved / "arrays.safetensors").read_bytes())
    content[-10] ^= 1
    (saved / "arrays.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"does not have the digest that model\.json names"):
        load_model(saved)


@pytest.mark.parametrize(("change", "message"), [({"format": 2}, "has format 2"), ({"model": "mlp"}, "unknown model 'mlp'")])
def test_model_of_another_kind(saved, change, message):
    description = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps({**description, **change}))
    with pytest.raises(DataError, match=message):
        load_model(saved)


def test_saving_again_replaces_whole(saved):
    save_model(build_model("popularity", {}).fit(planted()), saved)
    assert sorted(path.name for path in saved.iterdir()) == ["arrays.safetensors", "items.parquet", "model.json"]
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model"]


def test_id_types_survive(saved):
    fitted = load_model(saved).fitted
    assert (fitted.items.kind, fitted.users.kind) == ("int", "str")
    np.testing.assert_array_equal(fitted.items.values, planted().items.values)


def test_mistakes_in_parameters():
    with pytest.raises(ConfigError, match="unknown key 'factor'; did you mean 'factors'"):
        build_model("mf", {"factor": 3})
    with pytest.raises(ConfigError, match="factors: input should be greater than or equal to 1, got 0"):
        build_model("mf", {"factors": 0})


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else than a model"):
        save_model(build_model("popularity", {}).fit(planted()), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_digest_does_not_change_on_the_way(tmp_path):
    model = build_model("bias", {"user_reg": 1})
    model.user_reg = 1
    model.fit(replace(planted(), scale=(1, 5)))
    save_model(model, tmp_path / "model")
    assert model_digest(load_model(tmp_path / "model")) == model_digest(model)
