"""Every block of code in the README and in docs/ is run, or says why it is not (see `blocks`)."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from documents.blocks import KINDS, PAGES, ROOT, RUN, Block, blocks_of
from documents.world import names, write_files
from rich.console import Console

from recsys_ae.cli import app
from recsys_ae.core.losses import LOSSES
from recsys_ae.data.cards import Card
from recsys_ae.declaration import validate
from recsys_ae.evaluation.metrics import RANKING_METRICS
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.models import MODELS

BASE = {"dataset": "card.yaml", "split": {"kind": "per_user", "test": 0.2, "valid": 0.1}}
BASE |= {"models": [{"name": "ease"}, {"name": "elsa"}], "metrics": ["ndcg@10", "ndcg@100"]}
MARKS: dict[str, Any] = dict.fromkeys(("README", "nightly", "tracking", "tuning"), pytest.mark.slow)
MARKS["tutorial"] = (pytest.mark.slow, pytest.mark.data("ml-100k"))
CARD_BASE = {
    "name": "shop",
    "kind": "ratings",
    "files": [{"path": "log.csv", "columns": {"user": "user_id", "item": "item_id"}}],
}


def blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page)]


def test_every_block_is_run_or_says_why_not():
    for block in blocks():
        assert block.language in ("text", *RUN) or block.shown_only, f"{block.place}: nothing runs {block.language!r}"
        assert {kind for kind, _ in block.marks} <= set(KINDS), block.place
        assert all(len(reason.split()) > 1 for reason in block.marked("shown")), block.place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_is_fenced(page):
    fenced, before = False, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.startswith("```")
        assert fenced or before or not line.startswith("    "), f"{page.name}, line {number}: fence this block"
        before = line


def arguments_of(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def test_commands_that_are_only_shown_exist():
    """With their options, and with the files of this repository that they name."""
    root = typer.main.get_command(app)
    for block in (block for block in blocks() if block.language == "sh" and block.shown_only):
        for path in re.findall(r"(?<![\w/])(?:pipelines|benchmarks)/[\w.-]+", block.text):
            assert (ROOT / path).exists(), f"{block.place}: {path}"
        for command in re.findall(r"recsys-ae (.*)", re.sub(r"\\\n\s*", " ", block.text)):
            context, parser, words = root.make_context("recsys-ae", [], resilient_parsing=True), root, arguments_of(command)
            while hasattr(parser, "commands") and words:
                parser = parser.commands[words.pop(0)]
            known = {option for parameter in parser.get_params(context) for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known, f"{block.place}: {command}"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder with a log, two finished runs, and a store with a registered model."""
    from recsys_ae.experiment.runner import run_pipeline
    from recsys_ae.tracking import make_tracker

    folder = tmp_path_factory.mktemp("world")
    write_files(folder)
    uri, silent = f"sqlite:///{folder}/mlflow.db", Console(quiet=True)
    for output, settings in (("out", []), ("last-week", ["register=null", "export=null"])):
        pipeline = read_pipeline(str(folder / "shop.yaml"), settings)
        run_pipeline(pipeline, folder / output, make_tracker(uri, pipeline.experiment), silent)
    split = RatingTask(pipeline).data(0)
    split.test.to_frame().to_csv(folder / "truth.csv", index=False)
    split.history("test").to_frame().to_csv(folder / "history.csv", index=False)
    return folder


@pytest.fixture
def place(finished, tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of `finished`, which is the current folder."""
    import mlflow

    folder = tmp_path / "place"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    before = [(registry, dict(registry.places)) for registry in (MODELS, LOSSES, RANKING_METRICS)]
    yield folder
    for registry, places in before:  # a page adds to them
        registry.places.clear()
        registry.places.update(places)
    mlflow.set_tracking_uri(None)  # a block sets it, which also sets the variable
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def values(place) -> dict[str, str]:
    """Ids of runs in the store, for replacements."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, order_by=["attributes.start_time ASC"])
    by_name = {run.data.tags["mlflow.runName"]: run.info.run_id for run in reversed(runs)}
    whole = [run.info.run_id for run in runs if run.data.tags["mlflow.runName"] == "shop"]
    return {"$RUN": whole[0], "$LATER_RUN": whole[1], "$MODEL_RUN": by_name["ease"]}


def pages() -> list[Any]:
    """The pages with something to run."""
    kept = [page for page in PAGES if any(one.language in RUN and not one.shown_only for one in blocks_of(page))]
    return [pytest.param(page, id=page.stem, marks=MARKS.get(page.stem, ())) for page in kept]


@pytest.mark.parametrize("page", pages())
def test_page(page, place, values, call, monkeypatch):
    known: dict[str, Any] = {}
    for block in blocks_of(page):
        if block.shown_only or block.language not in RUN:
            continue
        text = block.to_run(values)
        if block.file:
            (place / block.file).parent.mkdir(parents=True, exist_ok=True)
            (place / block.file).write_text(text, encoding="utf-8")
        if block.language == "sh":
            run_commands(block, text, call, monkeypatch)
        elif block.language == "yaml":
            check_yaml(block, text, place)
        elif not block.file:
            wanted = [name for mark in block.marked("given") for name in re.findall(r"\w+", mark)]
            given = names(place) if wanted else {}
            known |= {name: given[name] for name in wanted}
            exec(compile(text, block.place, "exec"), known)


def run_commands(block: Block, text: str, call, monkeypatch) -> None:
    for command in block.commands(text):
        words = arguments_of(command)
        if words[0] == "export":
            for name, _, value in (word.partition("=") for word in words[1:]):
                monkeypatch.setenv(name, value)
            continue
        assert words[0] == "recsys-ae", f"{block.place}: mark this as shown or skipped: {command}"
        code, _, error = call(*words[1:])
        assert code == 0, f"{block.place}: {command}\n{error}"


def check_yaml(block: Block, text: str, place: Path) -> None:
    """A pipeline or card is read; a part of one is read as part of a small one."""
    content = yaml.safe_load(text)
    if {"name", "kind"} <= set(content) or {"sources", "splits", "features"} & set(content):
        validate(Card, {**CARD_BASE, **content}, block.place)
        return
    path = place / (block.file or "part.yaml")
    searched = {"search": {"sampler": "tpe"}} if "{low: " in text else {}  # ranges are for recsys-ae tune
    path.write_text(yaml.safe_dump({**BASE, **searched, **content}), encoding="utf-8")
    read_pipeline(str(path))
    path.write_text(text, encoding="utf-8")
