"""The features that a pipeline of recommenders needs."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, get_args

from recsys_ae.data.features import Side
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.evaluation.segments import parse_segments
from recsys_ae.experiment.search import extremes

if TYPE_CHECKING:
    from recsys_ae.experiment.ratings import RatingTask


def feature_sides(task: "RatingTask") -> list[Side]:
    """The sides whose features anything needs; `ConfigError` if the card does not declare them."""
    card = task.pipeline.card
    found: set[Side] = set()
    for what, needs in _needs(task):
        if "item_vectors" in needs:
            others = "choose feature_diversity or audience_diversity, or call evaluate(..., item_vectors=...) in Python"
            raise ConfigError(f"{what} needs vectors of the items, which a pipeline does not have; {others}")
        for side in (side for side in get_args(Side) if f"{side.removesuffix('s')}_features" in needs):
            if card.kind == "ratings" and side not in card.features:
                raise ConfigError(
                    f"{what} needs features of {side}, but dataset {card.name!r} declares none; "
                    f"add features.{side} to its card, or choose others"
                )
            found.add(side)
    return sorted(found) if card.kind == "ratings" else []  # generated data comes with its features


def _needs(task: "RatingTask") -> Iterator[tuple[str, Collection[str]]]:
    """What models, also in a search, metrics and segments need, with their names."""
    for spec in task.pipeline.models:
        tried = [spec.with_params({key: value}) for key, values in (spec.search or {}).items() for value in extremes(values)]
        yield spec.label, {need for one in [spec, *tried] for need in task.build(one).needs}
    for metric in parse_metrics(task.keys.metrics):
        yield metric.name, metric.needs
    for segment in parse_segments(task.keys.segments):
        yield f"segment {segment.name}", [] if segment.column is None else [f"{segment.side.removesuffix('s')}_features"]
