"""The content of the page of a run."""

from collections.abc import Iterable, Iterator

from recsys_ae.evaluation.protocols.audit_lines import audit_lines
from recsys_ae.reporting.html.blocks import (
    Block,
    Chart,
    Charts,
    Facts,
    Grid,
    Notes,
    Page,
    Raw,
    Section,
    Shown,
    duration,
    name,
    number,
    shown,
)
from recsys_ae.reporting.html.choice import best_of, choice_lines, chosen, deciding, joined
from recsys_ae.reporting.html.data_part import data_blocks
from recsys_ae.reporting.html.explorer import explorer_blocks
from recsys_ae.reporting.html.facts import CloserLook, RunFiles
from recsys_ae.reporting.html.model_part import (
    curve_charts,
    depth_charts,
    error_charts,
    interval_charts,
    picture_blocks,
    segment_charts,
    trade_off_charts,
)
from recsys_ae.reporting.report import CHANCE, outcome_lines, protocol_lines, reading_lines
from recsys_ae.reporting.results import Best, RunReport
from recsys_ae.reporting.tables import BELOW, best_reachable, metric_cells

CHOSEN = "chosen"  # beside the name of the model


def run_content(report: RunReport, look: CloserLook, files: RunFiles) -> Page:
    """Everything that the page of a run shows."""
    reading = Notes([*choice_lines(report), *reading_lines(report), *outcome_lines(report)])
    found: list[tuple[str, str, list[Block]]] = [
        ("results", "Results", [leaderboard(report), reading, *_charts(report, interval_charts(report))]),
        ("lengths", "By length of the lists", _charts(report, depth_charts(report, look.depths))),
        ("trade-offs", "Accuracy and the rest", _charts(report, trade_off_charts(report, look.depths))),
        ("segments", "Groups of users and items", _groups(report)),
        ("lists", "What users are shown", explorer_blocks(look.explorer)),
        ("errors", "Rating errors", _charts(report, error_charts(report, look.errors))),
        ("training", "Training", _training(report)),
        ("figures", "Figures", picture_blocks(files)),
        ("data", "The data", [*data_blocks(report, look.training), *_audit(report)]),
        ("origin", "How this was made", origin_blocks(report, files)),
    ]
    sections = [Section(anchor, title, blocks) for anchor, title, blocks in found if blocks]
    return Page(report.dataset, f"pipeline {report.pipeline}", [*_message(report)], _head(report), sections)


def _message(report: RunReport) -> Iterator[tuple[str, bool]]:
    """The winner in a sentence."""
    best = report.best
    if best is None:
        many = len(report.models) > 1
        if many:
            yield f"{len(report.models)} models compared", False
        metric, lower = report.metrics[0], report.metrics[0] in report.lower_is_better
        if (found := best_of({label: model.metrics[metric] for label, model in report.models.items()}, lower)) is not None:
            leaders, value = found
            most = f"the {'lowest' if lower else 'highest'} {metric} on test data, {value:.4f}"
            if many:
                yield "; ", False
            if many and len(leaders) == len(report.models):
                yield f"all have the same {metric} on test data, {value:.4f}", False
            else:
                yield joined(leaders), True
                have = "has" if len(leaders) == 1 else "have"
                yield f" {have} {most if many else f'{metric} {value:.4f} on test data'}", False
            if all(report.is_chance(label, metric) for label in leaders):
                yield f", {CHANCE}", False
        elif not many:
            yield f"The model has no value of {metric}", False
    elif best.model is None:
        yield f"No model has a value of {best.metric}", False
    else:
        yield best.model, True
        chance = report.is_chance(best.model, best.metric)
        yield f" {_rank(report, best, chance)} by {best.metric} on {best.data}", False
        cell = metric_cells(report, best.metric)[list(report.models).index(best.model)]
        if cell.value is not None:
            tested = ", where it is " if best.part == "test" else "; on test data it is "
            yield f"{tested}{cell.number.removeprefix(BELOW)} {cell.spread}".rstrip(), False
        least = report.baselines.get(best.metric)
        other = least is not None and report.models[best.model].model != least.model
        if other and cell.value is not None and least is not None and least.value and best.metric not in report.lower_is_better:
            yield f", {cell.value / least.value - 1:+.0%} against {least.model}", False
        if chance:
            yield f", {CHANCE}", False
    yield ".", False


def _rank(report: RunReport, best: Best, chance: bool) -> str:
    """What the best model is among the others; `chance`: its value is due to chance."""
    n, tied = len(report.models), len(best.tied)
    if n == 1:
        return "is the only model, measured"
    if tied:
        return f"was taken as the first of {n if tied == n else f'the {tied} best of {n}'} models, which tie"
    return f"{'was chosen from' if chance else 'is the best of'} {n} models"


