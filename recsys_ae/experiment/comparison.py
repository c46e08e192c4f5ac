"""Comparison of models on the same users, under the same protocol."""

from collections.abc import Mapping, Sequence

import pandas as pd

from recsys_ae.errors import ConfigError, DataError, did_you_mean, quoted
from recsys_ae.evaluation.metrics import Metric, parse_metric, parse_metrics
from recsys_ae.evaluation.uncertainty.findings import MetricFindings, analyse
from recsys_ae.experiment.contenders import Contender
from recsys_ae.reporting.comparison import ModelComparison

Tables = Mapping[str, Sequence[pd.DataFrame]]  # values per user by model, a table for each seed


def compare_models(
    found: Mapping[str, Contender], metric: str | None = None, *, by: str | None = None, common_users: bool = False
) -> ModelComparison:
    """Models compared by all of their metrics.

    Args:
        metric: the metric of the pairs and the groups to be shown; the first ranking metric of accuracy if None.
        by: segment of users or items; the models are also compared in each of its groups.
        common_users: compare on the users who count for all models instead of refusing models that count different users.

    Raises:
        ConfigError: models evaluated under different protocols or on different users; an unknown metric or segment.
        DataError: the models have no user in common, or a user is in different groups.
    """
    unknown = _check_protocols(found)
    tables = {name: [one.values for one in contender.tables] for name, contender in found.items()}
    names = dict.fromkeys(name for contender in found.values() for one in contender.tables for name in one.metrics)
    metrics = parse_metrics(names)
    chosen = _chosen(metrics, tables, metric)
    findings = analyse(tables, metrics)
    _check_users(findings, chosen, common_users)
    groups = {} if by is None else _groups(found, by)
    in_groups = {group: analyse(own, metrics) for group, own in groups.items() if all(own.values())}
    if not common_users and any(one.left_out for own in in_groups.values() for one in own):
        raise DataError(f"the models have users in different groups of {by}; evaluate all of them in the same way")
    if by is not None and not any(one.metric == chosen for own in in_groups.values() for one in own):
        raise ConfigError(f"{chosen} has no values by {by}; choose another --metric")
    first = next(iter(found.values()))
    return ModelComparison(
        models=list(found),
        seeds=first.seeds,
        protocols=[] if unknown else [one.protocol for one in first.tables if one.protocol is not None],
        unknown=unknown,
        common_users=common_users,
        metric=chosen,
        findings=findings,
        by=by,
        groups=in_groups,
    )


def _check_protocols(found: Mapping[str, Contender]) -> list[str]:
    """The models whose protocol is unknown; `ConfigError` unless the others have the same, seed by seed."""
    unknown = [name for name, contender in found.items() if any(one.protocol is None for one in contender.tables)]
    (first, reference), *others = found.items()
    for name, contender in others:
        if len(contender.tables) != len(reference.tables):
            counts = f"{first} has {len(reference.tables)} seeds, {name} {len(contender.tables)}"
            raise ConfigError(f"{counts}; compare files of single seeds, such as out/per-user/LABEL-seed-0.parquet")
    (first, reference), *others = [one for one in found.items() if one[0] not in unknown] or [(first, reference)]
    for name, contender in others:
        for one, other in zip(reference.tables, contender.tables, strict=True):
            if one.protocol is not None and other.protocol is not None and one.protocol.digest != other.protocol.digest:
                differences = ", ".join(one.protocol.differences(other.protocol))
                raise ConfigError(f"{first} and {name} were evaluated in different ways ({differences}); evaluate them alike")
    return unknown


def _chosen(metrics: Sequence[Metric], tables: Tables, wanted: str | None) -> str:
    """The metric of the pairs: the wanted one, or the first ranking metric of accuracy, else the first that two models have."""
    having = {
        metric.name: [name for name, own in tables.items() if all(metric.name in one for one in own)] for metric in metrics
    }
    if wanted is not None:
        name = parse_metric(wanted).name
        if name not in having:
            raise ConfigError(f"no model has values of {name}; {did_you_mean(name, having)}")
        if len(having[name]) < 2:
            raise ConfigError(f"only {having[name][0]} has values of {name}; choose another --metric")
        return name
    shared = [metric for metric in metrics if len(having[metric.name]) > 1]
    if not shared:
        raise ConfigError("the models have no metric in common; evaluate them with the same metrics")
    return next((metric.name for metric in shared if metric.k and metric.measures_accuracy), shared[0].name)


def _check_users(findings: Sequence[MetricFindings], chosen: str, common_users: bool) -> None:
    """Raise unless the models have users in common and, without `common_users`, count the same."""
    if chosen not in {one.metric for one in findings}:
        raise DataError(f"no user counts for all models in {chosen}; check that they were evaluated on the same users")
    for one in findings:
        if one.left_out and not common_users:
            more = ", ".join(f"{number} more for {name}" for name, number in one.left_out.items())
            raise ConfigError(
                f"the models count different users in {one.metric}: {one.findings.n_users} for all, {more}; evaluate them with "
                "the same policy for cold users, or see recsys-ae compare --common-users, which compares them on the former"
            )


def _groups(found: Mapping[str, Contender], by: str) -> dict[str, Tables]:
    """The values in each group of a segment."""
    for name, contender in found.items():
        for one in contender.tables:
            if by not in one.segments:
                known = did_you_mean(by, one.segments) if one.segments else "it was evaluated without segments"
                raise ConfigError(f"{name} has no values by {quoted(by)}; {known}")
    split = {name: [one.by(by) for one in contender.tables] for name, contender in found.items()}
    groups = dict.fromkeys(group for own in split.values() for one in own for group in one)
    return {group: {name: [one[group] for one in own if group in one] for name, own in split.items()} for group in groups}
