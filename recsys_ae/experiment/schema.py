"""JSON schemas (draft 2020-12) of pipelines and cards, for editors and other checkers.

They are generated from the declarations that read the files, so they allow the same keys, kinds of values and bounds. What
depends on several keys, or on the data, is only checked when a file is read.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from recsys_ae.data.cards import Card
from recsys_ae.declaration import declared_model
from recsys_ae.evaluation.metrics import CATALOGUE_METRICS, RANKING_METRICS, RATING_METRICS, SAMPLED
from recsys_ae.experiment.images import ImageFile
from recsys_ae.experiment.rating_data import EACH, GivenParams
from recsys_ae.experiment.ratings import RatingFile
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.images.metrics import IMAGE_METRICS
from recsys_ae.models import MODELS
from recsys_ae.registry import Registry
from recsys_ae.space import Range
from recsys_ae.splitting import SPLITS

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def card_schema() -> Schema:
    """The schema of a dataset card."""
    return {"$schema": DRAFT, "title": "Dataset card of recsys-ae", **_Parts().root(Card)}


def pipeline_schema() -> Schema:
    """The schema of a pipeline of recommenders or of image models."""
    parts = _Parts()
    ratings, images = parts.of(RatingFile), parts.of(ImageFile)
    card = parts.of(Card)
    listed = "|".join([*RANKING_METRICS, *CATALOGUE_METRICS])
    metric = {"type": "string", "pattern": f"^((({SAMPLED})?({listed})@0*[1-9][0-9]*)|{'|'.join(RATING_METRICS)})$"}
    starts: Schema = {"warm_start": {"type": ["string", "null"]}}
    parts.complete(ratings, card, parts.models(MODELS, starts), metric)
    parts.complete(images, card, parts.models(IMAGE_MODELS, {}), {"enum": list(IMAGE_METRICS)})
    parts.keys(ratings)["split"] = parts.splits()
    return {"$schema": DRAFT, "title": "Pipeline of recsys-ae", "anyOf": [ratings, images], "$defs": parts.definitions}


class _Parts:
    """Schemas that refer to shared definitions."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def of(self, kind: Any) -> Schema:
        """The schema of an annotation, after adding the definitions that it refers to."""
        found = TypeAdapter(kind).json_schema(by_alias=True)
        self.definitions |= found.pop("$defs", {})
        if found.get("type") == "object" and isinstance(kind, type):
            self.definitions[kind.__name__] = found
            return {"$ref": f"#/$defs/{kind.__name__}"}
        return found

    def root(self, kind: Any) -> Schema:
        """A schema with its definitions."""
        found = self.of(kind)
        return {**found, "$defs": self.definitions}

    def keys(self, reference: Schema) -> dict[str, Schema]:
        """The properties of a definition."""
        properties: dict[str, Schema] = self.definitions[reference["$ref"].rpartition("/")[2]]["properties"]
        return properties

    def complete(self, file: Schema, card: Schema, models: Schema, metric: Schema) -> None:
        """Say of a kind of pipeline what pydantic does not know: its data, models and metrics."""
        keys = self.keys(file)
        keys["dataset"] = {"anyOf": [{"type": "string"}, card]}
        keys["models"] |= {"items": models}
        keys["metrics"] |= {"items": metric}

    def models(self, registry: Registry, more: Mapping[str, Schema]) -> Schema:
        """An entry of `models`: a name, and the parameters of the model of that name."""
        plain = {name: self._parameters(registry.get(name)) for name in registry}
        if "blend" in plain:
            member = self._defined("member", _chosen("name", {name: ({}, keys) for name, keys in plain.items()}))
            plain["blend"]["members"]["items"] = member
        label = {"type": "string", "pattern": r"^[^\W_][\w.-]*$"}
        entries: dict[str, tuple[Schema, dict[str, Schema]]] = {}
        for name, keys in plain.items():
            search = {key: {"anyOf": [{"type": "array", "minItems": 1}, self.of(Range)]} for key in keys}
            searched = {"type": "object", "properties": search, "additionalProperties": False}
            entries[name] = ({}, {"label": label, "search": searched, **more, **keys})
        return self._defined(registry.kind, _chosen("name", entries))

    def splits(self) -> Schema:
        """The key `split` of recommenders: a kind, and the parameters of the protocol of that name."""
        given = self.of(GivenParams)
        kinds = {"given": (self.definitions[given["$ref"].rpartition("/")[2]], self.keys(given))}
        for kind in SPLITS:
            keys = self._parameters(SPLITS.get(kind))
            several = {key: {"anyOf": [keys[key], {"const": EACH}]} for key in ("fold", "window") if key in keys}
            kinds[kind] = ({}, keys | several)
        return self._defined("split", _chosen("kind", kinds))

    def _parameters(self, function: Any) -> dict[str, Schema]:
        reference = self.of(declared_model(function))
        properties: dict[str, Schema] = self.definitions.pop(reference["$ref"].rpartition("/")[2])["properties"]
        return properties

    def _defined(self, name: str, schema: Schema) -> Schema:
        self.definitions[name.replace(" ", "-")] = schema
        return {"$ref": f"#/$defs/{name.replace(' ', '-')}"}


def _chosen(key: str, kinds: Mapping[str, tuple[Schema, Mapping[str, Schema]]]) -> Schema:
    """An object whose `key` names one of `kinds`, each with what else it says and its other keys."""
    return {
        "type": "object",
        "properties": {key: {"enum": list(kinds)}},
        "required": [key],
        "allOf": [_branch(key, name, about, keys) for name, (about, keys) in kinds.items()],
    }


def _branch(key: str, name: str, about: Schema, keys: Mapping[str, Schema]) -> Schema:
    required: Iterable[str] = about.get("required", [])
    allowed = {"properties": {key: True, **keys}, "required": [key, *required], "additionalProperties": False}
    return {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": allowed}


SCHEMAS = {"pipeline": pipeline_schema, "card": card_schema}
