"""The report of a run: JSON for programs, CSV for spreadsheets, a table for people."""

import csv
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

import recsys_ae
from recsys_ae.errors import DataError
from recsys_ae.files import whole_file

NUMBER = "{:.4f}"
SECONDS = ("select_seconds", "fit_seconds")  # of the fit that found the best epoch, if models are fitted again; of the last fit


def write_report(report: dict[str, Any], folder: Path) -> None:
    """`report.csv`, then `report.json`, whose presence says that the run is complete."""
    with whole_file(folder / "report.csv") as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names, several = report["metrics"], len(report["seeds"]) > 1
        deviations = [f"{name} sd" for name in names if several]
        writer.writerow(["model", *names, *deviations, *SECONDS, "peak_memory_mb"])
        for label, result in report["models"].items():
            values = [result["metrics"][name] for name in names]
            spread = [result["deviations"][name] for name in names if several]
            writer.writerow([label, *values, *spread, *(result[name] for name in SECONDS), result["peak_memory_mb"]])
    with whole_file(folder / "report.json") as draft:
        draft.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_report(path: Path) -> dict[str, Any]:
    """The report in a JSON file; `DataError` if it is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a report: {error}") from None


def versions() -> dict[str, str]:
    """What the figures of a report were computed with."""
    return {"recsys-ae": recsys_ae.__version__, **{name: version(name) for name in ("numpy", "scipy", "torch")}}


def summary_header(report: dict[str, Any]) -> str:
    """What the results are about."""
    data, sizes = report["dataset"], report["split"]["sizes"]
    parts = ", ".join(f"{size} {name}" for name, size in sizes.items())
    if "shape" in data:
        channels, height, width = data["shape"]
        what = f"images of {height} x {width} pixels{' in colour' if channels > 1 else ''}: {parts}"
    else:
        what = f"{data['users']} users, {data['items']} items; {report['split']['kind']} split: {parts}"
    over = f"\nmeans over the seeds {', '.join(map(str, report['seeds']))}" if len(report["seeds"]) > 1 else ""
    return f"{data['name']}: {what}{over}"


def summary_lines(report: dict[str, Any], folder: Path) -> list[str]:
    """What follows from the results, and where they are."""
    lines = []
    for comparison in report.get("comparisons", []):
        (first, second), test = comparison["models"], comparison["test"]
        found = (
            f"= {test['difference']:+.4f} (paired t-test over {test['n']} seeds: p = {test['p_value']:.2g})"
            if test
            else "has no value"
        )
        lines.append(f"{comparison['metric']}: {first} - {second} {found}")
    if best := report.get("best"):
        lines.append(f"best by {best['metric']} on {best['part']} data: {best['model'] or 'none, no model has a value'}")
    lines.append(f"results: {folder}")
    if lists := report.get("recommendations"):
        lines.append(f"top-{lists['k']} lists: {folder / 'recommendations'}")
    if "shape" in report["dataset"]:
        lines.append(f"figures: {folder / 'figures'}")
    return lines


def results_table(report: dict[str, Any]) -> Table:
    """Models by metrics; the best value of each metric is bold, a value that does not exist is a dash."""
    names = report["metrics"]
    values = {label: [result["metrics"][name] for name in names] for label, result in report["models"].items()}
    lower = report["lower_is_better"]
    best = [_best(name in lower, [row[place] for row in values.values()]) for place, name in enumerate(names)]
    table = Table()
    table.add_column("model")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    shown = SECONDS if report["refit"] else SECONDS[1:]
    for name in [*(name.replace("_seconds", " s") for name in shown), "peak MB"]:
        table.add_column(name, justify="right", no_wrap=True)
    for label, row in values.items():
        result = report["models"][label]
        cells = [_cell(value, value is not None and value == top) for value, top in zip(row, best, strict=True)]
        memory = result["peak_memory_mb"]
        table.add_row(label, *cells, *(f"{result[name]:.1f}" for name in shown), "-" if memory is None else f"{memory:.0f}")
    if (floor := report["dataset"].get("noise_floor")) is not None:
        table.add_section()
        blanks = [""] * (len(shown) + 1)
        table.add_row("noise floor", *(_cell(floor if name == "rmse" else None) for name in names), *blanks, style="dim")
    return table


def metrics_table(metrics: dict[str, float | None]) -> Table:
    """One row per metric."""
    table = Table("metric", "value")
    for name, value in metrics.items():
        table.add_row(name, _cell(value))
    return table


def _best(lower: bool, column: list[float | None]) -> float | None:
    known = [value for value in column if value is not None]
    if not known:
        return None
    return min(known) if lower else max(known)


def _cell(value: float | None, bold: bool = False) -> str:
    text = "-" if value is None else NUMBER.format(value)
    return f"[bold]{text}[/bold]" if bold else text
