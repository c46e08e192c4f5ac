"""Files about how the project is worked on agree with each other and with the package."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

import recsys_ae

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def read(path: str):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_citation_is_complete_and_of_this_version():
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "license", "version"} <= set(citation)
    assert citation["version"] == recsys_ae.__version__
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert citation["license"] == setup["metadata"]["license_expression"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_commits(path):
    used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v[\d.]+", comment), action
    assert read(f".github/workflows/{path.name}")["permissions"] == {"contents": "read"}


def test_sessions_of_ci_exist():
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE))
    matrix = read(".github/workflows/ci.yml")["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert {entry["session"].partition("-")[0] for entry in matrix} <= sessions


def test_hooks_are_programs_of_make_check():
    entries = [hook["entry"] for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {".venv/bin/ruff check --fix", ".venv/bin/ruff format", ".venv/bin/mypy"} <= set(entries)


def test_issue_forms_have_what_is_required():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form), path.name
        assert all({"type", "id", "attributes"} <= set(field) for field in form["body"]), path.name
