"""What pages and charts say about the results of a run."""

from dataclasses import replace

import pytest
from three_models import look, report

from recsys_ae.experiment.summary import summarise
from recsys_ae.reporting.html.blocks import Chart, Charts, Facts, Grid, Notes, Page
from recsys_ae.reporting.html.facts import CloserLook, Depths, RunFiles, TrainingData
from recsys_ae.reporting.html.run import leaderboard, run_content
from recsys_ae.reporting.markdown import description
from recsys_ae.reporting.report import best_line
from recsys_ae.reporting.results import CHOSEN_ON_TEST, Best, Exported, FinalFit, FitFacts, ModelSummary, RunResult


def charts(**changes: object) -> dict[str, str]:
    """The messages of the charts by title; without the closer look if the models are others."""
    page = run_content(report(**changes), CloserLook() if "models" in changes else look(), RunFiles(""))
    return {chart.title: chart.message for chart in charts_of(page)}


def charts_of(page: Page) -> list[Chart]:
    blocks = [block for section in page.sections for block in section.blocks if isinstance(block, Charts)]
    return [chart for block in blocks for chart in block.charts]


def test_a_page_says_where_the_intervals_of_groups_are():
    (groups,) = [section for section in run_content(report(), CloserLook(), RunFiles("")).sections if section.id == "segments"]
    assert groups.blocks[0].lines[0].endswith("on the output folder with --by and one of: history_length.")


def test_a_page_says_what_was_found():
    page = run_content(report(), look(), RunFiles("a: 1"))
    assert "".join(text for text, _ in page.message) == (
        "good is the best of 3 models by ndcg@10 on validation data; on test data it is 0.3100 ±.0200, +55% against popularity."
    )
    assert dict(page.facts.pairs)["Parts"] == "5,000 train, 3 test"
    assert dict(page.facts.pairs)["Started"] == "2026-11-27 07:00:00 UTC"
    results = page.sections[0].blocks[0]
    assert isinstance(results, Grid)
    good, _, bad = results.rows
    assert [cell.text for cell in good] == ["good", "0.9000", "0.3100", "1.5", "100"]
    assert (good[2].note, good[2].letters, good[2].strong) == ("±.0200", "a", True)
    assert (bad[1].mark, bad[2].mark, bad[2].letters) == ("▼", "▼", "b")
    assert results.hints == {"rmse": "lower is better", "ndcg@10": "higher is better"}
    origin = next(block for block in page.sections[-1].blocks if isinstance(block, Facts))
    assert dict(origin.pairs)["Commit"] == "abc with uncommitted changes"
    assert dict(origin.pairs)["Command"] == "recsys-ae run mine.yaml"


def test_charts_say_what_they_show():
    said = charts()
    assert said["ndcg@10 on test data"] == (
        "good has the highest ndcg@10, 0.3100; equal cannot be told from it. The dashed line is popularity (0.2000)."
    )
    assert said["Lift over popularity"] == "2 of 3 models are above popularity by ndcg@10, good the furthest (+55%)."
    assert said["NDCG by length"] == "bad leads with a single item, good with 10 (40 of 50 users)."
    assert said["ndcg@10 against coverage@10"] == "Worse in both coverage@10 and ndcg@10 than another model: equal."
    assert said["ndcg@10 against seconds to fit"] == "No model is slower and worse in ndcg@10 than another."  # equally fast
    assert said["ndcg@10 by history length"] == "Best by ndcg@10 in each group: good and equal (1-4), good (5-19)."
    assert said["Errors on test data, as shares of the pairs"] == (
        "40 % of the predictions of equal lie within 1 of the rating, more than of any other model (90 of 100 pairs)."
    )
    assert said["equal: training loss"] == "From 1 to 0.25 in 3 epochs; epoch 2 was chosen."
    assert said["equal: validation ndcg@100"] == "From 0.2 to 0.3 in 3 epochs; epoch 2 was chosen."


@pytest.mark.parametrize(
    ("counts", "title", "message"),
    [
        (False, "Interactions by rating", "The most frequent rating is 1, with 75 % of all."),
        (True, "Interactions by number of events", "The most frequent number of events is 1, with 75 % of all."),
    ],
)
def test_numbers_of_events_are_not_called_ratings(counts, title, message):
    training = TrainingData(2, 2, 4, 1.0, [(0, 0), (1, 1)], 0.5, [[1.0]], {"1": 3, "2": 1}, counts, 2.0, 2.0)
    page = run_content(report(), replace(look(), training=training), RunFiles(""))
    (chart,) = (chart for chart in charts_of(page) if chart.title == title)
    assert chart.message == message
    assert counts == ("rating" not in str(chart))


