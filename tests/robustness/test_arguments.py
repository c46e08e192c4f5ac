"""`--set`, and the arguments of every command."""

from pathlib import Path

from robustness.catalogue import Case, cases
from robustness.feeding import DEEP, HEADER, PIPELINE, RUN, card, lines, pipeline, run, small_log


def value(name: str, text: str, says: tuple[str, ...], code: int = 2) -> Case:
    """A value given by `--set`."""
    return run(name, code=code, says=says, more=f"--set '{text}'")


SET = [
    value("set-without-value", "seed", ("--set", "seed")),
    value("set-without-key", "=1", ("--set",)),
    value("set-empty", "", ("--set",)),
    value("set-unknown-key", "sed=1", ("'sed'", "seed")),
    value("set-into-a-number", "seed.x=1", ("seed",)),
    value("set-unknown-model", "models.ease.l2=1", ("ease", "popularity")),
    value("set-place-beyond", "models.7.l2=1", ("models.7|'7'",)),
    value("set-place-superscript", "models.\u00b2.l2=1", ("models",)),
    value("set-bad-yaml", "seed=[1", ("--set", "seed")),
    value("set-a-date", "seed=2001-99-99", ("--set", "2001-99-99")),
    value("set-a-tag", "seed=!!python/name:os.system", ("--set",)),
    value("set-nested", "seed=" + "[" * DEEP, ("--set", "nested|deep")),
    value("set-laughs", "seed=[&a [x, x], &b [*a, *a], &c [*b, *b]]", ("seed",)),
    value("set-nan", "models.0={name: ease, l2: .nan}", ("l2", "nan")),
    value("set-infinite", "positive_at=.inf", ("positive_at", "inf")),
    value("set-models-to-a-word", "models=ease", ("models",)),
    value("set-empty-path", "models..x=1", ("models",)),
    value("set-many-dots", ".".join("a" * 5000) + "=1", ("--set|unknown key",)),
    value("set-split-null", "split=null", ("split",)),
    value("set-long", "seed=" + "x" * 20_000, ("seed", r"\.\.\.")),
]

FILES = {"mine.yaml": PIPELINE, "log.csv": small_log()}


