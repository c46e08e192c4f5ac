from dataclasses import replace

import numpy as np
import pytest
from builders import planted

from recsys_ae import build_model, load_model, save_model
from recsys_ae.errors import ConfigError
from recsys_ae.models.storage import model_digest


@pytest.fixture
def saved(tmp_path):
    save_model(build_model("mf", {"epochs": 2}).fit(planted()), tmp_path / "model")
    return tmp_path / "model"


def test_id_types_survive(saved):
    fitted = load_model(saved).fitted
    assert (fitted.ids["items"].kind, fitted.ids.get("users").kind) == ("int", "str")
    np.testing.assert_array_equal(fitted.ids["items"].values, planted().items.values)


def test_mistakes_in_parameters():
    with pytest.raises(ConfigError, match="unknown key 'factor'; did you mean 'factors'"):
        build_model("mf", {"factor": 3})
    with pytest.raises(ConfigError, match="factors: input should be greater than or equal to 1, got 0"):
        build_model("mf", {"factors": 0})


def test_digest_does_not_change_on_the_way(tmp_path):
    model = build_model("bias", {"user_reg": 1})
    model.user_reg = 1
    model.fit(replace(planted(), scale=(1, 5)))
    save_model(model, tmp_path / "model")
    assert model_digest(load_model(tmp_path / "model")) == model_digest(model)
