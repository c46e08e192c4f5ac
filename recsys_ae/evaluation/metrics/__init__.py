"""Rating metrics, and all metrics by the names that pipelines use: `rmse`, `mae`, or `ndcg@10` with a list length."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys_ae.errors import ConfigError, described, quoted
from recsys_ae.registry import Registry

RATING_METRICS = Registry("metric", {name: f"recsys_ae.evaluation.metrics:{name}" for name in ("rmse", "mae")})
RANKING_METRICS = Registry(  # with values per user
    "metric",
    {
        "precision": "recsys_ae.evaluation.metrics.accuracy:precision",
        "recall": "recsys_ae.evaluation.metrics.accuracy:recall",
        "capped_recall": "recsys_ae.evaluation.metrics.accuracy:capped_recall",
        "ndcg": "recsys_ae.evaluation.metrics.accuracy:ndcg",
        "graded_ndcg": "recsys_ae.evaluation.metrics.accuracy:graded_ndcg",
        "exponential_ndcg": "recsys_ae.evaluation.metrics.accuracy:exponential_ndcg",
        "map": "recsys_ae.evaluation.metrics.accuracy:average_precision",
        "uncapped_map": "recsys_ae.evaluation.metrics.accuracy:uncapped_average_precision",
        "mrr": "recsys_ae.evaluation.metrics.accuracy:reciprocal_rank",
        "hit_rate": "recsys_ae.evaluation.metrics.accuracy:hit_rate",
        "r_precision": "recsys_ae.evaluation.metrics.accuracy:r_precision",
        "rbp": "recsys_ae.evaluation.metrics.accuracy:rbp",
        "auc": "recsys_ae.evaluation.metrics.accuracy:auc",
        "ipw_recall": "recsys_ae.evaluation.metrics.propensity:ipw_recall",
        "ipw_dcg": "recsys_ae.evaluation.metrics.propensity:ipw_dcg",
        "ipw_ndcg": "recsys_ae.evaluation.metrics.propensity:ipw_ndcg",
        "novelty": "recsys_ae.evaluation.metrics.beyond_accuracy:novelty",
        "average_popularity": "recsys_ae.evaluation.metrics.beyond_accuracy:average_popularity",
        "popularity_lift": "recsys_ae.evaluation.metrics.beyond_accuracy:popularity_lift",
        "serendipity": "recsys_ae.evaluation.metrics.beyond_accuracy:serendipity",
        "feature_diversity": "recsys_ae.evaluation.metrics.diversity:feature_diversity",
        "vector_diversity": "recsys_ae.evaluation.metrics.diversity:vector_diversity",
        "audience_diversity": "recsys_ae.evaluation.metrics.diversity:audience_diversity",
        "miscalibration": "recsys_ae.evaluation.metrics.diversity:miscalibration",
    },
)
CATALOGUE_METRICS = Registry(  # with one value for all lists
    "metric", {name: f"recsys_ae.evaluation.metrics.exposure:{name}" for name in ("coverage", "gini", "entropy")}
)
POWERS = {"rmse": 2, "mae": 1}  # each rating metric is a power mean of absolute errors
BEYOND_ACCURACY = frozenset(
    {
        *{"novelty", "average_popularity", "popularity_lift", "serendipity", "miscalibration"},
        *{"feature_diversity", "vector_diversity", "audience_diversity"},
        *CATALOGUE_METRICS,
    }
)
LOWER_IS_BETTER = frozenset({*POWERS, "average_popularity", "popularity_lift", "miscalibration", "gini"})
PARTIAL = frozenset({"auc", "popularity_lift", "miscalibration", "feature_diversity", "vector_diversity", "audience_diversity"})
NEEDS = {"feature_diversity": "item_features", "miscalibration": "item_features", "vector_diversity": "item_vectors"}
OF_ALL_HISTORIES = frozenset({"audience_diversity"})
LONGEST = 100_000
SAMPLED = "sampled_"  # prefix of metrics whose lists hold sampled candidates only
DEFAULT_RANKING = ("ndcg@10", "precision@10", "recall@10", "map@10", "mrr@10", "hit_rate@10")


@dataclass(frozen=True)
class Metric:
    """A parsed metric.

    Attributes:
        k: list length, or None for a rating metric.
        compute: function of `RankedLists`, of `Exposure`, or of predicted and actual ratings.
        sampled: whether lists hold sampled candidates only, see `evaluation.candidates`.
    """

    name: str
    k: int | None
    compute: Callable[..., Any]
    sampled: bool = False

    @property
    def family(self) -> str:
        """The name without the list length and the prefix of sampled candidates."""
        return self.name.removeprefix(SAMPLED).partition("@")[0]

    @property
    def measures_accuracy(self) -> bool:
        """Whether it measures accuracy; other metrics choose the best model only if asked to."""
        return self.family not in BEYOND_ACCURACY

    @property
    def best_by_rating(self) -> bool:
        """Whether the best order of items is by rating, highest first; with weights it is not."""
        return self.measures_accuracy and not self.family.startswith("ipw_")

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values are better: errors, but also popularity and unequal exposure of items."""
        return self.family in LOWER_IS_BETTER

    @property
    def partial(self) -> bool:
        """Whether the value of a user may be undefined; the metric is then the mean over the other users."""
        return self.family in PARTIAL

    @property
    def per_user(self) -> bool:
        """Whether each user has a value; else there is one for all lists."""
        return self.family not in CATALOGUE_METRICS

    @property
    def needs(self) -> frozenset[str]:
        """What must be known of items, like `needs` of models: `item_features`, `item_vectors` or nothing."""
        return frozenset({NEEDS[self.family]} if self.family in NEEDS else ())

    @property
    def needs_all_histories(self) -> bool:
        """Whether the value of a user depends on who else has an item, not only on how many."""
        return self.family in OF_ALL_HISTORIES


