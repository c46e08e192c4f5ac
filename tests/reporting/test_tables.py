"""Tables of a run: cells, letters, marks, and how they fit a terminal."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.evaluation.uncertainty.repetitions import Repetitions
from recsys_ae.evaluation.uncertainty.sample import Sample
from recsys_ae.evaluation.uncertainty.statistics import Findings, compare
from recsys_ae.experiment.summary import summarise
from recsys_ae.reporting.report import reading_lines
from recsys_ae.reporting.results import Baseline, DataFacts, FitFacts, RunReport, RunResult, Trial
from recsys_ae.reporting.tables import BELOW, Cell, results_tables, seeds_tables
from recsys_ae.reporting.trials import search_lines

VALUES = {"good": (0.9, 0.31), "equal": (0.91, 0.30), "bad": (1.2, 0.1)}


def report(**changes: object) -> RunReport:
    """Three models, of which the first two cannot be told apart; the third is below the baseline."""
    fit = FitFacts(1.0, 100.0, None, None)
    models = {
        label: summarise({0: RunResult("ease", {}, {"rmse": rmse, "ndcg@10": ndcg}, None, {}, fit, None, "")})
        for label, (rmse, ndcg) in VALUES.items()
    }
    intervals = [(0.29, 0.33), (0.285, 0.315), (0.09, 0.11)]
    found = Findings(50, [0.31, 0.30, 0.1], intervals, [], ["a", "a", "b"], [0, 1], 0.05, 0.95, 0.8)
    facts = DataFacts("3 users", "interactions", {"train": 5, "test": 3}, {}, "", {})
    content = {
        "pipeline": "mine",
        "dataset": "own",
        "settings": {},
        "metrics": ["rmse", "ndcg@10"],
        "lower_is_better": ["rmse"],
        "seeds": [0],
        "data": {0: facts},
        "audit": None,
        "models": models,
        "best": None,
        "findings": [MetricFindings("ndcg@10", list(VALUES), {"bad": 2}, found)],
        "baselines": {"ndcg@10": Baseline("popularity", 0.2), "rmse": Baseline("bias", 1.0)},
        "repetitions": {},
        "comparisons": [],
        "final": None,
        "exported": None,
        "versions": {},
    }
    return RunReport(**{**content, **changes})


def test_a_search_in_which_all_trials_tie_does_not_name_a_best_one():
    fit, summary = FitFacts(1.0, 100.0, None, None), {"l2": 1.0}
    trials = [Trial({"l2": l2}, {"rmse": 1 / l2, "ndcg@10": 0.5}, 1.0) for l2 in (1.0, 2.0)]
    pruned = Trial({"l2": 3.0}, {}, 1.0, "pruned")

    def said(by: str | None, *more: Trial) -> list[str]:
        run = RunResult("ease", summary, {}, None, {}, fit, None, "", [*trials, *more], searched_by=by)
        return search_lines("ease", summarise({0: run}))

    assert said("rmse") == ["ease: l2 1 (the best of 2 trials on validation data)"]
    tied = "ease: l2 1 (the first of 2 trials, which have the same ndcg@10 on validation data"
    assert said("ndcg@10") == [f"{tied})"]
    assert said("ndcg@10", pruned) == [f"{tied}, 1 pruned)"]
    assert said(None) == said("rmse")  # of an earlier version


def printed(width: int = 160, **changes: object) -> str:
    console = Console(width=width, file=StringIO())
    console.print(*results_tables(report(**changes), width))
    return console.file.getvalue()


def row(text: str, label: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith(f"│ {label} ")]
    return [own.strip() for line in lines for own in line.split("│")[2:-1]]


def test_cells_have_value_interval_and_letters():
    text = printed()
    assert row(text, "good")[:2] == ["0.9000", "0.3100 ±.0200 a"]
    assert row(text, "equal")[:2] == ["0.9100", "0.3000 ±.0150 a"]


def test_models_worse_than_the_baseline_are_marked():
    assert row(printed(), "bad")[:2] == [f"{BELOW}1.2000", f"{BELOW}0.1000 ±.0100 b"]
    assert report().below("bad") == ["rmse", "ndcg@10"]
    assert report().below("good") == []


def test_the_best_group_is_bold():
    column = results_tables(report(), 160)[0].columns[2]
    assert [text.style for text in column.cells] == ["bold", "bold", ""]
    alone = results_tables(report(), 160)[0].columns[1]  # no findings: the best value
    assert [text.style for text in alone.cells] == ["bold", "", ""]
    models = report().models
    for label in ("equal", "bad"):
        models[label] = replace(models[label], metrics={**models[label].metrics, "rmse": None})
    only = results_tables(report(models=models), 160)[0].columns[1]
    assert [text.style for text in only.cells] == ["", "", ""]


@pytest.mark.parametrize(("width", "tables"), [(160, 1), (60, 1), (45, 2)])
def test_metrics_that_do_not_fit_are_in_a_further_table(width, tables):
    found = results_tables(report(), width)
    assert len(found) == tables
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    assert row(text, "good")[:2] == ["0.9000", "0.3100 ±.0200 a"]  # nothing is cut
    assert text.count("fit s") == 1


def test_lines_explain_what_is_in_the_tables():
    lines = reading_lines(report())
    assert lines[0] == "±: half of the 95 % interval over 50 users (bootstrap)"
    assert "models that share a letter cannot be told apart" in lines[1]
    assert lines[2] == "ndcg@10: users who do not count for all models are left out of the comparison: 2 of bad"
    assert lines[3] == f"{BELOW}: worse than popularity (ndcg@10 0.2000) or bias (rmse 1.0000)"
    assert reading_lines(report(findings=[], baselines={})) == []


def test_the_smallest_difference_has_the_power_that_was_asked_for():
    values = np.random.default_rng(0).uniform(size=(2, 50))
    (found,) = compare([Sample(values)], power=0.9, flips=100)
    lines = reading_lines(report(findings=[MetricFindings("ndcg@10", ["good", "bad"], {}, found)]))
    detected = f"many users can detect (power 90 %): ndcg@10 {found.pairs[0].smallest:.4f}"
    assert [line for line in lines if line.endswith(detected)]


def test_ties_are_told_where_they_matter():
    tied = report().models["good"].runs[0]
    runs = {0: replace(tied, ties={"ndcg@10": (0.2999, 0.3201), "recall@10": (0.1, 0.1004)})}
    models = {**report().models, "good": summarise(runs)}
    lines = reading_lines(report(models=models))
    assert "over all orders of items with equal scores: good (ndcg@10 0.2999 to 0.3201)" in lines


def test_a_missing_value_is_a_dash():
    assert Cell(None).text.plain == "-"
    assert Cell(0.5, 1.25).text.plain == "0.5000 ±1.2500"


def test_tables_over_seeds_are_split_rather_than_cut_off():
    names = ["ndcg@10", "feature_diversity@10", "audience_diversity@10", "miscalibration@10"]
    found = Repetitions(2, 0.5, 0.01, (0.4, 0.6), None)
    several = replace(report(), metrics=names, repetitions={"good": dict.fromkeys(names, found), "bad": {}})
    printed = StringIO()
    for table in seeds_tables(several, 80):
        Console(width=80, file=printed).print(table)
    assert all(name in printed.getvalue() for name in names)
    assert printed.getvalue().count("0.5000 ±.1000") == len(names)
    assert max(map(len, printed.getvalue().splitlines())) <= 80


def test_values_that_are_identical_for_all_seeds_have_no_interval_over_them():
    labels = list(report().models)
    found = {"ndcg@10": Repetitions(3, 0.5, 0.0, (0.5, 0.5), None)}
    models = {labels[0]: replace(report().models[labels[0]], identical=["ndcg@10"])}
    (table,) = seeds_tables(replace(report(models=models), repetitions={labels[0]: found}), 80)
    (column,) = (one for one in table.columns if one.header == "ndcg@10")
    assert [str(cell) for cell in column.cells] == ["0.5000 identical"]


def test_it_is_said_why_users_do_not_count():
    counts = {"users_evaluated": 50, "users_skipped": 10}
    models = {
        label: replace(model, runs={0: replace(model.runs[0], counts=counts)}) for label, model in report().models.items()
    }
    line = "50 of 60 users are evaluated; the others have nothing relevant in the test part"
    assert reading_lines(report(models=models))[0] == line
    skipping = reading_lines(report(models=models, settings={"cold": "skip"}))
    assert skipping[0] == f"{line}, or cannot be scored"


def test_each_interval_has_its_number_of_users():
    first = report().findings[0]
    others = replace(first, metric="rmse", findings=replace(first.findings, n_users=60))
    assert reading_lines(report(findings=[first, others]))[0] == (
        "±: half of the 95 % interval over 50 users (ndcg@10) and 60 users (rmse) (bootstrap)"
    )
