"""The features that a pipeline of recommenders needs, and what `features: available` stands for."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, get_args

from recsys_ae.data.cards import PlantedFeaturesCard, RatingsCard
from recsys_ae.data.features import Side
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.evaluation.segments import parse_segments
from recsys_ae.experiment.search import extremes
from recsys_ae.models.side_information import Features

if TYPE_CHECKING:
    from recsys_ae.experiment.ratings import RatingTask


def feature_sides(task: "RatingTask") -> list[Side]:
    """The sides whose features anything needs; `ConfigError` if the card does not declare them."""
    card = task.pipeline.card
    found: set[Side] = set()
    for what, needs, way_out in _needs(task):
        if "item_vectors" in needs:
            others = "choose feature_diversity or audience_diversity, or call evaluate(..., item_vectors=...) in Python"
            raise ConfigError(f"{what} needs vectors of the items, which a pipeline does not have; {others}")
        for side in (side for side in get_args(Side) if f"{side.removesuffix('s')}_features" in needs):
            if card.kind == "ratings" and side not in card.features:
                raise ConfigError(
                    f"{what} needs features of {side}, but dataset {card.name!r} declares none; "
                    f"add features.{side} to its card, or {way_out}"
                )
            found.add(side)
    return sorted(found) if card.kind == "ratings" else []  # generated data comes with its features


def declared_features(card: Any) -> Features:
    """The sides whose features a dataset declares."""
    if isinstance(card, PlantedFeaturesCard):
        return "both"
    sides = list(card.features) if isinstance(card, RatingsCard) else []
    return "both" if len(sides) > 1 else sides[0] if sides else "none"


def with_declared(value: Any, card: Any, key: str = "") -> Any:
    """Parameters of a model, its members or its search, in which `features: available` is what the dataset declares."""
    if isinstance(value, dict):
        return {name: with_declared(own, card, name) for name, own in value.items()}
    if isinstance(value, list):
        return [with_declared(own, card, key) for own in value]
    return declared_features(card) if key == "features" and value == "available" else value


def _needs(task: "RatingTask") -> Iterator[tuple[str, Collection[str], str]]:
    """What models, also in a search, metrics and segments need, with their names, and what to do if there is no such thing."""
    for spec in task.pipeline.models:
        tried = [spec.with_params({key: value}) for key, values in (spec.search or {}).items() for value in extremes(values)]
        needs = {need for one in [spec, *tried] for need in task.build(one).needs}
        yield spec.label, needs, _way_out(spec.params, declared_features(task.pipeline.card))
    for metric in parse_metrics(task.keys.metrics):
        yield metric.name, metric.needs, "choose another metric"
    for segment in parse_segments(task.keys.segments):
        needs = set() if segment.column is None else {f"{segment.side.removesuffix('s')}_features"}
        yield f"segment {segment.name}", needs, "choose another segment"


def _way_out(params: dict[str, Any], declared: Features) -> str:
    """How a model can do with the features that are declared."""
    if any("features" in own for own in (params, *params.get("members", []))):
        return f"use `features: {declared}`"
    return "use `item_features: false`" if "item_features" in params else "choose another model"
