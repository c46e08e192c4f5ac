"""Published values of well-known protocols, to be shown beside values measured under the same protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from recsys_ae.evaluation.protocols.protocol import Protocol

# How a published split relates to one's own: the same pairs, one of the same name, or another draw by the same rule.
Relation = Literal["equal", "namesake", "draw"]


@dataclass(frozen=True)
class Published:
    """Values that others have published for one protocol.

    Attributes:
        about: the data and the protocol, in words.
        values: by metric, then by model; names say where a value was chosen on the test part.
        parts: content hashes of test part and history (`content_digest`) if the split is fixed: then the protocol is equal.
        dataset, settings: otherwise the name of the card and some keys of a pipeline.
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
        """Whether a pipeline has a split of the same name or draws one in the same way."""
        agrees = all(settings.get(key) == value for key, value in self.settings.items())
        return bool(self.settings) and dataset == self.dataset and agrees and self._covers(metrics)

    @property
    def relation(self) -> Relation:
        """That of the splits for which this is found."""
        if self.parts is not None:
            return "equal"
        return "namesake" if self.settings.get("split.kind") == "given" else "draw"

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
GIVEN = {"split.kind": "given", "positive_at": None, "relevant_at": None}
GOWALLA = Published(
    "Gowalla, split of LightGCN",
    {
        "recall@20": {"SimpleX": 0.1872, "UltraGCN": 0.1862, "LightGCN": 0.182, "EASE": 0.1765, "MF-BPR": 0.1627},
        "ndcg@20": {"UltraGCN": 0.158, "SimpleX": 0.1557, "LightGCN": 0.1547, "EASE": 0.1467, "MF-BPR": 0.1378},
    },
    dataset="gowalla",
    settings=GIVEN,
)
YELP_2018 = Published(
    "Yelp 2018, split of LightGCN",
    {
        "recall@20": {"SimpleX": 0.0701, "UltraGCN": 0.0683, "EASE": 0.0657, "LightGCN": 0.0653, "MF-BPR": 0.0576},
        "ndcg@20": {"SimpleX": 0.0575, "UltraGCN": 0.0561, "EASE": 0.0552, "LightGCN": 0.0532, "MF-BPR": 0.0468},
    },
    dataset="yelp2018",
    settings=GIVEN,
)
AMAZON_BOOK = Published(
    "Amazon-Book, split of LightGCN",
    {
        "recall@20": {"SANSA": 0.0768, "SLIM": 0.0755, "EASE": 0.071, "UltraGCN": 0.0681, "LightGCN": 0.0411, "MF-BPR": 0.0338},
        "ndcg@20": {"SANSA": 0.0637, "SLIM": 0.0602, "EASE": 0.0567, "UltraGCN": 0.0556, "LightGCN": 0.0318, "MF-BPR": 0.0261},
    },
    dataset="amazon-book",
    settings=GIVEN,
)
FLIXSTER = Published(
    "Flixster, split of Monti et al. 2017", {"rmse": {"IMC-GAE": 0.8838}}, dataset="monti-flixster", settings=GIVEN
)
DOUBAN = Published(
    "Douban, split of Monti et al. 2017",
    {"rmse": {"IMC-GAE": 0.7211, "GLocal-K, chosen on the test part": 0.7208}},
    dataset="monti-douban",
    settings=GIVEN,
)
YAHOO_MUSIC = Published(
    "Yahoo Music, split of Monti et al. 2017", {"rmse": {"IMC-GAE": 18.7}}, dataset="monti-yahoo-music", settings=GIVEN
)
PUBLISHED = (
    ML_100K_U1,
    ML_1M_GLOCAL_K,
    ML_1M_RANDOM,
    ML_10M_RANDOM,
    ML_20M_NEW_USERS,
    ML_1M_NCF,
    GOWALLA,
    YELP_2018,
    AMAZON_BOOK,
    FLIXSTER,
    DOUBAN,
    YAHOO_MUSIC,
)


def published_for(protocol: Protocol, dataset: str, settings: Mapping[str, Any], metrics: list[str]) -> list[Published]:
    """The published values on the same test part, then those on splits of the same name or kind.

    Args:
        settings: keys of the pipeline, nested ones as `split.kind`.
    """
    equal = [one for one in PUBLISHED if one.equals(protocol, metrics)]
    alike = [one for one in PUBLISHED if one.resembles(dataset, settings, metrics)]
    return [*equal, *alike]
