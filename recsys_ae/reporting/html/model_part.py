"""The charts of the models of a run."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics import parse_metric
from recsys_ae.evaluation.protocols.audit_lines import percent
from recsys_ae.evaluation.report import COUNTING
from recsys_ae.reporting.html.blocks import (
    Block,
    Chart,
    Grid,
    Picture,
    Pictures,
    Shown,
    duration,
    interval_records,
    name,
    number,
    plain,
    shown,
)
from recsys_ae.reporting.html.charts import Record, bars, grouped_bars, intervals, lines, scatter
from recsys_ae.reporting.html.choice import best_of, deciding, joined
from recsys_ae.reporting.html.facts import Depths, Errors, RunFiles
from recsys_ae.reporting.results import MetricValues, RunReport
from recsys_ae.reporting.tables import metric_cells

FAMILIES = {"ndcg": "NDCG", "recall": "Recall", "precision": "Precision", "hit_rate": "Hit rate"}
PICTURES = {
    "activations": "Activations of the codes of some test images, and the images that activate units most",
    "codes": "Codes of test images in two dimensions, coloured by class",
    "reconstructions": "Test images above their reconstructions",
    "samples": "Images decoded from random codes",
    "walks": "Images decoded on the way from one test image to the next",
}
SHORTEST = 0.001  # seconds to fit from which models are told apart


def interval_charts(report: RunReport) -> Iterator[Chart]:
    """The deciding metric with intervals, and how far models are above popularity."""
    metric, labels = deciding(report), list(report.models)
    cells = dict(zip(labels, metric_cells(report, metric), strict=True))
    baseline = report.baselines.get(metric)
    lower = metric in report.lower_is_better
    best = best_of({label: cell.value for label, cell in cells.items()}, lower)
    if best is None:
        return
    leaders, value = best
    same = [label for label, cell in cells.items() if cell.best and label not in leaders]
    tied = f"; {joined(same)} cannot be told from {'it' if len(leaders) == 1 else 'them'}" if same else ""
    dashed = "" if baseline is None else f" The dashed line is {baseline.model} ({baseline.value:.4f})."
    have, most = "has" if len(leaders) == 1 else "have", "lowest" if lower else "highest"
    found = f"the {most} {metric}, {value:.4f}{tied}" if len(labels) > 1 else f"{metric} {value:.4f}"
    message = f"{joined(leaders)} {have} {found}.{dashed}"
    if 1 < len(leaders) == len(labels):
        message = f"All {len(labels)} models have the same {metric}, {value:.4f}.{dashed}"
    table = Grid(metric, ["model", metric], [[name(label), shown(cell)] for label, cell in cells.items()])
    spec = intervals(interval_records(cells), labels, metric, None if baseline is None else baseline.value)
    yield Chart(f"{metric} on test data", message, spec, table)
    yield from _lift(report)


def _lift(report: RunReport) -> Iterator[Chart]:
    """How far the ranking metrics of the models are above those of popularity, which is not among them."""
    least = {key: one.value for key, one in report.baselines.items() if one.model == "popularity" and one.value > 0}
    if not least:
        return
    metric, labels = deciding(report), list(report.models)
    metric = metric if metric in least else next(iter(least))
    lifts = {
        label: {one: None if (value := model.metrics[one]) is None else value / least[one] - 1 for one in least}
        for label, model in report.models.items()
        if model.model != "popularity"
    }
    best = best_of({label: own[metric] for label, own in lifts.items()})
    if best is None:
        return
    records = [
        {"model": label, "value": own[metric], "label": f"{label}: {own[metric]:+.1%}"}
        for label, own in lifts.items()
        if own[metric] is not None
    ]
    rows = [[name(label), *(number(value, "+.1%") for value in own.values())] for label, own in lifts.items()]
    message = _lifted(records, metric, *best, "other " if len(lifts) < len(labels) else "")
    table = Grid("Lift over popularity", ["model", *least], rows)
    yield Chart("Lift over popularity", message, bars(records, labels, f"{metric} against popularity", True), table)


def _lifted(records: Sequence[Record], metric: str, best: list[str], lift: float, other: str) -> str:
    """How many models are above popularity, and which the furthest."""
    if len(records) == 1:
        return f"{best[0]} differs from popularity by {lift:+.0%} in {metric}."
    if above := sum(record["value"] > 0 for record in records):
        are = "is" if above == 1 else "are"
        furthest = f"{joined(best)} the furthest ({lift:+.0%})"
        number = f"All {above}" if above == len(records) else f"{above} of {len(records)}"
        return f"{number} {other}models {are} above popularity by {metric}, {furthest}."
    come = "comes" if len(best) == 1 else "come"
    return f"No {other}model is above popularity by {metric}; {joined(best)} {come} closest ({lift:+.0%})."


def depth_charts(report: RunReport, depths: Depths | None) -> Iterator[Chart]:
    """Metrics by the length of the lists."""
    if depths is None or len(depths.lengths) < 2:
        return
    some = "" if depths.users == depths.relevant_users else f" ({depths.users:,} of {depths.relevant_users:,} users)"
    first, last = depths.lengths[0], depths.lengths[-1]
    for family, by_model in depths.values.items():
        title = FAMILIES.get(family, family)
        ends = [best_of({label: own[at] for label, own in by_model.items()}) for at in (0, -1)]
        if ends[0] is None or ends[1] is None:
            continue
        (few, low), (many, high) = ends[0], ends[1]
        lead, short = "leads" if len(few) == 1 else "lead", "a single item" if first == 1 else f"{first} items"
        if len(by_model) == 1:
            message = f"{low:.4f} with {short}, {high:.4f} with {last}{some}."
        elif len(few) == len(many) == len(by_model):
            message = f"All {len(few)} models have the same values, {low:.4f} with {short}, {high:.4f} with {last}{some}."
        elif few == many:
            message = f"{joined(few)} {lead} both at {first} and at {last} items{some}."
        else:
            message = f"{joined(few)} {lead} with {short}, {joined(many)} with {last}{some}."
        records = [
            {"model": label, "x": k, "y": value, "label": f"{label}, {title}@{k}: {value:.4f}"}
            for label, own in by_model.items()
            for k, value in zip(depths.lengths, own, strict=True)
            if value is not None
        ]
        table = plain(title, ["model", *(f"@{k}" for k in depths.lengths)], [[label, *own] for label, own in by_model.items()])
        spec = lines(records, list(report.models), "items in the list", logarithmic=depths.lengths, zero=True)
        yield Chart(f"{title} by length", message, spec, table)


def trade_off_charts(report: RunReport, depths: Depths | None) -> Iterator[Chart]:
    """The deciding metric against coverage, novelty and time."""
    metric, labels = deciding(report), list(report.models)
    accuracy = {label: model.metrics[metric] for label, model in report.models.items()}
    seconds: MetricValues = {label: max(model.fit_seconds, SHORTEST) for label, model in report.models.items()}
    across: dict[str, MetricValues] = {}
    for family in ("coverage", "novelty"):
        own = next((one for one in report.metrics if _family(one) == family), None)
        if own is not None:
            across[own] = {label: model.metrics[own] for label, model in report.models.items()}
        elif depths is not None:
            across |= {one: values for one, values in depths.beyond.items() if _family(one) == family}
    across["seconds to fit"] = seconds
    lower = metric in report.lower_is_better
    for other, values in across.items():
        known = [label for label in labels if accuracy[label] is not None and values.get(label) is not None]
        if len(known) < 2:
            continue
        fast = other == "seconds to fit"
        points = [(label, values[label] or 0, accuracy[label] or 0) for label in known]
        across_by = {label: duration(report.models[label].fit_seconds) if fast else number(x) for label, x, _ in points}
        records = [
            {"model": label, "x": x, "y": y, "label": f"{label}: {across_by[label].text}, {y:.4f}"} for label, x, y in points
        ]
        worse = f"slower and worse in {metric}" if fast else f"worse in both {other} and {metric}"
        beaten = _beaten(points, fast, lower)
        message = f"No model is {worse} than another."
        if beaten:
            message = f"{worse[0].upper()}{worse[1:]} than another model: {', '.join(beaten)}."
        rows = [[name(label), across_by[label], number(accuracy[label])] for label in known]
        table = Grid(f"{metric} and {other}", ["model", other, metric], rows)
        yield Chart(f"{metric} against {other}", message, scatter(records, labels, other, logarithmic=fast), table)


def _beaten(points: Sequence[tuple[str, float, float]], low_x: bool, low_y: bool) -> list[str]:
    """The models than which another is better in both values."""
    signed = [(label, -x if low_x else x, -y if low_y else y) for label, x, y in points]
    return [label for label, x, y in signed if any(a > x and b > y for _, a, b in signed)]


def _family(metric: str) -> str:
    """The name of a metric without its length; empty if it is none of recommenders."""
    try:
        return parse_metric(metric).family
    except ConfigError:
        return ""


def segment_charts(report: RunReport) -> Iterator[Chart]:
    """The deciding metric in each group of a segment, as means over the seeds."""
    labels, runs = list(report.models), {label: list(model.runs.values()) for label, model in report.models.items()}
    for segment in dict.fromkeys(one for own in runs.values() for one in own[0].segments):
        groups = list(dict.fromkeys(group for own in runs.values() for group in own[0].segments.get(segment, {})))
        measured = {one for own in runs.values() for group in own[0].segments.get(segment, {}).values() for one in group}
        metric = next((one for one in (deciding(report), *report.metrics) if one in measured), "")
        values: dict[str, MetricValues] = {}
        for label, own in runs.items():
            found = [[run.segments.get(segment, {}).get(group, {}).get(metric) for run in own] for group in groups]
            values[label] = {
                group: sum(known) / len(known) if (known := [one for one in column if one is not None]) else None
                for group, column in zip(groups, found, strict=True)
            }
        records = [
            {"group": group, "model": label, "value": value, "label": f"{label}, {group}: {value:.4f}"}
            for label, by_group in values.items()
            for group, value in by_group.items()
            if value is not None
        ]
        if not records or len(groups) < 2:
            continue
        every = [run.segments.get(segment, {}) for own in runs.values() for run in own]
        rows = [[name(label), *(number(own[group]) for group in groups)] for label, own in values.items()]
        rows.append([name("users"), *(_users([own.get(group, {}) for own in every], metric) for group in groups)])
        message = _by_group(metric, values, groups, metric in report.lower_is_better)
        table = Grid(f"{metric} by {segment}", ["model", *groups], rows)
        yield Chart(f"{metric} by {segment.replace('_', ' ')}", message, grouped_bars(records, labels, groups, metric), table)


def _users(groups: Sequence[MetricValues], metric: str) -> Shown:
    """The number of users who count in a metric, given a group of each run; their range if it differs between the runs."""
    numbers = [own.get(f"{COUNTING}{metric}", own.get("users")) for own in groups if metric in own]  # the latter in old reports
    known = sorted({users for users in numbers if users is not None})
    return Shown(" to ".join(f"{users:,.0f}" for users in known[:1] + known[1:][-1:]) or "-")


def _by_group(metric: str, values: Mapping[str, MetricValues], groups: Sequence[str], lower: bool) -> str:
    """The models with the best value in each group, or that all have the same; of a single model, its values."""
    said = []
    for group in groups:
        column = {label: own[group] for label, own in values.items() if own[group] is not None}
        if (found := best_of(column, lower)) is None:
            continue
        leaders, value = found
        if len(column) > 1 and len(leaders) == len(column):
            said.append(f"all {'equal' if value else '0'} ({group})")
        else:
            said.append(f"{joined(leaders) if len(values) > 1 else format(value, '.4f')} ({group})")
    return f"{f'Best by {metric}' if len(values) > 1 else metric} in each group: {', '.join(said)}."


def error_charts(report: RunReport, errors: Errors | None) -> Iterator[Chart]:
    """Histograms of the errors of rating models."""
    if errors is None:
        return
    used = [at for at in range(len(errors.edges) - 1) if any(own[at] for own in errors.shares.values())]
    bins = range(used[0], used[-1] + 1)
    middles = [(low + high) / 2 for low, high in pairwise(errors.edges)]
    records = [
        {"model": label, "x": middles[at], "y": own[at], "label": f"{label}, {middles[at]:+.2f}: {own[at]:.1%}"}
        for label, own in errors.shares.items()
        for at in bins
    ]
    reach = errors.edges[-1] / 4
    near = {
        label: sum(one for one, at in zip(own, middles, strict=True) if abs(at) < reach) for label, own in errors.shares.items()
    }
    share = max(near.values())
    best = [label for label, own in near.items() if percent(own) == percent(share)]
    some = "" if errors.pairs == errors.test_pairs else f" ({errors.pairs:,} of {errors.test_pairs:,} pairs)"
    more = ", more than of any other model" if len(best) < len(near) else ""
    message = f"{percent(share)} of the predictions of {joined(best)} lie within {reach:g} of the rating{more}{some}."
    rows = [[name(label), *(number(own[at], ".1%") for at in bins)] for label, own in errors.shares.items()]
    table = Grid("Errors", ["model", *(f"{middles[at]:+.2f}" for at in bins)], rows)
    spec = lines(records, list(report.models), "predicted minus actual rating", points=False, step=True, zero=True)
    yield Chart("Errors on test data, as shares of the pairs", message, spec, table)


def curve_charts(report: RunReport) -> Iterator[Chart]:
    """Loss and validation value of each epoch, of each stage of each model, with the first seed."""
    for label, model in report.models.items():
        run = model.runs[report.seeds[0]]
        complement = re.fullmatch(r"valid_1_minus_(\w+)_(\d+)", run.validation)
        validated = "{}@{}".format(*complement.groups()) if complement else run.validation.removeprefix("valid_")
        for stage, curve in run.curves.items():
            own = f"{label}, {stage}" if stage else label
            losses: list[float | None] = [loss for loss, _ in curve]
            valid = [None if one is None else 1 - one if complement else one for _, one in curve]
            columns = {"training loss": losses, f"validation {validated}": valid}
            columns = {title: values for title, values in columns.items() if any(one is not None for one in values)}
            rows = [[str(epoch), *values] for epoch, values in enumerate(zip(*columns.values(), strict=True), 1)]
            table = plain(own, ["epoch", *columns], rows)
            chosen = (run.select or run.fit).best_epoch if len(run.curves) == 1 and len(columns) > 1 else None
            for title, values in columns.items():
                known = [(epoch, value) for epoch, value in enumerate(values, 1) if value is not None]
                if len(known) < 2:
                    continue
                records = [{"model": label, "x": at, "y": value, "label": f"epoch {at}: {value:.4f}"} for at, value in known]
                last = chosen == len(curve) and title != "training loss"
                more = ", the last one, so more epochs may be better" if last else ""
                best = f"; epoch {chosen} was chosen{more}" if chosen is not None else ""
                message = f"From {known[0][1]:.4g} to {known[-1][1]:.4g} in {len(curve)} epochs{best}."
                spec = lines(records, list(report.models), "epoch", points=len(known) <= 30)
                yield Chart(f"{own}: {title}", message, spec, table)


def picture_blocks(files: RunFiles) -> list[Block]:
    """The figures of image models."""
    blocks: list[Block] = []
    for label, paths in files.pictures.items():
        pictures = []
        for path in paths:
            what = PICTURES.get(path.stem)
            layer = path.stem.removeprefix("filters-")
            what = what or (f"Filters of layer {layer}" if layer != path.stem else path.stem)
            pictures.append(Picture(f"{what}, of {label}", what, path.read_bytes()))
        blocks.append(Pictures(label, pictures))
    return blocks


def data_uri(picture: Picture) -> str:
    """The image inside of an address."""
    return f"data:image/png;base64,{b64encode(picture.data).decode()}"
