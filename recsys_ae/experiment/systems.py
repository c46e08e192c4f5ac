"""Evaluation of any system on files: a fitted model, an exported folder, or the lists of another system in a file."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.detection import guess_table
from recsys_ae.data.features import Side, load_all_features
from recsys_ae.data.ratings import columns_of
from recsys_ae.data.skipped import SkippedLines
from recsys_ae.data.tables import read_table
from recsys_ae.declaration import error_context
from recsys_ae.errors import ColdUserError, ConfigError
from recsys_ae.evaluation.given_lists import evaluate_given_lists
from recsys_ae.evaluation.given_model import evaluate_model
from recsys_ae.evaluation.listed import SIDES, GivenLists, PartByPart
from recsys_ae.evaluation.metrics import DEFAULT_RANKING, parse_metrics
from recsys_ae.evaluation.per_user import PerUser
from recsys_ae.evaluation.protocols.protocol import Protocol, pairs_digest
from recsys_ae.evaluation.report import Report
from recsys_ae.evaluation.segments import COMPUTED, parse_segments
from recsys_ae.experiment.log_files import check_logs
from recsys_ae.experiment.output import REPORT
from recsys_ae.experiment.pipeline_file import ratings_card
from recsys_ae.export.executors import check_installed
from recsys_ae.export.histories import history_for, id_kinds
from recsys_ae.export.local import EngineName, read_recommendations
from recsys_ae.export.reading import ExportedLists
from recsys_ae.export.spark_evaluation import part_by_task
from recsys_ae.files import path_of, present
from recsys_ae.fitted import DESCRIPTION
from recsys_ae.ids import encode, id_index, kind_of
from recsys_ae.interactions import Interactions
from recsys_ae.models.recommend import Cold
from recsys_ae.models.storage import load_model
from recsys_ae.reporting.evaluation import REPEATS_UNKNOWN
from recsys_ae.split import Repeats
from recsys_ae.tracking import local_copy


@dataclass(frozen=True)
class Evaluated:
    """A system's report, its protocol, and warnings about the numbers."""

    report: Report
    protocol: Protocol
    warnings: list[str]

    @property
    def per_user(self) -> PerUser:
        return PerUser(self.report.to_frame(), self.protocol)


