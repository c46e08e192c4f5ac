"""The arrows of docs/architecture.md: which part of the package may import which. Read from the source, not from memory."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recsys_ae

ROOT = Path(recsys_ae.__file__).parent
LEAVES = {"errors", "registry", "files", "declaration"}
ALLOWED = {
    "errors": set(),
    "registry": {"errors"},
    "files": {"errors"},
    "declaration": {"errors"},
    "interactions": {"errors"},
    "splitting": {"interactions", "errors", "registry"},
    "core": {"errors", "registry", "files"},
    "data": {"interactions", *LEAVES},
    "models": {"core", "interactions", *LEAVES},
    "images": {"core", *LEAVES},
    "evaluation": {"models", "interactions", *LEAVES},
    "export": {"models", "interactions", *LEAVES},
    "tracking": {"errors"},
    "reporting": {"errors", "files"},
}
ALLOWED["experiment"] = {*ALLOWED}
ALLOWED["cli"] = {*ALLOWED}
OUTSIDE = {
    "core": {"torch", "safetensors", "numba", "numpy", "scipy"},
    "tracking": {"mlflow", "filelock"},
    "evaluation": {"numpy", "pandas", "scipy"},
}


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" if node.module == "recsys_ae" else str(node.module) for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path):
    own = {name.split(".")[1] for name in imports(path) if name.startswith("recsys_ae.")} - {room(path), "__version__"}
    assert own <= ALLOWED[room(path)]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_use_the_libraries_they_are_for(path):
    if room(path) in OUTSIDE:
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"recsys_ae"}
        assert outside <= OUTSIDE[room(path)]


def test_what_is_imported_is_installed():
    """Whoever has installed the package can use all of it; tests have more, so nothing else would show what is missing."""
    options = configparser.ConfigParser()
    options.read(ROOT.parent / "setup.cfg")
    required = {re.split(r"[><=]", line)[0] for line in options["options"]["install_requires"].split()}
    installed_as = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
    used = {name.split(".")[0] for path in modules() for name in imports(path)}
    assert {installed_as.get(name, name) for name in used - set(sys.stdlib_module_names) - {"recsys_ae"}} <= required


def test_the_arrows_have_no_circle():
    order: list[str] = []
    while len(order) < len(ALLOWED):
        ready = [name for name, below in ALLOWED.items() if name not in order and below <= set(order)]
        assert ready
        order += ready


def names_in(tree: ast.AST) -> set[str]:
    """Variables, arguments, attributes, keywords, functions and classes."""
    fields = {
        ast.Name: "id",
        ast.arg: "arg",
        ast.Attribute: "attr",
        ast.keyword: "arg",
        ast.FunctionDef: "name",
        ast.ClassDef: "name",
    }
    found = {getattr(node, fields[type(node)]) for node in ast.walk(tree) if type(node) in fields}
    return {name for name in found if name}


def test_core_never_says_user():
    for path in (ROOT / "core").rglob("*.py"):
        own = names_in(ast.parse(path.read_text())) - {"items", "__getitem__"}  # Python's own
        assert not {name for name in own if "user" in name.lower() or "item" in name.lower()}, path


def test_names_of_every_kind_are_seen():
    source = "class user_a:\n def user_b(self, user_c): self.user_d = f(user_e=user_f)"
    assert {f"user_{letter}" for letter in "abcdef"} <= names_in(ast.parse(source))


@pytest.mark.parametrize("statement", ["import recsys_ae", "import recsys_ae.cli"])
def test_importing_loads_nothing_heavy(statement):
    script = f"{statement}; import sys; print(*sorted({{'torch', 'mlflow', 'pandas', 'scipy', 'pyarrow'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_public_name_exists():
    assert set(recsys_ae.__all__) == set(recsys_ae._PLACES)
    for name in recsys_ae.__all__:
        assert getattr(recsys_ae, name).__doc__
