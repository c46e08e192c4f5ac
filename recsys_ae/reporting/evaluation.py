"""The evaluation of one system on files, as a table, lines and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from recsys_ae.errors import counted
from recsys_ae.evaluation.protocols.audit_lines import percent
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.evaluation.report import COUNTING, UNDEFINED, Report
from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.reporting.report import VISIBLE, protocol_line

REPEATS_UNKNOWN = (
    "without the history, repeated pairs count as relevant although lists may exclude them as seen; "
    "pass --history FILE to leave them out"
)


def evaluation_table(report: Report, found: Sequence[MetricFindings]) -> Table:
    """The metrics with their intervals, where there are any."""
    intervals = _intervals(found)
    level = f"{percent(found[0].findings.level)} " if found else ""
    table = Table("metric", "value", f"{level}interval")
    for name, value in report.metrics.items():
        ends = intervals.get(name)
        table.add_row(name, "-" if value is None else f"{value:.4f}", f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "-")
    return table


def segment_table(report: Report, segment: str) -> Table:
    """The metrics in each group of a segment, those in which the same users count after a column with their number."""
    groups = report.segments[segment]
    by_users: dict[tuple[float | None, ...], list[str]] = {}
    for name in dict.fromkeys(name for own in groups.values() for name in own if not name.startswith(COUNTING)):
        by_users.setdefault(tuple(own[f"{COUNTING}{name}"] for own in groups.values()), []).append(name)
    table = Table(segment, *(column for names in by_users.values() for column in ("users", *names)))
    for row, (group, own) in enumerate(groups.items()):
        cells = []
        for users, names in by_users.items():
            values = [own[name] for name in names]
            cells += [f"{users[row]:g}", *("-" if value is None else f"{value:.4f}" for value in values)]
        table.add_row(group, *cells)
    return table


def evaluation_lines(report: Report, protocol: Protocol) -> Iterator[str]:
    """Notes on the numbers: users, repeats, undefined values, ties, the protocol."""
    counts = report.counts
    evaluated, skipped = counted(counts["users_evaluated"], "user"), counts["users_skipped"]
    users = f"{evaluated} evaluated, {skipped:,} without relevant items skipped"
    if "users_without_list" in counts:
        users += f"; {counts['users_without_list']:,} of the evaluated users without a list (score 0)"
    elif counts["cold"]:
        users += f"; the model cannot score {counts['cold']:,} of the users with relevant items"
    yield users
    if "repeats" in counts:
        verdict = "relevant" if protocol.repeats == "wanted" else "not relevant"
        verb = "is" if counts["repeats"] == 1 else "are"
        yield f"{counted(counts['repeats'], 'pair')} of the truth {verb} in the history: {verdict}"
    for name in (name for name in report.metrics if f"{UNDEFINED}{name}" in counts):
        yield f"{name} is undefined for {counts[f'{UNDEFINED}{name}']} of these users, who do not count in it"
    if visible := [f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in report.ties.items() if high - low >= VISIBLE]:
        yield f"over all orders of items with equal scores: {', '.join(visible)}"
    yield protocol_line(protocol)


def evaluation_content(report: Report, protocol: Protocol, found: Sequence[MetricFindings]) -> dict[str, Any]:
    """Metrics overall and by group, intervals over users (null if there is none) and orders of ties, counts and protocol."""
    intervals = _intervals(found)
    return {
        "metrics": report.metrics,
        "intervals": {name: intervals.get(name) for name in report.metrics},
        "ties": report.ties,
        "segments": report.segments,
        "counts": report.counts,
        "protocol": {**asdict(protocol), "digest": protocol.digest},
    }


def _intervals(found: Sequence[MetricFindings]) -> dict[str, tuple[float, float]]:
    return {one.metric: one.findings.intervals[0] for one in found if one.findings.intervals is not None}
