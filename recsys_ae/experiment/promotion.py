"""Promotion: a version of a registered model gets the alias that serving refers to, if it beats the one that has it."""

from dataclasses import dataclass

from recsys_ae.errors import ConfigError, DataError, RecsysError
from recsys_ae.evaluation.metrics import parse_metric
from recsys_ae.experiment.comparison import compare_models
from recsys_ae.experiment.contenders import MLFLOW, REDO, contenders
from recsys_ae.experiment.output import REPORT
from recsys_ae.files import read_json
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import local_copy, open_store
from recsys_ae.tracking.registry import Registry, Version


@dataclass(frozen=True)
class Promotion:
    """Whether the run's model has the alias now, and why, in one sentence."""

    promoted: bool
    why: str


@dataclass(frozen=True)
class _Test:
    """Whether a model beats the present holder of an alias, and the part of the sentence that says so."""

    better: bool
    found: str


def promote(
    run: str, name: str | None = None, alias: str = "champion", *, force: bool = False, tracking_uri: str | None = None
) -> Promotion:
    """Give the alias to the final model of a run if it is significantly better than the version that has it, or if none has it.

    Final models cannot be tested, so the models that the two runs tested are compared: on the users of the same test part, by
    the metric that chose the run's winner, with the paired t-test at 5 %.

    Args:
        run: id of the pipeline's run, or runs:/ID.
        name: of the registered model; None means the only one of which the run's model is a version.
        force: move the alias even if the model is not better, or cannot be compared.

    Raises:
        ConfigError: runs that were evaluated under different protocols; no name.
        DataError: no such run, a run without a final model or a report, or a store that fails.
    """
    with open_store(tracking_uri) as client:
        registry = Registry(client)
        new = registry.candidate(run.removeprefix(MLFLOW), name)
        present = registry.holder(new.name, alias)
        if present is not None and present.run == new.run:
            return Promotion(True, f"{new.name}: {present} is the {alias} already")
        label = _final_label(new, tracking_uri)
        if present is None:
            test = _Test(True, "there was none before")
        else:
            try:
                test = _test(new, present, tracking_uri)
            except RecsysError as error:
                if not force:
                    raise type(error)(f"{error}; --force moves the alias {alias} without a comparison") from None
                test = _Test(False, f"without a comparison ({error})")
        if not test.better and not force:
            return Promotion(False, f"{new.name}: {present} stays {alias}: {new} ({label}) has {test.found}")
        forced = "" if test.better else "by --force, "
        why = f"{new.name}: {new} ({label}) is the new {alias}: {forced}{test.found}"
        if registry.holder(new.name, alias) != present:
            raise DataError(f"{new.name}: the alias {alias} was moved in the meantime; repeat the command")
        registry.move(new, alias, why)
    return Promotion(True, why)


def _test(new: Version, present: Version, tracking_uri: str | None) -> _Test:
    """The comparison of two models by the metric that chose the first one."""
    report = _report(new, tracking_uri)
    if report.best is None:
        raise DataError(f"run {new.pipeline} has not chosen its model by a metric; run the pipeline again")
    metric = report.best.metric
    labels = [_final_label(one, tracking_uri) for one in (new, present)]
    sources = [f"{MLFLOW}{one.pipeline}:{label}" for one, label in zip((new, present), labels, strict=True)]
    tested = contenders(sources, None, tracking_uri)
    if not all(metric in table.metrics for one in tested.values() for table in one.tables):
        raise ConfigError(
            f"{present} ({labels[1]}) was not tested by {metric}, which chose {new}; run its pipeline again with it"
        )
    comparison = compare_models(tested, metric)
    if comparison.unknown:
        raise ConfigError(f"the protocol of {', '.join(comparison.unknown)} is unknown, so the models cannot be compared")
    found = next(one for one in comparison.findings if one.metric == comparison.metric)
    first, second = (found.models.index(name) for name in comparison.models)
    (pair,) = found.findings.pairs
    difference = pair.difference if pair.first == first else -pair.difference
    gain = -difference if parse_metric(comparison.metric).lower_is_better else difference
    values = [found.findings.metrics[place] for place in (first, second)]
    outcome = "better" if gain > 0 else "worse"
    if not pair.different:
        outcome = "no significant difference" if gain else "the same"
    return _Test(
        pair.different and gain > 0,
        f"{comparison.metric} {values[0]:.4f} against {values[1]:.4f} for {present} ({labels[1]}) on the same "
        f"{found.findings.n_users} users, {outcome} (paired t-test, p = {pair.t.raw:.2g})",
    )


def _final_label(version: Version, tracking_uri: str | None) -> str:
    """The label, in its pipeline, of the model that a version is the final fit of."""
    report = _report(version, tracking_uri)
    if report.final is None:
        raise DataError(f"the report of run {version.pipeline} names no final model; run the pipeline again")
    return report.final.model


def _report(version: Version, tracking_uri: str | None) -> RunReport:
    """The report of the run behind a version; `DataError` if there is none."""
    if version.pipeline is None:
        raise DataError(f"{version} is not the model of a run in this store")
    return read_json(RunReport, local_copy(f"{MLFLOW}{version.pipeline}/{REPORT}", tracking_uri), REDO)
