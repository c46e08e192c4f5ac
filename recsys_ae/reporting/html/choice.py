"""Which model of a run is the best, and how it was chosen."""

from collections.abc import Iterator, Sequence

from recsys_ae.reporting.report import tie_line
from recsys_ae.reporting.results import CHOSEN_ON_TEST, MetricValues, RunReport


def deciding(report: RunReport) -> str:
    """The metric by which the best model was chosen; else the first one."""
    return report.best.metric if report.best is not None else report.metrics[0]


def best_of(values: MetricValues, lower: bool = False) -> tuple[list[str], float] | None:
    """The models with the best value, several if theirs look the same, and this value; None if no model has one."""
    known = {label: value for label, value in values.items() if value is not None}
    if not known:
        return None
    best = (min if lower else max)(known.values())
    return [label for label, value in known.items() if f"{value:.4f}" == f"{best:.4f}"], best


def chosen(report: RunReport) -> str | None:
    """The one of several models that is exported and served: that of the final fit or the export, else the best one."""
    if len(report.models) == 1:
        return None
    shipped = (one.model for one in (report.final, report.exported, report.best) if one is not None)
    return next((label for label in shipped if label is not None), None)


def choice_lines(report: RunReport) -> Iterator[str]:
    """How one of several models was chosen and, if another is better on the test part, why that one was not."""
    best, ours = report.best, chosen(report)
    if best is None or best.model is None or ours is None:
        return
    if ours != best.model:
        yield f"{ours} was chosen by name, as export.model."
    lower, also = best.metric in report.lower_is_better, "was chosen" if ours == best.model else "is the best"
    value = (report.models[best.model].valid_metrics or {}).get(best.metric)
    on_test, most = best.part == "test" or value is None, "lowest" if lower else "highest"
    if best.tied:
        line = tie_line(report, best)
        yield f"{line[0].upper()}{line[1:]}."
    elif on_test:
        yield f"{best.model} {also} by {best.metric}: {CHOSEN_ON_TEST}."
    else:
        yield f"{best.model} {also} by its {best.metric} on the validation part, the {most} ({value:.4f})."
    if on_test:
        return
    found = best_of({label: model.metrics[best.metric] for label, model in report.models.items()}, lower)
    if found is not None and best.model not in found[0]:
        lead = "leads" if len(found[0]) == 1 else "lead"
        yield (
            f"On the test part {joined(found[0])} {lead} ({found[1]:.4f}), but "
            "choosing by the test part would be selecting on it, and the value there would no longer be that of unseen data."
        )


def joined(labels: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    return " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))