def grouped(labels: list[str], **groups: list[float]) -> str:
    """What the page says about models with these values in each group."""
    fit, models = FitFacts(1.0, None, None, None), {}
    for at, label in enumerate(labels):
        segments = {"age": {group: {"ndcg@10": values[at], "users:ndcg@10": 9.0} for group, values in groups.items()}}
        models[label] = summarise(
            {0: RunResult("ease", {}, {"rmse": None, "ndcg@10": 0.1}, None, {}, fit, None, "d", segments=segments)}
        )
    return charts(models=models, findings=[], best=Best(labels[0], "ndcg@10", "valid"))["ndcg@10 by age"]


def users_of(*groups: dict[str, float | None]) -> list[str]:
    """The numbers of users below the values of the first model's groups `old` and `young`, and of others' groups `old`."""
    fit, models = FitFacts(1.0, None, None, None), {}
    for at, own in enumerate(groups):
        segments = {"age": {"old": own, **({} if at else {"young": {"ndcg@10": 0.1, "users:ndcg@10": 1200}})}}
        values = {"rmse": None, "ndcg@10": 0.1}
        models[str(at)] = summarise({0: RunResult("ease", {}, values, None, {}, fit, None, "d", segments=segments)})
    page = run_content(report(models=models, findings=[], best=Best("0", "ndcg@10", "valid")), CloserLook(), RunFiles(""))
    (section,) = (one for one in page.sections if one.id == "segments")
    (chart,) = (chart for block in section.blocks if block.kind == "charts" for chart in block.charts)
    return [cell.text for cell in chart.table.rows[-1]]


def test_the_users_of_a_group_are_those_of_the_metric_shown():
    rated = {"rmse": 0.9, "users:rmse": 77}
    assert users_of({**rated, "ndcg@10": 0.2, "users:ndcg@10": 58}, rated) == ["users", "58", "1,200"]
    skipping = {"ndcg@10": 0.3, "users:ndcg@10": 50}
    assert users_of({"ndcg@10": 0.2, "users:ndcg@10": 58}, skipping) == ["users", "50 to 58", "1,200"]
    assert users_of({"ndcg@10": 0.2, "users": 58}) == ["users", "58", "1,200"]  # in an old report


def test_no_model_is_the_best_where_all_are_equal():
    said = grouped(
        ["a", "b", "c"], young=[0.0, 0.0, 0.0], middle=[0.2, 0.2, 0.20000001], old=[0.3, 0.1, 0.3], rest=[0.1, 0.2, 0.3]
    )
    assert said == "Best by ndcg@10 in each group: all 0 (young), all equal (middle), a and c (old), c (rest)."
    assert grouped(["a"], young=[0.0], old=[0.25]) == "ndcg@10 in each group: 0.0000 (young), 0.2500 (old)."


def test_training_that_ended_at_its_best_epoch_may_have_been_too_short():
    models = report().models
    runs = {seed: replace(run, fit=replace(run.fit, best_epoch=3)) for seed, run in models["equal"].runs.items()}
    said = charts(models={**models, "equal": replace(models["equal"], runs=runs)})
    assert said["equal: training loss"] == "From 1 to 0.25 in 3 epochs; epoch 3 was chosen."
    assert said["equal: validation ndcg@100"] == (
        "From 0.2 to 0.3 in 3 epochs; epoch 3 was chosen, the last one, so more epochs may be better."
    )


def test_a_single_model_is_compared_with_none():
    only = {"good": report().models["good"]}
    depths = Depths(50, 50, [1, 10], {"ndcg": {"good": [0.1, 0.5]}}, {})
    page = run_content(report(models=only, findings=[], best=None), CloserLook(depths=depths), RunFiles(""))
    assert "".join(text for text, _ in page.message) == "good has rmse 0.9000 on test data."
    said = {
        chart.title: chart.message for one in page.sections for block in one.blocks for chart in getattr(block, "charts", ())
    }
    assert said["rmse on test data"] == "good has rmse 0.9000. The dashed line is bias (1.0000)."
    assert said["NDCG by length"] == "0.1000 with a single item, 0.5000 with 10."