def parse_metric(text: str) -> Metric:
    """The metric that `text` names; `ConfigError` if there is none, or if a list length is missing, invalid or unwanted."""
    sampled = text.startswith(SAMPLED)
    family, at, length = text.removeprefix(SAMPLED).partition("@")
    if family in RATING_METRICS:
        if at or sampled:
            raise ConfigError(f"metric {quoted(text)}: {family} takes neither a list length nor candidates")
        return Metric(text, None, RATING_METRICS.get(family))
    compute = Registry("metric", {**RATING_METRICS.places, **RANKING_METRICS.places, **CATALOGUE_METRICS.places}).get(family)
    if not (length.isascii() and length.isdigit() and len(length) < 10 and 0 < int(length) <= LONGEST):
        raise ConfigError(f"metric {quoted(text)} needs a list length from 1 to {LONGEST}, as in '{family}@10'")
    name = f"{SAMPLED if sampled else ''}{family}@{int(length)}"
    return Metric(name, int(length), compute, sampled)


def as_sampled(metrics: Iterable[Metric]) -> list[Metric]:
    """The same metrics, with ranking metrics named as those of sampled candidates."""
    return [metric if metric.k is None or metric.sampled else parse_metric(SAMPLED + metric.name) for metric in metrics]


def parse_metrics(texts: str | Iterable[str]) -> list[Metric]:
    """The metrics that `texts` name, or the one; `ConfigError` as for `parse_metric`, or if there are none or equal ones."""
    given = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, Iterable) else [texts]
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise ConfigError(f"a metric is given by name, such as 'ndcg@10', got {described(wrong[0])}")
    metrics = [parse_metric(text) for text in given]
    names = [metric.name for metric in metrics]
    if not metrics:
        raise ConfigError("no metrics are given; name at least one, such as ndcg@10")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"metric {repeated!r} is given twice")
    return metrics


def errors_per_user(name: str, predicted: ArrayLike, actual: ArrayLike, users: ArrayLike, n_users: int) -> NDArray[np.float64]:
    """The rating metric `name` of each user [U] on the user's own ratings, 0 without any; `users` [n] are rows.

    >>> errors_per_user("rmse", [1, 2, 5], [1, 4, 4], [0, 0, 1], 2) == [2 ** 0.5, 1]
    array([ True,  True])
    """
    errors = np.abs(np.subtract(predicted, actual, dtype=np.float64)) ** POWERS[name]
    counts = np.maximum(np.bincount(np.asarray(users), minlength=n_users), 1)
    return np.asarray((np.bincount(np.asarray(users), errors, n_users) / counts) ** (1 / POWERS[name]))


def rmse(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Root mean squared error of ratings [n], n >= 1; summed in float64.

    >>> rmse([1, 2], [1, 4]) == 2 ** 0.5
    True
    """
    return float(np.sqrt(np.mean(np.square(np.subtract(predicted, actual, dtype=np.float64)))))


def mae(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Mean absolute error of ratings [n], n >= 1; summed in float64.

    >>> mae([1, 2], [1, 4])
    1.0
    """
    return float(np.mean(np.abs(np.subtract(predicted, actual, dtype=np.float64))))
