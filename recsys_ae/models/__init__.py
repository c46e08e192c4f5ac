"""The recommenders, by the names that pipelines use."""

from recsys_ae.registry import Registry

MODELS = Registry(
    "model",
    {
        "autorec": "recsys_ae.models.autorec:AutoRec",
        "hybrid": "recsys_ae.models.hybrid:HybridAutoencoder",
        "elsa": "recsys_ae.models.elsa:ELSA",
        "ease": "recsys_ae.models.ease:EASE",
        "feature_ease": "recsys_ae.models.feature_ease:FeatureEASE",
        "sparse_ease": "recsys_ae.models.ease:SparseEASE",
        "recvae": "recsys_ae.models.recvae:RecVAE",
        "multvae": "recsys_ae.models.multinomial:MultVAE",
        "multdae": "recsys_ae.models.multinomial:MultDAE",
        "cdae": "recsys_ae.models.cdae:CDAE",
        "mf": "recsys_ae.models.mf:MatrixFactorisation",
        "wide_deep": "recsys_ae.models.wide_deep:WideAndDeep",
        "pca": "recsys_ae.models.pca:PCA",
        "gru": "recsys_ae.models.gru:SessionGRU",
        "gru_ratings": "recsys_ae.models.gru:RatingGRU",
        "als": "recsys_ae.models.implicit_models:ALS",
        "bpr": "recsys_ae.models.implicit_models:BPR",
        "itemknn": "recsys_ae.models.implicit_models:ItemKNN",
        "rp3beta": "recsys_ae.models.rp3beta:RP3Beta",
        "slist": "recsys_ae.models.slist:SLIST",
        "vsknn": "recsys_ae.models.vsknn:VSKNN",
        "sequential_rules": "recsys_ae.models.transitions:SequentialRules",
        "markov": "recsys_ae.models.transitions:MarkovChain",
        "session_popularity": "recsys_ae.models.transitions:SessionPopularity",
        "blend": "recsys_ae.models.blend:Blend",
        "bias": "recsys_ae.models.baselines:Bias",
        "popularity": "recsys_ae.models.baselines:Popularity",
    },
)
