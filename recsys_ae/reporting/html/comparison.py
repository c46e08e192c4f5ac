"""The page of a comparison."""

import re
from collections.abc import Iterator

from rich.text import Text

from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.reporting.comparison import ModelComparison, grids, lines
from recsys_ae.reporting.html.blocks import (
    Block,
    Chart,
    Charts,
    Facts,
    Grid,
    Notes,
    Page,
    Section,
    Shown,
    interval_records,
    name,
    shown,
)
from recsys_ae.reporting.html.charts import intervals
from recsys_ae.reporting.html.render import rendered
from recsys_ae.reporting.tables import Cell, finding_cells

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def comparison_page(comparison: ModelComparison) -> str:
    """The page; the same for the same comparison."""
    found = next(one for one in comparison.findings if one.metric == comparison.metric)
    _, *others = grids(comparison)
    blocks: list[Block] = [_models(comparison), Notes(list(lines(comparison)))]
    sections = [Section("results", "Results", [*blocks, Charts([*_charts(comparison)], comparison.models)])]
    sections += [
        Section(
            f"table-{place}", title[0].upper() + title[1:], [Grid(title, columns, [_row(row) for row in rows], sortable=True)]
        )
        for place, (title, columns, rows) in enumerate(others)
    ]
    facts = [("Models", ", ".join(comparison.models)), ("Users", f"{found.findings.n_users:,}")]
    facts += [("Protocol", one.summary) for one in dict.fromkeys(comparison.protocols)]
    title = f"{len(comparison.models)} models compared"
    return rendered(Page(title, "comparison", [*_message(comparison, found)], Facts(facts), sections))


def _message(comparison: ModelComparison, found: MetricFindings) -> Iterator[tuple[str, bool]]:
    """The best models in a sentence."""
    best = [found.models[row] for row in found.findings.best]
    yield ", ".join(best), True
    many = "are the best by" if len(best) > 1 else "is the best by"
    apart = ", and cannot be told apart" if len(best) > 1 else ""
    yield f" {many} {comparison.metric} on {found.findings.n_users:,} users{apart}.", False


def _models(comparison: ModelComparison) -> Grid:
    """All models by all metrics."""
    columns = {one.metric: finding_cells(one) for one in comparison.findings}
    rows = [[name(model), *(shown(own.get(model, Cell(None))) for own in columns.values())] for model in comparison.models]
    return Grid("All models by all metrics", ["model", *columns], rows, sortable=True)


def _charts(comparison: ModelComparison) -> Iterator[Chart]:
    """The metrics with intervals."""
    for one in comparison.findings:
        cells = finding_cells(one)
        best = ", ".join(one.models[row] for row in one.findings.best)
        table = Grid(one.metric, ["model", one.metric], [[name(model), shown(cell)] for model, cell in cells.items()])
        spec = intervals(interval_records(cells), comparison.models, one.metric, None)
        yield Chart(one.metric, f"Best by {one.metric}: {best}.", spec, table)


def _row(texts: list[Text]) -> list[Shown]:
    """A row of a table for any medium, which is sorted by the first number in each cell."""
    first, *others = texts
    cells = [name(first.plain.strip())]
    for text in others:
        number = NUMBER.search(text.plain)
        cells.append(Shown(text.plain.strip(), sort=float(number[0]) if number else None, strong=text.style == "bold"))
    return cells
