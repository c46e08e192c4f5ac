"""Tables and descriptions in Markdown."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from rich.text import Text

from recsys_ae.escapes import as_markdown
from recsys_ae.reporting.report import best_line, protocol_lines, reading_lines, summary_header
from recsys_ae.reporting.results import Best, RunReport
from recsys_ae.reporting.tables import metric_cells

LONGEST = 8000  # characters of a description in MLflow
GAP = "&nbsp;&nbsp;"  # MLflow shows columns without any


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Text]], gap: str = "") -> str:
    """A table whose first column holds names, and the others numbers, with `gap` before each of these."""
    rule = ["---", *("---:" for _ in columns[1:])]
    cells = [[as_markdown(name) for name in columns], *([_marked(cell) for cell in row] for row in rows)]
    header, *body = ([first, *(gap + cell for cell in others)] for first, *others in cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *body])


def description(report: RunReport, winner: Best) -> str:
    """What a run found: the models with intervals and letters, and how to read them, in at most `LONGEST` characters."""

    def text(shown: int) -> str:
        return "\n\n".join(_parts(report, winner, shown))

    n = len(report.models)
    if len(whole := text(n)) <= LONGEST:
        return whole
    fitting = bisect_right(range(1, n), LONGEST, key=lambda shown: len(text(shown)))
    return text(max(fitting, 1))[:LONGEST]


def _parts(report: RunReport, winner: Best, shown: int) -> Iterator[str]:
    """The parts of a description with the first `shown` models."""
    yield best_line(report, winner, lambda name: f"**{as_markdown(name)}**")
    cells = {name: [cell.text for cell in metric_cells(report, name)] for name in report.metrics}
    labels = [Text(label) for label in report.models]
    rows = [[label, *(column[row] for column in cells.values())] for row, label in enumerate(labels[:shown])]
    yield markdown_table(["model", *cells], rows, GAP)
    more = [f"{len(labels) - shown} more models are in report.csv"] if shown < len(labels) else []
    caution = [winner.caution] if winner.caution else []
    lines = [*caution, *more, *summary_header(report).splitlines(), *reading_lines(report), *protocol_lines(report)]
    yield "\n".join(f"- {as_markdown(line)}" for line in lines)


def _marked(cell: Text) -> str:
    """A cell in Markdown."""
    text = as_markdown(cell.plain.strip())
    return f"**{text}**" if cell.style == "bold" else text
