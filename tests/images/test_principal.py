"""Principal components as an autoencoder, against scikit-learn."""

import numpy as np
import pytest
from image_builders import others, some
from sklearn.decomposition import PCA

from recsys_ae.errors import ConfigError
from recsys_ae.images.principal import PrincipalComponents


def test_codes_and_reconstructions_are_those_of_scikit_learn():
    model, found = PrincipalComponents(components=7).fit(some()), PCA(7).fit(some())
    codes = model.encode(others())
    signs = np.sign((codes * found.transform(others())).sum(axis=0))
    np.testing.assert_allclose(codes, signs * found.transform(others()), rtol=1e-3, atol=1e-4)
    expected = found.inverse_transform(found.transform(others()))
    np.testing.assert_allclose(model.reconstruct(others()), expected, rtol=1e-3, atol=1e-4)


def test_as_many_components_as_pixels_lose_nothing():
    model = PrincipalComponents(components=64).fit(some())
    np.testing.assert_allclose(model.reconstruct(others()), others(), atol=1e-4)


@pytest.mark.parametrize(("n", "components"), [(200, 65), (10, 10), (1, 1)])
def test_more_components_than_there_are(n, components):
    with pytest.raises(ConfigError, match=f"{n} images of 64 pixels have fewer than {components} components"):
        PrincipalComponents(components=components).fit(some()[:n])
