"""The trials of searches: a table as CSV, and lines that say what was found."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from recsys_ae.files import whole_file
from recsys_ae.reporting.results import ModelSummary, RunReport, RunResult


def write_trials(report: RunReport, path: Path) -> list[Path]:
    """Write a row per trial, with the values on the validation part; returns the path, or none if there was no search."""
    searched = [
        (label, seed, run.params, run.trials)
        for label, model in report.models.items()
        for seed, run in model.runs.items()
        if run.trials
    ]
    if not searched:
        return []
    names = list(dict.fromkeys(key for *_, trials in searched for trial in trials for key in trial.params))
    metrics = [f"valid {name}" for name in report.metrics]
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "seed", "trial", "state", "chosen", *metrics, "fit_seconds", "epochs", *names, "problem"])
        for label, seed, chosen, trials in searched:
            best = next((at for at, trial in enumerate(trials) if trial.params.items() <= chosen.items()), None)
            for at, trial in enumerate(trials):
                values = [trial.valid_metrics.get(name) for name in report.metrics]
                costs = [trial.fit_seconds, trial.epochs]
                params = [trial.params.get(name) for name in names]
                writer.writerow([label, seed, at + 1, trial.state, at == best, *values, *costs, *params, trial.problem])
    return [path]


def search_lines(label: str, model: ModelSummary) -> list[str]:
    """What the search of a model found with each seed."""
    lines = []
    for seed, run in model.runs.items():
        if run.trials:
            states = Counter(trial.state for trial in run.trials)
            others = "".join(f", {states[state]} {state}" for state in ("pruned", "failed") if states[state])
            found = ", ".join(f"{key} {short(run.params[key])}" for key in run.trials[0].params)
            name = label if len(model.runs) == 1 else f"{label}, seed {seed}"
            lines.append(f"{name}: {found} ({_chosen(run)} on validation data{others})")
    return lines


def _chosen(run: RunResult) -> str:
    """As what a search chose its trial: the best one, or the first if all have the same value."""
    values = [trial.valid_metrics.get(run.searched_by or "") for trial in run.trials if trial.state == "complete"]
    if len(values) > 1 and values[0] is not None and len({*values}) == 1:
        return f"the first of {len(values)} trials, which have the same {run.searched_by}"
    return f"the best of {len(run.trials)} trials"


def short(value: Any) -> str:
    """A value of a parameter, for a line of text."""
    return f"{value:g}" if isinstance(value, float) else str(value)
