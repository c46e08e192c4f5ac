"""The distributions hold everything, and the wheel runs outside the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("recsys_ae", "datasets", "pipelines", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
MADE = ("__pycache__", "*.egg-info", "build", ".*_cache")
pytestmark = pytest.mark.slow


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a distribution as a front end does, but in this environment, which has what it takes."""
    target.mkdir()
    subprocess.run([sys.executable, "-c", BUILD.format(kind=kind), target], cwd=source, check=True, capture_output=True)
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the sources, because building leaves files behind."""
    folder = tmp_path_factory.mktemp("source") / "recsys-ae"
    folder.mkdir()
    for name in SOURCES:
        path = ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, folder / name, **({"ignore": shutil.ignore_patterns(*MADE)} if path.is_dir() else {}))
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel") / "dist")


def content(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_file(source, wheel):
    package = {path.relative_to(source).as_posix() for path in (source / "recsys_ae").rglob("*") if path.is_file()}
    declared = {
        f"recsys_ae/declared/{folder}/{path.name}"
        for folder in ("datasets", "pipelines")
        for path in (source / folder).glob("*.yaml")
    }
    assert len(declared) > 30
    assert content(wheel) == package | declared


def test_the_source_distribution_makes_the_same_wheel(source, wheel, tmp_path):
    archive = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert content(build("wheel", unpacked, tmp_path / "dist")) == content(wheel)


def test_the_wheel_runs_outside_the_checkout(wheel, tmp_path):
    """Installed alone in an environment of its own, which borrows the dependencies of this one."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *options, wheel], check=True, cwd=tmp_path)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def run(program: str, *arguments: str) -> str:
        command = [str(tmp_path / "env/bin" / program), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=clean, check=True, capture_output=True, text=True).stdout

    assert str(packages) in run("python", "-c", "import recsys_ae; print(recsys_ae.__file__)")
    assert "autorec" in run("recsys-ae", "models")
    assert "ml-100k" in run("recsys-ae", "datasets")
    read = "from recsys_ae.experiment.pipeline_file import read_pipeline; print(read_pipeline('demo').card.name)"
    assert "planted-ratings" in run("python", "-c", read)
