"""Charts: functions from values to Vega-Lite specifications, which `drawing` turns into SVG.

Colours are variables of the page's style sheet, so that a chart follows its theme. Fields of the data have fixed names, and
texts are only ever values of fields, which Vega escapes.
"""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

Spec = dict[str, Any]
Record = dict[str, Any]
COLOURS = 10  # variables --c0, --c1, ... of the style sheet
WIDTH, HEIGHT, ROW = 340, 210, 22
LONGEST = 18  # characters of a name
AXIS = {
    "labelColor": "var(--soft)",
    "titleColor": "var(--soft)",
    "gridColor": "var(--line)",
    "domainColor": "var(--line)",
    "tickColor": "var(--line)",
    "labelFontSize": 11,
    "titleFontSize": 11,
    "titleFontWeight": "normal",
    "labelLimit": 0,  # Vega cuts text within a character
    "tickCount": 5,
    "aria": False,
}
CONFIG = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": AXIS,
    "text": {"color": "var(--ink)", "fontSize": 11},
    "rule": {"color": "var(--soft)"},
}
MARGIN = {"left": 12, "right": 8, "top": 5, "bottom": 5}  # the font of the page may be wider than the one Vega measures
FRAME: Spec = {"autosize": {"type": "fit", "contains": "padding"}, "padding": MARGIN, "config": CONFIG}


def colour_of(place: int) -> str:
    """The colour of the model at this place of the report."""
    return f"var(--c{place % COLOURS})"


def _shortened(names: Sequence[str]) -> dict[str, str]:
    """Names that fit into a chart, still distinct, by the whole ones."""
    found: dict[str, str] = {}
    for place, name in enumerate(names, 1):
        short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        found[name] = short if short not in found.values() else f"{name[: LONGEST - 5]}… {place}"
    return found


def _with_short(records: Sequence[Record], field: str, names: Sequence[str]) -> tuple[list[Record], list[str]]:
    """The records and the names, both with short names."""
    short = _shortened(names)
    return [{**record, field: short[record[field]]} for record in records], list(short.values())


def _coloured(models: Sequence[str]) -> Spec:
    """The encoding of the field `model` as colour; the page has one key for all charts."""
    scale = {"domain": list(models), "range": [colour_of(place) for place in range(len(models))]}
    return {"field": "model", "type": "nominal", "scale": scale, "legend": None}


def _data(records: Sequence[Record]) -> Spec:
    return {"values": [record for record in records if None not in record.values()]}


def _axis(field: str, title: str | None, kind: str = "quantitative", **more: Any) -> Spec:
    return {"field": field, "type": kind, "title": title, **more}


def intervals(records: Sequence[Record], models: Sequence[str], title: str, baseline: float | None) -> Spec:
    """A point per model, with its interval. Records: model, value, low, high, label; `baseline` is a vertical line."""
    records, models = _with_short(records, "model", models)
    name = _axis("model", None, "nominal", sort=list(models), axis={"domain": False, "ticks": False})
    value: Spec = {"scale": {"zero": False, "nice": True}}
    layers: list[Spec] = [
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"x": _axis("low", title, **value), "x2": {"field": "high"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {"x": _axis("value", title, **value)},
        },
    ]
    for layer in layers:
        layer["encoding"] |= {"y": name, "color": _coloured(models), "description": {"field": "label"}}
    if baseline is not None:
        mark = {"type": "rule", "strokeDash": [3, 3], "color": "var(--soft)"}
        layers.insert(0, {"data": {"values": [{"at": baseline}]}, "mark": mark, "encoding": {"x": _axis("at", title, **value)}})
    return {**FRAME, "data": _data(records), "width": WIDTH, "height": ROW * len(records) + 45, "layer": layers}


def bars(records: Sequence[Record], models: Sequence[str], title: str, signed: bool = False) -> Spec:
    """A bar for each of the records: model, value, label. `models` are all that have a colour."""
    records, models = _with_short(records, "model", models)
    name = _axis("model", None, "nominal", sort=list(models), axis={"domain": False, "ticks": False})
    form: Spec = {"axis": {"format": "+.0%" if signed else ".3~g"}}
    encoding = {"x": _axis("value", title, **form), "y": name, "color": _coloured(models), "description": {"field": "label"}}
    size = {"width": WIDTH, "height": ROW * len(records) + 45}
    return {**FRAME, **size, "data": _data(records), "mark": {"type": "bar", "height": 12}, "encoding": encoding}


