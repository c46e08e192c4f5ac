"""The steps of an experiment, each from the previous one's value to its own."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from inspect import signature
from math import inf, prod
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np

from recsys_ae.core.checkpoint import Checkpoint
from recsys_ae.core.trainer import Callback
from recsys_ae.data.ratings import Ratings, load_given_split, load_ratings
from recsys_ae.errors import DataError
from recsys_ae.evaluation.evaluator import Report, evaluate
from recsys_ae.evaluation.metrics import Metric, parse_metrics
from recsys_ae.experiment.spec import ModelSpec, Pipeline
from recsys_ae.export.manifest import Manifest
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender
from recsys_ae.models.storage import build_model, load_model
from recsys_ae.reporting.report import versions
from recsys_ae.split import Split
from recsys_ae.splitting import SPLITS, random


@dataclass(frozen=True)
class Data:
    """The split of a pipeline's dataset with a seed, and the lowest error to be expected on its test part, if known."""

    seed: int
    split: Split
    noise_floor: float | None


def load_data(pipeline: Pipeline, seed: int) -> Data:
    """Read, verify and split; `seed` is for splits that are drawn and declare none."""
    if pipeline.split_kind == "given":
        params = {"seed": seed, **pipeline.split_params}
        given = load_given_split(pipeline.card, pipeline.card_folder, params["name"])
        train, test = (_positives(part, pipeline) for part in (given.train, given.test))
        parts = random(train, test=0, valid=params["valid"], seed=params["seed"])
        return Data(seed, Split(parts.train, parts.valid, test, "given", params), None)
    ratings: Ratings = load_ratings(pipeline.card, pipeline.card_folder)
    protocol = SPLITS.get(pipeline.split_kind)
    drawn = {"seed": seed} if "seed" in signature(protocol).parameters else {}
    split: Split = protocol(_positives(ratings.interactions, pipeline), **{**drawn, **pipeline.split_params})
    if not len(split.test):
        raise DataError(f"the {pipeline.split_kind} split leaves nothing to test on: {pipeline.split_params}")
    floor = ratings.noise_floor(split.test) if ratings.noise_floor and pipeline.positive_at is None else None
    return Data(seed, split, floor)


def _positives(data: Interactions, pipeline: Pipeline) -> Interactions:
    if pipeline.positive_at is None:
        return data
    positive = data.binarise(pipeline.positive_at)
    if not len(positive):
        raise DataError(f"no rating is at least positive_at = {pipeline.positive_at:g}")
    return positive


def trials_of(spec: ModelSpec, trials: int, seed: int) -> list[dict[str, Any]]:
    """The combinations of searched values to try: all in their order, or so many drawn from them if there are more."""
    total = prod(len(values) for values in spec.search.values())
    chosen = range(total) if total <= trials else sorted(np.random.default_rng(seed).choice(total, trials, replace=False))
    shape = [len(values) for values in spec.search.values()]
    places = [np.unravel_index(number, shape) for number in chosen]
    return [{key: values[at] for (key, values), at in zip(spec.search.items(), place, strict=True)} for place in places]


def fit_model(spec: ModelSpec, split: Split, seed: int, checkpoint: Path, callbacks: list[Callback]) -> Recommender:
    """Fit one model, continuing from `checkpoint` if an earlier attempt left one."""
    return build_model(spec.name, spec.params).fit(
        split.train,
        valid=split.valid if len(split.valid) else None,
        valid_history=split.history("valid"),
        seed=seed,
        callbacks=[Checkpoint(checkpoint), *callbacks],
        warm_start=_warm_start(spec),
    )


def _warm_start(spec: ModelSpec) -> Recommender | None:
    return None if spec.warm_start is None else load_model(spec.warm_start)


def refit_model(
    spec: ModelSpec, split: Split, seed: int, best_epoch: int | None, checkpoint: Path, callbacks: list[Callback]
) -> Recommender:
    """Fit one model on training and validation part together, for as many epochs as were best on the validation part."""
    found = {} if best_epoch is None else {"epochs": best_epoch, "patience": 0}
    model = build_model(spec.name, {**spec.params, **found})
    return model.fit(
        split.history("test"), seed=seed, callbacks=[Checkpoint(checkpoint), *callbacks], warm_start=_warm_start(spec)
    )


