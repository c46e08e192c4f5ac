"""What a pipeline of recommenders needs from its data and models, and what `features: available` stands for."""

import logging
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, get_args

from recsys_ae.data.cards import PlantedFeaturesCard, RatingsCard
from recsys_ae.data.features import Side
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.metrics import parse_metric, parse_metrics
from recsys_ae.evaluation.segments import parse_segments
from recsys_ae.experiment.pipeline_file import ModelSpec, label_of
from recsys_ae.experiment.rating_data import counts_events
from recsys_ae.experiment.search import extremes
from recsys_ae.models import MODELS
from recsys_ae.models.side_information import Features
from recsys_ae.split import Split

if TYPE_CHECKING:
    from recsys_ae.experiment.ratings import RatingTask

logger = logging.getLogger(__name__)


def check_vectors(entries: list[dict[str, Any]], exported: str, where: str) -> None:
    """Raise `ConfigError` if a model that may be `exported` has no item vectors, before anything is trained."""
    for entry in entries:
        name, label = entry.get("name"), label_of(entry)
        if exported in ("best", label) and name in MODELS and not hasattr(MODELS.get(str(name)), "item_vectors"):
            chosen = ", which could be the best one," if exported == "best" else ""
            raise ConfigError(f"{where}: export.what: {label}{chosen} has no item vectors; choose another export.model")


def check_choices(task: "RatingTask") -> None:
    """Raise `ConfigError` if models or parameters are to be chosen by a rating metric, but no candidate predicts ratings."""
    keys, models = task.keys, task.pipeline.models
    choices = [("the best model", task.deciding_metric, models)] if not keys.export or keys.export.model == "best" else []
    choices += [(f"{one.label}'s parameters", task.search_metric, (one,)) for one in models if one.search]
    for what, metric, specs in choices:
        if parse_metric(metric).k is None and not any(task.build(spec).predicts_ratings for spec in specs):
            do = f"{', '.join(spec.label for spec in specs)} {'do' if len(specs) > 1 else 'does'}"
            raise ConfigError(
                f"{what} cannot be chosen by {metric}, because {do} not predict ratings; choose by a ranking metric, such as "
                "ndcg@10, or add a model that predicts ratings, such as autorec"
            )


def check_relevant(task: "RatingTask", splits: Iterable[Split]) -> None:
    """Raise `DataError` if nothing is relevant in a test part, or in a validation part if a ranking metric decides there.

    Without ranking metrics, it does not matter what is relevant.

    Args:
        splits: for the seeds in their order, or for the first alone if the others have the same.
    """
    keys, searched = task.keys, any(spec.search for spec in task.pipeline.models)
    deciding = [task.deciding_metric, *([keys.search.by] if searched and keys.search.by else [])]
    if keys.relevant_at is None or not any(parse_metric(metric).k is not None for metric in (*keys.metrics, *deciding)):
        return  # before any is drawn
    for number, data in enumerate(splits):
        of = f" of seed {task.pipeline.seeds[number]}" if number else ""
        for name, part, metrics in (("test", data.test, keys.metrics), ("validation", data.valid, deciding)):
            of_lists = any(parse_metric(metric).k is not None for metric in metrics)
            ratings = part.stored_events.ratings if data.predict == "next" else part.matrix.data
            if of_lists and len(ratings) and keys.relevant_at > (highest := ratings.max()):
                raise DataError(
                    f"nothing in the {name} part{of} is relevant: relevant_at is {keys.relevant_at:g}, but the highest rating "
                    f"there is {highest:g}; lower relevant_at"
                )


def warn_of_ratings(task: "RatingTask", data: Split) -> None:
    """Warn if models predict ratings, but learn from numbers of events or equal ratings, unless the pipeline makes them."""
    rating = [spec.label for spec in task.pipeline.models if task.build(spec).predicts_ratings]
    ratings = data.train.matrix.data
    if not rating or task.keys.positive_at is not None or not len(ratings):
        return
    one, names = len(rating) == 1, ", ".join(rating)
    if ratings.min() == ratings.max():
        verb = "has" if one else "have"
        logger.warning("all ratings are equal, so %s %s nothing to learn; use ranking models", names, verb)
    elif counts_events(data.train):
        verb = "predicts" if one else "predict"
        logger.warning("the ratings are numbers of events, so these are what %s %s; use ranking models", names, verb)


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


def resolve_features(value: Any, card: Any, key: str = "") -> Any:
    """Parameters of a model, its members or its search, with `features: available` replaced by what the dataset declares.

    In a search that also lists what the dataset declares, `available` is left out.
    """
    if isinstance(value, dict):
        return {name: resolve_features(own, card, name) for name, own in value.items()}
    if isinstance(value, list):
        if key == "features" and declared_features(card) in value:
            value = [own for own in value if own != "available"]
        return [resolve_features(own, card, key) for own in value]
    return declared_features(card) if key == "features" and value == "available" else value


def _needs(task: "RatingTask") -> Iterator[tuple[str, Collection[str], str]]:
    """Each model (also in a search), metric and segment: its name, what it needs, and what to do if the data lacks that.

    Of a blend, each member.
    """
    for spec in task.pipeline.models:
        tried = [spec.with_params({key: value}) for key, values in (spec.search or {}).items() for value in extremes(values)]
        for one in (single for own in [spec, *tried] for single in _singles(own)):
            yield one.label, task.build(one).needs, _way_out(one.params, declared_features(task.pipeline.card))
    for metric in parse_metrics(task.keys.metrics):
        yield metric.name, metric.needs, "choose another metric"
    for segment in parse_segments(task.keys.segments):
        needs = set() if segment.column is None else {f"{segment.side.removesuffix('s')}_features"}
        yield f"segment {segment.name}", needs, "choose another segment"


def _singles(spec: ModelSpec) -> Iterator[ModelSpec]:
    """The model itself or, if it is a blend, its members, which may be blends as well."""
    if "members" not in spec.params:
        yield spec
    for number, member in enumerate(spec.params.get("members", []), 1):
        name, params = member["name"], {key: value for key, value in member.items() if key != "name"}
        yield from _singles(ModelSpec(name, f"member {number} ({name}) of {spec.label}", params))


def _way_out(params: dict[str, Any], declared: Features) -> str:
    """What to do about a model that needs other features than those declared."""
    if "features" in params:
        return f"use `features: {declared}`"
    return "use `item_features: false`" if "item_features" in params else "choose another model"
