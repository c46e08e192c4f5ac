"""A report of three models and a closer look at them, as a page shows."""

from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.evaluation.uncertainty.statistics import Findings
from recsys_ae.experiment.summary import summarise
from recsys_ae.reporting.html.facts import CloserLook, Depths, Errors
from recsys_ae.reporting.results import Baseline, Best, DataFacts, FitFacts, Origin, RunReport, RunResult

VALUES = {"good": (0.9, 0.31), "equal": (0.91, 0.30), "bad": (1.2, 0.1)}


def report(labels: tuple[str, ...] = tuple(VALUES), **changes: object) -> RunReport:
    """Three models: the first two cannot be told apart, the second is trained by epochs, the last is below the baseline."""
    fit = FitFacts(1.5, 100.0, 3, 2)
    groups = {"good": (0.2, 0.4), "equal": (0.2, 0.3), "bad": (0.1, 0.1)}
    curves = {"": [(1.0, 0.8), (0.5, 0.6), (0.25, 0.7)]}
    models = {}
    for label, own in zip(labels, VALUES, strict=True):
        values = dict(zip(("rmse", "ndcg@10"), VALUES[own], strict=True))
        (few, many), users = groups[own], {"users:ndcg@10": 25.0}
        segments = {"history_length": {"1-4": {"ndcg@10": few, **users}, "5-19": {"ndcg@10": many, **users}}}
        trained = {"curves": curves, "validation": "valid_1_minus_ndcg_100"} if own == "equal" else {}
        models[label] = summarise({0: RunResult("ease", {}, values, None, {}, fit, None, "d", segments=segments, **trained)})
    intervals = [(0.29, 0.33), (0.285, 0.315), (0.09, 0.11)]
    found = Findings(50, [0.31, 0.30, 0.1], intervals, [], ["a", "a", "b"], [0, 1], 0.05, 0.95, 0.8)
    facts = DataFacts("3 users", "interactions", {"train": 5000, "test": 3}, {"train": "1a", "test": "2b"}, "3c", {})
    content = {
        "pipeline": "mine",
        "dataset": "own",
        "settings": {"device": "cpu"},
        "metrics": ["rmse", "ndcg@10"],
        "lower_is_better": ["rmse"],
        "seeds": [0],
        "data": {0: facts},
        "audit": None,
        "models": models,
        "best": Best(labels[0], "ndcg@10", "valid"),
        "findings": [MetricFindings("ndcg@10", list(labels), {}, found)],
        "baselines": {"ndcg@10": Baseline("popularity", 0.2), "rmse": Baseline("bias", 1.0)},
        "repetitions": {},
        "comparisons": [],
        "final": None,
        "exported": None,
        "versions": {"torch": "2.7"},
        "origin": Origin("2026-11-27T07:00:00Z", "recsys-ae run mine.yaml", "abc", True),
    }
    return RunReport(**{**content, **changes})


def look(labels: tuple[str, ...] = tuple(VALUES)) -> CloserLook:
    by_k = {"ndcg": {label: [0.1 * (at + 1), 0.5 - 0.1 * at] for at, label in enumerate(labels)}}
    beyond = {"coverage@10": dict(zip(labels, (0.5, 0.2, None), strict=True))}
    shares = {labels[1]: [0.1, 0.2, 0.4, 0.2, 0.1], labels[2]: [0.3, 0.2, 0.2, 0.2, 0.1]}
    errors = Errors(90, 100, [-4.0, -2.0, -0.5, 0.5, 2.0, 4.0], shares)
    return CloserLook(depths=Depths(40, 50, [1, 10], by_k, beyond), errors=errors)