def evaluate_model(model: Recommender, split: Split, pipeline: Pipeline, part: Literal["valid", "test"]) -> Report | None:
    """What a model is worth on one part, None if that is empty."""
    if part == "valid" and not len(split.valid):
        return None
    return evaluate(model, split, pipeline.metrics, part=part, relevant_at=pipeline.relevant_at, cold=pipeline.cold)


def summarise(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """A model's entry in the report, from its results by seed: means, sample standard deviations, the highest memory."""
    results = list(runs.values())
    memory = [result["peak_memory_mb"] for result in results]
    return {
        "params": results[0]["params"],
        "metrics": _over([result["metrics"] for result in results], mean),
        "deviations": _over([result["metrics"] for result in results], stdev) if len(results) > 1 else None,
        "valid_metrics": _over([result["valid_metrics"] for result in results], mean) if results[0]["valid_metrics"] else None,
        "select_seconds": _over([{"s": result["select_seconds"]} for result in results], mean)["s"],
        "fit_seconds": mean(result["fit_seconds"] for result in results),
        "peak_memory_mb": None if None in memory else max(memory),
        "runs": {str(seed): {name: value for name, value in run.items() if name != "params"} for seed, run in runs.items()},
    }


def _over(metrics: list[dict[str, float | None]], statistic: Callable[[list[float]], float]) -> dict[str, float | None]:
    """A statistic of each metric; None where a value is missing."""
    columns = {name: [values[name] for values in metrics] for name in metrics[0]}
    return {name: None if None in values else float(statistic(values)) for name, values in columns.items()}  # type: ignore[arg-type]


def choose(results: dict[str, dict[str, Any]], metrics: list[str], by: str | None) -> dict[str, str | None]:
    """The best model by one metric: on validation values if there are any, else on test values, and which it was.

    The model is None if none has a value of this metric.

    Args:
        by: the metric, or None for the first ranking metric, or the first at all if none ranks.
    """
    part = "valid" if all(result["valid_metrics"] for result in results.values()) else "test"
    key = "valid_metrics" if part == "valid" else "metrics"
    metric = deciding_metric(metrics, by)
    worths = {label: worth(result[key][metric.name], metric) for label, result in results.items()}
    best = max(worths, key=lambda label: worths[label])
    return {"model": best if worths[best] > -inf else None, "metric": metric.name, "part": part}


def deciding_metric(metrics: list[str], by: str | None) -> Metric:
    """The metric called `by`, or else the first ranking metric, or else the first."""
    parsed = parse_metrics(metrics)
    return parse_metrics([by])[0] if by else next((metric for metric in parsed if metric.k), parsed[0])


def worth(value: float | None, metric: Metric) -> float:
    """The value turned so that higher is better; -inf for none."""
    return -inf if value is None else -value if metric.lower_is_better else value


def facts_of(data: Data) -> dict[str, Any]:
    """What the report says about the data of one seed."""
    split = data.split
    parts = {"train": split.train, "valid": split.valid, "test": split.test, "fold_in": split.fold_in}
    return {
        "digest": split.digest,
        "noise_floor": data.noise_floor,
        "users": split.train.n_users,
        "items": split.train.n_items,
        "sizes": {name: len(part) for name, part in parts.items() if part is not None},
    }


def build_report(
    pipeline: Pipeline,
    facts: dict[int, dict[str, Any]],
    models: dict[str, dict[str, Any]],
    best: dict[str, str | None],
    manifest: Manifest | None,
) -> dict[str, Any]:
    """The content of report.json; `facts` are by seed."""
    first = facts[pipeline.seeds[0]]
    return {
        "pipeline": pipeline.name,
        "dataset": {
            "name": pipeline.card.name,
            "users": first["users"],
            "items": first["items"],
            "ratings": sum(first["sizes"].values()),
            "noise_floor": _over([{"floor": fact["noise_floor"]} for fact in facts.values()], mean)["floor"],
        },
        "split": {
            "kind": pipeline.split_kind,
            "params": pipeline.split_params,
            "sizes": first["sizes"],
            "digests": {str(seed): fact["digest"] for seed, fact in facts.items()},
        },
        "metrics": list(next(iter(models.values()))["metrics"]),
        "lower_is_better": [metric.name for metric in parse_metrics(pipeline.metrics) if metric.lower_is_better],
        "positive_at": pipeline.positive_at,
        "relevant_at": pipeline.relevant_at,
        "seeds": pipeline.seeds,
        "refit": pipeline.refit,
        "cold": pipeline.cold,
        "models": models,
        "best": best,
        "recommendations": None if manifest is None else asdict(manifest),
        "versions": versions(),
    }
