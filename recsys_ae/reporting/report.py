"""The report of a run: JSON for programs, CSV for spreadsheets, a table for people."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from recsys_ae.evaluation.protocols.audit_lines import audit_lines, percent
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.files import whole_file, write_json
from recsys_ae.reporting.results import UNSEEN, Best, Comparison, RunReport, SkippedFacts
from recsys_ae.reporting.tables import BELOW
from recsys_ae.reporting.trials import search_lines, write_trials

CHANCE = "by chance, because nearly all test items are new"  # how models without item features got their values
VISIBLE = 0.0005  # width from which an interval over the orders of ties is shown


def write_report(report: RunReport, folder: Path) -> list[Path]:
    """Write `report.csv`, after a search `trials.csv`, then `report.json`, which marks a run as complete; returns the paths."""
    table, whole = folder / "report.csv", folder / "report.json"
    names = report.metrics
    with whole_file(table) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        several = [f"{name} sd" for name in names] if len(report.seeds) > 1 else []
        found = {one.metric: one for one in report.findings if one.findings.intervals}
        uncertain = [f"{name} {what}" for name in found for what in ("low", "high", "letters")]
        writer.writerow(["model", *names, *uncertain, *several, "select_seconds", "fit_seconds", "peak_memory_mb"])
        for label, model in report.models.items():
            deviations: dict[str, Any] = {**(model.deviations or {}), **dict.fromkeys(model.identical, "identical")}
            spread = [deviations[name] for name in names] if several else []
            costs = [model.select_seconds, model.fit_seconds, model.peak_memory_mb]
            own = [value for one in found.values() for value in _uncertainty(one, label)]
            writer.writerow([label, *(model.metrics[name] for name in names), *own, *spread, *costs])
    trials = write_trials(report, folder / "trials.csv")
    write_json(report, whole)
    return [table, *trials, whole]


def _uncertainty(found: MetricFindings, label: str) -> list[Any]:
    """The interval and the letters of one model; empty where it has none."""
    if label not in found.models or found.findings.intervals is None:
        return ["", "", ""]
    row = found.models.index(label)
    return [*found.findings.intervals[row], found.findings.letters[row]]


def summary_header(report: RunReport) -> str:
    """The dataset, its parts and the seeds."""
    data = report.data[report.seeds[0]]
    parts = ", ".join(f"{size} {name}" for name, size in data.sizes.items())
    over = f"\nmeans over the seeds {', '.join(map(str, report.seeds))}" if len(report.seeds) > 1 else ""
    return f"{report.dataset}: {data.about}: {parts}{over}"


def summary_lines(report: RunReport, folder: Path) -> list[str]:
    """How to read the tables, the protocol, comparisons, the best model, and where the results are."""
    lines = [*reading_lines(report), *protocol_lines(report)]
    if report.audit is not None:
        first = f" of seed {report.seeds[0]}" if len(_protocols(report)) > 1 else ""
        found = audit_lines(report.audit, ranked=report.ranked)
        lines += [f"audit of the test part{first}:", *(f"  {line}" for line in found)]
    lines += outcome_lines(report)
    if best := report.best:
        lines.append(best_line(report, best))
        lines += [best.caution] if best.caution else []
    lines.append(f"results: {folder}")
    if final := report.final:
        epochs = "" if final.fit.epochs is None else f" for {final.fit.epochs} epochs"
        lines.append(f"final model: {final.model}, refitted on all data{epochs}, not tested: {folder / 'final'}")
    if exported := report.exported:
        lines.append(f"{exported.about}: {folder / exported.folder}")
    lines.append(f"figures: {folder / 'figures'}")
    if (page := folder / "report.html").exists():
        lines.append(f"page: {page}")
    return lines


def best_line(report: RunReport, best: Best, written: Callable[[str], str] = str) -> str:
    """The line that names the best model, formatted by `written`; "chosen" instead of "best" if its value is due to chance."""
    if best.model is None:
        return f"best by {best.metric} on {best.data}: {written('none, no model has a value')}"
    if best.tied:
        return tie_line(report, best, written)
    chance = report.is_chance(best.model, best.metric)
    what, why = ("chosen", f", {CHANCE}") if chance else ("best", "")
    return f"{what} by {best.metric} on {best.data}: {written(best.model)}{why}"


def tie_line(report: RunReport, best: Best, written: Callable[[str], str] = str) -> str:
    """The line that says that several models have the best value, and which of them was taken, formatted by `written`."""
    n, tied, first = len(report.models), len(best.tied), report.models[best.tied[0]]
    value = ((first.valid_metrics if best.part == "valid" else None) or first.metrics)[best.metric]
    who, nothing = (f"the {tied} best of {n}", "") if tied < n else (f"all {n}", ", so it decided nothing")
    same = f"{who} models have the same {best.metric} on {best.data} ({value:.4f}){nothing}"
    taken = f"the first of them was taken as the best: {written(best.tied[0])}"
    return f"{same}; {taken}; to choose by another metric, declare export.by"


def outcome_lines(report: RunReport) -> list[str]:
    """The comparisons that were asked for, and what searches found."""
    lines = [_comparison_line(comparison) for comparison in report.comparisons]
    if same := [label for label, model in report.models.items() if model.never_varies]:
        lines.append(f"identical for all seeds, so the variation is unknown: {', '.join(same)}")
    return lines + [line for label, model in report.models.items() for line in search_lines(label, model)]


def reading_lines(report: RunReport) -> list[str]:
    """How to read the tables: what the intervals and letters mean, which models are below a baseline, what cannot be shown.

    Lines that are missing in the data come first, then which models use features, if nearly all test items are new.
    """
    lines = [f"not in the data: {skipped_lines(report.skipped)}"] if report.skipped else []
    lines += _unseen_line(report)
    if report.repetitions:
        lines.append("over the seeds: means over the seeds, ±: half of their 95 % t interval")
    lines += [*_users_line(report), *finding_lines(report.findings), *_smallest_line(report), *_tie_lines(report)]
    if any(report.below(label) for label in report.models):
        least: dict[str, list[str]] = {}
        for name, baseline in report.baselines.items():
            least.setdefault(baseline.model, []).append(f"{name} {baseline.value:.4f}")
        listed = " or ".join(f"{model} ({', '.join(values)})" for model, values in least.items())
        lines.append(f"{BELOW}: worse than {listed}")
    return lines


def _unseen_line(report: RunReport) -> list[str]:
    """Which models use features of items, if nearly all test pairs have items without training interactions."""
    able = report.feature_models
    if able is None or report.audit is None or report.audit.cold_item_pairs < UNSEEN or not report.ranked:
        return []
    if able:
        return [f"nearly all test items are new, so compare only models that use features of items: {', '.join(able)}"]
    none = "nearly all test items are new, and no model of this run uses features of items"
    return [f"{none}, so its ranking metrics do not show which is better"]


def skipped_lines(skipped: SkippedFacts) -> str:
    """The lines that were left out, in words."""
    reasons = [
        f"{count:,} that cannot be divided into columns" if column == "line" else f"{count:,} with an invalid {column}"
        for column, count in skipped.by_column.items()
    ]
    share = f"{skipped.number:,} of {skipped.lines:,} lines ({percent(skipped.number / skipped.lines)})"
    return f"{share} were skipped: {', '.join(reasons)}; skipped.csv lists them"


def _users_line(report: RunReport) -> list[str]:
    """How many users count in ranking metrics, and why the others do not; nothing if all do."""
    seed = report.seeds[0]
    counts = [own for model in report.models.values() if "users_skipped" in (own := model.runs[seed].counts)]
    if not any(own["users_skipped"] for own in counts) or not report.ranked:
        return []
    low, high = (end(own["users_evaluated"] for own in counts) for end in (min, max))
    number = f"{high}" if low == high else f"{low} to {high} (by model)"
    total = counts[0]["users_evaluated"] + counts[0]["users_skipped"]
    first = f" with seed {seed}" if len(report.seeds) > 1 else ""
    cold = ", or cannot be scored" if report.settings.get("cold") == "skip" else ""
    return [f"{number} of {total} users are evaluated{first}; the others have nothing relevant in the test part{cold}"]


def finding_lines(findings: Sequence[MetricFindings]) -> list[str]:
    """What the intervals and letters of findings mean."""
    lines = []
    if found := [one for one in findings if one.findings.intervals is not None]:
        first = found[0].findings
        users: dict[int, list[str]] = {}
        for one in found:
            users.setdefault(one.findings.n_users, []).append(one.metric)
        of = {n: f" ({', '.join(own)})" if len(users) > 1 else "" for n, own in users.items()}
        over = " and ".join(f"{n} users{metrics}" for n, metrics in of.items())
        lines.append(f"±: half of the {percent(first.level)} interval over {over} (bootstrap)")
        if any(len(one.models) > 1 for one in found):
            test = f"paired t-test over users, Holm's correction, {percent(first.alpha)}"
            lines.append(f"models that share a letter cannot be told apart, nor can those in bold from the best ({test})")
    for one in findings:
        if one.left_out:
            counts = ", ".join(f"{number} of {label}" for label, number in one.left_out.items())
            lines.append(f"{one.metric}: users who do not count for all models are left out of the comparison: {counts}")
    return lines


def _smallest_line(report: RunReport) -> list[str]:
    """The smallest differences that the test part can show, from the most alike pair of models to the least."""
    known = [(one.metric, one.findings.smallest) for one in report.findings]
    if not (listed := ", ".join(f"{metric} {_range(*ends)}" for metric, ends in known if ends is not None)):
        return []
    power = percent(report.findings[0].findings.power)
    return [f"smallest difference between two models that this many users can detect (power {power}): {listed}"]


def _range(low: float, high: float) -> str:
    """One number if both look the same."""
    ends = f"{low:.4f}", f"{high:.4f}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _tie_lines(report: RunReport) -> list[str]:
    """The models whose metrics depend visibly on the order of items with equal scores."""
    visible = []
    for label, model in report.models.items():
        runs, ends = list(model.runs.values()), {}
        for name in runs[0].ties:
            low, high = (fmean(run.ties[name][end] for run in runs) for end in (0, 1))
            if high - low >= VISIBLE:
                ends[name] = f"{name} {low:.4f} to {high:.4f}"
        if ends:
            visible.append(f"{label} ({', '.join(ends.values())})")
    return [f"over all orders of items with equal scores: {'; '.join(visible)}"] if visible else []


def protocol_lines(report: RunReport) -> list[str]:
    """The protocols of all seeds, and the published values under that of the first."""
    data = report.data[report.seeds[0]]
    if data.protocol is None:
        return []
    lines = [protocol_line(one) for one in _protocols(report)]
    for one in data.published:
        same = {"equal": "the same test part", "namesake": "a split of this name", "draw": "other draws of this kind"}
        for metric in (name for name in report.metrics if name in one.values):
            values = ", ".join(f"{model} {value:g}" for model, value in one.values[metric].items())
            lines.append(f"published {metric} on {same[one.relation]} ({one.about}): {values}")
    return lines


def _protocols(report: RunReport) -> list[Protocol]:
    """The distinct protocols, by seed: several if each seed has a test part of its own."""
    return list(dict.fromkeys(facts.protocol for facts in report.data.values() if facts.protocol is not None))


def protocol_line(protocol: Protocol) -> str:
    """The protocol by its digest, and in words."""
    return f"protocol {protocol.digest[:12]}: {protocol.summary}"


def _comparison_line(comparison: Comparison) -> str:
    (first, second), difference = comparison.models, comparison.difference
    found = "has no value" if difference is None else f"= {difference:+.4f}"
    if difference is not None and comparison.p_value is None:
        single = "the seed decides nothing" if comparison.over == "seeds" else "only one user"
        untested = single if comparison.n is None else f"the same for all {comparison.n} {comparison.over}"
        found += f" ({untested}: there is nothing to test)"
    elif comparison.p_value is not None:
        corrected = "" if comparison.corrected is None else f", {comparison.corrected:.2g} after Holm's correction"
        found += f" (paired t-test over {comparison.n} {comparison.over}: p = {comparison.p_value:.2g}{corrected})"
    return f"{comparison.metric}: {first} - {second} {found}"
