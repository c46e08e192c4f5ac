"""The command line; errors become one sentence and an exit code (see `exits`)."""

import inspect
import logging
import os
import re
import signal
import sys
import traceback
from contextlib import redirect_stdout, suppress
from datetime import datetime
from pathlib import Path
from threading import Timer
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, cast

import typer

import recsys_ae
from recsys_ae.cli.evaluation import compare, evaluate
from recsys_ae.cli.export import export
from recsys_ae.cli.load import load
from recsys_ae.cli.merge import merge
from recsys_ae.cli.options import PATH, RequireTracking, TrackingUri, print_table, terminal
from recsys_ae.cli.promotion import promote
from recsys_ae.cli.report import report
from recsys_ae.cli.runs import runs_app
from recsys_ae.cli.schema import schema
from recsys_ae.cli.verification import verify
from recsys_ae.errors import ConfigError, RankLost, Terminated, TrackingError
from recsys_ae.exits import INTERRUPTED, TERMINATED, LogLine, Once, Output, explain, in_ranks, leave, nowhere, one_line
from recsys_ae.folders import check_current, check_temporary

if TYPE_CHECKING:
    from recsys_ae.experiment.pipeline_file import Pipeline
    from recsys_ae.experiment.repeat import EarlierRun

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="recsys-ae",
    help="Recommendation with autoencoders: compare models honestly, track experiments, export top-N lists.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
