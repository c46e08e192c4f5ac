"""The command that makes lists."""

from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsys_ae.cli.options import PATH, CardOption, Cold, TrackingUri, terminal
from recsys_ae.errors import ConfigError

if TYPE_CHECKING:
    from recsys_ae.export.manifest import ListManifest

ModelArgument = Annotated[str, typer.Argument(help="A model folder, or an MLflow URI such as runs:/ID/model.")]
HistoryFile = Annotated[Path, typer.Option(help="What users have done so far: CSV, TSV, '::', JSON lines or Parquet.", **PATH)]
OutputFolder = Annotated[Path, typer.Option(help="New folder for the lists; with --dated, the folder of all dates.", **PATH)]
UsersFile = Annotated[
    Path | None,
    typer.Option(help="Lists for the users of this file, such as a truth, instead of those of the history.", **PATH),
]
DateOption = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Implies --dated. Default: today.")]
MinOverlap = Annotated[float | None, typer.Option(help="Publish only if users keep this share of their last items.")]

SkipOption = Annotated[
    bool, typer.Option("--skip-unknown", help="Skip interactions and rules with items that the model does not know.")
]
CandidateFiles = Annotated[
    list[Path] | None, typer.Option(help="Only these items: item_id, or user_id and item_id. May be repeated.", **PATH)
]
BlockFiles = Annotated[
    list[Path] | None, typer.Option(help="Never these items: item_id, or user_id and item_id. May be repeated.", **PATH)
]
RepeatableFiles = Annotated[
    list[Path] | None, typer.Option(help="Items that may come again: item_id, or user_id and item_id. May be repeated.", **PATH)
]
CategoryFile = Annotated[Path | None, typer.Option(help="Categories of items: item_id, category; with --cap.", **PATH)]
FormatOption = Annotated[Literal["parquet", "csv", "jsonl"], typer.Option("--format", help="Of the files.")]
LayoutOption = Annotated[
    Literal["rows", "lists"], typer.Option(help="A row per item, or a row per user with the arrays item_ids and scores.")
]
TitleFile = Annotated[Path | None, typer.Option(help="Also write titles of the items, from a file: item_id, title.", **PATH)]
CapOption = Annotated[int | None, typer.Option(help="List at most so many items of a category.")]


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
    categories: CategoryFile = None,
    cap: CapOption = None,
    skip_unknown: SkipOption = False,
    cold: Annotated[Cold, typer.Option(help="Policy for users the model cannot score.")] = "popular",
    form: FormatOption = "parquet",
    layout: LayoutOption = "rows",
    titles: TitleFile = None,
    part_users: Annotated[int, typer.Option(help="Users in each file; a kill loses the work on at most one.")] = 8192,
    dated: Annotated[bool, typer.Option("--dated", help="Publish as OUTPUT/DATE, to which OUTPUT/latest then leads.")] = False,
    date: DateOption = None,
    min_users: Annotated[int | None, typer.Option(help="Publish only if so many users have a list.")] = None,
    max_cold: Annotated[float | None, typer.Option(help="Publish only if at most this share of users is cold.")] = None,
    min_overlap: MinOverlap = None,
    keep: Annotated[int | None, typer.Option(help="Dated folders to keep; older ones are removed.")] = None,
    card: CardOption = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write top-k lists for all users of a history, or for those of another file.

    The export is recorded in MLflow if a store is given, by --tracking-uri or $MLFLOW_TRACKING_URI.
    """
    from recsys_ae.experiment.list_files import ListFiles
    from recsys_ae.export.local import export_request
    from recsys_ae.export.manifest import MANIFEST
    from recsys_ae.export.publication import Checks, publish
    from recsys_ae.export.rule_files import RuleFiles
    from recsys_ae.export.writing import Writing
    from recsys_ae.tracking.lineage import export_run, record_export

    checks, dated = Checks(min_users, max_cold, min_overlap), dated or date is not None
    if not dated and (keep is not None or checks != Checks()):
        raise ConfigError("--min-users, --max-cold, --min-overlap and --keep are for dated lists; add --dated")
    date = date or f"{datetime.now():%Y-%m-%d}"
    folder = output / date if dated else output
    rules = RuleFiles(tuple(candidates or ()), tuple(block or ()), tuple(repeatable or ()), categories, cap)
    files = ListFiles(model, history, users, card, skip_unknown, tracking_uri, rules, titles)
    options: dict[str, Any] = {
        "exclude_seen": not include_seen,
        "cold": cold,
        "part_users": part_users,
        "writing": Writing(form, layout),
    }
    request = files.request(k, exclude_seen=not include_seen, **options)
    make = partial(export_request, request)
    with export_run(model, request.planned.model_digest, folder, tracking_uri) as run:
        manifest = publish(make, output, date, checks, keep) if dated else make(folder)
        record_export(run, files.dataset, asdict(manifest), folder / MANIFEST)
    _report(manifest, folder)


def _report(manifest: "ListManifest", folder: Path) -> None:
    """Print what was made."""
    console, sources = terminal(), manifest.made.sources
    if sources.skipped_events:
        skipped = f"{sources.skipped_events} interactions with unknown items skipped"
        console.print(f"{skipped}; {sources.skipped_users} users have no others")
    if manifest.cold_users:
        console.print(f"{manifest.cold_users} users the model cannot score: {manifest.filters['cold']}")
    console.print(f"{manifest.rows} recommendations for {manifest.n_users} users: {folder}", soft_wrap=True)
