"""The fixture that the modules of the catalogue share."""

import pytest

pytest.register_assert_rewrite("robustness.catalogue")

from robustness.catalogue import examine  # noqa: E402, F401 - a fixture
