"""Pipelines of recommenders: splits, fits, evaluation, and exported lists."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from recsys_ae.core.trainer import Callback
from recsys_ae.data.content import Fault, write_faults
from recsys_ae.data.features import Side, with_features, with_unrated
from recsys_ae.data.ratings import Ratings, load_given_split, load_ratings
from recsys_ae.declaration import Declared, error_context, validate, validate_params
from recsys_ae.errors import ConfigError, DataError, did_you_mean
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.evaluation.metrics import as_sampled, parse_metric, parse_metrics
from recsys_ae.evaluation.protocol import Protocol
from recsys_ae.evaluation.published import published_for
from recsys_ae.experiment.pipeline_file import ExportSpec, ModelSpec, Pipeline, PipelineFile, label_of
from recsys_ae.experiment.task import Evaluation, FitOn, Models, Part, Task
from recsys_ae.export.local import VectorManifest, export_recommendations, export_vectors, versions
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import HasItemVectors, Recommender
from recsys_ae.models.recommend import Cold
from recsys_ae.models.storage import build_model, load_model, model_digest, save_model
from recsys_ae.reporting.results import DataFacts, Exported, PublishedValues
from recsys_ae.split import Predict, Repeats, Split
from recsys_ae.splitting import SPLITS, default_repeats, latest_sessions, random

logger = logging.getLogger(__name__)


class GivenParams(Declared):
    """A split declared on the dataset's card; `valid` is a share of its training part.

    It is drawn at random or, with `predict: next`, consists of the latest sessions; see `Split` for `repeats` and `predict`.
    """

    name: str
    valid: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    repeats: Repeats | None = None
    predict: Predict = "all"


class ListExport(ExportSpec):
    """Top-k lists of one model, or its item vectors."""

    k: int = Field(100, ge=1)
    what: Literal["lists", "item_vectors"] = "lists"


class CandidateSpec(Declared):
    """Sampled candidates, see `evaluation.candidates`: `n` items that a user has in no part, among which relevant ones rank."""

    n: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)


class RatingFile(PipelineFile):
    """The keys of a pipeline of recommenders."""

    split: dict[str, Any]  # protocol and parameters; without a seed of its own, it is drawn with each seed of the pipeline
    positive_at: float | None = None  # ratings of at least this become 1 before anything else, all others are dropped
    relevant_at: float | None = None  # test ratings of at least this count as relevant
    cold: Cold = "popular"  # policy for users a model cannot score, see `models.recommend.recommend`
    candidates: CandidateSpec | None = None  # None ranks all items
    export: ListExport | None = None


def _check_vectors(entries: list[dict[str, Any]], exported: str, where: str) -> None:
    """Raise `ConfigError` if a model that may be `exported` has no item vectors, before anything is trained."""
    for entry in entries:
        name, label = entry.get("name"), label_of(entry)
        if exported in ("best", label) and name in MODELS and not hasattr(MODELS.get(str(name)), "item_vectors"):
            chosen = ", which could be the best one," if exported == "best" else ""
            raise ConfigError(f"{where}: export.what: {label}{chosen} has no item vectors; choose another export.model")


def _sides(task: "RatingTask") -> list[Side]:
    """The sides whose features any of the models needs, also in a search; `ConfigError` if the card does not declare them."""
    card = task.pipeline.card
    found: set[Side] = set()
    for spec in task.pipeline.models:
        tried = [spec.with_params({key: value}) for key, values in spec.search.items() for value in values]
        needs = {need for one in [spec, *tried] for need in task.build(one).needs}
        for side in (side for side in get_args(Side) if f"{side.removesuffix('s')}_features" in needs):
            if card.kind == "ratings" and side not in card.features:
                raise ConfigError(
                    f"{spec.label} needs features of {side}, but dataset {card.name!r} declares none; "
                    f"add features.{side} to its card, or choose other parameters"
                )
            found.add(side)
    return sorted(found) if card.kind == "ratings" else []  # generated data comes with its features


def _build(name: str, params: dict[str, Any], where: str) -> Recommender:
    if name in IMAGE_MODELS and name not in MODELS:
        raise ConfigError(f"{name!r} is an image model, but the dataset holds ratings; see recsys-ae models")
    return build_model(name, params, where)


class RatingTask(Task[RatingFile, Split, Recommender]):
    """Recommenders on interactions. Exported lists come from a fit on all interactions, with all of them as history."""

    file = RatingFile
    models = Models(MODELS, _build, save_model, load_model, model_digest)
    warm_starts = True
    ships_best = True
    _drawn: tuple[int, Split] | None = None  # the last seed and its split

    def __init__(self, pipeline: Pipeline[RatingFile]) -> None:
        super().__init__(pipeline)
        self._sides = _sides(self)

    @classmethod
    def resolve(cls, keys: RatingFile, card: Any, where: str) -> RatingFile:
        with error_context(f"{where}: metrics"):
            metrics = parse_metrics(keys.metrics)
            if keys.candidates is not None:
                metrics = as_sampled(metrics)
            elif sampled := next((metric.name for metric in metrics if metric.sampled), None):
                raise ConfigError(f"{sampled} needs sampled candidates; declare them, as in candidates: {{n: 100}}")
            if not any(metric.measures_accuracy for metric in metrics):
                listed = ", ".join(metric.name for metric in metrics)
                raise ConfigError(f"{listed} cannot choose the best model; add a metric of accuracy, such as ndcg@10")
        split = _resolve_split(keys.split, where)
        if keys.refit and split["kind"] == "user_holdout":
            raise ConfigError(f"{where}: refit would train on users that the user_holdout split holds out; remove refit")
        if keys.export and keys.export.what == "item_vectors":
            _check_vectors(keys.models, keys.export.model, where)
        changes: dict[str, Any] = {"split": split, "metrics": [metric.name for metric in metrics]}
        if keys.candidates is not None:  # `by` may name a metric as the file does
            for key in ("export", "search"):
                if (spec := getattr(keys, key)) is not None and spec.by is not None:
                    changes[key] = spec.model_copy(update={"by": as_sampled(parse_metrics(spec.by))[0].name})
        return keys.model_copy(update=changes)

    @classmethod
    def metric_per_user(cls, keys: RatingFile) -> str | None:
        ranked = (metric for metric in parse_metrics(keys.metrics) if metric.k and metric.measures_accuracy)
        return next((metric.name for metric in ranked), None)

    @classmethod
    def measures_accuracy(cls, metric: str) -> bool:
        return parse_metric(metric).measures_accuracy

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        return parse_metric(metric).lower_is_better

    def data(self, seed: int) -> Split:
        if self._drawn is None or self._drawn[0] != seed:
            split = self._split(seed)
            if self._sides:
                split = with_features(self.pipeline.card, self.pipeline.card_folder, split, self._sides)
            self._drawn = seed, split
        return self._drawn[1]

    def record(self, output: Path) -> list[Path]:
        paths = []
        if self._skipped:
            write_faults(self._skipped, path := output / "skipped.csv")
            paths.append(path)
        if self.keys.candidates is not None:
            redrawn = "seed" not in self.keys.split and self.keys.split["kind"] != "given"
            for seed in self.pipeline.seeds if redrawn else self.pipeline.seeds[:1]:
                name = f"candidates-seed-{seed}.parquet" if redrawn and len(self.pipeline.seeds) > 1 else "candidates.parquet"
                found = self._candidates(self.data(seed), "test")
                assert found is not None
                found.write(output / name)
                paths.append(output / name)
        return paths

    def _candidates(self, data: Split, part: Part) -> Candidates | None:
        """The sampled candidates of one part; None if all items are ranked."""
        spec = self.keys.candidates
        return None if spec is None else Candidates.sample(data, part, spec.n, seed=spec.seed)

    def facts(self, data: Split) -> DataFacts:
        parts = data.parts()
        candidates = self._candidates(data, "test")
        protocol = Protocol.of(data, relevant_at=self.keys.relevant_at, candidates=candidates)
        return DataFacts(
            about=f"{data.train.n_users} users, {data.train.n_items} items; {self.keys.split['kind']} split",
            unit="interactions",
            sizes={name: len(part) for name, part in parts.items()},
            digests={name: part.digest for name, part in parts.items()},
            digest=data.digest,
            profile={"users": data.train.n_users, "items": data.train.n_items},
            best=self._best_reachable(data),
            protocol=protocol,
            published=[
                PublishedValues(one.about, one.parts is not None, {name: dict(own) for name, own in one.values.items()})
                for one in published_for(protocol, self.pipeline.card.name, self._settings, self.keys.metrics)
            ],
        )

    @property
    def _settings(self) -> dict[str, Any]:
        """The keys on data and evaluation, nested ones as `split.kind`."""
        declared = self.keys.model_dump(include={"split", "positive_at", "relevant_at", "candidates"})
        nested = {
            f"{key}.{name}": value for key, own in declared.items() if isinstance(own, dict) for name, value in own.items()
        }
        return declared | nested

    def _best_reachable(self, data: Split) -> dict[str, float]:
        """The best values on the test part, of the metrics for which a generated dataset knows them."""
        keys, process = self.keys, self._loaded.process
        if process is None or keys.positive_at is not None:
            return {}
        return process.best(data, [name for name in keys.metrics if keys.relevant_at is None or parse_metric(name).k is None])

    def fit(
        self, model: Recommender, data: Split, on: FitOn, spec: ModelSpec, seed: int, callbacks: Sequence[Callback]
    ) -> Recommender:
        start = None if spec.warm_start is None else load_model(spec.warm_start)
        options: dict[str, Any] = {"seed": seed, "callbacks": callbacks, "warm_start": start}
        if on == "train":
            return model.fit(data.train, valid=data.valid, valid_history=data.history("valid"), **options)
        return model.fit(data.history("test") if on == "train+valid" else data.everything, **options)

    def evaluate(self, model: Recommender, data: Split, part: Part) -> Evaluation:
        if part == "valid" and not len(data.valid):
            return Evaluation({})
        keys = self.keys
        options: dict[str, Any] = {"relevant_at": keys.relevant_at, "cold": keys.cold}
        found = evaluate(model, data, keys.metrics, part=part, candidates=self._candidates(data, part), **options)
        return Evaluation(found.metrics, found.counts, found.to_frame() if found.per_user else None)

    def export(self, model: Recommender, data: Split, output: Path) -> Exported:
        keys = self.keys.export or ListExport(k=100)
        if keys.what == "item_vectors":
            return self._export_vectors(model, data.everything, output / "item-vectors")
        folder, seen = output / "recommendations", self._loaded.interactions
        options: dict[str, Any] = {"exclude_seen": data.repeats == "excluded", "cold": self.keys.cold, "seen": seen}
        manifest = export_recommendations(model, data.everything, folder, keys.k, **options)
        return Exported(f"top-{keys.k} lists", folder.name, asdict(manifest))

    def _export_vectors(self, model: Recommender, train: Interactions, folder: Path) -> Exported:
        assert isinstance(model, HasItemVectors)  # see `_check_vectors`
        vectors, digests = model.item_vectors(), (model_digest(model), train.digest)
        about = VectorManifest(MODELS.name_of(model), *digests, len(vectors), versions(), "item vectors", vectors.shape[1])
        manifest = export_vectors({"item_id": train.items.values}, vectors, folder, about)
        return Exported("item vectors", folder.name, asdict(manifest))

    @cached_property
    def _loaded(self) -> Ratings:
        """The whole dataset as it is, before `positive_at`."""
        if self.keys.split["kind"] == "given":
            return Ratings(self._given.everything)
        loaded = load_ratings(self.pipeline.card, self.pipeline.card_folder, skipped=self._skipped)
        return replace(loaded, interactions=self._with_unrated(loaded.interactions)) if self._sides else loaded

    @cached_property
    def _skipped(self) -> list[Fault]:
        """Lines skipped while loading, see `bad_lines` of the card."""
        return []

    @cached_property
    def _given(self) -> Split:
        name = self.keys.split["name"]
        split = load_given_split(self.pipeline.card, self.pipeline.card_folder, name, skipped=self._skipped)
        if not self._sides:
            return split
        parts: dict[str, Any] = {name: self._with_unrated(part) for name, part in split.parts().items()}
        return replace(split, **parts)

    def _with_unrated(self, data: Interactions) -> Interactions:
        return with_unrated(self.pipeline.card, self.pipeline.card_folder, data, self._sides)

    @cached_property
    def _positive(self) -> tuple[Interactions, ...]:
        """The interactions to split; of a given split, its training and test part."""
        if self.keys.split["kind"] == "given":
            return self._positives(self._given.train), self._positives(self._given.test)
        return (self._positives(self._loaded.interactions),)

    def _positives(self, data: Interactions) -> Interactions:
        ratings, at = data.matrix.data, self.keys.positive_at
        if at is None:
            if ratings.min() == ratings.max():
                logger.warning("all ratings are equal, so rating models have nothing to learn; use ranking models")
            return data
        positive = data.binarise(at)
        if not len(positive):
            raise DataError(f"no rating is at least positive_at: {at:g}; lower it")
        return positive

    def _split(self, seed: int) -> Split:
        params = {"seed": seed, **self.keys.split}
        kind = params.pop("kind")
        if kind == "given":
            train, test = self._positive
            if params["predict"] == "next":
                train, valid = latest_sessions(train, params["valid"])
            else:
                parts = random(train, test=0, valid=params["valid"], seed=params["seed"])
                train, valid = parts.train, parts.valid
            return Split(train, valid, test, "given", params, repeats=params["repeats"], predict=params["predict"])
        protocol = SPLITS.get(kind)
        if "seed" not in signature(protocol).parameters:
            del params["seed"]
        split: Split = protocol(*self._positive, **params)
        if not len(split.test):
            raise DataError(f"the {kind} split has an empty test part: {self.keys.split}; hold out more")
        return split


def _resolve_split(declared: dict[str, Any], where: str) -> dict[str, Any]:
    """Kind and parameters with defaults; a seed is among them only if it is declared."""
    params = dict(declared)
    kind = params.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: split: key 'kind' is missing; known are: given, {', '.join(SPLITS)}")
    if kind != "given" and kind not in SPLITS:
        raise ConfigError(f"{where}: unknown split {kind!r}; {did_you_mean(kind, ['given', *SPLITS])}")
    if kind == "given":
        full = validate(GivenParams, params, f"{where}: split {kind}").model_dump()
        full["repeats"] = full["repeats"] or default_repeats(full["predict"])
    else:
        full = validate_params(SPLITS.get(kind), params, f"{where}: split {kind}")
    return {"kind": kind, **{name: value for name, value in full.items() if name != "seed" or "seed" in params}}
