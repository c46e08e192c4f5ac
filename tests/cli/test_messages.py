"""What the command line says: mistakes in one sentence, listings and help."""

import logging
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_run import PIPELINE, run

import recsys_ae
from recsys_ae.cli import _interrupt_again, _terminate
from recsys_ae.cli.options import print_table
from recsys_ae.errors import Terminated
from recsys_ae.exits import LogLine, Once
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.models import MODELS
from recsys_ae.models.baselines import Popularity

LOG = {"name": "shop", "kind": "ratings", "files": [{"path": "log.csv", "columns": {"user": "u", "item": "i"}}]}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "mine.yaml", "--set", "metrics=[ndgc@5]"], 2, "did you mean 'ndcg'"),
        (["run", "mine.yaml", "--set", "models.mf.factor=3"], 2, "unknown key 'factor'; did you mean 'factors'"),
        (["evaluate", "absent", "--truth", "mine.yaml"], 1, "there is no file or folder absent with recommendations"),
        (["promote", "."], 2, ". is a folder; promote takes the id of an MLflow run"),
        (["export", "absent", "--history", "x.csv", "--output", "y"], 1, "there is no model absent"),
        (["schema", "foo"], 2, "'foo' is not one of 'pipeline', 'card'"),
        (["run", "mine.yml"], 2, "there is no pipeline file mine.yml; did you mean 'mine.yaml'?"),
    ],
)
def test_mistakes_get_one_sentence_and_the_right_code(call, folder, arguments, code, message):
    found, out, err = call(*arguments)
    assert found == code
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err
    assert sorted(path.name for path in folder.iterdir()) == ["mine.yaml"]


@pytest.mark.parametrize("arguments", [["--debug", "run", "absent.yaml"], ["run", "absent.yaml", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(call, folder, arguments):
    code, _, err = call(*arguments)
    assert code == 2
    assert "Traceback" in err
    assert "there is no pipeline file" in err.splitlines()[-1]


def test_without_arguments_there_is_help(call):
    code, out, _ = call()
    assert code == 0
    assert len(out.splitlines()) > 10


def test_listings(call):
    assert "ml-100k" in call("datasets")[1]
    assert "kind: planted-ratings" in call("datasets", "show", "planted-ratings")[1]
    assert "1438 + 359 images of 8 x 8" in call("datasets", "fetch", "digits")[1]
    assert "autorec" in call("models")[1]
    assert "learning_rate" in call("models", "autorec")[1]


@pytest.mark.parametrize(("level", "line"), [(20, "3 left"), (30, "warning: 3 left"), (40, "error: 3 left")])
def test_messages_begin_with_the_level_of_warnings_and_errors(level, line):
    assert LogLine().format(logging.LogRecord("recsys_ae", level, "", 0, "%d left", (3,), None)) == line


def test_only_a_warning_is_given_once_and_one_that_cannot_be_formatted_does_no_harm():
    def record(level: int, *arguments: object) -> logging.LogRecord:
        return logging.LogRecord("recsys_ae", level, "", 0, "%d left", arguments, None)

    given = [record(logging.INFO, 3), record(logging.WARNING, 3), record(logging.WARNING, 3), record(logging.WARNING, 4)]
    once = Once()
    assert [once.filter(one) for one in [*given, *given]] == [True, True, False, True, True, False, False, False]
    assert once.filter(record(logging.WARNING, "three", "too many"))
    progress = [record(logging.INFO, 6), record(logging.INFO, 6)]
    for one in progress:
        one.once = True
    assert [once.filter(one) for one in progress] == [True, False]
    said = record(logging.WARNING, 5)
    said.by_command = True
    assert not once.filter(said)


def test_version_imports_none_of_the_large_libraries(run_alone):
    assert run_alone("--version") == (0, f"recsys-ae {recsys_ae.__version__}\n", "", set())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exprt": {"k": 3}}, "unknown key 'exprt'; did you mean 'export'?"),
        ({"split": {"kind": "randm"}}, "unknown split 'randm'; did you mean 'random'?"),
        ({"metrics": ["ndgc@5"]}, "did you mean 'ndcg'"),
        ({"dataset": {**PIPELINE["dataset"], "user": 3}}, "unknown key 'user'; did you mean 'users'?"),
        (
            {"dataset": LOG, "models": [{"name": "popularity"}], "metrics": ["ndcg@5"]},
            "there is no column 'i'; known are: t, u",
        ),
        ({}, "taken is not empty (something); choose another --output"),
    ],
)
def test_a_mistake_that_needs_no_model_is_reported_without_importing_any(run_alone, folder, change, message):
    """That would take seconds."""
    (folder / "mine.yaml").write_text(yaml.safe_dump({**PIPELINE, **change}))
    (folder / "log.csv").write_text("u,t\n1,2\n")
    (folder / "taken").mkdir()
    (folder / "taken/something").touch()
    code, _, err, imported = run_alone("run", "mine.yaml", "--output", "out" if change else "taken")
    assert code == (1 if "column" in message or not change else 2)
    assert message in err
    assert imported <= {"pandas"}


def test_listing_models_imports_none_of_them(run_alone):
    code, out, err, imported = run_alone("models")
    assert (code, err, imported) == (0, "", set())
    described = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in out.splitlines() if "│" in line}
    assert described["popularity"] == (Popularity.__doc__ or "").split("\n")[0]
    assert all(described.values())
    assert {*MODELS, *IMAGE_MODELS} <= set(described)


