"""The import rules of docs/architecture.md, checked against the source code."""

import ast
import configparser
import re
import subprocess
import symtable
import sys
from pathlib import Path

import pytest

import recsys_ae

ROOT = Path(recsys_ae.__file__).parent
LEAVES = {"errors", "registry", "digests", "files", "declaration", "space", "strict_yaml", "sorting"}
LOG = {"frames", "ids", "times", "events", "sequences", "interactions", "split", "next_events"}
ALLOWED = {
    "errors": set(),
    "registry": {"errors"},
    "digests": set(),
    "sorting": set(),
    "files": {"digests", "errors"},
    "folders": {"errors"},
    "exits": {"errors"},
    "forks": set(),
    "surroundings": set(),
    "limits": {"errors"},
    "escapes": set(),
    "declaration": {"errors"},
    "space": {"declaration", "errors"},
    "strict_yaml": {"errors"},
    "parquet": {"errors"},
    "ids": {"digests", "errors"},
    "times": {"frames", "errors"},
    "frames": {"ids", "errors"},
    "events": {"frames", "ids", "times", "sorting", "errors"},
    "features": {"frames", "ids", "digests", "errors"},
    "sequences": {"events", "ids", "errors"},
    "interactions": {"features", "frames", "events", "sequences", "ids", "times", "sorting", "digests", "errors"},
    "split": {"interactions", "frames", "events", "sequences", "times", "digests", "errors"},
    "next_events": {"split", "interactions", "events", "sequences", "ids", "errors"},
    "splitting": {*LOG, *LEAVES} - {"digests", "files"},
    "ranking": {"core", "errors"},
    "core": {"errors", "registry", "digests", "files", "folders", "forks"},
    "data": {"features", "folders", "parquet", *LOG, *LEAVES},
    "fitted": {"ids", "errors", "digests", "files", "parquet"},
    "models": {"core", "features", "limits", "ranking", "fitted", *LOG, *LEAVES},
    "images": {"core", "fitted", "limits", *LEAVES},
    "evaluation": {"features", "fitted", "models", "parquet", "ranking", *LOG, *LEAVES},
    "export": {"data", "evaluation", "features", "models", "parquet", "ranking", "serving", "surroundings", *LOG, *LEAVES},
    "tracking": {"digests", "errors", "escapes", "files", "surroundings"},
    "reporting": {"errors", "escapes", "files", "evaluation"},
}
ALLOWED["serving"] = {"models", "fitted", "parquet", *LOG, *LEAVES}
ALLOWED["experiment"] = {*ALLOWED}
ALLOWED["cli"] = {*ALLOWED}
ALLOWED["__main__"] = {"cli", "exits"}
OUTSIDE = {
    "core": {"torch", "safetensors", "numba", "llvmlite", "numpy", "scipy"},
    "tracking": {"mlflow", "sqlalchemy"},
    "evaluation": {"numpy", "pandas", "pyarrow", "scipy"},
}

CONFIGURATION = configparser.ConfigParser()
CONFIGURATION.read(ROOT.parent / "setup.cfg")
INSTALLED_AS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "pytrec_eval": "pytrec-eval-terrier"}
INSTALLED_AS |= {"pydantic_core": "pydantic-core", "vl_convert": "vl-convert-python"}
PROGRAMS = {"mypy", "pandas-stubs", "pytest-xdist", "ruff", "types-PyYAML"}  # run by make, or read by those that are
PROGRAMS |= {"coverage", "mkdocs-material", "mkdocstrings", "nox", "pre-commit"}
PROGRAMS |= {"marimo"}  # runs the notebooks of a test, in other processes
OPTIONAL = {"spark", "tables", "tune"}  # extras of what the package can do only with them
PROGRAMS |= {"psycopg2-binary", "setuptools"}  # loaded by the MLflow server of a test; builds the wheel of another
FILE_LINES, FUNCTION_LINES = 350, 60


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


def outside(path: Path) -> set[str]:
    """The third-party libraries that a module imports."""
    return {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"recsys_ae"}


def test_imports_point_down():
    for path in modules():
        own = {name.split(".")[1] for name in imports(path) if name.startswith("recsys_ae.")} - {room(path), "__version__"}
        assert own <= ALLOWED[room(path)], path


def test_only_the_intended_packages_use_a_library():
    for path in modules():
        assert room(path) not in OUTSIDE or outside(path) <= OUTSIDE[room(path)], path


def distributions(option: str) -> set[str]:
    """Distribution names in a list of requirements of setup.cfg."""
    return {re.split(r"[><=\[ ;]", line)[0] for line in option.split("\n") if line}


