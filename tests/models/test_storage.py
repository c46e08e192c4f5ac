import pickle
from dataclasses import replace

import numpy as np
import pytest
from builders import SMALL, planted

from recsys_ae import build_model, load_model, save_model
from recsys_ae.declaration import parameters
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
    with pytest.raises(ConfigError, match="factors: expected at least 1, got 0"):
        build_model("mf", {"factors": 0})


def test_digest_does_not_change_on_the_way(tmp_path):
    model = build_model("bias", {"user_reg": 1})
    model.user_reg = 1
    model.fit(replace(planted(), scale=(1, 5)))
    save_model(model, tmp_path / "model")
    assert model_digest(load_model(tmp_path / "model")) == model_digest(model)


@pytest.mark.parametrize("name", ["multdae", "gru", "autorec", "wide_deep", "blend", "pca", "gf_cf"])
def test_what_scoring_derives_is_kept_but_not_pickled(name):
    """As in a task for each block of users, which would carry it."""
    epochs = {"epochs": 1} if "epochs" in SMALL.get(name, {}) else {}
    model, rows = build_model(name, {**SMALL.get(name, {}), **epochs}).fit(planted(), seed=0), np.arange(3)
    fitted, before = model.fitted, len(pickle.dumps(model))
    expected = model.scores(planted(), rows)
    derived = model._derived[1]
    assert len(pickle.dumps(model)) == before
    copy = pickle.loads(pickle.dumps(model))
    assert copy._derived is None
    np.testing.assert_array_equal(copy.scores(planted(), rows), expected)
    model.scores(planted(), rows)
    assert model._derived[1] is derived
    assert "_derived" not in parameters(model)
    model.fitted = replace(fitted)
    np.testing.assert_array_equal(model.scores(planted(), rows), expected)
    assert model._derived[1] is not derived
