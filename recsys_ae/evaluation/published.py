"""Published values of well-known protocols, to be shown beside values measured under the same protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recsys_ae.evaluation.protocol import Protocol


@dataclass(frozen=True)
class Published:
    """Values that others have published for one protocol.

    Attributes:
        about: the data and the protocol, in words.
        values: by metric, then by model; names say where a value was chosen on the test part.
        parts: content hashes of test part and history (`content_digest`) if the split is fixed: then the protocol is equal.
        dataset, settings: otherwise the name of the card and some keys of a pipeline: then only the draw differs.
    """

    about: str
    values: Mapping[str, Mapping[str, float]]
    parts: tuple[str, str] | None = None
    dataset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def equals(self, protocol: Protocol, metrics: list[str]) -> bool:
        """Whether the values of `metrics` are measured on the very same data."""
        return (protocol.test, protocol.history) == self.parts and self._covers(metrics)

    def resembles(self, dataset: str, settings: Mapping[str, Any], metrics: list[str]) -> bool:
        """Whether a pipeline draws its test part in the same way."""
        agrees = all(settings.get(key) == value for key, value in self.settings.items())
        return bool(self.settings) and dataset == self.dataset and agrees and self._covers(metrics)

    def _covers(self, metrics: list[str]) -> bool:
        return not self.values.keys().isdisjoint(metrics)


ML_100K_U1 = Published(
    "MovieLens 100K, split u1",
    {
        "rmse": {
            "myFM with features and days": 0.8809,
            "myFM from who rated what": 0.8902,
            "GLocal-K, chosen on the test part": 0.8889,
            "RecKross, chosen on the test part": 0.8910,
            "IMC-GAE": 0.8967,
            "GC-MC with features": 0.905,
            "GC-MC": 0.910,
        }
    },
    parts=("b9c53abdf94f9937cceb0415fa540c07", "a6b99c9c9c00159bce600e05986f26fe"),
)
ML_1M_GLOCAL_K = Published(
    "MovieLens 1M, split of GLocal-K",
    {"rmse": {"GLocal-K, chosen on the test part": 0.8227}},
    parts=("d17164aaf8c00da60cffe5843a48ba52", "78a3c6a70d52592764ad42308ea5380d"),
)
RANDOM_90_10 = {"split.kind": "random", "split.test": 0.1, "positive_at": None}
ML_1M_RANDOM = Published(
    "MovieLens 1M, a random tenth held out",
    {
        "rmse": {
            "SparseFC": 0.823,
            "IMC-GAE": 0.829,
            "I-AutoRec": 0.831,
            "LLORMA": 0.833,
            "BiasedMF": 0.845,
            "U-AutoRec": 0.874,
        }
    },
    dataset="ml-1m",
    settings=RANDOM_90_10,
)
ML_10M_RANDOM = Published(
    "MovieLens 10M, a random tenth held out",
    {"rmse": {"Bayesian MF (Rendle et al. 2019)": 0.7633, "I-AutoRec": 0.782, "BiasedMF": 0.803, "U-AutoRec": 0.867}},
    dataset="ml-10m",
    settings=RANDOM_90_10,
)
ML_20M_NEW_USERS = Published(
    "MovieLens 20M, users held out (Liang et al. 2018)",
    {
        "capped_recall@20": {"RecVAE": 0.414, "Mult-VAE": 0.39535, "Mult-DAE": 0.38768},
        "capped_recall@50": {"RecVAE": 0.553, "Mult-VAE": 0.5354, "Mult-DAE": 0.52426},
        "ndcg@100": {"RecVAE": 0.442, "Mult-VAE": 0.42592, "EASE": 0.42, "Mult-DAE": 0.41997},
    },
    dataset="ml-20m",
    settings={"split.kind": "user_holdout", "split.fold_in": 0.8, "positive_at": 4.0},
)
ML_1M_NCF = Published(
    "MovieLens 1M, last item of each user among 100 sampled ones (He et al. 2017)",
    {
        "sampled_hit_rate@10": {"iALS": 0.722, "EASE": 0.7192, "NeuMF": 0.7093, "TopPop": 0.4533},
        "sampled_ndcg@10": {"EASE": 0.4494, "iALS": 0.445, "NeuMF": 0.4349, "TopPop": 0.2542},
    },
    dataset="ml-1m",
    settings={"split.kind": "leave_last", "candidates.n": 100},
)
PUBLISHED = (ML_100K_U1, ML_1M_GLOCAL_K, ML_1M_RANDOM, ML_10M_RANDOM, ML_20M_NEW_USERS, ML_1M_NCF)


def published_for(protocol: Protocol, dataset: str, settings: Mapping[str, Any], metrics: list[str]) -> list[Published]:
    """The published values under an equal protocol, then those under a protocol that differs in the draw only.

    Args:
        settings: keys of the pipeline, nested ones as `split.kind`.
    """
    equal = [one for one in PUBLISHED if one.equals(protocol, metrics)]
    alike = [one for one in PUBLISHED if one.resembles(dataset, settings, metrics)]
    return [*equal, *alike]
