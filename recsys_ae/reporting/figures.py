"""Figures of models and results, all of them functions from values to a Matplotlib figure.

Images are float arrays [n, channels, height, width], with one channel (grey, white being 1) or three (red, green, blue).
Nothing here touches Matplotlib's global state.
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
SHEET = 100  # filters shown at most
DPI = 100
Floats = NDArray[np.floating[Any]]


def filter_sheet(filters: Floats) -> Figure:
    """Filters as tiles, each scaled to its own range, because what a unit responds to does not depend on scale."""
    shown = filters[:SHEET]
    flat = shown.reshape(len(shown), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    scaled = (flat - low[:, None]) / np.where(high > low, high - low, 1)[:, None]
    return image_grid(scaled.reshape(shown.shape))


def image_grid(images: Floats, columns: int | None = None) -> Figure:
    """Images as tiles, row by row; as square a sheet as possible without `columns`."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    tiles = tiled(images, columns)
    figure, axes = _figure(tiles.shape[1] / tiles.shape[0])
    axes.imshow(tiles, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    return figure


def reconstruction_rows(rows: Mapping[str, Floats]) -> Figure:
    """The same images in one row for each name: original, corrupted, reconstructed."""
    tiles = [tiled(images, len(images)) for images in rows.values()]
    figure = Figure(figsize=(10, 1.1 * len(tiles) + 0.2), dpi=DPI, layout="constrained")
    for place, (name, tile) in enumerate(zip(rows, tiles, strict=True)):
        _strip(figure.add_subplot(len(tiles), 1, place + 1), tile, name)
    return figure


def activation_sheet(activations: Floats, units: Sequence[int], strongest: Sequence[Floats]) -> Figure:
    """Above, codes as a heat map of images by units; below, for some units, the images with the highest activation.

    Args:
        activations: [n, H].
        units: those to show below.
        strongest: for each of them the images, the strongest first.
    """
    figure = Figure(figsize=(10, 3 + 0.7 * len(units)), dpi=DPI, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[3, 0.7 * len(units)])
    above, below = parts
    axes = above.add_subplot()
    figure.colorbar(axes.imshow(activations, aspect="auto", interpolation="nearest", cmap="viridis"), ax=axes)
    axes.set_xlabel("unit")
    axes.set_ylabel("image")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for place, (unit, images) in enumerate(zip(units, strongest, strict=True)):
        _strip(below.add_subplot(len(units), 1, place + 1), tiled(images, len(images)), f"unit {unit}")
    return figure


def loss_curves(curves: Mapping[str, Sequence[tuple[float, float | None]]], valid_name: str = "valid_loss") -> Figure:
    """Training loss and validation value by epoch, a panel for each stage of training.

    Args:
        curves: for each stage, (training, validation or None) of each epoch.
        valid_name: what the validation values are; they have an axis of their own unless they are a loss too.
    """
    figure = Figure(figsize=(4.5 * len(curves), 3.5), dpi=DPI, layout="constrained")
    for place, (stage, losses) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), place + 1)
        marker = "." if len(losses) < 30 else None
        epochs = range(1, len(losses) + 1)
        lines = axes.plot(epochs, [train for train, _ in losses], label="training loss", marker=marker)
        if losses and losses[0][1] is not None:
            valid = [nan if value is None else value for _, value in losses]
            other = axes if valid_name == "valid_loss" else axes.twinx()
            other.set_ylabel("loss" if other is axes else valid_name.replace("_", " "))
            lines += other.plot(epochs, valid, color="C1", label=valid_name.replace("_", " "), marker=marker)
        axes.set_title(stage or "training")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.legend(handles=lines)
    return figure


def metrics_chart(report: RunReport) -> Figure:
    """A panel for each metric: the value of each model, with its standard deviation over the seeds if there is one."""
    labels, n = list(report.models), len(report.metrics)
    columns = min(n, 4)
    rows = -(-n // columns)
    figure = Figure(figsize=(1.5 + 2.5 * columns, rows * (1 + 0.25 * len(labels))), dpi=DPI, layout="constrained")
    for place, name in enumerate(report.metrics):
        axes = figure.add_subplot(rows, columns, place + 1)
        for row, model in enumerate(report.models.values()):
            value, spread = model.metrics[name], (model.deviations or {}).get(name)
            if value is not None:
                axes.errorbar(value, row, xerr=spread if isinstance(spread, float) else None, fmt="o", color="C0", capsize=3)
        axes.set_yticks(range(len(labels)), labels if place % columns == 0 else [""] * len(labels))
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(f"{name} ({'lower' if name in report.lower_is_better else 'higher'} is better)", fontsize=9)
    return figure


def code_map(points: Floats, labels: NDArray[np.int64] | None, names: Sequence[str] | None = None) -> Figure:
    """Codes [n, 2] as points, coloured by class [n]; the legend has the names of classes, or their numbers."""
    figure, axes = _figure(1.2)
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=4)
    else:
        for label in np.unique(labels):
            own = points[labels == label]
            axes.scatter(own[:, 0], own[:, 1], s=4, color=f"C{label % 10}", label=names[label] if names else str(label))
        axes.legend(markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_xticks([])
    axes.set_yticks([])
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
    """Write a PNG file, which appears whole or not at all."""
    with whole_file(path) as draft:
        figure.savefig(draft, format="png", metadata={"Software": None})


def _strip(axes: Any, tiles: Floats, label: str) -> None:
    """A row of tiles with a label on its left."""
    axes.imshow(tiles, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_ylabel(label, rotation=0, ha="right", va="center")
    axes.set_xticks([])
    axes.set_yticks([])


def _figure(ratio: float) -> tuple[Figure, Any]:
    """A figure with one panel; `ratio` is width over height."""
    figure = Figure(figsize=(6 * min(ratio, 2), 6 * min(ratio, 2) / ratio), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()
