"""Pages as HTML: texts stay texts, and the same content is the same page."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from html_pages import HOSTILE, SCRIPT, Parsed
from hypothesis import given, settings, strategies as st
from three_models import look, report

from recsys_ae.evaluation.uncertainty.findings import MetricFindings
from recsys_ae.evaluation.uncertainty.statistics import Findings
from recsys_ae.experiment.summary import summarise
from recsys_ae.reporting.comparison import ModelComparison, write_comparison
from recsys_ae.reporting.html import drawing
from recsys_ae.reporting.html.blocks import Facts, Grid, Notes, Page, Raw, Section, name
from recsys_ae.reporting.html.charts import bars, intervals, lines, scatter
from recsys_ae.reporting.html.comparison import comparison_page
from recsys_ae.reporting.html.facts import CloserLook, RunFiles
from recsys_ae.reporting.html.render import as_json, rendered, run_page
from recsys_ae.reporting.results import FitFacts, RunResult

pytestmark = pytest.mark.charts
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20) | st.sampled_from([HOSTILE, SCRIPT])


def test_a_model_without_values_is_shown():
    empty = summarise(
        {0: RunResult("ease", {}, {"rmse": None, "ndcg@10": None}, None, {}, FitFacts(1, None, None, None), None, "")}
    )
    page = run_page(report(models={**report().models, "bad": empty}, findings=[], baselines={}), CloserLook(), RunFiles(""))
    assert Parsed.of(page).texts.count("-") >= 2


def test_the_same_content_is_the_same_page():
    pages = {run_page(report(), look(), RunFiles("a: 1")) for _ in range(2)}
    assert len(pages) == 1


def test_a_page_loads_nothing():
    page = run_page(report(), look(), RunFiles("see https://example.org"))
    Parsed.of(page).check_safe()
    assert set(re.findall(r"https?://[\w./-]+", page)) == {"https://example.org"}  # a text
    policy = next(one["content"] for one in Parsed.of(page).tagged("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


@settings(max_examples=4)
@given(st.lists(TEXTS, min_size=5, max_size=5, unique=True))
def test_no_text_is_markup(texts):
    labels = tuple(texts[:3])
    hostile = report(labels, dataset=texts[3], pipeline=texts[4], versions={texts[3]: texts[4]})
    page = run_page(hostile, look(labels), RunFiles(texts[3]))
    parsed = Parsed.of(page)
    parsed.check_safe()
    shown = "".join(parsed.texts)
    for text in texts:
        assert re.sub(r"\s+", " ", text) in re.sub(r"\s+", " ", shown)


def test_hostile_texts_are_shown_in_each_kind_of_block():
    raw = [
        Raw(HOSTILE, SCRIPT),
        Notes([HOSTILE], HOSTILE),
        Facts([(HOSTILE, SCRIPT)]),
        Grid(HOSTILE, [HOSTILE], [[name(SCRIPT)]]),
    ]
    page = rendered(Page(SCRIPT, HOSTILE, [(HOSTILE, True)], Facts([]), [Section("one", HOSTILE, raw)]))
    parsed = Parsed.of(page)
    parsed.check_safe()
    assert parsed.texts.count(HOSTILE) >= 7
    assert parsed.texts.count(SCRIPT) >= 3
    assert not parsed.tagged("img")


def test_json_is_no_markup_and_says_the_same():
    value = {"a<b": [HOSTILE, SCRIPT, "&amp;", "\u2028\u2029", 'quotes " and \\ too', 0.5, None]}
    text = str(as_json(value))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_charts_are_text_without_markup():
    models = [HOSTILE, SCRIPT]
    points = [
        {"model": model, "value": 1.0 + at, "low": 0.5, "high": 2.5, "x": 1 + at, "y": at, "label": model}
        for at, model in enumerate(models)
    ]
    specs = [intervals(points, models, HOSTILE, 1.0), bars(points, models, HOSTILE), lines(points, models, HOSTILE)]
    for svg in drawing.drawn([*specs, scatter(points, models, HOSTILE)]):
        assert svg is not None
        parsed = Parsed.of(svg)
        assert {tag for tag, _ in parsed.elements} <= {"svg", "g", "path", "line", "text", "rect", "tspan"}
        assert not any(name.startswith("on") or name == "id" for _, attributes in parsed.elements for name in attributes)
        assert any(HOSTILE[:12] in text for text in parsed.texts)


def test_names_of_a_scatter_plot_do_not_overlap():
    points = [{"model": f"model {at}", "x": 1.0, "y": 1.0 + at / 1000, "label": ""} for at in range(5)]
    points.append({"model": "far", "x": 9.0, "y": 9.0, "label": ""})
    (svg,) = drawing.drawn([scatter(points, [one["model"] for one in points], "x")])
    assert svg is not None
    assert 1 <= sum("model" in text for text in Parsed.of(svg).texts) <= 2


def test_long_names_are_shortened_and_stay_distinct():
    models = ["a" * 17 + "🙂" * 9, "a" * 40, "a" * 41, "b"]
    points = [{"model": model, "value": 1.0, "label": model} for model in models]
    (svg,) = drawing.drawn([bars(points, models, "x")])
    assert svg is not None
    shown = [text for text in Parsed.of(svg).texts if text[0] in "ab"]
    assert shown == ["a" * 17 + "…", "aaaaaaaaaaaaa… 2", "aaaaaaaaaaaaa… 3", "b"]


@pytest.mark.parametrize("command", ["import os; os.abort()", "raise SystemExit(3)", "print('half a line')"])
def test_a_process_that_dies_leaves_the_tables(command, monkeypatch, caplog):
    """And one of a JavaScript engine may die of anything."""
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **how: run([sys.executable, "-c", command], **how))
    page = run_page(report(), look(), RunFiles(""))
    assert "charts cannot be drawn, and are only tables" in caplog.text
    assert "Best by ndcg@10 in each group" in page


def test_a_chart_that_cannot_be_drawn_does_not_spoil_the_others(caplog):
    good = bars([{"model": "a", "value": 1.0, "label": ""}], ["a"], "x")
    first, second = drawing.drawn([{"mark": "nonsense"}, good])
    assert first is None
    assert second is not None
    assert "1 of 2 charts cannot be drawn" in caplog.text


def comparison(models: list[str]) -> ModelComparison:
    found = Findings(50, [0.31, 0.30], [(0.29, 0.33), (0.285, 0.315)], [], ["a", "a"], [0, 1], 0.05, 0.95, 0.8)
    one = MetricFindings("ndcg@10", models, {}, found)
    return ModelComparison(models, None, [], [], False, "ndcg@10", [one], None, {})


@pytest.mark.parametrize("models", [["a", "b"], [HOSTILE, SCRIPT]])
def test_a_comparison_is_a_page_too(models, tmp_path):
    page = comparison_page(replace(comparison(models), findings=[_with_pair(comparison(models).findings[0])]))
    parsed = Parsed.of(page)
    parsed.check_safe()
    assert f"{models[0]}, {models[1]}" in parsed.texts
    assert " are the best by ndcg@10 on 50 users, and cannot be told apart." in parsed.texts
    assert "0.3100" in [text.strip() for text in parsed.texts]
    assert f"{models[0]} - {models[1]}" in parsed.texts


def _with_pair(one: MetricFindings) -> MetricFindings:
    from recsys_ae.evaluation.uncertainty.statistics import Pair, PValue

    p = PValue(0.5, 0.5)
    pair = Pair(0, 1, 0.01, (-0.01, 0.03), p, p, p, False, 0.1, 0.5, 0.4, 0.02)
    return replace(one, findings=replace(one.findings, pairs=[pair]))


def test_a_comparison_is_written_by_the_ending_of_its_name(tmp_path: Path):
    found = replace(comparison(["a", "b"]), findings=[_with_pair(comparison(["a", "b"]).findings[0])])
    write_comparison(found, tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text() == comparison_page(found)