def test_what_is_imported_is_installed():
    """Installing the package, with the extra of what is optional, installs all that it imports. No other test would notice."""
    extras = (CONFIGURATION["options.extras_require"][extra] for extra in OPTIONAL)
    required = distributions(CONFIGURATION["options"]["install_requires"]).union(*map(distributions, extras))
    used = set().union(*map(outside, modules()))
    assert {INSTALLED_AS.get(name, name) for name in used} <= required


def test_every_extra_is_used():
    """By an import in the package or its tests, or as a program that make runs."""
    repository = ROOT.parent
    sources = [*modules(), *(repository / "tests").rglob("*.py")]
    used = {INSTALLED_AS.get(name, name) for path in sources for name in outside(path)} | PROGRAMS
    for extra, option in CONFIGURATION["options.extras_require"].items():
        assert distributions(option) <= used, extra


def test_no_file_and_no_function_is_long():
    """A function counts from its first decorator to its last line, docstring included."""
    long = {}
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > FILE_LINES:
            long[str(path.relative_to(ROOT))] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if (lines := node.end_lineno - start + 1) > FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{start} {node.name}"] = lines
    assert long == {}


def test_no_file_of_tests_is_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT.parent / "tests").rglob("*.py")}
    assert {path.name: lines for path, lines in lengths.items() if lines > FILE_LINES} == {}


def test_the_allowed_imports_have_no_cycle():
    order: list[str] = []
    while len(order) < len(ALLOWED):
        ready = [name for name, below in ALLOWED.items() if name not in order and below <= set(order)]
        assert ready
        order += ready


def names(tree: ast.AST) -> set[str]:
    """Every identifier: variables, arguments, keywords, attributes, functions, classes and imported names."""
    of_node = {
        ast.Name: "id",
        ast.arg: "arg",
        ast.keyword: "arg",
        ast.Attribute: "attr",
        ast.FunctionDef: "name",
        ast.ClassDef: "name",
        ast.alias: "name",
    }
    return {str(getattr(node, of_node[type(node)])) for node in ast.walk(tree) if type(node) in of_node}


def test_core_does_not_mention_users_or_items():
    """Except for the names that Python and PyTorch use."""
    for path in sorted((ROOT / "core").rglob("*.py")):
        said = names(ast.parse(path.read_text(encoding="utf-8"))) - {"item", "items", "__getitem__"}
        assert not {name for name in said if "user" in name.lower() or "item" in name.lower()}, path


def test_all_kinds_of_identifiers_are_found():
    source = "import a_user\ndef user_1(user_2, *, user_3=None):\n    self.user_4 = call(user_5=user_6)\nclass User7: ..."
    assert len({name for name in names(ast.parse(source)) if "user" in name.lower()}) == 8


def hidden(scope: symtable.SymbolTable) -> set[str]:
    """Global names that are read in a scope where a comprehension has a variable of that name."""
    inlined = [one for one in scope.get_children() if one.get_name() in ("listcomp", "setcomp", "dictcomp")]
    variables = {symbol.get_name() for one in inlined for symbol in one.get_symbols() if symbol.is_local()}
    read = {symbol.get_name() for one in (scope, *inlined) for symbol in one.get_symbols() if symbol.is_global()}
    return (variables & read).union(*map(hidden, scope.get_children()))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="comprehensions have no symbol tables of their own")
def test_no_variable_of_a_comprehension_hides_a_global():
    """Python 3.12.1 takes the global for this variable, which is unbound."""
    assert hidden(symtable.symtable("def f(): return {a: 1 for a in b}, [a(c) for c in d]", "", "exec")) == {"a"}
    for path in sorted(ROOT.rglob("*.py")):
        assert not hidden(symtable.symtable(path.read_text(encoding="utf-8"), str(path), "exec")), path


@pytest.mark.parametrize("statement", ["import recsys_ae", "import recsys_ae.cli"])
def test_importing_loads_nothing_heavy(statement):
    script = f"{statement}; import sys; print(*sorted({{'torch', 'mlflow', 'pandas', 'scipy', 'pyarrow'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_models_that_do_without_pytorch_need_none_of_its_memory():
    """It takes twice the memory of all other libraries together; numba is loaded by the first list or training."""
    modules = ("models.pca", "models.baselines", "models.implicit_models", "export.local", "export.verification")
    statements = [f"import recsys_ae.{module}" for module in modules]
    statements += ["import sys", "print(*{'torch', 'numba'} & set(sys.modules))", "import numpy, recsys_ae, recsys_ae.ranking"]
    statements += ["recsys_ae.ranking.top_k(numpy.zeros((1, 2), numpy.float32), 1)", "import recsys_ae.models.bayesian_fm"]
    statements += ["print('torch' in sys.modules)"]
    done = subprocess.run([sys.executable, "-c", "; ".join(statements)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "False"]


def test_every_public_name_exists():
    assert set(recsys_ae.__all__) == set(recsys_ae._PLACES)
    for name in recsys_ae.__all__:
        assert getattr(recsys_ae, name).__doc__