def test_titles_and_tables_are_printed_as_they_are(call, folder, capsys):
    """Not as the markup or emoji that their text would be."""
    (folder / "card.yaml").write_text(yaml.safe_dump({**PIPELINE["dataset"], "title": "[red]x[/red] [/] :smile:"}))
    code, out, _ = call("datasets", "show", "card.yaml")
    assert (code, "[red]x[/red] [/] :smile:" in out) == (0, True)
    print_table("[red]a[/red]", rows=[["[/] :smile:"]])
    printed = capsys.readouterr().out
    assert "[red]a[/red]" in printed
    assert "[/] :smile:" in printed


def test_models_says_what_parameters_may_be(call):
    code, out, _ = call("models", "stacked")
    assert code == 0
    for text in ("reconstruction, classes, none", "integer >= 1", "lbfgs", "salt_and_pepper", "passes over the rows"):
        assert text in out
    assert "number >= 0 and < 1" in call("models", "elsa")[1]
    assert "batch_size" in out
    _, out, _ = call("models", "als")  # all of its parameters are explained in its own docstring
    assert "Attributes:\n    factors: K." in out
    assert "Recommender:" not in out
    assert "TrainConfig:" not in out


@pytest.mark.parametrize(("raised", "handler"), [(KeyboardInterrupt, signal.default_int_handler), (Terminated, _terminate)])
def test_a_signal_during_a_destructor_is_not_lost(monkeypatch, raised, handler):
    class Dying:
        def __del__(self):
            raise raised

    number = signal.SIGTERM if raised is Terminated else signal.SIGINT
    before = signal.signal(number, handler)
    monkeypatch.setattr(sys, "unraisablehook", _interrupt_again)
    try:
        with pytest.raises(raised):  # noqa: PT012
            Dying()
            time.sleep(20)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (f"models.mf.factors={10**12}", "models.1.factors: whole numbers may be at most 2147483647"),
        ("models.mf.l2=.inf", "models.1.l2: numbers must be finite"),
        ("models.mf.l2=1e39", "l2: numbers must be finite"),
        ("models.mf.factors=2000000000", "MatrixFactorisation needs 2.88e+03 GB of memory"),
        ("models.mf.l2=1e30", "MatrixFactorisation: the loss is nan in epoch 1; "),
        (f"seed={2**64}", "seed: whole numbers may be at most 2147483647"),
        ("metrics=[ndcg@0]", "metric 'ndcg@0' needs a list length"),
        ("metrics=" + "[" * 3000, "nested more than 32 levels deep"),
        ("x" * 100_000, "--set needs key=value"),
        ("metrics=" + "x" * 100_000, "metrics"),
        ("models.mf.label='[red]x[/]'", "may have only letters, digits"),
        ("dataset.name='\x1b[31m'", "not a text file"),
    ],
)
def test_what_cannot_be_carried_out_is_one_short_sentence(folder, call, setting, message):
    code, out, err = run(call, "--set", setting)
    assert (code, out) == (1 if "loss is nan" in message else 2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("recsys-ae: ")]
    assert message in line
    assert len(line) < 450
    assert "unexpected" not in line


def test_names_are_printed_as_they_are(folder, call):
    """Not as the markup that they would be to Rich."""
    name = "[red]x[/] :smile: [/nonsense]"
    changed = {**PIPELINE, "dataset": {**PIPELINE["dataset"], "name": name}, "models": [{"name": "popularity"}]}
    (folder / "[bold]mine.yaml").write_text(yaml.safe_dump(changed))
    code, out, err = call("run", "[bold]mine.yaml", "--output", "[dim]out", "--tracking-uri", "none")
    assert (code, "unexpected" in err) == (0, False)
    assert f"{name}: 120 users" in out
    assert "results: [dim]out" in out


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            "{kind: time_cut, at: 2030-01-01}",
            "at: there is no event at or after 2030-01-01; the events range from 2024-01-01T00:00:00 to",
        ),
        (
            "{kind: time_cut, at: 1990-01-01}",
            "at: there is no event before 1990-01-01; the events range from 2024-01-01T00:00:00 to",
        ),
        ("{kind: time_cut, at: 2024-01-01}", "at: there is no event before 2024-01-01; the events range from"),
        ("{kind: time_cut, at: 31.12.2024}", "mine.yaml: split time_cut: at: expected a time as ISO 8601 text, such as"),
        ("{kind: leave_last, test: 5}", "the leave_last split has an empty test part (test: 5, valid: 0); hold out less,"),
        ("{kind: random, test: 0.01, seed: 3}", "the random split has an empty test part (test: 0.01); hold out more"),
        ("{kind: user_holdout, test: 0.01, valid: 0}", "(test: 0.01, fold_in: 0.8); hold out more"),
    ],
)
def test_a_split_that_leaves_a_part_empty(call, tmp_path, monkeypatch, split, message):
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("user_id,item_id,t\n1,2,2024-01-01\n2,3,2024-01-02\n1,3,2024-01-03\n")
    columns = "{user: user_id, item: item_id, time: t}"
    Path("mine.yaml").write_text(
        f"dataset: {{name: shop, kind: ratings, files: [{{path: log.csv, columns: {columns}}}]}}\n"
        f"split: {split}\nmodels: [{{name: popularity}}]\nmetrics: [ndcg@10]\n"
    )
    code, _, err = call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")
    assert code != 0
    assert message in err
    assert "{" not in err
