"""Groups of users and groups of items, for which metrics are reported separately.

A segment is one way to form groups: `history_length`, `item_popularity`, or a column of the features, as in `users.gender` and
`items.genres`. For a group of users, metrics are those of its users. For a group of items, only its items are relevant, and
users without one do not count; all items stay in the lists.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, described, did_you_mean, quoted
from recsys_ae.evaluation.metrics import POWERS, Metric
from recsys_ae.evaluation.metrics.catalogue import Catalogue, Values
from recsys_ae.evaluation.report import COUNTING
from recsys_ae.features import FeatureTable, LabelFeature, ScaledFeature
from recsys_ae.ids import Rows

Members = NDArray[np.bool_]
UserGroups = dict[str, "pd.Categorical[Any]"]
Groups = dict[str, dict[str, float | None]]  # group -> metric -> value

LENGTHS = {"0": 0, "1-4": 1, "5-19": 5, "20-99": 20, "100-499": 100, "500+": 500}  # groups of history_length by lower end
HEAD, TAIL = 0.2, 0.2  # shares of all pairs that the most and the least popular items make up
COMPUTED: dict[str, Literal["users", "items"]] = {"history_length": "users", "item_popularity": "items"}
DEFAULT_SEGMENTS = tuple(COMPUTED)
LARGEST = 20  # groups of a feature column with names of their own; the smaller ones form the group `other`
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Segment:
    """A parsed segment; `column` is that of the features, None for the ones that are computed from the history."""

    name: str
    side: Literal["users", "items"]
    column: str | None = None


def parse_segments(names: str | Iterable[str]) -> list[Segment]:
    """The segments of these names, or of the one; `ConfigError` if a name is unknown or given twice."""
    given = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [names]
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise ConfigError(f"a segment is given by name, such as 'history_length', got {described(wrong[0])}")
    if repeated := next((name for name in given if given.count(name) > 1), None):
        raise ConfigError(f"segment {quoted(repeated)} is given twice")
    return [_parse(name) for name in given]


def _parse(name: str) -> Segment:
    if name in COMPUTED:
        return Segment(name, COMPUTED[name])
    side, dot, column = name.partition(".")
    if not (dot and column and side in ("users", "items")):
        hint = did_you_mean(name, [*COMPUTED, "users.COLUMN", "items.COLUMN"])
        raise ConfigError(f"unknown segment {quoted(name)}; {hint}")
    return Segment(name, "users" if side == "users" else "items", column)


def user_groups(segments: Iterable[Segment], history_lengths: Rows, features: FeatureTable | None, rows: Rows) -> UserGroups:
    """The group of each user, or with `predict: next` of each event, by segment of users.

    Args:
        history_lengths: int64 [T], number of items in the history of each.
        features: of N users, or None.
        rows: int64 [T], row of each one's user among the N.

    Raises:
        ConfigError: there are no such features, or they put a user into several groups.
    """
    found: UserGroups = {}
    for segment in segments:
        if segment.side == "users" and segment.column is None:
            codes = np.searchsorted(list(LENGTHS.values()), history_lengths, side="right") - 1
            found[segment.name] = pd.Categorical.from_codes(codes, pd.Index(list(LENGTHS)))
        elif segment.side == "users":
            groups = _of_features(segment, features)
            members = np.array(list(groups.values()))
            if (members.sum(axis=0) > 1).any():
                several = "its labels put a user into several groups; make it a category in the features"
                raise ConfigError(f"segment {segment.name}: {several}")
            found[segment.name] = pd.Categorical.from_codes(members.argmax(axis=0)[rows], pd.Index(list(groups)))
    return found


def item_groups(segments: Iterable[Segment], catalogue: Catalogue) -> dict[str, dict[str, Members]]:
    """bool [M]: the members of each group of items, by segment of items. With several labels, an item is in several groups.

    Raises:
        ConfigError: the history or such features are unknown.
    """
    found = {}
    for segment in segments:
        if segment.side == "items":
            found[segment.name] = _by_share(catalogue) if segment.column is None else _of_features(segment, catalogue.features)
    return found


def _by_share(catalogue: Catalogue) -> dict[str, Members]:
    """Groups by popularity: an item is in the head if more popular items make up less than 20 % of all pairs, and so on.

    Equally popular items are thus in the same group. Items without users are `new`.
    """
    counts = catalogue.users_of_items
    pairs = np.r_[0, np.cumsum(-np.sort(-counts))]  # on the most popular items, by their number
    before, known = pairs[catalogue.more_popular] / max(pairs[-1], 1), counts > 0
    return {
        "head": known & (before < HEAD),
        "middle": known & (before >= HEAD) & (before < 1 - TAIL),
        "tail": known & (before >= 1 - TAIL),
        "new": ~known,
    }


def _feature(segment: Segment, features: FeatureTable | None) -> LabelFeature | ScaledFeature:
    if features is None:
        wanted = f"declare features.{segment.side} in the card of the dataset, or pass a FeatureTable in Python"
        raise ConfigError(f"segment {segment.name} needs features of {segment.side}, but there are none; {wanted}")
    by_name = {feature.name: feature for feature in features.features}
    if segment.column not in by_name:
        hint = did_you_mean(str(segment.column), by_name)
        raise ConfigError(f"segment {segment.name}: the {segment.side} have no feature {quoted(segment.column)}; {hint}")
    return by_name[segment.column]


def _of_features(segment: Segment, features: FeatureTable | None) -> dict[str, Members]:
    """bool [n]: the members of each group by a feature column, those of numbers by quartiles."""
    feature = _feature(segment, features)
    assert features is not None  # see `_feature`
    first = list(features.columns).index(feature.columns[0])
    encoded = features.matrix[:, first : first + len(feature.columns)]
    if isinstance(feature, ScaledFeature):
        return _quartiles(feature, encoded.toarray())
    rest, unknown, missing = (_apart(name, feature.labels) for name in ("other", "unknown", "missing"))
    by_column, names = encoded.tocsc(), [*feature.labels, unknown, missing]
    large = np.argsort(-np.diff(by_column.indptr)[: len(feature.labels)], kind="stable")[:LARGEST]
    kept = {*large.tolist(), len(names) - 2, len(names) - 1}
    groups = {names[at] if at in kept else rest: np.zeros(len(features.ids), bool) for at in range(len(names))}
    for at, name in enumerate(names):
        groups[name if at in kept else rest][by_column.indices[slice(*by_column.indptr[at : at + 2])]] = True
    return groups


def _apart(name: str, labels: Collection[str]) -> str:
    """A name for a group that is no label, in as many parentheses as that takes: `(other)` if a label is `other`."""
    while name in labels:
        name = f"({name})"
    return name


def _quartiles(feature: ScaledFeature, encoded: NDArray[np.float32]) -> dict[str, Members]:
    """Groups of about equal size by the values of a number or date; upper ends are included."""
    values, missing = encoded[:, 0] * feature.std + feature.mean, encoded[:, 1] > 0
    if missing.all():
        return {"missing": missing}
    ends = np.unique(np.quantile(values[~missing], QUARTILES, method="inverted_cdf"))
    written = [_written(feature, end) for end in ends]
    names = [
        f"<={written[0]}",
        *(f"{low} to {high}" for low, high in pairwise(written)),
        f">{written[-1]}",
    ]
    places = np.searchsorted(ends, values, side="left")
    return {**{name: ~missing & (places == place) for place, name in enumerate(names)}, "missing": missing}


def _written(feature: ScaledFeature, value: float) -> str:
    return str(np.datetime64(round(value), "D")) if feature.kind == "date" else f"{value:g}"


def column_of(metric: str, segment: str, group: str) -> str:
    """The name of the values per user of a metric for a group of items, as in `ndcg@10|item_popularity=head`."""
    return f"{metric}|{segment}={group}"


def means_by_user_group(values: Mapping[str, Values], groups: pd.Categorical, metrics: Sequence[Metric]) -> Groups:
    """The metrics of each group of users, from their `values` [U] per user; the `rmse` and `mae` are those of its pairs."""
    codes = {str(group): groups.codes == code for code, group in enumerate(groups.categories)}
    return _counting(
        {group: _means({name: own[inside] for name, own in values.items()}, metrics) for group, inside in codes.items()}
    )


def means_by_item_group(values: Mapping[str, Values], segment: str, groups: Iterable[str], metrics: Sequence[Metric]) -> Groups:
    """The metrics of each group of items, from the `values` [U] per user that are under the names of `column_of`."""
    columns = {group: {metric.name: column_of(metric.name, segment, group) for metric in metrics} for group in groups}
    return _counting(
        {
            group: _means({name: values[column] for name, column in own.items() if column in values}, metrics)
            for group, own in columns.items()
        }
    )


def _counting(groups: Groups) -> Groups:
    """The groups with a user who counts in a metric."""
    return {group: own for group, own in groups.items() if any(own[name] for name in own if name.startswith(COUNTING))}


def _means(values: Mapping[str, Values], metrics: Sequence[Metric]) -> dict[str, float | None]:
    """The metrics of all these users together, as far as they have values per user, and how many users count in each."""
    known = [metric for metric in metrics if metric.name in values]
    users = {f"{COUNTING}{metric.name}": int((~np.isnan(values[metric.name])).sum()) for metric in known}
    return {**{metric.name: _mean(metric, values) for metric in known}, **users}


def _mean(metric: Metric, values: Mapping[str, Values]) -> float | None:
    own = values[metric.name]
    if metric.k is not None:
        return mean(own, partial=True)
    power, ratings = POWERS[metric.name], values["ratings"]
    return float(((own**power * ratings).sum() / ratings.sum()) ** (1 / power)) if ratings.sum() else None


def mean(values: Values, *, partial: bool) -> float | None:
    """The mean over the users who count, None if there are none; with `partial`, those whose value is NaN do not count.

    The numbers are added in ascending order, so that the mean does not depend on the order of the users.
    """
    counting = np.sort(values[~np.isnan(values)] if partial else values)
    return float(counting.mean()) if len(counting) else None


def gaps(segments: Mapping[str, Groups]) -> dict[str, dict[str, float]]:
    """Fairness: the difference between the highest and the lowest value of a group, by segment and metric.

    0 if there is one group only. A gap says nothing about its direction, and small groups make it large by chance alone.

    >>> gaps({"users.gender": {"F": {"ndcg@10": 0.25, "users:ndcg@10": 40}, "M": {"ndcg@10": 0.5, "users:ndcg@10": 60}}})
    {'users.gender': {'ndcg@10': 0.25}}
    """
    found: dict[str, dict[str, float]] = {}
    for segment, groups in segments.items():
        by_metric: dict[str, list[float]] = {}
        for values in groups.values():
            for name, value in values.items():
                if not name.startswith(COUNTING) and value is not None:
                    by_metric.setdefault(name, []).append(value)
        found[segment] = {name: max(values) - min(values) for name, values in by_metric.items()}
    return found
