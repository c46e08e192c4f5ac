"""Checks in fresh environments: `nox -s tests-3.12`, `nox -s lowest`, `nox -s newest docs wheel`.

Tests on real data need `RECSYS_AE_DATA`.
"""

import configparser
import re

import nox

nox.options.sessions = ["tests", "lowest", "newest", "docs", "wheel"]
nox.options.default_venv_backend = "venv"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def lowest_requirements() -> list[str]:
    """The lowest declared version of each dependency, as in `numpy==2.0`."""
    declared = configparser.ConfigParser()
    declared.read("setup.cfg")
    return [re.sub(r">=", "==", line) for line in declared["options"]["install_requires"].split()]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The quick tests; others with arguments, as in `nox -s tests-3.12 -- tests/core`."""
    session.install("--editable", ".[test]")
    session.run("pytest", *(session.posargs or ["-m", "not slow"]))


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The quick tests with the lowest declared versions; their warnings about newer libraries are no errors."""
    session.install("--editable", ".[test]", *lowest_requirements())
    session.run("pytest", "-W", "default", *(session.posargs or ["-m", "not slow"]))


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """The quick tests with the newest versions, also of what the dependencies depend on."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "--editable", ".[test]")
    session.run("pytest", *(session.posargs or ["-m", "not slow"]))


@nox.session
def docs(session: nox.Session) -> None:
    """The site, with warnings as errors."""
    session.install(".[docs]")
    session.run("mkdocs", "build", "--strict", "--quiet")


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel and the source distribution, in `dist/`, and their tests."""
    session.install("--editable", ".[test]", "build", "twine")
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", "dist/*", external=False)
    session.run("pytest", "tests/test_wheel.py")


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines and branches the quick tests reach; compiled kernels are not measured."""
    session.install("--editable", ".[test]", "coverage")
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or ["-m", "not slow"]))
    session.run("coverage", "combine")
    session.run("coverage", "report")