datasets_app = typer.Typer(help="List, show or fetch datasets.", rich_markup_mode=None)
app.add_typer(datasets_app, name="datasets", invoke_without_command=True)
app.add_typer(runs_app, name="runs")
CardName = Annotated[str, typer.Argument(help="A shipped dataset or a card file.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"recsys-ae {recsys_ae.__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """`main` handles --debug, which may stand anywhere."""


@app.command()
def run(
    pipeline: Annotated[str | None, typer.Argument(help="A pipeline file, or the name of a shipped one.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. models.mf.factors=32.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="New folder for the results. Default: runs/NAME-TIME.", **PATH)] = None,
    tracking_uri: TrackingUri = None,
    require_tracking: RequireTracking = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --output.")] = False,
    from_run: Annotated[
        str | None, typer.Option("--from-run", metavar="RUN", help="Repeat a run: its MLflow id or its --output.")
    ] = None,
) -> None:
    """Fit, compare and track the models of a pipeline; export the recommendations of the best one."""
    if resume and output is None:
        raise ConfigError("--resume needs the --output of the run to continue")
    check_temporary()
    from recsys_ae.experiment.log_files import check_data
    from recsys_ae.experiment.output import check_output, new_folder

    started = perf_counter()
    if output is not None and not resume:
        check_output(output)
    declared, earlier = _declared(pipeline, from_run, settings or [], tracking_uri)
    check_data(declared)
    from recsys_ae.experiment.runner import run_pipeline  # imports all that a run needs, which takes seconds
    from recsys_ae.experiment.summary import check_delivered
    from recsys_ae.reporting.report import summary_header, summary_lines
    from recsys_ae.reporting.tables import results_tables, seeds_tables
    from recsys_ae.tracking import make_tracker

    tracker = make_tracker(tracking_uri, declared.experiment, required=require_tracking)
    folder = output or new_folder(Path("runs"), f"{declared.name}-{datetime.now():%Y%m%d-%H%M%S}")
    tags = earlier.tags(settings or []) if earlier else {}
    try:
        found = run_pipeline(declared, folder, tracker, terminal(stderr=True), resume=resume, tags=tags)
    except (KeyboardInterrupt, Terminated):
        print(f"recsys-ae: to continue, repeat the command with --output {folder} --resume", file=sys.stderr)
        raise
    finally:
        if output is None:  # nothing stays of a run that failed early
            with suppress(OSError):
                folder.rmdir()
                folder.parent.rmdir()
    console, hint = terminal(), tracker.hint()
    console.print(summary_header(found))
    for table in [*results_tables(found, console.width), *(seeds_tables(found, console.width) if found.repetitions else [])]:
        console.print(table)
    repeated = [earlier.outcome(found)] if earlier else []
    lines = [*summary_lines(found, folder), *repeated, f"wall time: {perf_counter() - started:.1f} s"]
    for line in [*lines, *([f"look at the experiment: {hint}"] if hint else [])]:
        console.print(line, soft_wrap=True)
    check_delivered(found, declared.keys, folder)
    if require_tracking and tracker.missing:
        raise TrackingError(tracker.missing)


@app.command()
def tune(
    pipeline: Annotated[str, typer.Argument(help="A pipeline file, or the name of a shipped one.")],
    trials: Annotated[int | None, typer.Option(help="Trials per model and seed. Default: as in the pipeline, else 20.")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which the search of a model starts no more trials.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Trials that run in parallel and share the cores. Default: 1.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. search.by=ndcg@10.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="New folder for the results. Default: runs/NAME-TIME.", **PATH)] = None,
    tracking_uri: TrackingUri = None,
    require_tracking: RequireTracking = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted search in --output.")] = False,
) -> None:
    """Search the parameters of a pipeline's models with Optuna, then run it with the best ones."""
    search = {"sampler": "tpe", "trials": trials, "timeout": timeout, "jobs": jobs}
    given = [f"search.{key}={value}" for key, value in search.items() if value is not None]
    run(pipeline, [*(settings or []), *given], output, tracking_uri, require_tracking, resume)


def _declared(
    pipeline: str | None, from_run: str | None, settings: list[str], tracking_uri: str | None
) -> tuple["Pipeline[Any]", "EarlierRun | None"]:
    """The pipeline to run, and the run that it repeats, if any, whose inputs have been checked."""
    from recsys_ae.experiment.pipeline_file import read_pipeline

    if pipeline is not None and from_run is not None:
        raise ConfigError("--from-run repeats a run with its own pipeline; give a pipeline or --from-run, not both")
    if pipeline is None and from_run is None:
        raise ConfigError("no pipeline given; name one, as in recsys-ae run ml-100k, or a run to repeat with --from-run")
    if from_run is None:
        return read_pipeline(str(pipeline), settings), None
    from recsys_ae.experiment.repeat import read_earlier_run

    earlier = read_earlier_run(from_run, tracking_uri)
    earlier.check(settings)
    declared = earlier.pipeline(settings)
    changed = f" with {', '.join(settings)}, so its metrics may differ" if settings else ""
    logger.info("repeating run %s of %s%s", earlier.source, declared.name, changed)
    if other := earlier.other_versions():
        logger.warning("that run used %s, so the last digits of its metrics may differ", ", ".join(other))
    return declared, earlier


app.command(context_settings={"allow_extra_args": True})(evaluate)
app.command()(compare)
app.command()(promote)
app.command()(report)
app.command()(export)
app.command()(merge)
app.command()(verify)
app.command()(load)
app.command()(schema)


@datasets_app.callback()
def datasets(context: typer.Context) -> None:
    """List, show or fetch datasets."""
    if context.invoked_subcommand is None:
        from recsys_ae.data.cards import read_card, shipped_cards

        cards = {name: read_card(name)[0] for name in shipped_cards()}
        print_table("dataset", "description", "licence", rows=[[name, x.title, x.licence] for name, x in cards.items()])


@datasets_app.command()
def show(name: CardName) -> None:
    """Print a dataset's card."""
    import yaml

    from recsys_ae.data.cards import read_card

    content = read_card(name)[0].model_dump(exclude_defaults=True)
    terminal().print(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), end="")


@datasets_app.command()
def fetch(name: CardName) -> None:
    """Find or download a dataset, verify it and print its size."""
    from recsys_ae.data.cards import IMAGE_KINDS, read_card
    from recsys_ae.data.fetch import locate
    from recsys_ae.data.images import load_images
    from recsys_ae.data.ratings import load_ratings

    card, folder = read_card(name)
    for path in getattr(card, "checksums", {}):
        locate(card, [path], folder)
    if card.kind in IMAGE_KINDS:
        images = load_images(card, folder)
        size = f"{len(images.train)} + {len(images.test)} images of {images.shape[1]} x {images.shape[2]}"
    else:
        data = load_ratings(card, folder).interactions
        size = f"{data.n_users} users, {data.n_items} items, {len(data)} interactions"
    terminal().print(f"{card.name}: {size}")


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="Show one model's parameters.")] = None) -> None:
    """List the models, or show one's parameters, their defaults and its search space."""
    from recsys_ae.images import IMAGE_MODELS
    from recsys_ae.models import MODELS

    if name is not None:
        _show_model(name)
        return
    for kind in (MODELS, IMAGE_MODELS):
        print_table(kind.kind, "description", rows=[[known, _first_line(place)] for known, place in kind.places.items()])


