"""The command line; errors become one sentence and an exit code (see `exits`)."""

import inspect
import logging
import os
import signal
import sys
import traceback
from contextlib import redirect_stdout, suppress
from datetime import datetime
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn, TextIO, cast

import typer

from recsys_ae.errors import ConfigError, Terminated, quoted
from recsys_ae.exits import INTERRUPTED, TERMINATED, Output, explain, one_line
from recsys_ae.folders import check_current, check_temporary

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


def _path(text: str) -> Path:
    """Parser of a path argument; see `path_of`."""
    from recsys_ae.files import path_of

    return path_of(text)


PATH: dict[str, Any] = {"parser": _path, "metavar": "PATH"}
CardOption = Annotated[
    str | None,
    typer.Option(help="Dataset card, or pipeline with one inside, that describes the file and the features of users."),
]
CardName = Annotated[str, typer.Argument(help="A shipped dataset or a card file.")]
# As in `models.recommend` and `split`, which are too heavy to import for --help
Cold = Literal["error", "popular", "skip"]
Repeats = Literal["excluded", "wanted"]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow store; 'none' tracks nothing. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."),
]


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Only for --help: `main` handles --debug."""


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="A pipeline file, or the name of a shipped one.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. models.mf.factors=32.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="New folder for the results. Default: runs/NAME-TIME.", **PATH)] = None,
    tracking_uri: TrackingUri = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --output.")] = False,
) -> None:
    """Fit, compare and track the models of a pipeline; export the recommendations of the best one."""
    if resume and output is None:
        raise ConfigError("--resume needs the --output of the run to continue")
    check_temporary()
    from recsys_ae.experiment.output import new_folder
    from recsys_ae.experiment.pipeline_file import read_pipeline
    from recsys_ae.experiment.runner import run_pipeline
    from recsys_ae.reporting.report import summary_header, summary_lines
    from recsys_ae.reporting.tables import results_tables, seeds_table
    from recsys_ae.tracking import make_tracker

    started = perf_counter()
    declared = read_pipeline(pipeline, settings or [])
    tracker = make_tracker(tracking_uri, declared.experiment)
    folder = output or new_folder(Path("runs"), f"{declared.name}-{datetime.now():%Y%m%d-%H%M%S}")
    try:
        report = run_pipeline(declared, folder, tracker, _console(stderr=True), resume=resume)
    except (KeyboardInterrupt, Terminated):
        print(f"recsys-ae: to continue, repeat the command with --output {folder} --resume", file=sys.stderr)
        raise
    finally:
        if output is None:  # nothing stays of a run that failed early
            with suppress(OSError):
                folder.rmdir()
                folder.parent.rmdir()
    console, hint = _console(), tracker.hint()
    console.print(summary_header(report))
    for table in [*results_tables(report, console.width), *([seeds_table(report)] if report.repetitions else [])]:
        console.print(table)
    lines = [*summary_lines(report, folder), f"wall time: {perf_counter() - started:.1f} s"]
    for line in [*lines, *([f"look at the experiment: {hint}"] if hint else [])]:
        console.print(line, soft_wrap=True)


@app.command(context_settings={"allow_extra_args": True})
def evaluate(
    context: typer.Context,
    recommendations: Annotated[Path, typer.Argument(help="A folder made by export or run, or a Parquet or CSV file.", **PATH)],
    truth: Annotated[Path, typer.Option(help="What users did afterwards: CSV, TSV, '::', JSON lines or Parquet.", **PATH)],
    history: Annotated[
        Path | None,
        typer.Option(help="What they had done before the lists were made; these pairs do not count as relevant.", **PATH),
    ] = None,
    repeats: Annotated[
        Repeats, typer.Option(help="Whether pairs in the history are relevant: 'wanted' if lists may contain seen items.")
    ] = "excluded",
    metrics: Annotated[
        list[str] | None, typer.Option(metavar="METRIC...", help="Ranking metrics such as ndcg@10,recall@20.")
    ] = None,
    relevant_at: Annotated[float | None, typer.Option(help="Only ratings of at least this are relevant.")] = None,
    card: CardOption = None,
    output: Annotated[Path | None, typer.Option(help="Also write the metrics to this JSON file.", **PATH)] = None,
) -> None:
    """Evaluate exported recommendations against what users did afterwards."""
    from recsys_ae.data.detection import guess_table
    from recsys_ae.data.tables import read_table
    from recsys_ae.declaration import error_context
    from recsys_ae.evaluation.given_lists import evaluate_recommendations
    from recsys_ae.evaluation.metrics import DEFAULT_RANKING
    from recsys_ae.experiment.pipeline_file import ratings_card
    from recsys_ae.export.local import read_recommendations
    from recsys_ae.files import check_not_read, write_json
    from recsys_ae.ids import id_index, kind_of
    from recsys_ae.reporting.report import REPEATS_UNKNOWN, list_summary

    if context.args and not metrics:
        raise ConfigError(f"extra argument {quoted(context.args[0])}; write metrics after --metrics")
    check_not_read(output, recommendations, truth, history, card)
    # `--metrics a b c`, `--metrics a,b,c` and `--metrics a --metrics b` are equivalent
    wanted = [name for text in [*(metrics or []), *context.args] for name in text.split(",") if name]
    lists, length = read_recommendations(recommendations)
    # Where the lists have text, so have the other files, even if it looks like integers. Other differences are reported later.
    roles = {role: id_index(lists[f"{role}_id"], f"column '{role}_id' of {recommendations}") for role in ("user", "item")}
    kinds = {role: "str" for role, ids in roles.items() if kind_of(ids) == "str"}

    def read(path: Path) -> Any:
        return read_table(path, ratings_card(card)[0].files[0] if card else guess_table(path), kinds)

    frame, known = read(truth), None if history is None else read(history)
    if relevant_at is not None and "rating" not in frame:
        raise ConfigError(f"--relevant-at needs ratings, but {truth} has none")
    default = [name for name in DEFAULT_RANKING if int(name.split("@")[1]) <= length] or [f"ndcg@{length}", f"recall@{length}"]
    options: dict[str, Any] = {"list_length": length, "relevant_at": relevant_at, "history": known, "repeats": repeats}
    with error_context(f"{recommendations} against {truth}"):
        report = evaluate_recommendations(lists, frame, wanted or default, **options)
    rows = [[name, "-" if value is None else f"{value:.4f}"] for name, value in report.metrics.items()]
    _print_table("metric", "value", rows=rows)
    for line in list_summary(report.counts, repeats):
        _console().print(line)
    if known is None and repeats == "excluded":
        print(REPEATS_UNKNOWN, file=sys.stderr)
    if output is not None:
        write_json({"metrics": report.metrics, "counts": report.counts}, output)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A model folder, or an MLflow URI such as runs:/ID/model.")],
    history: Annotated[Path, typer.Option(help="What users have done so far: CSV, TSV, '::', JSON lines or Parquet.", **PATH)],
    output: Annotated[Path, typer.Option(help="New folder for the lists.", **PATH)],
    k: Annotated[int, typer.Option(help="Length of the lists.")] = 100,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Also recommend items users have seen.")] = False,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Skip interactions with items the model does not know.")
    ] = False,
    cold: Annotated[Cold, typer.Option(help="Policy for users the model cannot score.")] = "popular",
    card: CardOption = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write top-k lists for all users of a history."""
    from recsys_ae.experiment.pipeline_file import ratings_card
    from recsys_ae.export.histories import history_for
    from recsys_ae.export.local import export_recommendations
    from recsys_ae.models.storage import load_model
    from recsys_ae.tracking import local_model

    loaded = load_model(local_model(model, tracking_uri))
    data, skipped = history_for(loaded, history, ratings_card(card) if card else None, skip_unknown=skip_unknown)
    manifest = export_recommendations(loaded, data, output, k, exclude_seen=not include_seen, cold=cold)
    console = _console()
    if skipped:
        without = data.n_users - len(set(data.user_rows()))
        console.print(f"{skipped} interactions with unknown items skipped; {without} users have no others")
    if manifest.cold_users:
        console.print(f"{manifest.cold_users} users the model cannot score: {cold}")
    console.print(f"{manifest.rows} recommendations for {manifest.n_users} users: {output}", soft_wrap=True)


