"""What a run shows in the tracker, on a tracker that keeps everything in memory."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from recsys_ae.experiment.callbacks import LogLosses
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.reporting import markdown
from recsys_ae.reporting.markdown import LONGEST, description
from recsys_ae.surroundings import command
from recsys_ae.tracking import TrackedRun, Tracker

PIPELINE = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 120, "items": 60, "ratings": 1400, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [{"name": "popularity"}, {"name": "autorec", "hidden": 4, "epochs": 2, "patience": 0}, {"name": "ease"}],
    "metrics": ["ndcg@5", "recall@10"],
    "seed": [0, 1],
    "refit": True,
}


class Kept(TrackedRun):
    """A run that keeps what is recorded."""

    def __init__(self, name):
        self.id = name
        self.found: dict[str, dict] = {"params": {}, "tags": {}, "metrics": {}}
        self.curves: set[str] = set()
        self.parts: list[str] = []
        self.columns: list[str] = []

    def params(self, values):
        self.found["params"] |= values

    def tags(self, values):
        self.found["tags"] |= values

    def metrics(self, values):
        self.found["metrics"] |= values

    def history(self, name, values):
        self.curves.add(name)

    def view(self, name, columns):
        self.columns = columns

    def dataset(self, name, digest, part, profile, kind="interactions"):
        self.parts.append(part)


class Memory(Tracker):
    def __init__(self):
        self.runs: dict[str, Kept] = {}

    @contextmanager
    def run(self, name, **_):
        self.runs[name] = Kept(name)
        yield self.runs[name]

    def run_of(self, run_id):
        return self.runs[run_id]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The report of a run, and its tracked runs."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    tracker = Memory()
    return run_pipeline(read_pipeline(str(folder / "mine.yaml")), folder / "out", tracker, Console(quiet=True)), tracker.runs


def test_the_page_of_a_run_has_the_protocol_and_the_winner(ran):
    report, runs = ran
    page = runs["mine"].found
    assert page["params"].items() >= {"dataset": "small", "seeds": [0, 1], "split.test": 0.2, "protocol.predict": "all"}.items()
    assert page["tags"]["protocol_digest"] == report.data[0].protocol.digest
    winner = page["tags"]["winner"]
    model = report.models[winner]
    worst = min(report.models.values(), key=lambda one: one.valid_metrics["ndcg@5"])
    assert model.valid_metrics["ndcg@5"] > worst.valid_metrics["ndcg@5"]
    assert page["tags"]["winner_by"] == "ndcg@5 on validation data"
    for name in report.metrics:
        (found,) = (one for one in report.findings if one.metric == name)
        low, high = found.findings.intervals[found.models.index(winner)]
        expected = {name: model.metrics[name], f"deviation/{name}": model.deviations[name]}
        ends = {f"interval/{name}_low": low, f"interval/{name}_high": high}
        assert page["metrics"].items() >= {**expected, **ends}.items()


def test_the_description_is_a_table_of_all_models_with_the_winner_first(ran):
    report, runs = ran
    lines = runs["mine"].found["tags"]["mlflow.note.content"].splitlines()
    assert lines[0] == f"best by ndcg@5 on validation data: **{runs['mine'].found['tags']['winner']}**"
    assert lines[2:4] == ["| model | &nbsp;&nbsp;ndcg@5 | &nbsp;&nbsp;recall@10 |", "| --- | ---: | ---: |"]
    assert [line.split(" | ")[0] for line in lines[4:7]] == ["| popularity", "| autorec", "| ease"]
    assert f"{report.models['ease'].metrics['ndcg@5']:.4f} ±" in lines[6]
    assert any(line.startswith("- models that share a letter cannot be told apart") for line in lines)


def test_the_list_of_runs_shows_the_winner_and_the_metrics(ran):
    _, runs = ran
    assert runs["mine"].columns == ["tags.winner", "metrics.ndcg@5", "metrics.recall@10", "metrics.fit/seconds"]


def test_a_description_shows_names_as_text(ran):
    report, _ = ran
    hostile = "<img src=x onerror=alert(1)> *x*|y_"
    text = description(replace(report, dataset=hostile), _best(report))
    assert r"&lt;img src=x onerror=alert(1)> \*x\*\|y\_" in text
    assert hostile not in text


def test_a_description_of_many_models_fits(ran, monkeypatch):
    report, _ = ran
    drafts = []
    monkeypatch.setattr(markdown, "_parts", lambda *given, parts=markdown._parts: drafts.append(given) or parts(*given))
    many = {f"model-{number}": report.models["ease"] for number in range(1000)}
    given = type(report)(**{**vars(report), "models": many, "findings": []}), report.best or _best(report)
    text = description(*given)
    assert len(text) <= LONGEST
    assert "more models are in report.csv" in text
    assert len(drafts) < 20  # not one per model
    shown = text.count("| model-")
    assert 1 < shown < 1000
    assert len("\n\n".join(markdown._parts(*given, shown + 1))) > LONGEST


def _best(report):
    from recsys_ae.experiment.summary import choose

    return choose(report.models, "ndcg@5", lower_is_better=False)


def test_the_run_of_a_model_says_what_it_is(ran):
    report, runs = ran
    one = runs["autorec-seed-1"]
    result = report.models["autorec"].runs[1]
    assert one.found["tags"].items() >= {"model_digest": result.digest, "trained_on": "train+valid"}.items()
    assert one.found["metrics"].items() >= {"fit/best_epoch": result.best_epoch, "ndcg@5": result.metrics["ndcg@5"]}.items()
    assert one.parts == ["train", "valid", "test"]
    assert one.curves == {"by_epoch/train_loss", "by_epoch/valid_rmse", "by_epoch/refit_train_loss"}
    for label in report.models:
        below = ", ".join(report.below(label)) or "in no metric"
        assert {runs[f"{label}-seed-{seed}"].found["tags"]["below_popularity"] for seed in (0, 1)} == {below}
    assert runs["popularity-seed-0"].found["tags"]["below_popularity"] == "in no metric"


def test_a_curve_is_named_for_what_it_is():
    values: dict[str, dict] = {}
    run = TrackedRun()
    run.history = lambda name, found: values.update({name: found})
    LogLosses(run, "valid_1_minus_ndcg_100", prefix="refit_").repeat({"": [(3.0, 0.75), (2.0, 0.5)]})
    assert values == {
        "by_epoch/refit_train_loss": {1: 3.0, 2: 2.0},
        "by_epoch/refit_valid_ndcg_at_100": {1: 0.25, 2: 0.5},
    }


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("https://me:secret@host/x", "https://***@host/x"),
        ("postgresql://host/x?password=secret", "'postgresql://host/x?***'"),
        ("dataset.token=two words", "dataset.token=***"),
        ("s3_secret_key=secret", "s3_secret_key=***"),
        ("models.mf.factors=32", "models.mf.factors=32"),
        (str(Path("/data/my runs")), "'/data/my runs'"),
    ],
)
def test_a_command_is_recorded_without_secrets(argument, shown):
    assert command(["/bin/recsys-ae", "run", argument]) == f"recsys-ae run {shown}"
    assert command(["/bin/recsys-ae", "run", "--password", argument]) == "recsys-ae run --password ***"