def _head(report: RunReport) -> Facts:
    """The key facts."""
    data, origin = report.data[report.seeds[0]], report.origin
    pairs = [("Data", data.about)]
    pairs += [("Parts", ", ".join(f"{size:,} {part}" for part, size in data.sizes.items()))]
    if data.protocol is not None:
        pairs.append(("Protocol", data.protocol.summary))
    pairs.append(("Seeds", ", ".join(map(str, report.seeds))))
    if origin is not None:
        pairs.append(("Started", origin.started.replace("T", " ").replace("Z", " UTC")))
    return Facts(pairs)


def leaderboard(report: RunReport) -> Grid:
    """All models by all metrics and costs."""
    cells = {metric: metric_cells(report, metric) for metric in report.metrics}
    limits = best_reachable(report)
    several = any(model.select_seconds is not None for model in report.models.values())
    costs = [*(["select s"] if several else []), "fit s", "peak MB"]
    rows, ours = [], chosen(report)
    for row, (label, model) in enumerate(report.models.items()):
        select = [duration(model.select_seconds)] if several else []
        spent = [*select, duration(model.fit_seconds), number(model.peak_memory_mb, ".0f")]
        rows.append(
            [
                Shown(label, CHOSEN if label == ours else "", sort=label),
                *(shown(column[row]) for column in cells.values()),
                *spent,
            ]
        )
    hints = {metric: "lower is better" if metric in report.lower_is_better else "higher is better" for metric in report.metrics}
    for metric, value in limits.items():
        hints[metric] += f", at best {value:.4f}"
    return Grid("All models by all metrics", ["model", *cells, *costs], rows, sortable=True, hints=hints)


def _charts(report: RunReport, charts: Iterable[Chart], *, with_key: bool = True) -> list[Block]:
    found = list(charts)
    return [Charts(found, list(report.models) if with_key else ())] if found else []


def _groups(report: RunReport) -> list[Block]:
    """The groups of each segment, and where to find their intervals, which a run does not compute."""
    charts = _charts(report, segment_charts(report))
    segments = dict.fromkeys(
        segment for model in report.models.values() for run in model.runs.values() for segment in run.segments
    )
    line = (
        "These are means without intervals, because a run tests differences over all users only. For intervals and tests "
        f"within groups, run recsys-ae compare on the output folder with --by and one of: {', '.join(segments)}."
    )
    return [Notes([line]), *charts] if charts else []


def _training(report: RunReport) -> list[Block]:
    """The curves, and what their validation values are."""
    charts = list(curve_charts(report))
    measured = dict.fromkeys(found for chart in charts if (found := chart.title.partition(": validation ")[2]))
    if not measured:
        return _charts(report, charts, with_key=False)
    line = (
        f"Validation values ({', '.join(measured)}) are measured on the validation part after each epoch, by a metric of the "
        f"model's own. They choose the epoch; models are compared by {deciding(report)}."
    )
    return [Notes([line]), *_charts(report, charts, with_key=False)]


def _audit(report: RunReport) -> Iterator[Block]:
    if report.audit is not None:
        first = f" of seed {report.seeds[0]}" if len(report.seeds) > 1 else ""
        lines = audit_lines(report.audit, ranked=report.ranked) or ["Nothing was found."]
        yield Notes(lines, f"Audit of the test part{first}")


def origin_blocks(report: RunReport, files: RunFiles) -> list[Block]:
    """Command, commit, versions and digests, and the whole pipeline."""
    pairs, origin = [], report.origin
    if origin is not None:
        pairs += [("Command", origin.command), ("Started", origin.started)]
        if origin.commit is not None:
            pairs.append(("Commit", origin.commit + (" with uncommitted changes" if origin.uncommitted else "")))
    if (device := report.settings.get("device")) is not None:
        pairs.append(("Device", str(device)))
    pairs += [(f"Data of seed {seed}", facts.digest) for seed, facts in report.data.items()]
    pairs += [("Versions", ", ".join(f"{one} {version}" for one, version in report.versions.items()))]
    digests = [(label, own.digest) for label, model in report.models.items() for own in list(model.runs.values())[:1]]
    first = f" (seed {report.seeds[0]})" if len(report.seeds) > 1 else ""
    table = Grid("Digests of the tested models", ["model", f"digest{first}"], [[name(a), name(b)] for a, b in digests])
    lines = protocol_lines(report)
    return [Facts(pairs), *([Notes(lines)] if lines else []), table, Raw("pipeline.yaml, with every default", files.pipeline)]