def test_all_leaders_are_named():
    models = report().models
    models["equal"] = replace(models["equal"], metrics=models["good"].metrics)
    said = charts(models=models, findings=[])
    assert said["ndcg@10 on test data"] == (
        "good and equal have the highest ndcg@10, 0.3100. The dashed line is popularity (0.2000)."
    )
    assert said["Lift over popularity"].endswith(", good and equal the furthest (+55%).")
    page = run_content(report(models=models, findings=[], best=None), CloserLook(), RunFiles(""))
    assert "".join(text for text, _ in page.message) == (
        "3 models compared; good and equal have the lowest rmse on test data, 0.9000."
    )


def reading(**changes: object) -> tuple[str, ...]:
    """How to read the results."""
    notes = run_content(report(**changes), CloserLook(), RunFiles("")).sections[0].blocks[1]
    assert isinstance(notes, Notes)
    return tuple(notes.lines)


def validated(**values: float) -> dict[str, ModelSummary]:
    """The models with these values of the metric on the validation part."""
    return {label: replace(report().models[label], valid_metrics={"ndcg@10": value}) for label, value in values.items()}


def test_it_is_said_how_a_model_was_chosen():
    models = validated(good=0.4, equal=0.5, bad=0.1)
    best = Best("equal", "ndcg@10", "valid")
    assert reading(models=models, best=best)[:2] == (
        "equal was chosen by its ndcg@10 on the validation part, the highest (0.5000).",
        "On the test part good leads (0.3100), but choosing by the test part would be selecting on it, and the value there "
        "would no longer be that of unseen data.",
    )
    marked = {row[0].text: row[0].note for row in leaderboard(report(models=models, best=best)).rows}
    assert marked == {"good": "", "equal": "chosen", "bad": ""}
    leading = reading(models=validated(good=0.5, equal=0.4, bad=0.1), best=Best("good", "ndcg@10", "valid"))
    assert not any("On the test part" in line for line in leading)


def test_a_tie_is_not_said_to_be_a_win():
    models = validated(good=0.0, equal=0.0, bad=0.0)
    models = {label: replace(model, metrics={"rmse": 1.0, "ndcg@10": 0.0}) for label, model in models.items()}
    best = Best("good", "ndcg@10", "valid", tied=[*models])
    found = report(models=models, best=best, findings=[])
    message = "".join(text for text, _ in run_content(found, CloserLook(), RunFiles("")).message)
    assert message.startswith("good was taken as the first of 3 models, which tie by ndcg@10 on validation data; on test data")
    line = (
        "all 3 models have the same ndcg@10 on validation data (0.0000), so it decided nothing; the first of them was taken as "
        "the best: good; to choose by another metric, declare export.by"
    )
    assert best_line(found, best) == line
    assert description(found, best).startswith(line.replace("good", "**good**"))
    assert reading(models=models, best=best, findings=[])[0] == f"A{line[1:]}."
    assert charts(models=models, best=best, findings=[])["ndcg@10 on test data"].startswith(
        "All 3 models have the same ndcg@10, 0.0000."
    )
    unchosen = run_content(report(models=models, best=None, findings=[]), CloserLook(), RunFiles("")).message
    assert "".join(text for text, _ in unchosen) == "3 models compared; all have the same rmse on test data, 1.0000."


def test_some_models_tie_as_the_best():
    models = validated(good=0.5, equal=0.5, bad=0.1)
    best = Best("good", "ndcg@10", "valid", tied=["good", "equal"])
    message = "".join(text for text, _ in run_content(report(models=models, best=best), CloserLook(), RunFiles("")).message)
    assert message.startswith("good was taken as the first of the 2 best of 3 models, which tie by ndcg@10 on validation data;")
    assert best_line(report(models=models, best=best), best) == (
        "the 2 best of 3 models have the same ndcg@10 on validation data (0.5000); the first of them was taken as the best: "
        "good; to choose by another metric, declare export.by"
    )
    tested = Best("good", "ndcg@10", "test", CHOSEN_ON_TEST, ["good", "equal"])
    assert reading(best=tested)[0].startswith("The 2 best of 3 models have the same ndcg@10 on test data (0.3100);")


