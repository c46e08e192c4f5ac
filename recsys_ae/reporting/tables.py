"""Tables of results: values with intervals, and letters that say which models can be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.table import Table
from rich.text import Text

from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.reporting.results import MetricValues, RunReport

BELOW = "▼"  # marks a value worse than that of the baseline


@dataclass(frozen=True)
class Cell:
    """A value of a model, with what is known about it.

    Attributes:
        half: half the width of its interval.
        letters: models that share one cannot be told apart.
        below: whether the value is worse than that of the baseline.
        best: whether the model is the best one, or cannot be told from it.
    """

    value: float | None
    half: float | None = None
    letters: str = ""
    below: bool = False
    best: bool = False

    @property
    def number(self) -> str:
        """The value; a dash for None."""
        return "-" if self.value is None else f"{BELOW if self.below else ''}{self.value:.4f}"

    @property
    def spread(self) -> str:
        """Half the width of the interval; empty if there is none."""
        return "" if self.value is None or self.half is None else f"±{self.half:.4f}".replace("±0.", "±.")

    @property
    def text(self) -> Text:
        """All of it, for a terminal."""
        if self.value is None:
            return Text(self.number)
        return Text(" ".join(filter(None, (self.number, self.spread, self.letters))), style="bold" if self.best else "")


def results_tables(report: RunReport, width: int) -> list[Table]:
    """Models by metrics, in as many tables as are needed to fit `width` characters.

    A cell holds the value, half the width of its interval over users, and letters: models that share one cannot be told apart.
    Bold are the best model and those that cannot be told from it or, without findings, the best value.
    """
    columns = {name: [cell.text for cell in metric_cells(report, name)] for name in report.metrics}
    labels, limits = list(report.models), best_reachable(report)
    floor = "noise floor" if {*limits} <= {*report.lower_is_better} else "best reachable"
    first = max(map(len, [*labels, "model", *([floor] if limits else [])]))
    tables = []
    for names in fitting(columns, width - first - 3, _costs_width(report)):
        table, last = Table("model"), names[-1] == report.metrics[-1]
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        costs = _costs(report) if last else {}
        for name in costs:
            table.add_column(name, justify="right", no_wrap=True)
        for row, label in enumerate(labels):
            table.add_row(label, *(columns[name][row] for name in names), *(cells[row] for cells in costs.values()))
        if limits:
            table.add_section()
            values = [limits.get(name) for name in names]
            table.add_row(floor, *("-" if value is None else f"{value:.4f}" for value in values), style="dim")
        tables.append(table)
    return tables


def seeds_tables(report: RunReport, width: int) -> list[Table]:
    """Models by metrics, in tables that fit `width`: means over the seeds with half of the t interval, about other seeds.

    Where all seeds have the same value, `identical` stands for the interval, because the variation is unknown.
    """
    columns = {name: [_over_seeds(report, label, name) for label in report.repetitions] for name in report.metrics}
    first = max(map(len, [*report.repetitions, "model"]), default=0)
    title = "over the seeds"
    tables = []
    for names in fitting(columns, width - first - 3, 0):
        table = Table("model", title=title, title_justify="left")
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for row, label in enumerate(report.repetitions):
            table.add_row(label, *(columns[name][row] for name in names))
        tables.append(table)
    return tables


def _over_seeds(report: RunReport, label: str, metric: str) -> Text:
    """The mean of one model over the seeds with half of its interval."""
    found = report.repetitions[label].get(metric)
    if found is not None and metric in report.models[label].identical:
        return Text(f"{found.mean:.4f} identical")
    ends = None if found is None else found.interval
    return Cell(found.mean if found else None, (ends[1] - ends[0]) / 2 if ends else None).text


def finding_cells(found: MetricFindings, values: MetricValues | None = None, *, below: Sequence[str] = ()) -> dict[str, Cell]:
    """The cells of the models of one metric by label; letters are padded, so that values stand below each other.

    Args:
        values: to be shown instead of those of the findings, which leave out users who do not count for all models.
    """
    findings, longest = found.findings, max(map(len, found.findings.letters))
    cells = {}
    for row, label in enumerate(found.models):
        ends = None if findings.intervals is None else findings.intervals[row]
        half = None if ends is None else (ends[1] - ends[0]) / 2
        letters = findings.letters[row].ljust(longest) if len(found.models) > 1 else ""
        value = findings.metrics[row] if values is None else values[label]
        cells[label] = Cell(value, half, letters, below=label in below, best=row in findings.best)
    return cells


def best_reachable(report: RunReport) -> dict[str, float]:
    """The best values that any model can reach, as means over the seeds; without the metrics whose best is unknown."""
    by_seed = [facts.best for facts in report.data.values()]
    known = [name for name in report.metrics if all(name in best for best in by_seed)]
    return {name: fmean(best[name] for best in by_seed) for name in known}


def metric_cells(report: RunReport, name: str) -> list[Cell]:
    """The cells of one metric; values are means over the seeds, as in the report."""
    below = [label for label in report.models if name in report.below(label)]
    found = next((one for one in report.findings if one.metric == name), None)
    values: MetricValues = {label: model.metrics[name] for label, model in report.models.items()}
    known = [value for value in values.values() if value is not None]
    best = (min if name in report.lower_is_better else max)(known, default=None) if len(known) > 1 else None
    cells = {} if found is None else finding_cells(found, values, below=below)
    return [
        cells.get(label) or Cell(value, below=label in below, best=value is not None and value == best)
        for label, value in values.items()
    ]


def _costs(report: RunReport) -> dict[str, list[str]]:
    """The columns of times and memory."""
    models = report.models.values()
    costs = {"fit s": [f"{model.fit_seconds:.1f}" for model in models]}
    if any(model.select_seconds is not None for model in models):
        selects = ["-" if model.select_seconds is None else f"{model.select_seconds:.1f}" for model in models]
        costs = {"select s": selects, **costs}
    return costs | {"peak MB": ["-" if model.peak_memory_mb is None else f"{model.peak_memory_mb:.0f}" for model in models]}


def _costs_width(report: RunReport) -> int:
    return sum(3 + max(len(name), *map(len, cells)) for name, cells in _costs(report).items())


def fitting(columns: dict[str, list[Text]], width: int, last: int) -> list[list[str]]:
    """The metrics in groups, each of which fits `width`, the last group beside further columns `last` wide."""
    groups: list[list[str]] = [[]]
    used = 1
    for place, (name, cells) in enumerate(columns.items()):
        own = 3 + max(len(name), *(len(one) for one in cells))
        reserved = last if place == len(columns) - 1 else 0
        if groups[-1] and used + own + reserved > width:
            groups.append([])
            used = 1
        groups[-1].append(name)
        used += own
    return groups
