import numpy as np
import pytest
from builders import from_dense, planted, random_interactions
from sklearn.decomposition import TruncatedSVD

from recsys_ae import build_model
from recsys_ae.errors import ConfigError
from recsys_ae.models.baselines import Biases


@pytest.mark.parametrize("centring", ["none", "bias"])
def test_scores_are_those_of_scikit_learn(centring):
    data = random_interactions()
    model = build_model("pca", {"factors": 3, "centring": centring}).fit(data, seed=0)
    biases = Biases.fit(data)
    matrix = (data.matrix if centring == "none" else biases.residuals(data.matrix)).toarray()
    theirs = TruncatedSVD(3, algorithm="arpack").fit(matrix)
    expected = theirs.inverse_transform(theirs.transform(matrix))
    if centring == "bias":
        expected += biases.block(data, np.arange(40))
    np.testing.assert_allclose(model.scores(data, np.arange(40)), expected, atol=1e-4)


def test_components_are_orthonormal_and_ordered():
    model = build_model("pca", {"factors": 3}).fit(random_interactions())
    components = model.fitted.arrays["components"]
    np.testing.assert_allclose(components.T @ components, np.eye(3), atol=1e-5)


@pytest.mark.parametrize("centring", ["none", "bias"])
def test_clicks_are_not_an_error(centring):
    """Equal ratings have no residuals; without centring, the pattern is decomposed."""
    data = from_dense(np.ones((9, 6)), np.random.default_rng(0).random((9, 6)) < 0.5)
    model = build_model("pca", {"factors": 2, "centring": centring}).fit(data)
    scores = model.scores(data, np.arange(9))
    assert np.isfinite(scores).all()
    assert (np.ptp(scores) > 0) == (centring == "none")


def test_too_many_factors():
    with pytest.raises(ConfigError, match=r"pca on a \(12, 7\) matrix can have at most 6 factors, got 7"):
        build_model("pca", {"factors": 7}).fit(planted())
