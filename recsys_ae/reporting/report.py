"""The report of a run: JSON for programs, CSV for spreadsheets, a table for people."""

import csv
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from recsys_ae.files import whole_file, write_json
from recsys_ae.reporting.results import Comparison, RunReport, Values

REPEATS_UNKNOWN = (
    "warning: without the history, repeated pairs count as relevant although lists may exclude them as seen; "
    "pass --history FILE to leave them out"
)


def write_report(report: RunReport, folder: Path) -> tuple[Path, Path]:
    """Write `report.csv`, then `report.json`, whose presence marks the run as complete; returns both paths."""
    table, whole = folder / "report.csv", folder / "report.json"
    names = report.metrics
    with whole_file(table) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        several = [f"{name} sd" for name in names] if len(report.seeds) > 1 else []
        writer.writerow(["model", *names, *several, "select_seconds", "fit_seconds", "peak_memory_mb"])
        for label, model in report.models.items():
            deviations: dict[str, Any] = {**(model.deviations or {}), **dict.fromkeys(model.identical, "identical")}
            spread = [deviations[name] for name in names] if several else []
            costs = [model.select_seconds, model.fit_seconds, model.peak_memory_mb]
            writer.writerow([label, *(model.metrics[name] for name in names), *spread, *costs])
    write_json(report, whole)
    return table, whole


def summary_header(report: RunReport) -> str:
    """The dataset, its parts and the seeds."""
    data = report.data[report.seeds[0]]
    parts = ", ".join(f"{size} {name}" for name, size in data.sizes.items())
    over = f"\nmeans over the seeds {', '.join(map(str, report.seeds))}" if len(report.seeds) > 1 else ""
    return f"{report.dataset}: {data.about}: {parts}{over}"


def summary_lines(report: RunReport, folder: Path) -> list[str]:
    """Comparisons, the best model, and where the results are."""
    lines = [_compared(comparison) for comparison in report.comparisons]
    if same := [label for label, model in report.models.items() if model.never_varies]:
        lines.append(f"identical for all seeds, so the variation is unknown: {', '.join(same)}")
    if best := report.best:
        lines.append(f"best by {best.metric} on {best.part} data: {best.model or 'none, no model has a value'}")
    lines.append(f"results: {folder}")
    if final := report.final:
        epochs = "" if final.fit.epochs is None else f" for {final.fit.epochs} epochs"
        lines.append(f"final model: {final.model}, refitted on all data{epochs}, not tested: {folder / 'final'}")
    if exported := report.exported:
        lines.append(f"{exported.about}: {folder / exported.folder}")
    lines.append(f"figures: {folder / 'figures'}")
    return lines


def list_summary(counts: Mapping[str, int], repeats: str) -> list[str]:
    """Lines that describe the counts of an evaluation of exported lists; `repeats` is as in `evaluate_recommendations`."""
    users = f"{counts['users_evaluated']} users evaluated, {counts['users_skipped']} without relevant items skipped"
    lines = [f"{users}; {counts['users_without_list']} of the evaluated users have no list (score 0)"]
    if "repeats" in counts:
        verdict = "relevant" if repeats == "wanted" else "not relevant"
        lines.append(f"{counts['repeats']} pairs of the truth are in the history: {verdict}")
    return lines


def results_table(report: RunReport) -> Table:
    """Models by metrics; the best value of each metric is bold, a missing value is a dash."""
    models = report.models
    best: Values = {}
    for name in report.metrics:
        known = [value for model in models.values() if (value := model.metrics[name]) is not None]
        best[name] = (min if name in report.lower_is_better else max)(known, default=None)
    selects = any(model.select_seconds is not None for model in models.values())
    table = Table("model")
    for name in [*report.metrics, *(["select s"] if selects else []), "fit s", "peak MB"]:
        table.add_column(name, justify="right", no_wrap=True)
    for label, model in models.items():
        values = {name: model.metrics[name] for name in report.metrics}
        cells = [_cell(value, bold=value is not None and value == best[name]) for name, value in values.items()]
        seconds = [model.select_seconds, model.fit_seconds] if selects else [model.fit_seconds]
        table.add_row(label, *cells, *(_cell(value, ".1f") for value in seconds), _cell(model.peak_memory_mb, ".0f"))
    if limits := _best_reachable(report):
        table.add_section()
        floor = {*limits} <= {*report.lower_is_better}
        cells = [_cell(limits.get(name)) for name in report.metrics]
        table.add_row("noise floor" if floor else "best reachable", *cells, style="dim")
    return table


def _best_reachable(report: RunReport) -> dict[str, float]:
    """The best values that any model can reach, as means over the seeds; without the metrics whose best is unknown."""
    by_seed = [facts.best for facts in report.data.values()]
    known = [name for name in report.metrics if all(name in best for best in by_seed)]
    return {name: fmean(best[name] for best in by_seed) for name in known}


def _compared(comparison: Comparison) -> str:
    (first, second), difference = comparison.models, comparison.difference
    found = "has no value" if difference is None else f"= {difference:+.4f}"
    if difference is not None and comparison.p_value is None:
        single = "the seed decides nothing" if comparison.over == "seeds" else "only one user"
        untested = single if comparison.n is None else f"the same for all {comparison.n} {comparison.over}"
        found += f" ({untested}: there is nothing to test)"
    elif comparison.p_value is not None:
        found += f" (paired t-test over {comparison.n} {comparison.over}: p = {comparison.p_value:.2g})"
    return f"{comparison.metric}: {first} - {second} {found}"


def _cell(value: float | None, form: str = ".4f", *, bold: bool = False) -> Text:
    return Text("-" if value is None else format(value, form), style="bold" if bold else "")