def _first_line(place: str) -> str:
    """The first line of a class's docstring, read from its source: importing all models would take seconds."""
    import ast

    module, name = place.split(":")
    source = Path(recsys_ae.__file__).parent.parent.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name]
    return (ast.get_docstring(classes[0]) or "").split("\n")[0] if classes else ""


def _show_model(name: str) -> None:
    """Print a model's parameters, with their defaults, allowed values and search space."""
    from recsys_ae.core.trainer import TrainConfig
    from recsys_ae.declaration import allowed_values, parameters
    from recsys_ae.images import IMAGE_MODELS
    from recsys_ae.images.storage import build_image_model
    from recsys_ae.models.storage import build_model
    from recsys_ae.space import in_words

    model = build_image_model(name) if name in IMAGE_MODELS else build_model(name)
    allowed = allowed_values(type(model))
    console = terminal()
    about = inspect.cleandoc(type(model).__doc__ or "")
    console.print(f"{about}\n")
    unexplained = allowed.keys() - _attributes(about)
    for inherited in [*type(model).__mro__[1:], TrainConfig]:  # shared parameters are explained where they are declared
        about = inspect.cleandoc(inherited.__doc__ or "") if inherited.__module__.startswith("recsys_ae") else ""
        if unexplained & _attributes(about):
            console.print(f"{inherited.__name__}: {about[about.index('Attributes:') :]}\n")
    rows = [[key, str(value), allowed[key], in_words(model.space, key)] for key, value in parameters(model).items()]
    print_table("parameter", "default", "allowed", "searched", rows=rows)


def _attributes(about: str) -> set[str]:
    """The names that a docstring explains under "Attributes:"."""
    named = re.findall(r"^    (\w+(?:, \w+)*):", about.partition("Attributes:")[2], re.MULTILINE)
    return {name for names in named for name in names.split(", ")}


def main() -> NoReturn:
    """Run the command in `sys.argv` and exit with its code."""
    sys.stdout, sys.stderr = sys.stdout or nowhere(), sys.stderr or nowhere()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine())
    handler.addFilter(Once())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("recsys_ae").setLevel(logging.DEBUG if "--debug" in sys.argv else logging.INFO)
    sys.unraisablehook = _interrupt_again
    # what `nohup` ignores stays ignored
    caught = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    for number in caught:
        signal.signal(number, _terminate)
    try:
        message, code = _outcome([argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"])
    except Terminated:  # after the command: a launcher ends the other ranks as soon as one is lost
        message, code = "terminated", TERMINATED
    for number in caught:
        signal.signal(number, signal.SIG_IGN)
    if message:
        with suppress(OSError):
            print("recsys-ae:", one_line(message), file=sys.stderr)
    leave(code)


def _outcome(arguments: list[str]) -> tuple[str, int]:
    """Run a command and return its last message, which may be empty, and its exit code."""
    try:
        check_current()
        with redirect_stdout(cast(TextIO, Output(sys.stdout))):
            code = _in_ranks(arguments)
            sys.stdout.flush()
        return ("interrupted" if code == INTERRUPTED else ""), code
    except KeyboardInterrupt:
        return "interrupted", INTERRUPTED
    except RankLost as error:
        return str(error), 1
    except Terminated:
        return "terminated", TERMINATED
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        return explain(error)


def _in_ranks(arguments: list[str]) -> int:
    """Run a command. Of several processes started by torch.distributed.run, rank 0 runs it and the others help it train."""
    if not in_ranks():
        return app(arguments, standalone_mode=False) or 0
    from recsys_ae.core.distributed import connected
    from recsys_ae.core.followers import follow

    with connected() as team:
        if not team.rank:
            return app(arguments, standalone_mode=False) or 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # all ranks get these; the others end when rank 0 does
            signal.signal(number, signal.SIG_IGN)
        follow(team)
        return 0


def _interrupt_again(failure: "sys.UnraisableHookArgs") -> None:
    """Repeat a signal whose exception was raised in a destructor or the like, from where Python lets none out."""
    number = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}.get(failure.exc_type)
    if number is None:
        sys.__unraisablehook__(failure)
    else:
        Timer(0.05, os.kill, (os.getpid(), number)).start()  # after the destructor


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
