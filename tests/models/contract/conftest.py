"""Every variant of a model, and one that is fitted."""

import pytest
from builders import VARIANTS, clicks, planted
from kinds_of_models import OF_CLICKS, fitted, fitted_on_clicks, kind_of


@pytest.fixture(params=VARIANTS)
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name):
    return fitted(name)


@pytest.fixture
def of_likes(name):
    """The fitted model and its training data: only the liked pairs if the model ignores values."""
    if kind_of(name) in OF_CLICKS:
        return fitted_on_clicks(name), clicks()
    return fitted(name), planted()
