"""The command that makes lists."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsys_ae.cli.options import PATH, CardOption, Cold, terminal
from recsys_ae.cli.place import Dated, DateOption, Keep, MaxCold, MinOverlap, MinUsers, OutputFolder, Place, RecordIn, report
from recsys_ae.errors import ConfigError, counted

if TYPE_CHECKING:
    from recsys_ae.export.parts import Shard
    from recsys_ae.export.shards import ShardManifest

ModelArgument = Annotated[str, typer.Argument(help="A model folder, or an MLflow URI such as runs:/ID/model.")]
HistoryFile = Annotated[Path, typer.Option(help="What users have done so far: CSV, TSV, '::', JSON lines or Parquet.", **PATH)]
UsersFile = Annotated[
    Path | None,
    typer.Option(help="Make lists for the users of this file, such as a truth, instead of those of the history.", **PATH),
]

SkipOption = Annotated[bool, typer.Option("--skip-unknown", help="Skip interactions and rules with unknown items or users.")]
CandidateFiles = Annotated[
    list[Path] | None,
    typer.Option(help="Only the items that have a row: item_id, or user_id and item_id. May be repeated.", **PATH),
]
BlockFiles = Annotated[
    list[Path] | None, typer.Option(help="Never these items: item_id, or user_id and item_id. May be repeated.", **PATH)
]
RepeatableFiles = Annotated[
    list[Path] | None,
    typer.Option(help="Items to list even if seen: item_id, or user_id and item_id. May be repeated.", **PATH),
]
CategoryFiles = Annotated[
    list[Path] | None,
    typer.Option(help="Categories of items: item_id, category; with --cap. May be repeated.", **PATH),
]
FormatOption = Annotated[
    Literal["parquet", "csv", "csv-semicolon", "jsonl"],
    typer.Option("--format", help="Format of the files; csv-semicolon is for spreadsheets with decimal commas."),
]
LayoutOption = Annotated[
    Literal["rows", "lists"], typer.Option(help="A row per item, or a row per user with the arrays item_ids and scores.")
]
TitleFile = Annotated[
    Path | None,
    typer.Option(
        help="Also write titles of the items, from a file: item_id, title. Default: those that the card declares.", **PATH
    ),
]
EngineOption = Annotated[
    Literal["local", "spark"], typer.Option(help="Where the lists are made: by this process, or by the executors of Spark.")
]
ShardOption = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Make only shard I of N, about 1/N of the files; `merge` joins all shards."),
]
CapOption = Annotated[int | None, typer.Option(help="List at most this many items of a category.")]


def export(
    model: ModelArgument,
    history: HistoryFile,
    output: OutputFolder,
    k: Annotated[int, typer.Option(help="Length of the lists.")] = 100,
    users: UsersFile = None,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Also recommend items users have seen.")] = False,
    candidates: CandidateFiles = None,
    block: BlockFiles = None,
    repeatable: RepeatableFiles = None,
    categories: CategoryFiles = None,
    cap: CapOption = None,
    skip_unknown: SkipOption = False,
    cold: Annotated[Cold, typer.Option(help="Policy for users the model cannot score.")] = "popular",
    form: FormatOption = "parquet",
    layout: LayoutOption = "rows",
    titles: TitleFile = None,
    part_users: Annotated[int, typer.Option(help="Users per file; a kill loses the work on at most one file.")] = 8192,
    engine: EngineOption = "local",
    shard: ShardOption = None,
    dated: Dated = False,
    date: DateOption = None,
    min_users: MinUsers = None,
    max_cold: MaxCold = None,
    min_overlap: MinOverlap = None,
    keep: Keep = None,
    card: CardOption = None,
    tracking_uri: RecordIn = None,
) -> None:
    """Write top-k lists for all users of a history, or for those of another file.

    The export is recorded in MLflow if a store is given, by --tracking-uri or $MLFLOW_TRACKING_URI.
    """
    from recsys_ae.experiment.list_files import ListFiles
    from recsys_ae.export.local import check_place, engine_of, export_request
    from recsys_ae.export.manifest import MANIFEST
    from recsys_ae.export.rule_files import RuleFiles
    from recsys_ae.export.shards import export_shard
    from recsys_ae.export.writing import Writing
    from recsys_ae.tracking.lineage import export_run, record_export

    place = Place(output, dated, date, min_users, max_cold, min_overlap, keep)
    check_place(place.folder)
    share = None if shard is None else _share(shard, place, engine)
    makes_parts = engine_of(engine)
    rules = RuleFiles(tuple(candidates or ()), tuple(block or ()), tuple(repeatable or ()), tuple(categories or ()), cap)
    files = ListFiles(model, history, users, card, skip_unknown, tracking_uri, rules, titles)
    options: dict[str, Any] = {"cold": cold, "part_users": part_users, "writing": Writing(form, layout)}
    request = files.request(k, exclude_seen=not include_seen, **options)
    if share is not None:
        _report_shard(export_shard(request, place.folder, share), place.folder)
        return
    with export_run(model, request.planned.model_digest, place.folder, tracking_uri) as run:
        manifest = place.fill(partial(export_request, request, engine=makes_parts))
        record_export(run, files.dataset, asdict(manifest), place.folder / MANIFEST)
    report(manifest, place.folder)


def _share(text: str, place: Place, engine: str) -> "Shard":
    """The shard to make; `ConfigError` for options that cannot be combined with --shard."""
    from recsys_ae.export.parts import Shard

    if engine != "local":
        raise ConfigError("--shard is for the local engine; Spark divides the work itself")
    if place.dated:
        raise ConfigError("with --shard, give --date instead of --dated: the day may change between two shards")
    if place.has_conditions:
        raise ConfigError("--min-users, --max-cold, --min-overlap and --keep are options of merge, not of its shards")
    return Shard.parse(text)


def _report_shard(made: "ShardManifest", folder: Path) -> None:
    lists = sum(part.users for part in made.files.values())
    done = f"shard {made.shard}: {counted(lists, 'list')} in {counted(len(made.files), 'file')}"
    terminal().print(f"{done}; once all shards are there, `recsys-ae merge` makes {folder}", soft_wrap=True)