@dataclass(frozen=True)
class SystemEvaluator:
    """Evaluates any system on the same files in the same way.

    Attributes:
        truth: file of what users did afterwards.
        history: file of what they had done before; None if unknown. Required for models.
        metrics: names; if empty, the default ones for which the lists are long enough.
        card: dataset card, or pipeline with one inside, that describes both files, the types of ids and names of their columns
            in a file of lists, and how repeated pairs in each are merged. Without it, or if there are none according to it, the
            last rating of a pair counts in the history and the highest in the truth.
        cold: policy for users whom a model cannot score or who have no list. `skip`: they do not count. `error`: raise
            `ColdUserError`. `popular`: models recommend the most popular items to them, and users without a list have no hits.
        segments: groups to report separately, see `evaluation.segments`; None: those computed from the history, if any.
        skip_unknown: skip events of the history with items that the model does not know.
        engine: what evaluates exported lists: this process, one file after the other, or the executors of Spark.
    """

    truth: Path
    history: Path | None = None
    metrics: Sequence[str] = ()
    relevant_at: float | None = None
    repeats: Repeats = "excluded"
    cold: Cold = "popular"
    card: str | None = None
    skip_unknown: bool = False
    segments: Sequence[str] | None = None
    tracking_uri: str | None = None
    engine: EngineName = "local"

    def evaluate(self, system: str) -> Evaluated:
        """The evaluation of a model's folder or MLflow URI, of an exported folder or of a file of lists.

        Raises:
            ConfigError: a model without a history, metrics or `relevant_at` that need what the files do not have; something
                else than exported lists for Spark, or PySpark is not installed.
            DataError: no such system, or a damaged or unfit file.
        """
        if self.engine == "spark":
            check_installed()
        if self.metrics:
            parse_metrics(self.metrics)  # before anything is read
        path = path_of(local_copy(system, self.tracking_uri))
        if os.path.exists(present(path)):  # otherwise that is what the message has to say
            check_logs(self.truth, self.history, card=self._card, system=path)
        if os.path.exists(present(path) / DESCRIPTION):
            if self.engine == "spark":
                raise ConfigError(f"{system} is a model, and the engine spark evaluates lists; leave out --engine spark")
            return self._of_model(path, system)
        if os.path.exists(path / REPORT):
            models, lists = path / "models" / "LABEL", path / "recommendations"
            raise ConfigError(f"{system} is the output of a run; name one of its models, as {models}, or its lists, {lists}")
        if os.path.isdir(path):  # False also for a name that is too long
            exported = ExportedLists.of(path)
            with part_by_task(exported) if self.engine == "spark" else nullcontext(PartByPart(exported)) as given:
                return self._of_lists(path, given, exported.manifest.k, exported.manifest.seen)
        log = self._card[0].files[0] if self._card else None
        own: dict[str, Any] = {"own_names": log.columns.model_dump(), "encoding": log.encoding} if log else {}
        frame, length = read_recommendations(path, ids=self._ids, **own)
        if self.engine == "spark":
            raise ConfigError(f"{path} is a file, and the engine spark evaluates exported folders; leave out --engine spark")
        return self._of_lists(path, PartByPart({str(path): frame}), length)

    def _of_model(self, path: Path, system: str) -> Evaluated:
        if self.history is None:
            raise ConfigError(f"{system} is a model, which needs a history to recommend from; pass it as --history FILE")
        model = load_model(path)
        kinds = id_kinds(model, self._card)
        truth, history = self._read(self.truth, kinds), self._read(self.history, kinds)
        options: dict[str, Any] = {"skip_unknown": self.skip_unknown, "users": truth["user_id"]}
        known, _ = history_for(model, self.history, self._card, **options)
        metrics = self.metrics or DEFAULT_RANKING
        options = {"history": history, "cold": self.cold, **self._options, **self._beyond(truth, history, metrics)}
        with error_context(f"{system} against {self.truth}"):
            report = evaluate_model(model, known, truth, metrics, **options)
        return Evaluated(report, Protocol.of_tables(truth, history, **self._options), [])

    def _of_lists(self, path: Path, lists: GivenLists, length: int, seen: str | None = None) -> Evaluated:
        """The evaluation of lists; `seen` is the digest of the history that they were made from, if it is known."""
        # undeclared, the other files have text where the lists have, even if it looks like integers; the rest shows later
        kinds: dict[str, str] = {side: "str" for side in SIDES if kind_of(lists.listed.ids(side)) == "str"} | self._ids
        truth = self._read(self.truth, kinds)
        skipped = SkippedLines()
        history = None if self.history is None else self._read(self.history, kinds, skipped)
        fitting = [name for name in DEFAULT_RANKING if int(name.split("@")[1]) <= length]
        metrics = self.metrics or fitting or [f"ndcg@{length}", f"recall@{length}"]
        without: Any = "skip" if self.cold == "skip" else "zero"
        options = {"list_length": length, "history": history, "without_list": without, **self._options}
        options |= self._beyond(truth, history, metrics)
        with error_context(f"{path} against {self.truth}"):
            report = evaluate_given_lists(lists, truth, metrics, **options)
        if self.cold == "error" and (n := report.counts["users_without_list"]):
            raise ColdUserError(f"{path} has no list for {n} users of {self.truth}; use --cold popular or skip")
        warnings = [REPEATS_UNKNOWN] if history is None and self.repeats == "excluded" else []
        if history is not None and seen not in (None, _seen_digest(history, skipped)):
            warnings.append(
                f"{path} was made from another history than {self.history} (or from those of its items that the model "
                "knows, with --skip-unknown)"
            )
        return Evaluated(report, Protocol.of_tables(truth, history, **self._options), warnings)

    @property
    def _options(self) -> dict[str, Any]:
        return {"relevant_at": self.relevant_at, "repeats": self.repeats}

    @cached_property
    def _card(self) -> tuple[RatingsCard, Path] | None:
        return ratings_card(self.card) if self.card else None

    @property
    def _ids(self) -> dict[Any, str]:
        """The types of ids that the card declares."""
        return dict(self._card[0].ids) if self._card else {}

    def _read(self, path: Path, kinds: Mapping[str, str], skipped: SkippedLines | None = None) -> pd.DataFrame:
        """The events in a file in their order, or its pairs if the card declares how repeated ones are merged."""
        table = self._card[0].files[0] if self._card else guess_table(path)
        frame = read_table(path, table, kinds, skipped=skipped)
        if self._card and (duplicates := self._card[0].duplicates) != "error":
            pairs = Interactions.from_frame(frame, duplicates=duplicates, **columns_of(frame)).to_frame()
            return pairs[["user_id", "item_id", *(["rating"] if "rating" in frame or duplicates == "sum" else [])]]
        return frame.sort_values("time", kind="stable", ignore_index=True) if "time" in frame else frame

    def _beyond(self, truth: pd.DataFrame, history: pd.DataFrame | None, names: Sequence[str]) -> dict[str, Any]:
        """The segments, and the features that they and the metrics need, as far as the card declares them.

        Raises:
            ConfigError: something needs the ratings of the truth, which has none.
        """
        metrics = parse_metrics(names)
        if "rating" not in truth:
            if self.relevant_at is not None:
                raise ConfigError(f"--relevant-at needs ratings, but {self.truth} has none")
            if rating := next((metric.name for metric in metrics if metric.k is None), None):
                raise ConfigError(f"{rating} needs ratings, but {self.truth} has none; use metrics such as ndcg@10")
        segments = list(COMPUTED if history is not None else ()) if self.segments is None else self.segments
        sides: set[Side] = {one.side for one in parse_segments(segments) if one.column is not None}
        sides |= {"items" for metric in metrics if "item_features" in metric.needs}
        found: dict[str, Any] = {"segments": segments}
        card, folder = self._card or (None, Path())
        for side in sides:
            if card is not None and side in card.features:
                ids = encode(id_index((truth if history is None else history)[f"{side.removesuffix('s')}_id"]), None)[1]
                found[f"{side.removesuffix('s')}_features"] = load_all_features(card, folder, side, ids)
        return found


def _seen_digest(history: pd.DataFrame, skipped: SkippedLines) -> str:
    """The digest of what lists made from a history exclude."""
    return pairs_digest(skipped.seen(Interactions.from_frame(history, rating=None, duplicates="last")))
