"""The training data on a page: sizes, popularity, density, ratings."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np

from recsys_ae.evaluation.protocols.audit_lines import percent
from recsys_ae.reporting.html.blocks import Block, Chart, Charts, Facts, Grid, Picture, Pictures, name, number, plain
from recsys_ae.reporting.html.charts import columns, curve
from recsys_ae.reporting.html.facts import TrainingData
from recsys_ae.reporting.report import skipped_lines
from recsys_ae.reporting.results import RunReport

SCALE = 8  # pixels of a cell


def data_blocks(report: RunReport, training: TrainingData | None) -> list[Block]:
    """Sizes and charts."""
    data = report.data[report.seeds[0]]
    parts = [[name(part), number(size, ",.0f"), name(data.digests.get(part, ""))] for part, size in data.sizes.items()]
    sizes = Grid(f"Parts, in {data.unit}", ["part", data.unit, "digest"], parts)
    skipped = [("Lines skipped", skipped_lines(report.skipped))] if report.skipped else []
    if training is None:
        return [*([Facts(skipped)] if skipped else []), sizes]
    facts = Facts(
        [
            ("Training users", f"{training.users:,}, with a median of {training.median_user:g} interactions"),
            ("Training items", f"{training.items:,}, with a median of {training.median_item:g} interactions"),
            ("Density", f"{percent(training.density)} of all pairs of these users and items"),
            *skipped,
        ]
    )
    return [facts, sizes, Charts([*_charts(training)]), _sparsity(training)]


def _charts(training: TrainingData) -> Iterator[Chart]:
    message = f"The most popular {percent(training.half)} of the items have half of the interactions."
    rows = [[f"{share:.1%}", f"{of:.1%}"] for share, of in training.tail]
    table = plain("Popularity", ["items, most popular first", "interactions"], rows)
    yield Chart("Popularity: share of the interactions", message, curve(training.tail, "items, most popular first"), table)
    if training.ratings:
        total, what, title = sum(training.ratings.values()), "rating", "Ratings"
        if training.counts:
            what, title = "number of events", "Numbers of events"
        most = max(training.ratings, key=lambda rating: training.ratings[rating])
        message = f"The most frequent {what} is {most}, with {percent(training.ratings[most] / total)} of all."
        counts = [[name(rating), number(count, ",.0f")] for rating, count in training.ratings.items()]
        table = Grid(title, [what, "interactions"], counts)
        yield Chart(f"Interactions by {what}", message, columns(training.ratings, what), table)


def _sparsity(training: TrainingData) -> Pictures:
    """The grid as an image, on a logarithmic scale."""
    from PIL import Image

    shares = np.array(training.grid)
    low = shares[shares > 0].min()
    depth = np.where(shares > 0, 1 + np.log(np.maximum(shares, low) / low), 0)
    depth /= depth.max()
    ends = np.array([[238, 240, 243], [20, 60, 110]], np.float64)
    pixels = (ends[0] + depth[:, :, None] * (ends[1] - ends[0])).round().astype(np.uint8)
    image, written = Image.fromarray(pixels), BytesIO()
    image.save(written, "PNG")
    alt = (
        f"The training matrix: users from the most active at the top, items from the most popular on the left. The share of "
        f"pairs observed falls from {percent(float(shares[0, 0]))} in the upper left corner to "
        f"{percent(float(shares[-1, -1]))} in the lower right one."
    )
    caption = f"{alt} Darker cells are fuller, on a logarithmic scale."
    return Pictures("", [Picture(alt, caption, written.getvalue(), pixelated=True)])