def holds(**files: str):
    """A function that makes a folder with these files."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)

    return make


ARGUMENTS = [
    Case("no-such-command", "rum", code=2, says=("No such command", "rum")),
    Case("no-such-option", "run mine.yaml --outptu x", FILES, 2, ("outptu",)),
    Case("no-argument", "run", code=2, says=("no pipeline given; name one", "--from-run")),
    Case("no-such-pipeline", "run absent.yaml", code=2, says=("there is no pipeline file absent.yaml",)),
    Case("no-such-shipped-pipeline", "run dem", code=2, says=("dem", "demo")),
    Case("pipeline-is-a-folder", "run somewhere.yaml", {"somewhere.yaml": holds()}, 2, ("somewhere.yaml",)),
    Case("pipeline-name-of-300-characters", f"run {'x' * 300}.yaml", code=2, says=("x",)),
    Case("pipeline-name-with-markup", "run '[red]x[/].yaml'", code=2, says=(r"\[red\]x\[/\]\.yaml",)),
    Case(
        "pipeline-file-with-markup",
        "run '[bold]m[/bold].yaml' --output out --tracking-uri none",
        {"[bold]m[": holds(**{"bold].yaml": ""}), "log.csv": small_log()},
        2,
        (r"\[bold\]m",),
    ),
    Case(
        "output-with-markup",
        "run mine.yaml --output 'o[/]ut' --tracking-uri none",
        FILES,
        0,
        (r"o\[/\]ut",),
        then=lambda: Path("o[", "]ut", "report.json").exists(),
        gives=True,
    ),
    Case(
        "model-label-like-markup-is-refused",
        RUN,
        {**FILES, "mine.yaml": pipeline(models=[{"name": "popularity", "label": "[red]"}])},
        2,
        (r"\[red\]",),
    ),
    Case(
        "dataset-name-with-markup",
        RUN,
        {**FILES, "mine.yaml": pipeline(dataset={**card(), "name": "[/]own"})},
        0,
        (r"\[/\]own",),
    ),
    Case("output-name-of-300-characters", f"run mine.yaml --output {'x' * 300} --tracking-uri none", FILES, 1, ("xxx", "long")),
    *(
        Case(f"{option}-{name}", command.replace("X", path), FILES, (1, 2), ("xx|x/|o/a.x00b", "long|NUL|no |unknown|not"))
        for name, path in {"long": "o/" + "x" * 300, "very-long": "x/" * 2500 + "y", "with-nul": "o/a\0b"}.items()
        for option, command in {
            "output": "run mine.yaml --output X --tracking-uri none",
            "pipeline": "run X.yaml",
            "dataset": "datasets fetch X.yaml",
            "set-dataset": "run mine.yaml --set dataset=X.yaml --output out --tracking-uri none",
            "model": "export X --history log.csv --output out",
            "lists": "evaluate X --truth log.csv",
        }.items()
    ),
    Case(
        "output-in-new-folders-of-a-run-that-fails",
        "run mine.yaml --output a/b/c --tracking-uri none",
        {**FILES, "log.csv": ""},
        1,
    ),
    Case("output-is-a-file", "run mine.yaml --output log.csv --tracking-uri none", FILES, 1, ("log.csv",)),
    Case("output-below-a-file", "run mine.yaml --output log.csv/out --tracking-uri none", FILES, 1, ("log.csv",)),
    Case("output-is-not-empty", RUN, {**FILES, "out": holds(thesis="mine")}, 1, (r"out is not empty \(thesis\)",)),
    Case("output-empty-name", "run mine.yaml --output '' --tracking-uri none", FILES, 1, ("output|empty",)),
    Case("output-below-proc", "run mine.yaml --output /proc/out --tracking-uri none", FILES, 1, ("/proc",)),
    Case("resume-without-output", "run mine.yaml --resume", FILES, 2, ("--resume needs the --output",)),
    Case("resume-of-something-else", RUN + " --resume", {**FILES, "out": holds(thesis="mine")}, 1, ("out", "thesis")),
    Case("resume-of-nothing-starts", RUN + " --resume", FILES, 0, ("popularity",)),
    Case("missing-log", RUN, {"mine.yaml": PIPELINE}, 1, ("no file log.csv",)),
    Case("empty-log", RUN, {**FILES, "log.csv": ""}, 1, ("log.csv",), corrected=RUN, fixed={"log.csv": small_log()}),
    Case(
        "bad-log-leaves-the-folder-free",
        RUN,
        {**FILES, "log.csv": lines("1,7,x,10")},
        1,
        ("log.csv, line 2: rating 'x' is not a number .*: '1,7,x,10'",),
        corrected=RUN,
        fixed={"log.csv": small_log()},
    ),
    Case(
        "constant-log",
        RUN + " --set models=[{name:\\ bias}]",
        {**FILES, "log.csv": lines(*(f"{user},{item},3,{user}" for user in range(9) for item in range(9)))},
        0,
        ("equal",),
    ),
    Case("one-row", RUN, {**FILES, "log.csv": lines("1,7,5,10")}, 1, ("split|train|test",)),
    Case("two-rows", RUN, {**FILES, "log.csv": lines("1,7,5,10", "1,8,5,11")}, 1, ("test",)),
    Case(
        "log-of-one-user",
        RUN,
        {**FILES, "log.csv": HEADER + "".join(f"1,{item},3,{item}\n" for item in range(50))},
        0,
        ("popularity",),
    ),
    Case(
        "log-of-one-item",
        RUN,
        {**FILES, "log.csv": HEADER + "".join(f"{user},1,3,{user}\n" for user in range(50))},
        0,
        ("popularity",),
    ),
    Case("model-unknown-to-models", "models autrec", code=2, says=("autrec", "did you mean 'autorec'")),
    Case("model-name-long", f"models {'x' * 5000}", code=2, says=("xxx", r"\.\.\.")),
    Case("dataset-unknown", "datasets show ml-1", code=2, says=("unknown dataset", "ml-1")),
    Case("dataset-is-a-folder", "datasets fetch ./data", {"data": holds()}, 2, ("data",)),
    Case("dataset-card-is-a-pipeline", "datasets fetch mine.yaml", FILES, 2, ("mine.yaml",)),
    Case("datasets-no-such-command", "datasets delete ml-1m", code=2, says=("delete",)),
    Case("interrupted-pipeline-name-with-newline", "run 'a\nb.yaml'", code=2, says=("b.yaml",)),
    Case("argument-with-escape", "run '\x1b[31mred.yaml'", code=2, never=("\x1b",)),
]


@cases(*SET, *ARGUMENTS)
def test_arguments(case, examine):
    examine(case)