@datasets_app.callback()
def datasets(context: typer.Context) -> None:
    """List, show or fetch datasets."""
    if context.invoked_subcommand is None:
        from recsys_ae.data.cards import read_card, shipped_cards

        cards = {name: read_card(name)[0] for name in shipped_cards()}
        _print_table("dataset", "description", "licence", rows=[[name, x.title, x.licence] for name, x in cards.items()])


@datasets_app.command()
def show(name: CardName) -> None:
    """Print a dataset's card."""
    import yaml

    from recsys_ae.data.cards import read_card

    content = read_card(name)[0].model_dump(exclude_defaults=True)
    _console().print(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), end="")


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
    _console().print(f"{card.name}: {size}")


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="Show one model's parameters.")] = None) -> None:
    """List the models, or show one's parameters and defaults."""
    from recsys_ae.images import IMAGE_MODELS
    from recsys_ae.models import MODELS

    if name is not None:
        _show_model(name)
        return
    for kind in (MODELS, IMAGE_MODELS):
        _print_table(kind.kind, "description", rows=[[known, _first_line(place)] for known, place in kind.places.items()])


def _first_line(place: str) -> str:
    """The first line of a class's docstring, read from its source: importing all models would take seconds."""
    import ast

    module, name = place.split(":")
    source = Path(__file__).parent.parent.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name]
    return (ast.get_docstring(classes[0]) or "").split("\n")[0] if classes else ""


