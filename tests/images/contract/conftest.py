"""Every variant of an image model, and one that is fitted."""

import pytest
from image_builders import FITTED, VARIANTS, fit


@pytest.fixture(params=VARIANTS)
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name):
    if name not in FITTED:
        FITTED[name] = fit(name)
    return FITTED[name]
