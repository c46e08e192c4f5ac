"""Figures of models and results: functions from values to a Matplotlib figure, without pyplot and its global state.

Images are float arrays [n, channels, height, width] from 0 (black) to 1, with one channel (grey) or three (red, green, blue).
"""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from recsys_ae.files import whole_file
from recsys_ae.reporting.results import RunReport

GAP = 1  # pixels between images
SHEET = 100  # maximum number of filters shown
Floats = NDArray[np.floating[Any]]


def filter_sheet(filters: Floats) -> Figure:
    """Filters as tiles, each scaled to its own range: the pattern a unit responds to does not depend on scale."""
    shown = filters[:SHEET]
    flat = shown.reshape(len(shown), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    scaled = (flat - low[:, None]) / np.where(high > low, high - low, 1)[:, None]
    return image_grid(scaled.reshape(shown.shape))


def image_grid(images: Floats, columns: int | None = None) -> Figure:
    """Images as tiles, row by row; without `columns`, the sheet is as square as possible."""
    tiles = tiled(images, columns or int(np.ceil(np.sqrt(len(images)))))
    figure, axes = _panel(tiles.shape[1] / tiles.shape[0])
    _show(axes, tiles)
    axes.set_axis_off()
    return figure


def reconstruction_rows(rows: Mapping[str, Floats]) -> Figure:
    """The same images in one row per name: original, corrupted, reconstructed."""
    figure = _figure(10, 1.1 * len(rows) + 0.2)
    for place, (name, images) in enumerate(rows.items(), 1):
        _show(figure.add_subplot(len(rows), 1, place), tiled(images, len(images)), name)
    return figure


def activation_sheet(activations: Floats, units: Sequence[int], strongest: Sequence[Floats]) -> Figure:
    """Codes `activations` [n, H] as a heat map, images by units; below, for each of some `units`, its `strongest` images."""
    figure = _figure(10, 3 + 0.7 * len(units))
    parts: Any = figure.subfigures(2, 1, height_ratios=[3, 0.7 * len(units)])
    above, below = parts
    axes = above.add_subplot()
    figure.colorbar(axes.imshow(activations, aspect="auto", interpolation="nearest", cmap="viridis"), ax=axes)
    axes.set(xlabel="unit", ylabel="image")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for place, (unit, images) in enumerate(zip(units, strongest, strict=True), 1):
        _show(below.add_subplot(len(units), 1, place), tiled(images, len(images)), f"unit {unit}")
    return figure


def loss_curves(curves: Mapping[str, Sequence[tuple[float, float | None]]], valid_name: str = "valid_loss") -> Figure:
    """Training loss and validation value of each epoch, one panel per stage of training.

    Validation values called `valid_name` have a separate axis unless they are losses too; None is a missing one.
    """
    figure = _figure(4.5 * len(curves), 3.5)
    for place, (stage, losses) in enumerate(curves.items(), 1):
        axes = figure.add_subplot(1, len(curves), place)
        marker, epochs = "." if len(losses) < 30 else None, range(1, len(losses) + 1)
        lines = axes.plot(epochs, [train for train, _ in losses], label="training loss", marker=marker)
        if losses and losses[0][1] is not None:
            valid = [nan if value is None else value for _, value in losses]
            other = axes if valid_name == "valid_loss" else axes.twinx()
            other.set_ylabel("loss" if other is axes else valid_name.replace("_", " "))
            lines += other.plot(epochs, valid, color="C1", label=valid_name.replace("_", " "), marker=marker)
        axes.set(title=stage or "training", xlabel="epoch", ylabel="loss")
        axes.legend(handles=lines)
    return figure


def metrics_chart(report: RunReport) -> Figure:
    """One panel per metric: the value of each model with its interval over users or, without one, its deviation over seeds."""
    labels, n = list(report.models), len(report.metrics)
    columns = min(n, 4)
    rows = -(-n // columns)
    figure = _figure(1.5 + 2.5 * columns, rows * (1 + 0.25 * len(labels)))
    for place, name in enumerate(report.metrics):
        axes = figure.add_subplot(rows, columns, place + 1)
        intervals = _intervals(report, name)
        for row, (label, model) in enumerate(report.models.items()):
            value, spread = model.metrics[name], None if name in model.identical else (model.deviations or {}).get(name)
            if value is not None:
                ends = intervals.get(label)
                reach = spread if ends is None else [[max(value - ends[0], 0)], [max(ends[1] - value, 0)]]
                axes.errorbar(value, row, xerr=reach, fmt="o", color="C0", capsize=3)
        axes.set_yticks(range(len(labels)), labels if place % columns == 0 else [""] * len(labels))
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(f"{name} ({'lower' if name in report.lower_is_better else 'higher'} is better)", fontsize=9)
    return figure


def _intervals(report: RunReport, name: str) -> dict[str, tuple[float, float]]:
    """The interval of each model's metric over users, where there are any."""
    found = next((one for one in report.findings if one.metric == name), None)
    return {} if found is None else dict(zip(found.models, found.findings.intervals or [], strict=False))


def code_map(points: Floats, labels: NDArray[np.int64] | None, names: Sequence[str] | None = None) -> Figure:
    """Codes [n, 2] as points, coloured by class [n]; the legend shows the names of the classes, or their numbers."""
    figure, axes = _panel(1.2)
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=4)
    else:
        for label in np.unique(labels):
            own = points[labels == label]
            axes.scatter(own[:, 0], own[:, 1], s=4, color=f"C{label % 10}", label=names[label] if names else str(label))
        axes.legend(markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set(xticks=[], yticks=[])
    return figure


def tiled(images: Floats, columns: int) -> Floats:
    """Images [n, channels, height, width] side by side: [rows, width] if grey, else [rows, width, 3]; gaps are mid-grey."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 0.5)
    for number, image in enumerate(images):
        top, left = GAP + number // columns * (height + GAP), GAP + number % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet[:, :, 0] if channels == 1 else sheet.clip(0, 1)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with whole_file(path) as draft:
        figure.savefig(draft, format="png", metadata={"Software": None})


def _show(axes: Any, tiles: Floats, label: str = "") -> None:
    """Tiles with a label on their left."""
    axes.imshow(tiles, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_ylabel(label, rotation=0, ha="right", va="center")
    axes.set(xticks=[], yticks=[])


def _panel(ratio: float) -> tuple[Figure, Any]:
    """A figure with one panel; `ratio` is width over height."""
    width = 6 * min(ratio, 2)
    figure = _figure(width, width / ratio)
    return figure, figure.add_subplot()


def _figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    return Figure(figsize=(width, height), dpi=100, layout="constrained")
