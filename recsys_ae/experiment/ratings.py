"""Pipelines of recommenders: splits, fits, evaluation, and exported lists."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.fetch import locate, locate_titles
from recsys_ae.declaration import Declared, error_context
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.evaluation.metrics import as_sampled, parse_metric, parse_metrics
from recsys_ae.evaluation.protocols.audit import Audit, audit
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.evaluation.protocols.published import published_for
from recsys_ae.evaluation.report import Report
from recsys_ae.evaluation.segments import DEFAULT_SEGMENTS, parse_segments
from recsys_ae.evaluation.uncertainty.findings import MetricFindings, analyse
from recsys_ae.experiment.closer_look import look_closer
from recsys_ae.experiment.list_export import ListExport
from recsys_ae.experiment.needs import (
    check_choices,
    check_relevant,
    check_vectors,
    feature_sides,
    resolve_features,
    warn_of_ratings,
)
from recsys_ae.experiment.output import PIPELINE
from recsys_ae.experiment.pipeline_file import ModelSpec, Pipeline, PipelineFile, RegisterSpec
from recsys_ae.experiment.rating_data import RatingData, Sample, about, resolve_split
from recsys_ae.experiment.task import Evaluation, FitOn, Models, Part, Task
from recsys_ae.experiment.titles import item_titles
from recsys_ae.export.histories import without_unread_features
from recsys_ae.export.local import export_recommendations, export_vectors
from recsys_ae.export.manifest import LISTS, VectorManifest, versions
from recsys_ae.export.provenance import InputFile, Sources
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import HasItemVectors, Recommender
from recsys_ae.models.recommend import Cold
from recsys_ae.models.storage import build_model, load_model, model_digest, save_model
from recsys_ae.reporting.html.facts import CloserLook
from recsys_ae.reporting.results import Baseline, DataFacts, Exported, ModelSummary, PublishedValues, SkippedFacts
from recsys_ae.split import Split
from recsys_ae.tracking import TrackedRun

if TYPE_CHECKING:
    from recsys_ae.core.trainer import Callback

logger = logging.getLogger(__name__)


class CandidateSpec(Declared):
    """Sampled candidates, see `evaluation.candidates`: `n` items that a user has in no part, among which relevant ones rank."""

    n: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)


class RatingFile(PipelineFile):
    """The keys of a pipeline of recommenders."""

    split: dict[str, Any]  # protocol and parameters; without a seed of its own, it is drawn with each seed of the pipeline
    positive_at: float | None = None  # ratings of at least this become 1 before anything else, all others are dropped
    sample: Sample | None = None
    relevant_at: float | None = None  # test ratings of at least this count as relevant
    segments: list[str] = Field(default=list(DEFAULT_SEGMENTS))  # groups to report separately
    cold: Cold = "popular"  # policy for users a model cannot score, see `models.recommend.recommend`
    candidates: CandidateSpec | None = None  # None ranks all items
    export: ListExport | None = None
    registered: RegisterSpec | None = Field(None, alias="register")  # a field cannot be called as a method of its class


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
    _sampled: tuple[Split, dict[Part, Candidates]] | None = None  # the last split and its candidates
    _titled: dict[Any, str] | None = None  # titles of items by id, if they were checked

    def __init__(self, pipeline: Pipeline[RatingFile]) -> None:
        super().__init__(pipeline)
        check_choices(self)
        keys, card = self.keys, (pipeline.card, pipeline.card_folder)
        self._data = RatingData(*card, keys.split, pipeline.seeds, keys.positive_at, keys.sample, feature_sides(self))

    @property
    def registers(self) -> RegisterSpec | None:
        return self.keys.registered

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
        with error_context(f"{where}: segments"):
            parse_segments(keys.segments)
        split = resolve_split(keys.split, 1 if isinstance(keys.seed, int) else len(keys.seed), where)
        if keys.refit and split["kind"] == "user_holdout":
            raise ConfigError(f"{where}: refit would train on users that the user_holdout split holds out; remove refit")
        if keys.export:
            with error_context(f"{where}: export"):
                keys.export.check()
        if keys.export and keys.export.what == "item_vectors":
            check_vectors(keys.models, keys.export.model, where)
        changes: dict[str, Any] = {"split": split, "metrics": [metric.name for metric in metrics]}
        if keys.candidates is not None:  # `by` may name a metric as the file does
            for key in ("export", "search"):
                if (spec := getattr(keys, key)) is not None and spec.by is not None:
                    changes[key] = spec.model_copy(update={"by": as_sampled(parse_metrics(spec.by))[0].name})
        return keys.model_copy(update=changes)

    @classmethod
    def resolve_params(cls, params: Any, card: Any) -> Any:
        return resolve_features(params, card)

    @classmethod
    def metric_per_user(cls, keys: RatingFile) -> str | None:
        accurate = [metric for metric in parse_metrics(keys.metrics) if metric.measures_accuracy]
        return next((metric.name for metric in accurate if metric.k), accurate[0].name)

    @classmethod
    def measures_accuracy(cls, metric: str) -> bool:
        return parse_metric(metric).measures_accuracy

    @classmethod
    def lower_is_better(cls, metric: str) -> bool:
        return parse_metric(metric).lower_is_better

    def data(self, seed: int) -> Split:
        if self._drawn is None or self._drawn[0] != seed:
            self._drawn = seed, self._data.split(seed)
        return self._drawn[1]

    def record(self, output: Path) -> list[Path]:
        paths = []
        if self._data.skipped.faults:
            self._data.skipped.write(path := output / "skipped.csv")
            paths.append(path)
        if self.keys.candidates is not None:
            seeds = self.pipeline.seeds if self._data.redrawn else self.pipeline.seeds[:1]
            for seed in seeds:
                name = f"candidates-seed-{seed}.parquet" if len(seeds) > 1 else "candidates.parquet"
                found = self._candidates(self.data(seed), "test")
                assert found is not None
                found.write(output / name)
                paths.append(output / name)
        return paths

    def _candidates(self, data: Split, part: Part) -> Candidates | None:
        """The sampled candidates of one part; None if all items are ranked."""
        spec = self.keys.candidates
        if spec is None:
            return None
        if self._sampled is None or self._sampled[0] is not data:
            self._sampled = data, {}
        drawn = self._sampled[1]
        if part not in drawn:
            drawn[part] = Candidates.sample(data, part, spec.n, seed=spec.seed)
        return drawn[part]

    def skipped(self) -> SkippedFacts | None:
        found = self._data.skipped
        seen = sum(one.user is not None for one in found.faults)
        return SkippedFacts(len(found.faults), sum(found.lines.values()), found.by_column(), seen) if found.faults else None

    def check(self, data: Split) -> None:
        others = self.pipeline.seeds[1:] if self._data.redrawn else []
        check_relevant(self, chain([data], map(self._data.split, others)))
        warn_of_ratings(self, data)
        self._titled = self._titles(data)
        if self.keys.export is not None and self.keys.export.what == "lists":
            self._list_options(self.keys.export, data.train)  # before anything is trained, because the files may be wrong

    def facts(self, data: Split) -> DataFacts:
        parts = data.parts()
        candidates = self._candidates(data, "test")
        protocol = Protocol.of(data, relevant_at=self.keys.relevant_at, candidates=candidates)
        return DataFacts(
            about=about(data, self.keys.split["kind"]),
            unit="interactions",
            sizes={name: len(part) for name, part in parts.items()},
            digests={name: part.digest for name, part in parts.items()},
            digest=data.digest,
            profile={"users": data.train.n_users, "items": data.train.n_items},
            best=self._best_reachable(data),
            protocol=protocol,
            published=[
                PublishedValues(one.about, one.relation, {name: dict(own) for name, own in one.values.items()})
                for one in published_for(protocol, self.pipeline.card.name, self._settings, self.keys.metrics)
            ],
        )

    @property
    def _card(self) -> tuple[RatingsCard, Path] | None:
        """The card and its folder, if it describes a log."""
        card = self.pipeline.card
        return (card, self.pipeline.card_folder) if isinstance(card, RatingsCard) and card.files else None

    @property
    def _settings(self) -> dict[str, Any]:
        """The keys on data and evaluation, nested ones as `split.kind`."""
        declared = self.keys.model_dump(include={"split", "positive_at", "sample", "relevant_at", "candidates"})
        nested = {
            f"{key}.{name}": value for key, own in declared.items() if isinstance(own, dict) for name, value in own.items()
        }
        return declared | nested

    def _best_reachable(self, data: Split) -> dict[str, float]:
        """The best values on the test part, of the metrics for which a generated dataset knows them."""
        keys, process = self.keys, self._data.whole.process
        if process is None or keys.positive_at is not None:
            return {}
        return process.best(data, [name for name in keys.metrics if keys.relevant_at is None or parse_metric(name).k is None])

    def everything(self, data: Split) -> tuple[str, str, dict[str, int]]:
        whole = data.everything
        return whole.digest, "everything", {"interactions": len(whole), "users": whole.n_users, "items": whole.n_items}

    def fit(
        self, model: Recommender, data: Split, on: FitOn, spec: ModelSpec, seed: int, callbacks: Sequence["Callback"]
    ) -> Recommender:
        start = None if spec.warm_start is None else load_model(spec.warm_start)
        options: dict[str, Any] = {"seed": seed, "callbacks": callbacks, "warm_start": start}
        if on == "train":
            return model.fit(data.train, valid=data.valid, valid_history=data.history("valid"), **options)
        return model.fit(data.history("test") if on == "train+valid" else data.everything, **options)

    def evaluate(self, model: Recommender, data: Split, part: Part) -> Evaluation:
        if part == "valid" and not len(data.valid):
            return Evaluation({})
        found = self._evaluate(model, data, part, self.keys.metrics, self.keys.segments if part == "test" else ())
        per_user = found.to_frame() if found.per_user else None
        return Evaluation(found.metrics, found.counts, per_user, found.ties, found.segments)

    def _evaluate(
        self, model: Recommender, data: Split, part: Part, metrics: Sequence[str], segments: Sequence[str] = ()
    ) -> Report:
        options: dict[str, Any] = {"relevant_at": self.keys.relevant_at, "cold": self.keys.cold, "segments": segments}
        return evaluate(model, data, metrics, part=part, candidates=self._candidates(data, part), **options)

    def findings(self, tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[MetricFindings]:
        return analyse(tables, parse_metrics(self.keys.metrics))

    def baselines(self, data: Split, seed: int) -> dict[str, Baseline]:
        """Popularity for ranking metrics of accuracy, biases for rating metrics."""
        metrics = [metric for metric in parse_metrics(self.keys.metrics) if metric.measures_accuracy]
        found: dict[str, Baseline] = {}
        for name, own in (("popularity", [one for one in metrics if one.k]), ("bias", [one for one in metrics if not one.k])):
            if own:
                model = build_model(name).fit(data.history("test") if self.keys.refit else data.train, seed=seed)
                values = self._evaluate(model, data, "test", [one.name for one in own]).metrics
                found |= {metric: Baseline(name, value) for metric, value in values.items() if value is not None}
        return found

    def audit(self, data: Split, looks: int | None) -> Audit | None:
        return audit(data, relevant_at=self.keys.relevant_at, looks=looks)

    def feature_models(self, models: Mapping[str, ModelSummary]) -> list[str]:
        return [label for label, own in models.items() if "item_features" in _build(own.model, own.params, label).needs]

    def test_to_train(self, data: DataFacts) -> float:
        fitted = data.sizes["train"] + (data.sizes["valid"] if self.keys.refit else 0)
        return data.sizes["test"] / fitted if self._data.redrawn else 0.0

    def closer_look(self, models: Iterable[tuple[str, Recommender]], data: Split) -> CloserLook:
        keys, titles = self.keys, self._titled
        if titles is None:  # the run was made by another process
            try:
                titles = self._titles(data)
            except DataError as error:
                logger.warning("items are shown without titles: %s", error)
        how: dict[str, Any] = {"relevant_at": keys.relevant_at, "cold": keys.cold, "titles": titles or {}}
        return look_closer(models, data, candidates=self._candidates(data, "test"), **how)

    def _titles(self, data: Split) -> dict[Any, str]:
        given = self.keys.export.titles if self.keys.export else None
        return item_titles(self.pipeline.card, self.pipeline.card_folder, given, data.train.items)

    def log_model(self, run: TrackedRun, saved: Path, data: Split, *, final: bool = False) -> None:
        def write(folder: Path) -> None:
            from recsys_ae.serving.mlflow_model import write_mlflow_model  # imports MLflow
            from recsys_ae.serving.recommender import Settings

            keys, excluded, policy = self.keys, data.repeats == "excluded", data.train.duplicates
            settings = Settings(exclude_seen=excluded, cold=keys.cold, duplicates=policy, positive_at=keys.positive_at)
            history = seen = None
            if final and (keys.registered is None or keys.registered.history):
                history, seen = data.everything, self._data.seen
                seen = None if np.array_equal(history.keys(), seen.keys()) else seen
            write_mlflow_model(saved, folder, settings, history, seen)

        run.model(write)

    def export(self, label: str, model: Recommender, data: Split, output: Path) -> Exported:
        keys = self.keys.export or ListExport(k=100)
        if keys.what == "item_vectors":
            return self._export_vectors(label, model, data.everything, output / "item-vectors")
        folder = output / LISTS
        history = without_unread_features(model, data.everything)
        options = self._list_options(keys, history, self._sources(output))
        options |= {"exclude_seen": data.repeats == "excluded", "cold": self.keys.cold, "seen": self._data.seen}
        manifest = export_recommendations(model, history, folder, keys.k, **options)
        return Exported(f"top-{keys.k} lists", folder.name, asdict(manifest), label)

    def _list_options(self, keys: ListExport, data: Interactions, sources: Sources | None = None) -> dict[str, Any]:
        """The arguments of `export_recommendations` that come from files, which are read now."""
        titles = locate_titles(self.pipeline.card, self.pipeline.card_folder, Path(keys.titles) if keys.titles else None)
        return keys.options(data, self._card, titles, sources)

    def _sources(self, output: Path) -> Sources:
        """The final fit and, if it alone gives all data, the file of the dataset."""
        card, keys, files = self._card, self.keys, {}
        if card and len(card[0].files) == 1 and not (card[0].k_core or keys.positive_at or keys.split["kind"] == "given"):
            files = {"history": locate(card[0], [str(card[0].files[0].path)], card[1]), "card": output / PIPELINE}
        found = {name: InputFile.of(path) for name, path in files.items()}
        return Sources(str((output / "final").absolute()), files=found)

    def _export_vectors(self, label: str, model: Recommender, train: Interactions, folder: Path) -> Exported:
        assert isinstance(model, HasItemVectors)  # see `check_vectors`
        vectors, digests = model.item_vectors(), (model_digest(model), train.digest)
        about = VectorManifest(MODELS.name_of(model), *digests, len(vectors), versions(), "item vectors", vectors.shape[1])
        manifest = export_vectors({"item_id": train.items.values}, vectors, folder, about)
        return Exported("item vectors", folder.name, asdict(manifest), label)
