"""A small pipeline of recommenders on the command line, and the metrics of its report."""

import json
from pathlib import Path

PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 120, "items": 60, "ratings": 1400, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [
        {"name": "autorec", "hidden": 10, "epochs": 8, "patience": 0},
        {"name": "mf", "factors": 4, "epochs": 5},
        {"name": "popularity"},
    ],
    "metrics": ["rmse", "ndcg@5", "recall@10"],
    "export": {"k": 10},
}


def run(call, *more: object):
    return call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none", *more)


def metrics(report: Path) -> dict[str, object]:
    return {label: result["metrics"] for label, result in json.loads(report.read_text())["models"].items()}
