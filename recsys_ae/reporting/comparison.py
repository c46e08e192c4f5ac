"""The comparison of models: JSON for programs, tables for people, Markdown for pull requests."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from recsys_ae.errors import ConfigError
from recsys_ae.escapes import as_markdown
from recsys_ae.evaluation.protocols.audit_lines import percent
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.files import whole_file, write_json
from recsys_ae.reporting.markdown import markdown_table
from recsys_ae.reporting.report import finding_lines, protocol_line
from recsys_ae.reporting.tables import Cell, finding_cells, fitting

SMALLEST_P = 0.0001  # smaller p-values are shown as `< 0.0001`


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
    """A table for any medium; texts may be bold."""

    title: str
    columns: list[str]
    rows: list[list[Text]]


def write_comparison(comparison: ModelComparison, path: Path) -> None:
    """Write JSON, Markdown or HTML, by the ending of the name."""
    if path.suffix.lower() == ".json":
        digests = [protocol.digest for protocol in comparison.protocols]
        write_json({**asdict(comparison), "protocol_digests": digests}, path)
        return
    if path.suffix.lower() == ".html":
        from recsys_ae.reporting.html.comparison import comparison_page  # heavy

        text = comparison_page(comparison)
    else:
        text = markdown(comparison)
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def check_ending(path: Path) -> None:
    """Raise `ConfigError` unless `write_comparison` can write to a file of this name."""
    if path.suffix.lower() not in (".json", ".md", ".html"):
        raise ConfigError(f"--output {path} must end in .json, .md or .html")


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
    parts.append("\n".join(f"- {as_markdown(line)}" for line in lines(comparison)))
    return "\n\n".join(parts) + "\n"


def grids(comparison: ModelComparison, width: int | None = None) -> Iterator[Grid]:
    """The metrics of the models, the pairs by one metric and, if asked for, this metric by group.

    Args:
        width: characters that a table may take; further columns are in further tables. None: any number.
    """
    models = [Text(model) for model in comparison.models]
    columns = {one.metric: _column(comparison.models, one) for one in comparison.findings}
    found = _found(comparison)
    yield from _grids(f"{len(models)} models on {found.findings.n_users} users", "model", models, columns, width)
    names, columns = _pairs(found)
    yield from _grids(f"pairs by {found.metric}", "pair", names, columns, width)
    if comparison.by is not None:
        columns = {
            f"{group} ({one.findings.n_users} users)": _column(comparison.models, one)
            for group, own in comparison.groups.items()
            for one in own
            if one.metric == comparison.metric
        }
        yield from _grids(f"{comparison.metric} by {comparison.by}", "model", models, columns, width)


def _grids(title: str, corner: str, names: list[Text], columns: dict[str, list[Text]], width: int | None) -> Iterator[Grid]:
    """A table with a name for each row, or as many as are needed to fit the width."""
    first = max(map(len, [*names, Text(corner)]))
    for group in [list(columns)] if width is None else fitting(columns, width - first - 3, 0):
        yield Grid(title, [corner, *group], [[name, *(columns[one][row] for one in group)] for row, name in enumerate(names)])


def _column(models: Sequence[str], found: MetricFindings) -> list[Text]:
    cells = finding_cells(found)
    return [cells.get(model, Cell(None)).text for model in models]


def _found(comparison: ModelComparison) -> MetricFindings:
    """The findings on the metric of the pairs."""
    return next(one for one in comparison.findings if one.metric == comparison.metric)


def _pairs(found: MetricFindings) -> tuple[list[Text], dict[str, list[Text]]]:
    """Names of the pairs and columns; names and differences are bold if the test that decides finds a difference."""
    findings = found.findings
    tests = ["t", "Wilcoxon", "randomisation"]
    columns = ["difference", f"{percent(findings.level)} interval", *tests, "effect", "better / worse", "smallest"]
    names, rows = [], []
    for pair in findings.pairs:
        style = "bold" if pair.different else ""
        names.append(Text(f"{found.models[pair.first]} - {found.models[pair.second]}", style))
        others = [
            "-" if pair.interval is None else f"{pair.interval[0]:+.4f} to {pair.interval[1]:+.4f}",
            *(_p_value(p.corrected) for p in (pair.t, pair.wilcoxon, pair.randomisation)),
            "-" if pair.effect is None else f"{pair.effect:+.3f}",
            f"{100 * pair.better:.1f} / {100 * pair.worse:.1f} %",
            "-" if pair.smallest is None else f"{pair.smallest:.4f}",
        ]
        rows.append([Text(f"{pair.difference:+.4f}", style), *map(Text, others)])
    return names, dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))


def _p_value(p: float) -> str:
    return f"{p:.2g}" if p >= SMALLEST_P else f"< {SMALLEST_P:g}"


def lines(comparison: ModelComparison) -> Iterator[str]:
    """Notes on how to read the tables, the protocol, and warnings."""
    found = _found(comparison)
    if comparison.common_users:
        yield "--common-users: only users who count for all models"
    yield from finding_lines(comparison.findings)
    pairs, power = len(found.findings.pairs), percent(found.findings.power)
    over = f" after Holm's correction over {pairs} pairs" if pairs > 1 else ""
    yield (
        f"pairs: p-values{over}, of which t decides; effect: in "
        "standard deviations of the users' differences; better / worse: shares of the users; smallest: difference that the "
        f"test would show with power {power}"
    )
    if comparison.by is not None:
        yield f"{comparison.by}: each group is tested by itself; p-values are not corrected for the number of groups"
    if comparison.seeds is not None and len(comparison.seeds) > 1:
        yield f"values are means over the seeds {', '.join(map(str, comparison.seeds))}"
    for protocol in dict.fromkeys(comparison.protocols):
        yield protocol_line(protocol)
    if comparison.unknown:
        names = ", ".join(comparison.unknown)
        yield f"warning: the protocol of {names} is unknown; the comparison is valid only if it is that of the others"
