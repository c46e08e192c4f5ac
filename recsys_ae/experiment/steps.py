"""The steps of an experiment, each from the previous one's value to its own."""

from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

from recsys_ae.core.checkpoint import Checkpoint
from recsys_ae.core.trainer import Callback
from recsys_ae.data.ratings import Ratings, load_given_split, load_ratings
from recsys_ae.errors import DataError
from recsys_ae.evaluation.evaluator import Report, evaluate
from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.experiment.spec import ModelSpec, Pipeline
from recsys_ae.export.manifest import Manifest
from recsys_ae.interactions import Split
from recsys_ae.models.base import Recommender
from recsys_ae.models.storage import build_model, model_digest
from recsys_ae.reporting.report import versions
from recsys_ae.splitting import SPLITS, random


@dataclass(frozen=True)
class Data:
    """The split of a pipeline's dataset, and the lowest error that can be expected on its test part, if known."""

    split: Split
    noise_floor: float | None


def load_data(pipeline: Pipeline) -> Data:
    """Read, verify and split."""
    if pipeline.split_kind == "given":
        params = pipeline.split_params
        given = load_given_split(pipeline.card, pipeline.card_folder, params["name"])
        parts = random(given.train, test=0, valid=params["valid"], seed=params["seed"])
        return Data(Split(parts.train, parts.valid, given.test, "given", params), None)
    ratings: Ratings = load_ratings(pipeline.card, pipeline.card_folder)
    split: Split = SPLITS.get(pipeline.split_kind)(ratings.interactions, **pipeline.split_params)
    if not len(split.test):
        raise DataError(f"the {pipeline.split_kind} split leaves nothing to test on: {pipeline.split_params}")
    floor = ratings.noise_floor(split.test) if ratings.noise_floor else None
    return Data(split, floor)


def fit_model(spec: ModelSpec, split: Split, seed: int, checkpoint: Path, callbacks: list[Callback]) -> Recommender:
    """Fit one model, continuing from `checkpoint` if an earlier attempt left one."""
    model = build_model(spec.name, spec.params)
    valid = split.valid if len(split.valid) else None
    known = split.history("valid")
    return model.fit(split.train, valid=valid, valid_history=known, seed=seed, callbacks=[Checkpoint(checkpoint), *callbacks])


def evaluate_model(spec: ModelSpec, model: Recommender, split: Split, pipeline: Pipeline) -> dict[str, Any]:
    """A model's entry in the report, but for how long fitting took."""
    started = perf_counter()
    test = evaluate(model, split, pipeline.metrics, relevant_at=pipeline.relevant_at)
    valid: Report | None = None
    if len(split.valid):
        valid = evaluate(model, split, pipeline.metrics, part="valid", relevant_at=pipeline.relevant_at)
    return {
        "metrics": test.metrics,
        "valid_metrics": valid.metrics if valid else None,
        "counts": test.counts,
        "evaluate_seconds": perf_counter() - started,
        "params": {"name": spec.name, **spec.params},
        "digest": model_digest(model),
    }


def choose(results: dict[str, dict[str, Any]], metrics: list[str], by: str | None) -> dict[str, str | None]:
    """The best model by one metric: on validation values if there are any, else on test values, and which it was.

    The model is None if none has a value of this metric.

    Args:
        by: the metric, or None for the first ranking metric, or the first at all if none ranks.
    """
    parsed = parse_metrics(metrics)
    wanted = parse_metrics([by])[0] if by else next((metric for metric in parsed if metric.k), parsed[0])
    part = "valid" if all(result["valid_metrics"] for result in results.values()) else "test"
    key = "valid_metrics" if part == "valid" else "metrics"

    def worth(label: str) -> float:
        value = results[label][key][wanted.name]
        if value is None:
            return -inf
        return float(-value if wanted.lower_is_better else value)

    best = max(results, key=worth)
    return {"model": best if worth(best) > -inf else None, "metric": wanted.name, "part": part}


def build_report(
    pipeline: Pipeline, data: Data, results: dict[str, dict[str, Any]], best: dict[str, str | None], manifest: Manifest | None
) -> dict[str, Any]:
    """The content of report.json."""
    split = data.split
    parts = {"train": split.train, "valid": split.valid, "test": split.test, "fold_in": split.fold_in}
    return {
        "pipeline": pipeline.name,
        "dataset": {
            "name": pipeline.card.name,
            "users": split.train.n_users,
            "items": split.train.n_items,
            "ratings": sum(len(part) for part in parts.values() if part is not None),
            "noise_floor": data.noise_floor,
        },
        "split": {
            "kind": pipeline.split_kind,
            "params": pipeline.split_params,
            "digest": split.digest,
            "sizes": {name: len(part) for name, part in parts.items() if part is not None},
        },
        "metrics": list(next(iter(results.values()))["metrics"]),
        "relevant_at": pipeline.relevant_at,
        "seed": pipeline.seed,
        "models": results,
        "best": best,
        "recommendations": None if manifest is None else asdict(manifest),
        "versions": versions(),
    }
