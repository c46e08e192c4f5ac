"""The spaces that models ship for a search: a contract test for every registered model, and what ranges are."""

import image_builders
import numpy as np
import pytest
from builders import complete, random_interactions
from pydantic import ValidationError

from recsys_ae import build_image_model, build_model
from recsys_ae.declaration import parameters
from recsys_ae.experiment.search import extremes, shipped_space
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.models import MODELS
from recsys_ae.space import Range, in_words

NOTHING_TO_SEARCH = {"popularity", "session_popularity"}
QUICK = {"epochs": 1, "layer_epochs": 1}
KINDS = [*((MODELS, build_model, name) for name in MODELS), *((IMAGE_MODELS, build_image_model, name) for name in IMAGE_MODELS)]
each_model = pytest.mark.parametrize(("registry", "build", "name"), KINDS, ids=[f"{one.kind}-{name}" for one, _, name in KINDS])


def drawn(space, rng) -> dict:
    """A random point."""
    point = {}
    for key, values in space.items():
        if isinstance(values, list):
            point[key] = values[rng.integers(len(values))]
        else:
            low, high = np.log([values.low, values.high]) if values.log else (values.low, values.high)
            value = rng.uniform(low, high)
            point[key] = values.rounded(float(np.exp(value) if values.log else value))
    return point


def in_type(params: dict, model) -> dict:
    """The parameters, those of integer parameters as integers."""
    return {key: int(value) if isinstance(getattr(model, key), int) else value for key, value in params.items()}


@pytest.fixture(scope="module")
def data():
    """Ratings 1 to 5 of 150 users for 140 items, with everything that models need."""
    found = random_interactions(n_users=150, n_items=140, share=0.08)
    found.matrix.data[:] = found.matrix.data.clip(1, 5)
    return complete(found)


@each_model
def test_every_point_of_a_space_is_a_valid_model_that_fits(registry, build, name, data):
    model = build(name)
    rng = np.random.default_rng(0)
    corners = [{key: extremes(values)[at] for key, values in model.space.items()} for at in (0, -1)]
    quick = {key: value for key, value in QUICK.items() if key in parameters(model)}
    for point in [*corners, drawn(model.space, rng), drawn(model.space, rng)]:
        build(name, in_type(point, model))
    fitted = build(name, {**in_type(drawn(model.space, rng), model), **quick})
    if registry is MODELS:
        fitted.fit(data, seed=0)
        assert np.isfinite(fitted.scores(data, np.arange(3))).all()
    else:
        fitted.fit(image_builders.some(), image_builders.some_labels(), shape=image_builders.SIDE, seed=0)
        assert np.isfinite(fitted.encode(image_builders.some()[:3])).all()


@each_model
def test_every_space_holds_the_defaults_and_only_parameters(registry, build, name):
    model = build(name)
    assert bool(model.space) == (name not in NOTHING_TO_SEARCH)
    for key, values in model.space.items():
        assert parameters(model)[key] in values, key
        assert not isinstance(values, list) or len(values) > 1
    assert shipped_space(model) == model.space


def test_a_space_extends_to_what_is_declared():
    space = shipped_space(build_model("autorec", {"l2": 5, "dropout": 0.9, "hidden": 30, "learning_rate": 0.001}))
    assert space["l2"] == Range(low=5, high=2000, log=True)
    assert space["dropout"] == Range(low=0, high=0.9)
    assert space["hidden"] == [[100], [250], [500], [30]]
    assert space["learning_rate"] == build_model("autorec").space["learning_rate"]
    assert shipped_space(build_model("autorec", {"l2": 0}))["l2"].low == 20  # a logarithmic scale has no 0


def test_rounded_numbers_stay_in_the_range():
    assert Range(low=0, high=1).rounded(0.123456) == 0.1235
    assert Range(low=0, high=1).rounded(0.0) == 0
    assert Range(low=1e-5, high=1, log=True).rounded(0.0000123456) == 0.00001235
    assert Range(low=0.12353, high=1).rounded(0.12354) == 0.12353
    assert Range(low=-1, high=0.99999).rounded(0.99998) == 0.99999
    assert Range(low=1, high=1e6).rounded(123456.7) == 123500
    assert Range(low=-1, high=1).rounded(-0.123456) == -0.1235


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"low": 2, "high": 1}, "low must be less than high"),
        ({"low": 1, "high": 1}, "low must be less than high"),
        ({"low": 0, "high": 1, "log": True}, "must begin above 0"),
        ({"low": 0, "high": 1, "step": 1}, "Extra inputs"),
    ],
)
def test_ranges_are_checked(keys, says):
    with pytest.raises(ValidationError, match=says):
        Range(**keys)


def test_spaces_in_words():
    space = {"l2": Range(low=10, high=10000, log=True), "dropout": Range(low=0, high=0.5), "loss": ["square", "logistic"]}
    assert [in_words(space, key) for key in (*space, "seed")] == ["10 to 10000, log", "0 to 0.5", "square, logistic", ""]