def _show_model(name: str) -> None:
    """Print a model's parameters, their defaults and their allowed values."""
    from recsys_ae.core.trainer import TrainConfig
    from recsys_ae.declaration import allowed_values, parameters
    from recsys_ae.images import IMAGE_MODELS
    from recsys_ae.images.storage import build_image_model
    from recsys_ae.models.storage import build_model

    model = build_image_model(name) if name in IMAGE_MODELS else build_model(name)
    allowed = allowed_values(type(model))
    console = _console()
    console.print(type(model).__doc__ or "")
    for inherited in [*type(model).__mro__[1:], TrainConfig]:  # shared parameters are explained where they are declared
        about = inspect.cleandoc(inherited.__doc__ or "") if inherited.__module__.startswith("recsys_ae") else ""
        if "Attributes:" in about and (inherited is not TrainConfig or "epochs" in allowed):
            console.print(f"{inherited.__name__}: {about[about.index('Attributes:') :]}\n")
    rows = [[key, str(value), allowed[key]] for key, value in parameters(model).items()]
    _print_table("parameter", "default", "allowed", rows=rows)


def main() -> NoReturn:
    """Run the command in `sys.argv` and exit with its code."""
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("recsys_ae").setLevel(logging.INFO)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, _terminate)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # anywhere on the command line
    try:
        check_current()
        with redirect_stdout(cast(TextIO, Output(sys.stdout))):
            code = app(arguments or ["--help"], standalone_mode=False) or 0
            sys.stdout.flush()
        message = "interrupted" if code == INTERRUPTED else ""
    except KeyboardInterrupt:
        message, code = "interrupted", INTERRUPTED
    except Terminated:
        message, code = "terminated", TERMINATED
    except Exception as error:
        message, code = explain(error)
        if "--debug" in sys.argv:
            traceback.print_exc()
    if message:
        with suppress(OSError):
            print("recsys-ae:", one_line(message), file=sys.stderr)
    sys.exit(code)


def _nowhere() -> TextIO:
    """A stand-in for a stream that was closed before the start, as by `>&-` in a shell."""
    return open(os.devnull, "w", encoding="utf-8")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160  # in files and pipes, 80 columns would cut tables
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)  # names are printed as they are


def _print_table(*columns: str, rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    _console().print(table)


if __name__ == "__main__":
    main()
