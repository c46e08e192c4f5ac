"""The choice of default parameters over several datasets, by validation parts, relative to a baseline.

    RECSYS_AE_DATA=... python benchmarks/defaults.py ratings|ranking [--only NAME] [--tracking-uri URI] [--smoke]

Runs `pipelines/defaults-ratings.yaml` or `pipelines/defaults-ranking.yaml` on training parts of MovieLens 1M and 100K, on
samples of 10, 3 and 1 interactions of each user, and on generated data; rankings also on the clicks of Yoochoose. Every
combination of listed values is one trial. Prints for each combination its metric on each dataset over that of the baseline
(bias or popularity), and marks the combination that should be the default: the best one by the geometric mean among those that
are never worse than the baseline, or, if there is none, the one whose worst ratio is best. The last line is a JSON object.
"""

import argparse
import json
from collections.abc import Mapping
from math import exp, log
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from rich.console import Console

from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import Tracker, make_tracker

GIVEN = "split={{kind: given, name: {}, valid: 0.1}}"
PLANTED = "split={kind: random, test: 0.1, valid: 0.1, seed: 0}"
RANDOM = "split={kind: random, test: 0.1, valid: 0.2, seed: 0}"
SAMPLES = (10, 3, 1)
DATA = {
    "ratings": {
        "ml-1m": ["dataset=ml-1m", GIVEN.format("random-90-10")],
        "ml-100k": ["dataset=ml-100k", GIVEN.format("u1")],
        "planted": ["dataset=planted-ratings", PLANTED],
    },
    "ranking": {
        "ml-1m": ["dataset=ml-1m", GIVEN.format("per-user-80-20")],
        "ml-100k": ["dataset=ml-100k", GIVEN.format("u1")],
        "yoochoose": ["dataset=yoochoose", RANDOM],
        "planted": ["dataset=planted-sessions", RANDOM],
    },
}
SMALL = "dataset={name: small, kind: planted-ratings, users: 60, items: 40, ratings: 450, factors: 2}"
SMOKE = {"small": [SMALL, PLANTED], "small, 3 per user": [SMALL, PLANTED, "sample.per_user=3"]}
BASELINES = {"ratings": "bias", "ranking": "popularity"}


def datasets(task: str, only: str) -> dict[str, list[str]]:
    """The settings of each dataset and of its samples."""
    found = {}
    for name, settings in DATA[task].items():
        found[name] = settings
        found |= {f"{name}, {n} per user": [*settings, f"sample.per_user={n}"] for n in SAMPLES}
    return {name: settings for name, settings in found.items() if name.startswith(only)}


def values(report: RunReport) -> dict[str, float]:
    """The validation value of every trial, and of every model without a search, by its label and parameters."""
    found = {}
    metric = report.metrics[0]
    for label, model in report.models.items():
        run = model.runs[0]
        trials = {f"{label} {json.dumps(trial.params)}": trial.valid_metrics for trial in run.trials}
        for name, metrics in (trials or {label: run.valid_metrics or {}}).items():
            if (value := metrics.get(metric)) is not None:
                found[name] = value
    return found


def best(ratios: pd.DataFrame, lower: bool) -> list[str]:
    """The combination of each model that should be its default."""
    good = (lambda ratio: ratio) if lower else (lambda ratio: 1 / max(ratio, 1e-9))
    chosen = []
    for _, rows in ratios.groupby(lambda name: name.partition(" ")[0], sort=False):
        costs = rows.map(good)
        worst = costs.max(axis=1)
        able = worst[worst <= 1].index
        means = costs.apply(lambda row: exp(fmean(log(one) for one in row)), axis=1)
        chosen.append(means[able].idxmin() if len(able) else worst.idxmin())
    return chosen


def run(task: str, settings: list[str], tracker: Tracker, output: Path) -> RunReport:
    pipeline = read_pipeline(f"defaults-{task}", settings)
    return run_pipeline(pipeline, output, tracker, Console(quiet=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", choices=sorted(DATA), default="ratings")
    parser.add_argument("--only", default="", help="datasets whose names begin like this")
    parser.add_argument("--tracking-uri", default="none", help="where MLflow records the trials")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    given = parser.parse_args()
    short = ["models=[{name: mf, epochs: 2, search: {l2: [0.04, 0.1]}}, {name: bias}]"] if given.smoke else []
    data: Mapping[str, list[str]] = SMOKE if given.smoke else datasets(given.task, given.only)
    found: dict[str, dict[str, float]] = {}
    lower = False
    with TemporaryDirectory() as folder:
        for number, (name, settings) in enumerate(data.items()):
            tracker = make_tracker(given.tracking_uri, f"defaults-{given.task}")
            report = run(given.task, [*settings, *short], tracker, Path(folder) / str(number))
            found[name], lower = values(report), report.metrics[0] in report.lower_is_better
            print(f"{name}: {len(found[name])} combinations", flush=True)
    table = pd.DataFrame(found)
    ratios = table / table.loc[BASELINES[given.task]]
    chosen = best(ratios, lower)
    shown = ratios.round(4)
    shown.insert(0, "default", ["*" if name in chosen else "" for name in shown.index])
    print(shown.to_string())
    figures: dict[str, Any] = {"chosen": chosen, "ratios": ratios.to_dict("index"), "values": found}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
