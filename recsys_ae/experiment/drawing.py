"""The figures of a run, and of each of its models."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_ae.files import whole_folder
from recsys_ae.reporting.figures import loss_curves, metrics_chart, save_figure
from recsys_ae.reporting.results import Curves, RunReport
from recsys_ae.tracking import TrackedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_model(
    figures: Mapping[str, "Callable[[], Figure]"], curves: dict[str, Curves], valid_name: str, folder: Path, run: TrackedRun
) -> None:
    """Draw the figures of a model, given as functions by file name, and its losses by stage, if there are any."""
    losses = {"losses": lambda: loss_curves(curves, valid_name)} if curves else {}
    if figures or losses:
        with whole_folder(folder) as draft:
            for name, draw in {**figures, **losses}.items():
                save_figure(draw(), draft / f"{name}.png")
        run.artifact(folder, "figures")


def draw_metrics(report: RunReport, folder: Path, run: TrackedRun) -> None:
    """Draw the metrics of all models."""
    save_figure(metrics_chart(report), chart := folder / "metrics.png")
    run.artifact(chart, "figures")
