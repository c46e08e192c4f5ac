"""The comparison of models: JSON for programs, tables for people, Markdown for pull requests."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.findings import MetricFindings
from recsys_ae.evaluation.protocol import Protocol
from recsys_ae.files import whole_file, write_json
from recsys_ae.reporting.markdown import markdown_table
from recsys_ae.reporting.report import finding_lines, percent, protocol_line
from recsys_ae.reporting.tables import finding_cells, fitting


@dataclass(frozen=True)
class ModelComparison:
    """Models compared on the same users.

    Attributes:
        seeds: over which the values of a user are averaged; None if these are not models of runs.
        protocols: that of each seed; empty if one is unknown.
        unknown: models whose protocol is unknown.
        common_users: whether users who do not count for all models may have been left out.
        metric: the metric of the pairs and the groups that are shown.
        findings: on each metric.
        by, groups: a segment, and the findings in each of its groups.
    """

    models: list[str]
    seeds: list[int] | None
    protocols: list[Protocol]
    unknown: list[str]
    common_users: bool
    metric: str
    findings: list[MetricFindings]
    by: str | None
    groups: dict[str, list[MetricFindings]]


class Grid(NamedTuple):
    """A table that is not yet bound to a medium; texts may be bold."""

    title: str
    columns: list[str]
    rows: list[list[Text]]


def write_comparison(comparison: ModelComparison, path: Path) -> None:
    """Write JSON or Markdown, by the ending of the name."""
    if path.suffix.lower() == ".json":
        digests = [protocol.digest for protocol in comparison.protocols]
        write_json({**asdict(comparison), "protocol_digests": digests}, path)
        return
    with whole_file(path) as draft:
        draft.write_text(markdown(comparison), encoding="utf-8")


def check_ending(path: Path) -> None:
    """Raise `ConfigError` unless `write_comparison` can write to a file of this name."""
    if path.suffix.lower() not in (".json", ".md"):
        raise ConfigError(f"--output {path} must end in .json or .md")


def tables(comparison: ModelComparison, width: int) -> Iterator[Table]:
    """The tables for a terminal of `width` characters."""
    for grid in grids(comparison, width):
        table = Table(title=grid.title, title_justify="left", title_style="")
        for place, name in enumerate(grid.columns):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in grid.rows:
            table.add_row(*row)
        yield table


def markdown(comparison: ModelComparison) -> str:
    """Tables and lines, to be pasted into a pull request."""
    parts = [f"**{grid.title}**\n\n{markdown_table(grid.columns, grid.rows)}" for grid in grids(comparison)]
    parts.append("\n".join(f"- {line}" for line in lines(comparison)))
    return "\n\n".join(parts) + "\n"


def grids(comparison: ModelComparison, width: int | None = None) -> Iterator[Grid]:
    """The metrics of the models, the pairs by one metric and, if asked for, this metric by group.

    Args:
        width: characters that the metrics may take, which are else in further tables; None: any number.
    """
    models = comparison.models
    columns = {one.metric: _column(models, one) for one in comparison.findings}
    n_users = _found(comparison.findings, comparison.metric).findings.n_users
    yield from _grids(f"{len(models)} models on {n_users} users", models, columns, width)
    yield _pairs(_found(comparison.findings, comparison.metric))
    if comparison.by is not None:
        shown = {
            f"{group} ({one.findings.n_users} users)": _column(models, one)
            for group, own in comparison.groups.items()
            for one in own
            if one.metric == comparison.metric
        }
        yield from _grids(f"{comparison.metric} by {comparison.by}", models, shown, width)


def _grids(title: str, models: Sequence[str], columns: dict[str, list[Text]], width: int | None) -> Iterator[Grid]:
    """Models by columns, in as many tables as are needed to fit the width."""
    first = max(map(len, [*models, "model"]))
    for names in [list(columns)] if width is None else fitting(columns, width - first - 3, 0):
        rows = [[Text(model), *(columns[name][row] for name in names)] for row, model in enumerate(models)]
        yield Grid(title, ["model", *names], rows)


def _column(models: Sequence[str], found: MetricFindings) -> list[Text]:
    cells = finding_cells(found)
    return [cells.get(model, Text("-")) for model in models]


def _found(findings: Sequence[MetricFindings], metric: str) -> MetricFindings:
    return next(one for one in findings if one.metric == metric)


def _pairs(found: MetricFindings) -> Grid:
    """Each pair by one metric; a row is bold if the test that decides finds a difference."""
    findings = found.findings
    columns = ["pair", "difference", f"{percent(findings.level)} interval", "t", "Wilcoxon", "randomisation", "effect"]
    rows = []
    for pair in findings.pairs:
        ends = "-" if pair.interval is None else f"{pair.interval[0]:+.4f} to {pair.interval[1]:+.4f}"
        p_values = [f"{p.corrected:.2g}" for p in (pair.t, pair.wilcoxon, pair.randomisation)]
        cells = [f"{found.models[pair.first]} - {found.models[pair.second]}", f"{pair.difference:+.4f}", ends, *p_values]
        cells.append("-" if pair.effect is None else f"{pair.effect:+.3f}")
        cells += [f"{percent(round(pair.better, 3))} / {percent(round(pair.worse, 3))}"]
        cells.append("-" if pair.smallest is None else f"{pair.smallest:.4f}")
        rows.append([Text(cell, style="bold" if pair.different else "") for cell in cells])
    return Grid(f"pairs by {found.metric}", [*columns, "better / worse", "smallest"], rows)


def lines(comparison: ModelComparison) -> Iterator[str]:
    """How to read the tables, and what they are about."""
    found = _found(comparison.findings, comparison.metric)
    if comparison.common_users:
        yield "--common-users: only users who count for all models"
    yield from finding_lines(comparison.findings)
    pairs = len(found.findings.pairs)
    over = f" after Holm's correction over {pairs} pairs" if pairs > 1 else ""
    yield (
        f"pairs: p-values{over}, of which t decides; effect: in "
        "standard deviations of the users' differences; better / worse: shares of the users; smallest: difference that the "
        "test would show with power 80 %"
    )
    if comparison.by is not None:
        yield f"{comparison.by}: each group is tested by itself; p-values are not corrected for the number of groups"
    if comparison.seeds is not None and len(comparison.seeds) > 1:
        yield f"values are means over the seeds {', '.join(map(str, comparison.seeds))}"
    for protocol in dict.fromkeys(comparison.protocols):
        yield protocol_line(protocol)
    if comparison.unknown:
        names = ", ".join(comparison.unknown)
        yield f"warning: the protocol of {names} is unknown; the comparison means nothing unless it is that of the others"