def grouped_bars(records: Sequence[Record], models: Sequence[str], groups: Sequence[str], title: str) -> Spec:
    """Bars of all models in each group. Records: group, model, value, label."""
    records, models = _with_short(records, "model", models)
    records, groups = _with_short(records, "group", groups)
    thick = max(4, min(10, 36 // len(models)))
    group = _axis("group", None, "nominal", sort=list(groups), axis={"domain": False, "ticks": False})
    encoding = {
        "y": {**group, "scale": {"paddingInner": 0.25}},
        "yOffset": {"field": "model", "sort": list(models)},
        "x": _axis("value", title),
        "color": _coloured(models),
        "description": {"field": "label"},
    }
    height = len(groups) * (len(models) * thick + 8) + 45
    return {**FRAME, "data": _data(records), "width": WIDTH, "height": height, "mark": {"type": "bar"}, "encoding": encoding}


def lines(
    records: Sequence[Record],
    models: Sequence[str],
    x: str,
    *,
    logarithmic: Sequence[float] | None = None,
    points: bool = True,
    step: bool = False,
    zero: bool = False,
) -> Spec:
    """A line per model. Records: model, x, y, label; the heading of the chart says what is on the vertical axis.

    Args:
        logarithmic: the ticks of a logarithmic horizontal axis.
        points: mark the points.
        step: horizontal and vertical lines, for histograms.
        zero: whether the vertical axis has to begin at 0.
    """
    records, models = _with_short(records, "model", models)
    across = _axis("x", x, scale={"zero": False, "nice": False})
    if logarithmic is not None:
        across = _axis("x", x, scale={"type": "log", "nice": False}, axis={"values": list(logarithmic), "format": "d"})
    mark: Spec = {"type": "line", "strokeWidth": 1.8, **({"interpolate": "step"} if step else {})}
    both = {"x": across, "y": _axis("y", None, scale={"zero": zero}), "color": _coloured(models)}
    layers: list[Spec] = [{"mark": mark, "encoding": both}]
    if points:
        point = {"type": "point", "filled": True, "size": 28, "opacity": 1}
        layers.append({"mark": point, "encoding": {**both, "description": {"field": "label"}}})
    return {**FRAME, "data": _data(records), "width": WIDTH, "height": HEIGHT, "layer": layers}


def scatter(records: Sequence[Record], models: Sequence[str], x: str, *, logarithmic: bool = False) -> Spec:
    """A point per model, with its name where there is room. Records: model, x, y, label."""
    records, models = _with_short(records, "model", models)
    across = _axis("x", x, scale={"type": "log", "padding": 14} if logarithmic else {"zero": False, "padding": 14})
    if logarithmic:
        across["axis"] = {"format": "~g", "tickCount": 4}
    both = {"x": across, "y": _axis("y", None, scale={"zero": False, "padding": 14})}
    point = {"type": "point", "filled": True, "size": 70, "opacity": 1}
    layers: list[Spec] = [{"mark": point, "encoding": {**both, "color": _coloured(models), "description": {"field": "label"}}}]
    named = _named(records, logarithmic)
    for side, dy in {"above": -10, "below": 11}.items():
        text = {"type": "text", "dy": dy, "color": "var(--ink)"}
        own = [record for record, where in zip(records, named, strict=True) if where == side]
        layers.append({"data": _data(own), "mark": text, "encoding": {**both, "text": {"field": "model", "type": "nominal"}}})
    return {**FRAME, "data": _data(records), "width": WIDTH, "height": HEIGHT + 20, "layer": layers}


def _named(records: Sequence[Record], logarithmic: bool) -> list[str]:
    """Where the name of each point of a scatter plot stands: above, below, or nowhere, because others are there already."""
    places = [[log10(one["x"]) if logarithmic else one["x"], one["y"]] for one in records]
    for axis, room in enumerate((WIDTH - 70, HEIGHT - 40)):
        low, high = min(one[axis] for one in places), max(one[axis] for one in places)
        for one in places:
            one[axis] = room * (one[axis] - low) / ((high - low) or 1)
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    sides = []
    for record, (x, y) in zip(records, places, strict=True):
        half = 3.6 * len(record["model"])
        for side, low, high in (("above", y + 5.5, y + 15), ("below", y - 16, y - 5.5)):
            if all(x + half < left or x - half > right or high < bottom or low > top for left, bottom, right, top in taken):
                taken.append((x - half, low, x + half, high))
                sides.append(side)
                break
        else:
            sides.append("")
    return sides


def curve(points: Sequence[tuple[float, float]], x: str) -> Spec:
    """A filled curve of shares against shares, both from 0 to 1, beside the diagonal."""
    form: Spec = {"scale": {"domain": [0, 1]}, "axis": {"format": ".0%"}}
    both = {"x": _axis("x", x, **form), "y": _axis("y", None, **form)}
    area = {"type": "area", "color": "var(--c0)", "fillOpacity": 0.15, "line": {"color": "var(--c0)", "strokeWidth": 1.8}}
    diagonal = {"type": "line", "color": "var(--soft)", "strokeDash": [3, 3], "strokeWidth": 1}
    layers = [
        {"data": {"values": [{"x": one, "y": other} for one, other in points]}, "mark": area, "encoding": both},
        {"data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]}, "mark": diagonal, "encoding": both},
    ]
    return {**FRAME, "width": WIDTH, "height": HEIGHT, "layer": layers}


def columns(counts: Mapping[str, int], x: str) -> Spec:
    """A column per name, in their order."""
    values = [{"name": name, "value": count, "label": f"{name}: {count}"} for name, count in counts.items()]
    encoding = {
        "x": _axis("name", x, "nominal", sort=list(counts), axis={"labelAngle": 0}),
        "y": _axis("value", None, axis={"format": "~s"}),
        "description": {"field": "label"},
    }
    mark = {"type": "bar", "color": "var(--c0)", "opacity": 0.85}
    return {**FRAME, "data": {"values": values}, "width": WIDTH, "height": HEIGHT, "mark": mark, "encoding": encoding}
