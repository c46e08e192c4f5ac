"""The recommenders, by the names that pipelines use."""

from recsys_ae.registry import Registry

MODELS = Registry(
    "model",
    {
        "autorec": "recsys_ae.models.autorec:AutoRec",
        "mf": "recsys_ae.models.mf:MatrixFactorisation",
        "pca": "recsys_ae.models.pca:PCA",
        "bias": "recsys_ae.models.bias:Bias",
        "popularity": "recsys_ae.models.popularity:Popularity",
    },
)
