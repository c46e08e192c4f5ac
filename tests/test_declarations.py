"""The declared datasets and pipelines, the packaging and the README are correct."""

import configparser
import re
from pathlib import Path

import pytest
import typer
import yaml

from recsys_ae.cli import app
from recsys_ae.data.cards import declared_folder, shipped_cards
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.registry import Registry

ROOT = Path(__file__).parent.parent
PIPELINES = sorted(declared_folder("pipelines").glob("*.yaml"))


def registries() -> list[Registry]:
    from recsys_ae.core.autoencoder import ACTIVATIONS, INITIALISERS
    from recsys_ae.core.corruption import CORRUPTIONS
    from recsys_ae.core.losses import LOSSES
    from recsys_ae.core.optimisers import OPTIMISERS
    from recsys_ae.evaluation.metrics import RANKING_METRICS, RATING_METRICS
    from recsys_ae.images import IMAGE_MODELS
    from recsys_ae.images.metrics import IMAGE_METRICS
    from recsys_ae.models import MODELS
    from recsys_ae.splitting import SPLITS

    core = [ACTIVATIONS, INITIALISERS, CORRUPTIONS, LOSSES, OPTIMISERS]
    return [*core, RANKING_METRICS, RATING_METRICS, MODELS, SPLITS, IMAGE_MODELS, IMAGE_METRICS]


@pytest.mark.parametrize("registry", registries(), ids=lambda registry: registry.kind)
def test_every_registered_name_leads_to_code(registry):
    for name in registry:
        assert callable(registry.get(name))


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_pipelines_are_valid_and_short(path):
    assert read_pipeline(str(path)).models
    assert len(path.read_text().splitlines()) < 30


def test_declared_folders_hold_no_python():
    for folder in ("datasets", "pipelines"):
        assert not list(declared_folder(folder).rglob("*.py"))
    assert {"ml-100k", "ml-1m", "ml-10m", "ml-20m", "mnist", "planted-ratings", "digits"} <= set(shipped_cards())


def test_no_package_is_forgotten_in_setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    present = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "recsys_ae").rglob("__init__.py")}
    assert listed == present | {"recsys_ae.declared.datasets", "recsys_ae.declared.pipelines"}


def test_readme_commands_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:^|`)recsys-ae ([a-z]+)", readme, re.MULTILINE))
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    assert commands
    assert commands <= known
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= set(re.findall(r"make ([a-z]+)", readme)) <= targets


def test_documents_link_to_files_that_exist():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_entry_points_of_the_mlflow_project_are_commands():
    entries = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    commands = typer.main.get_command(app).commands
    assert {"run", "tune", "promote", "evaluate", "export"} <= set(entries)
    for entry in entries.values():
        program, command, *rest = entry["command"].split()
        assert program == "recsys-ae"
        known = {option for parameter in commands[command].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known
        assert set(re.findall(r"{(\w+)}", entry["command"])) == set(entry["parameters"])