def test_a_model_chosen_by_name_or_on_the_test_part_is_said_to_be_so():
    final = FinalFit("bad", {}, 0, FitFacts(1.0, None, None, None), "d")
    models = validated(good=0.5, equal=0.4, bad=0.1)
    named = report(models=models, final=final)
    assert reading(models=models, final=final)[:2] == (
        "bad was chosen by name, as export.model.",
        "good is the best by its ndcg@10 on the validation part, the highest (0.5000).",
    )
    assert [row[0].note for row in leaderboard(named).rows] == ["", "", "chosen"]
    exported = Exported("codes of test images", "codes", {}, "bad")  # without a final fit, as image models have none
    assert [row[0].note for row in leaderboard(report(models=models, exported=exported)).rows] == ["", "", "chosen"]
    assert reading(best=Best("good", "ndcg@10", "test"))[0].startswith(
        "good was chosen by ndcg@10: there is no validation part, so the best model is chosen on the test part, where"
    )


def test_validation_values_are_explained_once():
    page = run_content(report(), look(), RunFiles(""))
    notes = next(section for section in page.sections if section.id == "training").blocks[0]
    assert isinstance(notes, Notes)
    assert notes.lines[0].startswith("Validation values (ndcg@100) are measured")
    assert notes.lines[0].endswith("They choose the epoch; models are compared by ndcg@10.")


def test_the_message_suits_a_single_model_and_popularity():
    alone = {"good": replace(report().models["good"], model="popularity")}
    page = run_content(report(models=alone, findings=[]), CloserLook(), RunFiles(""))
    assert "".join(text for text, _ in page.message) == (
        "good is the only model, measured by ndcg@10 on validation data; on test data it is 0.3100."
    )


def test_models_that_are_slower_and_worse_are_named():
    models = report().models
    models["good"] = replace(models["good"], fit_seconds=0.5)
    models["bad"] = replace(models["bad"], fit_seconds=0.5)
    said = charts(models=models, findings=[])
    assert said["ndcg@10 against seconds to fit"] == "Slower and worse in ndcg@10 than another model: equal."


def test_short_fits_keep_their_digits():
    models = report().models
    for label, seconds in zip(models, (0.00072, 0.25, 1234.56), strict=True):
        models[label] = replace(models[label], fit_seconds=seconds)
    page = run_content(report(models=models, findings=[]), CloserLook(), RunFiles(""))
    assert [row[3].text for row in leaderboard(report(models=models)).rows] == ["0.00072", "0.25", "1234.6"]
    every = [chart for one in page.sections for block in one.blocks if block.kind == "charts" for chart in block.charts]
    (chart,) = (one for one in every if one.title == "ndcg@10 against seconds to fit")
    assert [row[1].text for row in chart.table.rows] == ["0.00072", "0.25", "1234.6"]
    assert next(point["label"] for point in chart.spec["data"]["values"]) == "good: 0.00072, 0.3100"


def test_popularity_is_not_compared_with_itself():
    models = report().models
    models["bad"] = replace(models["bad"], model="popularity", metrics={"rmse": None, "ndcg@10": 0.2})
    page = run_content(report(models=models), CloserLook(), RunFiles(""))
    found = [block for block in page.sections[0].blocks if isinstance(block, Charts)]
    lift = next(chart for chart in found[0].charts if chart.title == "Lift over popularity")
    assert lift.message == "All 2 other models are above popularity by ndcg@10, good the furthest (+55%)."
    assert [record["model"] for record in lift.spec["data"]["values"]] == ["good", "equal"]
    assert [row[0].text for row in lift.table.rows] == ["good", "equal"]
    worse = {label: replace(models[label], metrics={"rmse": 1.0, "ndcg@10": 0.15}) for label in ("good", "equal")}
    said = charts(models={**models, **worse}, findings=[])
    assert said["Lift over popularity"] == "No other model is above popularity by ndcg@10; good and equal come closest (-25%)."
    assert "Lift over popularity" not in charts(
        models={"bad": models["bad"]}, findings=[], best=Best("bad", "ndcg@10", "valid")
    )


def test_what_is_unknown_is_left_out():
    alone = report(findings=[], baselines={}, best=None, origin=None)
    page = run_content(alone, CloserLook(), RunFiles(""))
    assert "".join(text for text, _ in page.message) == "3 models compared; good has the lowest rmse on test data, 0.9000."
    titles = [section.title for section in page.sections]
    assert titles == [
        "Results",
        "Accuracy and the rest",
        "Groups of users and items",
        "Training",
        "The data",
        "How this was made",
    ]
    none = report(best=Best(None, "ndcg@10", "test"))
    assert run_content(none, CloserLook(), RunFiles("")).message[0][0] == "No model has a value of ndcg@10"
